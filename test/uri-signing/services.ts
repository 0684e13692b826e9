import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { MANAGEMENT_TOKEN, type TestServer, type TestServerOptions, testServer } from '../server.ts'

// Delivery services in a test: the whole application, and callers of several tenants.

export const SERVICES = '/v1/delivery-services'
const SECRET = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

/** A key as a cache takes it, with changes. */
export const octKey = (kid: string, more: object = {}) => ({
  ...{ kty: 'oct', alg: 'HS256', kid, k: SECRET },
  ...more,
})

/** Text of a document with one issuer; the first key renews. */
export const documentText = (issuer = 'studio-a', ...kids: string[]): string => {
  const all = kids.length > 0 ? kids : ['a']
  return JSON.stringify({ [issuer]: { renewal_kid: all[0], keys: all.map((kid) => octKey(kid)) } })
}

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  json: any
  bytes: Buffer
  headers: Record<string, unknown>
}

export interface Asked {
  body?: unknown
  raw?: string | Uint8Array
  token?: string
  headers?: Record<string, string>
}

export interface World extends TestServer {
  ask(method: string, path: string, asked?: Asked): Promise<Answer>
  /** An API token with these rights; its text. */
  token(body: { role?: string; grants?: string[]; tenant?: string }): Promise<string>
  events(
    type?: RegExp,
  ): Promise<{ type: string; subject: string; principal: string; detail: unknown }[]>
}

/** Tenants root ▸ east ▸ shop and root ▸ west; a service `demo` of east without keys. */
export async function servicesWorld(
  t: TestContext,
  options: TestServerOptions = {},
): Promise<World> {
  const server = await testServer(t, {
    ...options,
    settings: { ROOT_KEY_ALGORITHM: 'ES256', ...options.settings },
  })
  await server.store.transaction(async (tx) => {
    const known = await tx.tenants.byName('root')
    if (!known) await tx.tenants.insert('t0', 'root', null, 1)
    const root = known?.id ?? 't0'
    for (const [id, name, parent] of [
      ['t1', 'east', root],
      ['t2', 'shop', 't1'],
      ['t3', 'west', root],
    ] as const) {
      if (!(await tx.tenants.byName(name))) await tx.tenants.insert(id, name, parent, 1)
    }
    const event = { type: 'tenant.created', subject: 'east', principal: 'system' }
    await tx.audit.append(event)
  })
  let made = 0

  async function ask(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const { body, raw, token = MANAGEMENT_TOKEN, headers } = asked
    const answer = await server.app.inject({
      ...{ method: method as 'GET', url: `${SERVICES}${path}` },
      headers: { authorization: `Bearer ${token}`, ...headers },
      ...(raw !== undefined && { payload: Buffer.from(raw) }),
      ...(body !== undefined && { payload: body as object }),
    })
    const isJson = /json/.test(String(answer.headers['content-type'])) && answer.body !== ''
    return {
      ...{ status: answer.statusCode, bytes: answer.rawPayload },
      json: isJson ? JSON.parse(answer.body) : undefined,
      headers: answer.headers as Record<string, unknown>,
    }
  }

  const put = await ask('PUT', '/demo', { body: { tenant: 'east' } })
  assert.equal(put.status, 200, JSON.stringify(put.json))

  return Object.assign(server, {
    ask,
    async token(body: object) {
      const { status, json } = await server.call('POST', '/v1/api-tokens', {
        ...{ name: `caller-${++made}` },
        ...body,
      })
      assert.equal(status, 201, JSON.stringify(json))
      return json.token as string
    },
    async events(type = /^(?:uri-keys|delivery-service)\./) {
      const rows = await server.store.read.audit.list(0n, 10_000)
      return rows
        .filter((row) => type.test(row.type))
        .map((row) => ({ ...row, detail: JSON.parse(row.detail) as unknown }))
    },
  })
}
