import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { ServerProcess } from '../scripts/server-process.ts'
import { requestFile, requestText } from './load.ts'
import {
  type Bench,
  compare,
  type Line,
  limitLine,
  portOf,
  ratioLine,
  residentBytes,
  type Side,
} from './measure.ts'

// What logins and uses of tokens cost where the database holds a hundred thousand identities and a million tokens: of one
// identity again and again, and of more of them in turn than are kept in memory.

const CONNECTIONS = 64
const IDENTITIES = 100_000
const TOKENS = 1_000_000
/** So many of the identities log in: many times as many as are remembered. */
const ASKED = 20_000
/** A full database may cost this much. */
const SLOWER = 1.3
const AUDIENCE = 'https://keyringd.example'

async function must(server: ServerProcess, path: string, body: unknown) {
  const { status, json } = await server.call('POST', path, body)
  if (status >= 300) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`)
  return json as Record<string, unknown>
}

const loginRequest = (identityId: string, jwt: string) =>
  requestText(
    'POST',
    '/api/v1/auth/jwt-auth/login',
    { 'Content-Type': 'application/json' },
    JSON.stringify({ identityId, jwt }),
  )

/** What a token is used for here: the least that the surface answers to one. */
const useRequest = (accessToken: string) =>
  requestText('GET', '/api/v1/identities/details', { Authorization: `Bearer ${accessToken}` })

/** Identities log in with tokens of a ring of ours here: nothing is fetched. */
const RING = 'bench'
const SUBJECT = 'repo:owner/repo:ref:refs/heads/main'
const BOUNDS = {
  ...{ boundSubject: 'repo:owner/*', boundAudiences: AUDIENCE },
  boundClaims: { repository: 'owner/repo' },
}

/** A JWT that every identity takes. */
async function workloadToken(server: ServerProcess): Promise<string> {
  const claims = { sub: SUBJECT, aud: AUDIENCE, repository: 'owner/repo' }
  const { token } = await must(server, `/v1/rings/${RING}/sign`, { claims, ttl: '12h' })
  return String(token)
}

/** Identities with their configurations, and tokens of theirs, as a busy year leaves them; put there without the server. */
function fill(folder: string, ids: readonly string[], tokens: number): void {
  const database = new Database(join(folder, 'data', 'keyringd.db'))
  const { id: organisation } = database.prepare('SELECT id FROM organisations').get() as {
    id: string
  }
  const now = Date.now()
  const identity = database.prepare(
    `INSERT INTO identities (id, organisation_id, name, role, created_at, updated_at)
     VALUES (?, ?, ?, 'no-access', ?, ?)`,
  )
  const config = database.prepare(
    `INSERT INTO jwt_auth_configs (id, identity_id, configuration_type, jwks_url, bound_issuer,
       bound_audiences, bound_claims, bound_subject, access_token_ttl, access_token_max_ttl,
       access_token_num_uses_limit, access_token_trusted_ips, created_at, updated_at)
     VALUES (?, ?, 'jwks', 'ring:${RING}', '', ?, ?, ?, 2592000, 2592000, 0, ?, ?, ?)`,
  )
  const token = database.prepare(
    `INSERT INTO access_tokens (id, identity_id, config_id, creation_epoch, keep_until)
     VALUES (?, ?, ?, ?, ?)`,
  )
  const { boundAudiences, boundSubject } = BOUNDS
  const claims = JSON.stringify(BOUNDS.boundClaims)
  const anywhere = JSON.stringify([
    { ipAddress: '0.0.0.0', type: 'ipv4', prefix: 0 },
    { ipAddress: '::', type: 'ipv6', prefix: 0 },
  ])
  const seconds = Math.floor(now / 1000)
  database.transaction(() => {
    for (const [at, id] of ids.entries()) {
      identity.run(id, organisation, `job ${at}`, now, now)
      config.run(`config-${at}`, id, boundAudiences, claims, boundSubject, anywhere, now, now)
    }
    for (let at = 0; at < tokens; at++) {
      const owner = at % ids.length
      const keep = seconds + 3600 + (at % 86_400)
      token.run(`token-${at}`, ids[owner], `config-${owner}`, seconds, keep)
    }
  })()
  database.close()
}

/** Random as those that the server makes: neighbours in the table are none in time. */
const idOf = (at: number): string =>
  createHash('sha256').update(`identity ${at}`).digest('hex').slice(0, 32)

const ALL = Array.from({ length: IDENTITIES }, (_, at) => idOf(at))
/** Some of them, spread over all. */
const SOME = ALL.filter((_, at) => at % (IDENTITIES / ASKED) === 0)

/** A server over a database with these in it. */
async function serverWith(bench: Bench, folder: string, ids: readonly string[], tokens: number) {
  const first = await bench.start({ folder })
  await must(first, '/v1/rings', { name: RING, algorithms: ['ES256'] })
  await first.stop()
  fill(folder, ids, tokens)
  return bench.start({ folder, settings: { MANAGEMENT_TOKEN: first.token } })
}

/** Logs each of them in once; their tokens. */
async function tokensOf(server: ServerProcess, ids: readonly string[], jwt: string) {
  const tokens: string[] = []
  for (let at = 0; at < ids.length; at += CONNECTIONS) {
    const some = ids.slice(at, at + CONNECTIONS)
    const answers = await Promise.all(
      some.map((identityId) => must(server, '/api/v1/auth/jwt-auth/login', { identityId, jwt })),
    )
    tokens.push(...answers.map(({ accessToken }) => String(accessToken)))
  }
  return tokens
}

/** Logins of these identities in turn, and uses of a token of each. */
async function sidesOf(server: ServerProcess, folder: string, ids: readonly string[]) {
  const jwt = await workloadToken(server)
  const logins = ids.map((id) => loginRequest(id, jwt))
  const uses = (await tokensOf(server, ids, jwt)).map(useRequest)
  const side = { port: portOf(server.url), pid: server.pid, status: 200, connections: CONNECTIONS }
  const file = (kind: string) => join(folder, `${server.pid}-${ids.length}-${kind}.json`)
  return {
    login: { ...side, request: await requestFile(file('logins'), logins) },
    use: { ...side, request: await requestFile(file('uses'), uses) },
  }
}

/** Logins and uses of tokens, in a full database and in one that holds nobody else. */
export async function fullDatabase(bench: Bench): Promise<Line[]> {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-full-'))
  const servers: ServerProcess[] = []
  const made = async (name: string, ids: readonly string[], tokens: number) => {
    bench.say(`  ${ids.length} identities and ${tokens} tokens`)
    const server = await serverWith(bench, join(folder, name), ids, tokens)
    servers.push(server)
    return server
  }
  try {
    const one = SOME.slice(0, 1)
    const empty = await made('empty', one, 0)
    const alone = await made('alone', SOME, 0)
    const full = await made('full', ALL, TOKENS)
    const sides = (server: ServerProcess, ids: readonly string[]) => sidesOf(server, folder, ids)
    const [emptyOne, fullOne] = [await sides(empty, one), await sides(full, one)]
    const [aloneAll, fullAll] = [await sides(alone, SOME), await sides(full, SOME)]
    const ratio = async (what: string, of: readonly [Side, Side], least = 1 / SLOWER) =>
      ratioLine(what, await compare(bench, of), least)
    const inTurn = `${ASKED} identities in turn`
    const lines = [
      await ratio('Login, full database over an empty one', [fullOne.login, emptyOne.login]),
      await ratio('Use of a token, full database over an empty one', [fullOne.use, emptyOne.use]),
      await ratio(`Login, ${inTurn}, full over these alone`, [fullAll.login, aloneAll.login]),
      await ratio(`Use of a token, ${inTurn}, the same`, [fullAll.use, aloneAll.use]),
    ]
    const [before, after] = await Promise.all([residentBytes(alone), residentBytes(full)])
    const more = Math.max(0, after - before) / 2 ** 20
    // What memory spares is a sixth of a login, and nearly all of a use: a signature is checked once while it is known.
    return [
      ...lines,
      await ratio(`Login, ${inTurn} over one`, [fullAll.login, fullOne.login], 0.5),
      limitLine('Memory of a full database beside these alone', more, 32, 'MB'),
    ]
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
    await rm(folder, { recursive: true, force: true })
  }
}
