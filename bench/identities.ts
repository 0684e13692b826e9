import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { IssuerFacts } from './jwks-issuer.ts'
import { messageFrom, requestText, startChild } from './load.ts'
import { type Bench, compare, type Line, portOf, ratioLine } from './measure.ts'

const CONNECTIONS = 64
const AUDIENCE = 'https://keyringd.example'
const SETTINGS = { ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = { 'Content-Type': 'application/json' }

const configuration = (jwksUrl: string) => ({
  ...{ configurationType: 'jwks', jwksUrl, boundIssuer: 'https://issuer.example' },
  ...{ boundSubject: 'repo:owner/*', boundAudiences: AUDIENCE },
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

const loginRequest = (body: string) =>
  requestText('POST', '/api/v1/auth/jwt-auth/login', JSON_TYPE, body)

/** A login: a foreign JWT in, a token of ours that is on disk out; and what it costs to know who asks. */
export async function identities(bench: Bench): Promise<Line[]> {
  const issuer = startChild('jwks-issuer.ts')
  const provider = startChild('issuer.ts')
  const server = await bench.start({ settings: SETTINGS })
  try {
    const facts = (await messageFrom(issuer)) as IssuerFacts
    const told = (await messageFrom(provider)) as { port: number; bodies: Record<string, string> }
    const ours = {
      ...{ port: portOf(server.url), pid: server.pid, status: 200, connections: CONNECTIONS },
      request: loginRequest(await prepare(server, facts)),
    }
    const theirs = {
      ...{ port: told.port, pid: provider.pid ?? 0, status: 200, connections: CONNECTIONS },
      request: requestText('POST', '/token', { 'Content-Type': FORM }, told.bodies['ES256']),
    }
    const login = await compare(bench, [ours, theirs])
    return [
      ratioLine('Login ES256, over oidc-provider client_credentials', login, 1),
      ...(await authentication(bench, facts)),
    ]
  } finally {
    await Promise.all([endProcess(issuer), endProcess(provider), server.stop()])
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
