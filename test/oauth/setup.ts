import type { TestContext } from 'node:test'
import {
  ADDRESS,
  type Answer,
  type Issuer,
  identitiesWorld,
  secondsOf,
  startIssuer,
  type World,
} from '../identities/setup.ts'
import { MANAGEMENT_TOKEN, type TestServerOptions } from '../server.ts'

// The OAuth endpoints in a test: the whole application, forms, and identities with keys of their own.

export const BASE = 'https://id.example'
export const ISSUER = `${BASE}/rings/access`
export const ENDPOINT = `${BASE}/oauth/token`
export const API = 'https://api.example'

export const URN = 'urn:ietf:params:oauth'
export const EXCHANGE = `${URN}:grant-type:token-exchange`
export const BEARER = `${URN}:grant-type:jwt-bearer`
export const CLIENT_ASSERTION = `${URN}:client-assertion-type:jwt-bearer`
export const ACCESS_TOKEN = `${URN}:token-type:access_token`
export const JWT = `${URN}:token-type:jwt`
export const FORM = 'application/x-www-form-urlencoded'

export type Claims = Record<string, unknown>
export type Form = Record<string, string> | string

export interface TestClient {
  id: string
  issuer: Issuer
  /** A JWT of the identity's own issuer, good for a login; what is undefined is left out. */
  jwt(over?: Claims, header?: Claims): Promise<string>
  /** The same, addressed to the server, and once. */
  assertion(over?: Claims, header?: Claims): Promise<string>
  /** What the client authenticates with. */
  clientAssertion(over?: Claims, header?: Claims): Promise<string>
  /** How the client authenticates, as a part of a form. */
  auth(over?: Claims): Promise<Record<string, string>>
  /** A form of the grant client_credentials. */
  credentials(over?: Claims): Promise<Record<string, string>>
  /** An access token by login. */
  login(): Promise<string>
}

export interface OAuthWorld extends World {
  token(form: Form, from?: string): Promise<Answer>
  introspect(token: string): Promise<Answer>
  revoke(token: string): Promise<Answer>
  exchange(token: string, over?: Record<string, string>, from?: string): Promise<Answer>
  /** An identity with static keys. */
  client(config?: Record<string, unknown>, role?: string): Promise<TestClient>
  /** Audit events of a type, oldest first. */
  audited(type: string): Promise<{ subject: string; detail: Record<string, unknown> }[]>
}

export async function oauthWorld(
  t: TestContext,
  { settings = {}, ...rest }: TestServerOptions = {},
): Promise<OAuthWorld> {
  const own = { OIDC_ISSUER: BASE, TOKEN_EXCHANGE_AUDIENCES: API }
  const world = await identitiesWorld(t, { ...rest, settings: { ...own, ...settings } })
  const post = (path: string, form: Form, from: string, token: string | null = null) =>
    world.ask('POST', path, {
      ...{ token, from, headers: { 'content-type': FORM } },
      body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
    })
  let jtis = 0
  const sayable = (claims: Claims) =>
    Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))

  const helpers = {
    token: (form: Form, from = ADDRESS) => post('/oauth/token', form, from),
    introspect: (token: string) => post('/oauth/introspect', { token }, ADDRESS, MANAGEMENT_TOKEN),
    revoke: (token: string) => post('/oauth/revoke', { token }, ADDRESS),
    exchange: (token: string, over: Record<string, string> = {}, from = ADDRESS) =>
      post(
        '/oauth/token',
        {
          ...{ grant_type: EXCHANGE, subject_token: token, subject_token_type: ACCESS_TOKEN },
          ...over,
        },
        from,
      ),

    async client(config: Record<string, unknown> = {}, role = 'no-access'): Promise<TestClient> {
      const id = await world.identity(role)
      const issuer = await startIssuer(t)
      const fixed = { configurationType: 'static', publicKeys: [issuer.publicPem], boundClaims: {} }
      await world.attach(id, { ...fixed, boundSubject: 'svc:*', ...config })
      const soon = () => ({ exp: secondsOf(world) + 60 })
      const sign = (claims: Claims, header?: Claims) => issuer.sign(sayable(claims), header)
      const client: TestClient = {
        ...{ id, issuer },
        jwt: (over = {}, header) => sign({ iss: 'ci', sub: 'svc:a', ...soon(), ...over }, header),
        assertion: (over = {}, header) =>
          client.jwt({ aud: ISSUER, jti: `a-${++jtis}`, ...over }, header),
        clientAssertion: (over = {}, header) =>
          client.assertion({ iss: id, sub: id, ...over }, header),
        auth: async (over = {}) => ({
          ...{ client_id: id, client_assertion_type: CLIENT_ASSERTION },
          client_assertion: await client.clientAssertion(over),
        }),
        credentials: async (over = {}) => ({
          ...{ grant_type: 'client_credentials', ...(await client.auth(over)) },
        }),
        login: async () => (await world.login(id, await client.jwt())).json.accessToken as string,
      }
      return client
    },

    async audited(type: string) {
      const events = await world.store.read.audit.list(0n, 10_000)
      return events
        .filter((event) => event.type === type)
        .map(({ subject, detail }) => ({ subject, detail: JSON.parse(detail) }))
    },
  }
  return Object.assign(world, helpers)
}

/** What an answer comes to. */
export const outcome = ({ status, json }: Answer): string => `${status} ${json?.error ?? 'ok'}`
