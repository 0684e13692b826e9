import assert from 'node:assert/strict'
import type { TestServer } from '../server.ts'

/** Calls as somebody with these grants only. */
export async function callerWith(server: TestServer, name: string, grants: readonly string[]) {
  const made = await server.call('POST', '/v1/api-tokens', { name, grants })
  assert.equal(made.status, 201, JSON.stringify(made.json))
  return callWith(server, `Bearer ${made.json.token}`)
}

/** Calls with this Authorization header, or none. */
export const callWith =
  (server: TestServer, authorization?: string) =>
  async (method: string, url: string, body?: unknown) => {
    const answer = await server.app.inject({
      method: method as 'GET',
      url,
      headers: authorization === undefined ? {} : { authorization },
      ...(body !== undefined && { payload: body as object }),
    })
    const { statusCode: status, headers } = answer
    return { status, headers, json: answer.body === '' ? undefined : answer.json() }
  }
