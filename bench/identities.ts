import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { IssuerFacts } from './jwks-issuer.ts'
import { messageFrom, requestText, startChild } from './load.ts'
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
/** A full database may cost this much. */
const SLOWER = 1.3
const SETTINGS = { ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = { 'Content-Type': 'application/json' }

const configuration = (jwksUrl: string) => ({
  ...{ configurationType: 'jwks', jwksUrl, boundIssuer: 'https://issuer.example' },
  ...{ boundSubject: 'repo:owner/*', boundAudiences: 'https://keyringd.example' },
  boundClaims: { repository: 'owner/repo' },
})

async function must(server: ServerProcess, path: string, body: unknown) {
  const { status, json } = await server.call('POST', `/api/v1${path}`, body)
  if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`)
  return json as Record<string, unknown>
}

/** An identity that may log in with the token of the issuer; the body of its login. */
async function prepare(server: ServerProcess, { jwksUrl, token }: IssuerFacts): Promise<string> {
  const made = await must(server, '/identities', { name: 'bench', organizationId: '' })
  const { id } = made['identity'] as { id: string }
  await must(server, `/auth/jwt-auth/identities/${id}`, configuration(jwksUrl))
  return JSON.stringify({ identityId: id, jwt: token })
}

/** What a token is used for here: the least that the surface answers to one. */
async function useRequest(server: ServerProcess, body: string): Promise<string> {
  const { accessToken } = await must(server, '/auth/jwt-auth/login', JSON.parse(body))
  return requestText('GET', '/api/v1/identities/details', {
    Authorization: `Bearer ${accessToken}`,
  })
}

const loginRequest = (body: string) =>
  requestText('POST', '/api/v1/auth/jwt-auth/login', JSON_TYPE, body)

/** Identities, configurations and tokens as a busy year leaves them, put there without the server. */
function fill(folder: string, jwksUrl: string): void {
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
     VALUES (?, ?, 'jwks', ?, '', 'a', '{}', 's', 900, 0, 0, '[]', ?, ?)`,
  )
  const token = database.prepare(
    `INSERT INTO access_tokens (id, identity_id, config_id, creation_epoch, keep_until)
     VALUES (?, ?, ?, ?, ?)`,
  )
  const seconds = Math.floor(now / 1000)
  database.transaction(() => {
    for (let at = 0; at < IDENTITIES; at++) {
      identity.run(`identity-${at}`, organisation, `job ${at}`, now, now)
      config.run(`config-${at}`, `identity-${at}`, jwksUrl, now, now)
    }
    for (let at = 0; at < TOKENS; at++) {
      const owner = at % IDENTITIES
      const keep = seconds + 3600 + (at % 86_400)
      token.run(`token-${at}`, `identity-${owner}`, `config-${owner}`, seconds, keep)
    }
  })()
  database.close()
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
    const body = await prepare(small, facts)
    const ours = {
      ...{ port: portOf(small.url), pid: small.pid, status: 200, connections: CONNECTIONS },
      request: loginRequest(body),
    }
    const theirs = {
      ...{ port: told.port, pid: provider.pid ?? 0, status: 200, connections: CONNECTIONS },
      request: requestText('POST', '/token', { 'Content-Type': FORM }, told.bodies['ES256']),
    }
    const login = await compare(bench, [ours, theirs])

    bench.say(`  filling ${IDENTITIES} identities and ${TOKENS} tokens`)
    const first = await bench.start({ folder, settings: SETTINGS })
    await first.stop()
    fill(folder, facts.jwksUrl)
    full = await bench.start({ folder, settings: SETTINGS })
    const fullBody = await prepare(full, facts)
    const there = { ...ours, port: portOf(full.url), pid: full.pid }
    const loginFull = await compare(bench, [{ ...there, request: loginRequest(fullBody) }, ours])
    const useFull = await compare(bench, [
      { ...there, request: await useRequest(full, fullBody) },
      { ...ours, request: await useRequest(small, body) },
    ])
    const [before, after] = await Promise.all([residentBytes(small), residentBytes(full)])
    return [
      ratioLine('Login ES256, over oidc-provider client_credentials', login, 1),
      ...(await authentication(bench, facts)),
      ratioLine('Login, full database over an empty one', loginFull, 1 / SLOWER),
      ratioLine('Use of a token, full database over an empty one', useFull, 1 / SLOWER),
      limitLine(
        'Memory of a full database beside an empty one',
        Math.max(0, after - before) / 2 ** 20,
        32,
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
