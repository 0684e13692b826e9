import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { MANAGEMENT_TOKEN, type TestServer, testServer } from '../server.ts'

// The Traffic Ops surface in a test: the whole application, two tenants side by side, and clients as Go writes them.

export const PASSWORD = 'correct horse battery staple'
export const ADDRESS = '192.0.2.7'

export interface Answer {
  status: number
  /** As it came. */
  bytes: Buffer
  text: string
  /** The text of the first alert. */
  alert: string | undefined
  headers: Record<string, unknown>
  cookies: string[]
}

export interface Call {
  body?: string | Uint8Array
  /** Default: none. */
  token?: string
  headers?: Record<string, string>
  from?: string
}

export interface World extends TestServer {
  ask(method: string, path: string, call?: Call): Promise<Answer>
  /** Logs in; the value of the header `Cookie`. */
  login(name: string, password?: string): Promise<string>
  events(type?: RegExp): Promise<{ type: string; subject: string; principal: string }[]>
}

/** Tenants `team` and `rival` with a service each, `own` and `foreign`; ann and rob are their administrators. */
export async function trafficOpsWorld(
  t: TestContext,
  settings: Record<string, string> = {},
): Promise<World> {
  const server = await testServer(t, { settings: { ROOT_KEY_ALGORITHM: 'ES256', ...settings } })

  async function make(method: string, url: string, body: object): Promise<void> {
    const { status, json } = await server.call(method, url, body)
    assert.ok(status < 300, JSON.stringify(json))
  }

  for (const [tenant, service, user] of [
    ['team', 'own', 'ann'],
    ['rival', 'foreign', 'rob'],
  ]) {
    await make('POST', '/v1/tenants', { name: tenant })
    await make('PUT', `/v1/delivery-services/${service}`, { tenant })
    await make('POST', '/v1/users', { name: user, password: PASSWORD, role: 'admin', tenant })
  }

  async function ask(method: string, path: string, call: Call = {}): Promise<Answer> {
    const answer = await server.app.inject({
      ...{ method: method as 'GET', url: path, remoteAddress: call.from ?? ADDRESS },
      headers: {
        ...(call.token !== undefined && { authorization: `Bearer ${call.token}` }),
        ...call.headers,
      },
      ...(call.body !== undefined && { payload: Buffer.from(call.body) }),
    })
    const text = answer.body
    const alert = /^\{"alerts":\[\{"text":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1]
    return {
      ...{ status: answer.statusCode, bytes: answer.rawPayload, text, alert },
      headers: answer.headers as Record<string, unknown>,
      cookies: [answer.headers['set-cookie'] ?? []].flat(),
    }
  }

  return Object.assign(server, {
    ask,
    async login(name: string, password = PASSWORD) {
      const body = JSON.stringify({ u: name, p: password })
      const answer = await ask('POST', '/api/5.0/user/login', { body })
      assert.equal(answer.alert, 'Successfully logged in.', answer.text)
      return answer.cookies.map((cookie) => cookie.split(';', 1)[0]).join('; ')
    },
    async events(type = /./) {
      const rows = await server.store.read.audit.list(0n, 10_000)
      return rows.filter((row) => type.test(row.type))
    },
  })
}

export const KEYS = (xmlId: string, version = '5.0'): string =>
  `/api/${version}/deliveryservices/${xmlId}/urisignkeys`

export const asManagement = { token: MANAGEMENT_TOKEN }

const SECRET_32 = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

/** A key as a cache takes it, with changes. */
export const key = (kid: string, more: object = {}) => ({
  ...{ kty: 'oct', alg: 'HS256', kid, k: SECRET_32 },
  ...more,
})

/** A document with one issuer that a cache takes. */
export const documentOf = (issuer = 'studio-a', kid = 'a'): string =>
  JSON.stringify({ [issuer]: { renewal_kid: kid, keys: [key(kid)] } })
