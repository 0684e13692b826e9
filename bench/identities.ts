import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { IssuerFacts } from './jwks-issuer.ts'
import { messageFrom, requestFile, requestText, startChild } from './load.ts'
import {
  type Bench,
  compare,
  type Line,
  limitLine,
  portOf,
  ratioLine,
  residentBytes,
} from './measure.ts'

const CONNECTIONS = 64
const IDENTITIES = 100_000
const TOKENS = 1_000_000
/** Of these, so many take part: more than are remembered. */
const ASKED = 20_000
/** A full database may cost this much. */
const SLOWER = 1.3
const AUDIENCE = 'https://keyringd.example'
const SETTINGS = { ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = { 'Content-Type': 'application/json' }

const configuration = (jwksUrl: string) => ({
  ...{ configurationType: 'jwks', jwksUrl, boundIssuer: 'https://issuer.example' },
  ...{ boundSubject: 'repo:owner/*', boundAudiences: AUDIENCE },
  boundClaims: { repository: 'owner/repo' },
})

async function mustOwn(server: ServerProcess, path: string, body: unknown) {
  const { status, json } = await server.call('POST', path, body)
  if (status >= 300) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`)
  return json as Record<string, unknown>
}

const must = (server: ServerProcess, path: string, body: unknown) =>
  mustOwn(server, `/api/v1${path}`, body)

/** An identity that may log in with the token of the issuer; the body of its login. */
async function prepare(server: ServerProcess, { jwksUrl, token }: IssuerFacts): Promise<string> {
  const made = await must(server, '/identities', { name: 'bench', organizationId: '' })
  const { id } = made['identity'] as { id: string }
  await must(server, `/auth/jwt-auth/identities/${id}`, configuration(jwksUrl))
  return JSON.stringify({ identityId: id, jwt: token })
}

const loginRequest = (body: string) =>
  requestText('POST', '/api/v1/auth/jwt-auth/login', JSON_TYPE, body)

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

async function makeRing(server: ServerProcess): Promise<void> {
  await mustOwn(server, '/v1/rings', { name: RING, algorithms: ['ES256'] })
}

/** A JWT that every identity of `fill` and `makeFew` takes. */
async function workloadToken(server: ServerProcess): Promise<string> {
  const claims = { sub: SUBJECT, aud: AUDIENCE, repository: 'owner/repo' }
  const { token } = await mustOwn(server, `/v1/rings/${RING}/sign`, { claims, ttl: '12h' })
  return String(token)
}

/** As many identities as there are connections; their ids. */
async function makeFew(server: ServerProcess): Promise<string[]> {
  const ids: string[] = []
  for (let at = 0; at < CONNECTIONS; at++) {
    const made = await must(server, '/identities', { name: `job ${at}`, organizationId: '' })
    const { id } = made['identity'] as { id: string }
    const body = { configurationType: 'jwks', jwksUrl: `ring:${RING}`, ...BOUNDS }
    await must(server, `/auth/jwt-auth/identities/${id}`, body)
    ids.push(id)
  }
  return ids
}

/** Identities, configurations and tokens as a busy year leaves them, put there without the server. */
function fill(folder: string): void {
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
    for (let at = 0; at < IDENTITIES; at++) {
      const id = idOf(at)
      identity.run(id, organisation, `job ${at}`, now, now)
      config.run(`config-${at}`, id, boundAudiences, claims, boundSubject, anywhere, now, now)
    }
    for (let at = 0; at < TOKENS; at++) {
      const owner = at % IDENTITIES
      const keep = seconds + 3600 + (at % 86_400)
      token.run(`token-${at}`, idOf(owner), `config-${owner}`, seconds, keep)
    }
  })()
  database.close()
}

/** Random as those that the server makes: neighbours in the table are none in time. */
const idOf = (at: number): string =>
  createHash('sha256').update(`identity ${at}`).digest('hex').slice(0, 32)

/** Some of them, spread over all. */
const someIds = (): string[] =>
  Array.from({ length: ASKED }, (_, at) => idOf(Math.floor((at * IDENTITIES) / ASKED)))

/** Logs each of them in once; their tokens. */
async function tokensOf(server: ServerProcess, ids: readonly string[], jwt: string) {
  const tokens: string[] = []
  for (let at = 0; at < ids.length; at += CONNECTIONS) {
    const some = ids.slice(at, at + CONNECTIONS)
    const answers = await Promise.all(
      some.map((identityId) => must(server, '/auth/jwt-auth/login', { identityId, jwt })),
    )
    tokens.push(...answers.map(({ accessToken }) => String(accessToken)))
  }
  return tokens
}

/** Logins of these identities in turn, and uses of a token of each. */
async function sidesOf(server: ServerProcess, folder: string, ids: readonly string[]) {
  const jwt = await workloadToken(server)
  const logins = ids.map((identityId) => loginRequest(JSON.stringify({ identityId, jwt })))
  const uses = (await tokensOf(server, ids, jwt)).map(useRequest)
  const side = { port: portOf(server.url), pid: server.pid, status: 200, connections: CONNECTIONS }
  const name = join(folder, String(server.pid))
  return {
    login: { ...side, request: await requestFile(`${name}-logins.json`, logins) },
    use: { ...side, request: await requestFile(`${name}-uses.json`, uses) },
  }
}

/** A login and the use of its token: a foreign JWT in, a token of ours that is on disk out. */
export async function identities(bench: Bench): Promise<Line[]> {
  const issuer = startChild('jwks-issuer.ts')
  const provider = startChild('issuer.ts')
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-full-'))
  const small = await bench.start({ settings: SETTINGS })
  let full: ServerProcess | undefined
  try {
    const facts = (await messageFrom(issuer)) as IssuerFacts
    const told = (await messageFrom(provider)) as { port: number; bodies: Record<string, string> }
    const ours = {
      ...{ port: portOf(small.url), pid: small.pid, status: 200, connections: CONNECTIONS },
      request: loginRequest(await prepare(small, facts)),
    }
    const theirs = {
      ...{ port: told.port, pid: provider.pid ?? 0, status: 200, connections: CONNECTIONS },
      request: requestText('POST', '/token', { 'Content-Type': FORM }, told.bodies['ES256']),
    }
    const login = await compare(bench, [ours, theirs])

    bench.say(`  filling ${IDENTITIES} identities and ${TOKENS} tokens`)
    await makeRing(small)
    const few = await sidesOf(small, folder, await makeFew(small))
    const first = await bench.start({ folder, settings: SETTINGS })
    await makeRing(first)
    await first.stop()
    fill(folder)
    full = await bench.start({
      folder,
      settings: { ...SETTINGS, MANAGEMENT_TOKEN: first.token },
    })
    const many = await sidesOf(full, folder, someIds())
    const loginFull = await compare(bench, [many.login, few.login])
    const useFull = await compare(bench, [many.use, few.use])
    const [before, after] = await Promise.all([residentBytes(small), residentBytes(full)])
    return [
      ratioLine('Login ES256, over oidc-provider client_credentials', login, 1),
      ...(await authentication(bench, facts)),
      ratioLine(
        `Login, ${ASKED} of ${IDENTITIES} identities over ${CONNECTIONS} of as many`,
        loginFull,
        1 / SLOWER,
      ),
      ratioLine(
        `Use of a token, ${ASKED} of ${TOKENS} over ${CONNECTIONS} of as many`,
        useFull,
        1 / SLOWER,
      ),
      limitLine(
        'Memory of a full database beside an empty one',
        Math.max(0, after - before) / 2 ** 20,
        64,
        'MB',
      ),
    ]
  } finally {
    await Promise.all([endProcess(issuer), endProcess(provider), small.stop(), full?.stop()])
    await rm(folder, { recursive: true, force: true })
  }
}

/** The same route, for whoever is known and for everybody. */
async function authentication(bench: Bench, { jwksUrl, token }: IssuerFacts): Promise<Line[]> {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-auth-'))
  const child = startChild('auth-child.ts', [folder, jwksUrl, token])
  try {
    const { port, accessToken } = (await messageFrom(child)) as {
      port: number
      accessToken: string
    }
    const common = { port, pid: child.pid ?? 0, status: 200, connections: CONNECTIONS }
    const bearer = { Authorization: `Bearer ${accessToken}` }
    const compared = await compare(bench, [
      { ...common, request: requestText('GET', '/bench/known', bearer) },
      { ...common, request: requestText('GET', '/bench/open') },
    ])
    return [ratioLine('A request with an access token, over one without', compared, 0.5)]
  } finally {
    await endProcess(child)
    await rm(folder, { recursive: true, force: true })
  }
}
