import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { SignJWT } from 'jose'
import { MANAGEMENT_TOKEN, type TestServer, type TestServerOptions, testServer } from '../server.ts'

// The identities surface in a test: the whole application, and issuers of the workloads' own tokens.

export const ADDRESS = '192.0.2.7'

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  json: any
  text: string
  headers: Record<string, unknown>
}

export interface Call {
  body?: unknown
  /** Default: the management token; null: none. */
  token?: string | null
  headers?: Record<string, string>
  /** Of the caller. */
  from?: string
}

export interface World extends TestServer {
  ask(method: string, path: string, call?: Call): Promise<Answer>
  /** An identity with the role; its id. */
  identity(role?: string): Promise<string>
  /** Attaches a configuration to an identity. */
  attach(identityId: string, config: Record<string, unknown>): Promise<Answer>
  login(identityId: string, jwt: string, from?: string): Promise<Answer>
}

export async function identitiesWorld(
  t: TestContext,
  { settings = {}, ...rest }: TestServerOptions = {},
): Promise<World> {
  const fast = { ROOT_KEY_ALGORITHM: 'ES256', ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
  const server = await testServer(t, { ...rest, settings: { ...fast, ...settings } })

  async function ask(method: string, path: string, call: Call = {}): Promise<Answer> {
    const { token = MANAGEMENT_TOKEN, body, headers = {}, from = ADDRESS } = call
    const answer = await server.app.inject({
      method: method as 'GET',
      url: path,
      remoteAddress: from,
      headers: { ...(token !== null && { authorization: `Bearer ${token}` }), ...headers },
      ...(body !== undefined && { payload: body as object }),
    })
    const text = answer.body
    const isJson = text.startsWith('{') || text.startsWith('[')
    return {
      ...{ status: answer.statusCode, text, json: isJson ? JSON.parse(text) : undefined },
      headers: answer.headers as Record<string, unknown>,
    }
  }

  return Object.assign(server, {
    ask,
    async identity(role = 'no-access') {
      const body = { name: 'ci', organizationId: 'any', role }
      const { status, json, text } = await ask('POST', '/api/v1/identities', { body })
      assert.equal(status, 200, text)
      return json.identity.id as string
    },
    attach: (identityId: string, config: Record<string, unknown>) =>
      ask('POST', `/api/v1/auth/jwt-auth/identities/${identityId}`, { body: config }),
    login: (identityId: string, jwt: string, from = ADDRESS) =>
      ask('POST', '/api/v1/auth/jwt-auth/login', { body: { identityId, jwt }, token: null, from }),
  })
}

/** Unix seconds of the test's clock. */
export const secondsOf = ({ clock }: Pick<TestServer, 'clock'>): number =>
  Number(clock.now() / 1_000_000_000n)

export interface Issuer {
  url: string
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
  publicPem: string
  /** Requests for the set so far. */
  requests(): number
  /** What the set is from now on. */
  publish(keys: object[]): void
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>
}

/** An issuer with an ES256 key that publishes its JWK Set on loopback. */
export async function startIssuer(t: TestContext, kid = 'key-1'): Promise<Issuer> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  let keys: object[] = [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }]
  let requests = 0
  const server = createServer((_request, response) => {
    requests++
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  return {
    ...{ url: `http://127.0.0.1:${port}/jwks.json`, kid, privateKey, publicKey },
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    requests: () => requests,
    publish(changed) {
      keys = changed
    },
    sign: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid, ...header }).sign(privateKey),
  }
}
