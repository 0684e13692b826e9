import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { SignJWT } from 'jose'
import { postSlowly } from '../loopback.ts'
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
  /** An API token with this role, or these grants; of a tenant, if any. */
  apiToken(
    name: string,
    rights: { role?: string; grants?: string[]; tenant?: string },
  ): Promise<string>
  /** The audit record, oldest first. */
  events(type?: RegExp): Promise<Event[]>
}

export interface Event {
  type: string
  subject: string
  principal: string
  detail: Record<string, unknown>
}

/** The path of an identity's configuration. */
export const configPath = (id: string): string => `/api/v1/auth/jwt-auth/identities/${id}`

export async function identitiesWorld(
  t: TestContext,
  { settings = {}, ...rest }: TestServerOptions = {},
): Promise<World> {
  const fast = { ROOT_KEY_ALGORITHM: 'ES256', ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }
  return worldOn(await testServer(t, { ...rest, settings: { ...fast, ...settings } }))
}

/** The same on a server that is running. */
export function worldOn(server: TestServer): World {
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
    async identity(role = 'no-access'): Promise<string> {
      const body = { name: 'ci', organizationId: 'any', role }
      const { status, json, text } = await ask('POST', '/api/v1/identities', { body })
      assert.equal(status, 200, text)
      return json.identity.id as string
    },
    attach: (identityId: string, config: Record<string, unknown>) =>
      ask('POST', configPath(identityId), { body: config }),
    login: (identityId: string, jwt: string, from = ADDRESS) =>
      ask('POST', '/api/v1/auth/jwt-auth/login', { body: { identityId, jwt }, token: null, from }),
    async apiToken(name: string, rights: object): Promise<string> {
      const { json, text } = await ask('POST', '/v1/api-tokens', { body: { name, ...rights } })
      assert.ok(json.token, text)
      return json.token as string
    },
    async events(type = /./): Promise<Event[]> {
      const rows = await server.store.read.audit.list(0n, 100_000)
      return rows
        .filter((row) => type.test(row.type))
        .map(({ type, subject, principal, detail }) => ({
          ...{ type, subject, principal, detail: JSON.parse(detail) as Event['detail'] },
        }))
    },
  })
}

/** An identity that an ES256 key may log in as, and what logs it in. */
export async function workload(
  t: TestContext,
  world: World,
  { role, ...config }: Record<string, unknown> & { role?: string } = {},
) {
  const issuer = await startIssuer(t)
  const id = await world.identity(role)
  const fixed = { configurationType: 'static', publicKeys: [issuer.publicPem], boundClaims: {} }
  const { status, text } = await world.attach(id, { ...fixed, ...config })
  assert.equal(status, 200, text)
  const jwt = () => issuer.sign({ sub: 'svc:a', exp: secondsOf(world) + 60 })
  return {
    ...{ issuer, id, fixed, jwt },
    /** A fresh access token. */
    async token(): Promise<string> {
      const { status, json, text } = await world.login(id, await jwt())
      assert.equal(status, 200, text)
      return json.accessToken
    },
  }
}

/** Sends the head of a POST, runs `meanwhile` once the server has read it, then sends the body; the status. */
export async function slowly(
  t: TestContext,
  { app }: TestServer,
  what: { path: string; token: string; body: unknown },
  meanwhile: () => Promise<unknown>,
): Promise<number | undefined> {
  if (!app.server.listening) await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return postSlowly(t, port, what, meanwhile)
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
