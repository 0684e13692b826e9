import { randomBytes } from 'node:crypto'
import { SignJWT } from 'jose'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { IssuerFacts } from './jwks-issuer.ts'
import { messageFrom, requestText, startChild } from './load.ts'
import { type Bench, compare, type Line, portOf, ratioLine, type Side } from './measure.ts'

const CONNECTIONS = 64
const MANY = 10_000
const FEW = 10
/** Secrets in one request. */
const PORTION = 100
/** A full configuration may cost this much. */
const SLOWER = 1.3
const SETTINGS = { ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
const CONFIGURATIONS = '/manage/v2/external-security'
const PASSWORD = 'correct horse battery staple'
/** Whose the issuer's tokens are. */
const USER = 'job'

async function must(server: ServerProcess, method: string, path: string, body?: unknown) {
  const { status, json } = await server.call(method, path, body)
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json)}`)
  return json as Record<string, unknown>
}

const configuration = (name: string) => ({
  ...{ 'external-security-name': name, authentication: 'oauth', authorization: 'oauth' },
  'oauth-server': {
    ...{
      'oauth-vendor': 'Other',
      'oauth-flow-type': 'Resource server',
      'oauth-client-id': 'bench',
    },
    ...{ 'oauth-token-type': 'JSON Web Tokens', 'oauth-jwt-alg': 'HS256' },
    ...{ 'oauth-username-attribute': 'sub', 'oauth-role-attribute': 'roles' },
  },
})

/** A configuration with so many secrets; a request that has a token of one of them checked. */
async function configured(server: ServerProcess, name: string, secrets: number): Promise<Side> {
  await must(server, 'POST', CONFIGURATIONS, configuration(name))
  const all = Array.from({ length: secrets }, (_, at) => ({
    'oauth-jwt-key-id': `${name}-${at}`,
    'oauth-jwt-secret-value': randomBytes(32).toString('base64url'),
  }))
  for (let from = 0; from < all.length; from += PORTION) {
    const body = { 'oauth-server': { 'oauth-jwt-secret': all.slice(from, from + PORTION) } }
    await must(server, 'POST', `${CONFIGURATIONS}/${name}/jwt-secrets`, body)
  }
  const middle = all[secrets / 2]
  if (!middle) throw new Error('There are no secrets')
  const token = await new SignJWT({ sub: 'bench', roles: ['reader'] })
    .setProtectedHeader({ alg: 'HS256', kid: middle['oauth-jwt-key-id'] })
    .setExpirationTime('2h')
    .sign(Buffer.from(middle['oauth-jwt-secret-value']))
  const body = { token, with: { externalSecurity: name } }
  const verdict = await must(server, 'POST', '/v1/verify', body)
  if (verdict['valid'] !== true) throw new Error(JSON.stringify(verdict))
  return sideOf(server, 200, 'POST', '/v1/verify', bearer(server.token), body)
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
const basic = (name: string) => ({
  Authorization: `Basic ${Buffer.from(`${name}:${PASSWORD}`).toString('base64')}`,
})

function sideOf(
  { url, pid }: ServerProcess,
  status: number,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: unknown,
): Side {
  const text = body === undefined ? '' : JSON.stringify(body)
  const request = requestText(
    method,
    path,
    { 'Content-Type': 'application/json', ...headers },
    text,
  )
  return { port: portOf(url), pid, status, connections: CONNECTIONS, request }
}

/** What a request on the database surfaces pays for saying who sends it, and what many secrets cost. */
export async function databases(bench: Bench): Promise<Line[]> {
  const issuer = startChild('jwks-issuer.ts')
  const server = await bench.start({ settings: SETTINGS })
  try {
    const { jwksUrl, token } = (await messageFrom(issuer)) as IssuerFacts
    await must(server, 'POST', '/v1/users', {
      ...{ name: 'bench', password: PASSWORD, role: 'security-admin' },
    })
    const list = `${CONFIGURATIONS}?format=json`
    const manage = (headers: Record<string, string>) => sideOf(server, 200, 'GET', list, headers)
    const basicOver = await compare(bench, [manage(basic('bench')), manage(bearer(server.token))])

    await must(server, 'PUT', '/v1/settings/jwks_endpoint', { value: jwksUrl })
    await must(server, 'POST', '/api/v2/jwks_setup')
    await must(server, 'PUT', '/v1/settings/jwks_username_field', { value: 'login' })
    await must(server, 'POST', '/v1/users', { name: USER, role: 'no-access', jwt: true })
    const { token: weak } = await must(server, 'POST', '/v1/api-tokens', {
      ...{ name: 'bench', role: 'no-access' },
    })
    // Neither may: what is measured is how they are told apart from others, not the update.
    const setup = (credential: string) =>
      sideOf(server, 403, 'POST', '/api/v2/jwks_setup', bearer(credential))
    const bearerOver = await compare(bench, [setup(token), setup(String(weak))])

    const [many, few] = [
      await configured(server, 'many', MANY),
      await configured(server, 'few', FEW),
    ]
    const secrets = await compare(bench, [many, few])
    return [
      ratioLine('/manage with a password (Basic), over an API token', basicOver, 0.5),
      ratioLine(
        '/api/v2 with a JWT of jwks_setup, over an API token (neither may update)',
        bearerOver,
        0.5,
      ),
      ratioLine(`Verify by kid, ${MANY} secrets over ${FEW}`, secrets, 1 / SLOWER),
    ]
  } finally {
    await Promise.all([endProcess(issuer), server.stop()])
  }
}
