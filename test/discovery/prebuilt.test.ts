import assert from 'node:assert/strict'
import { type IncomingHttpHeaders, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { type TestServer, testServer } from '../server.ts'

// `GET /.well-known/jwks.json` is answered before the routes see it; `inject` goes to the routes. They must agree.

interface Answer {
  status: number | undefined
  headers: Record<string, unknown>
  body: string
}

/** What is of the connection and not of the answer, and the jitter of max-age. */
function comparable(headers: IncomingHttpHeaders | Record<string, unknown>) {
  const { date: _, connection: __, 'keep-alive': ___, ...kept } = headers
  const caching = String(kept['cache-control']).replace(/max-age=\d+/, 'max-age=N')
  return { ...kept, 'cache-control': caching }
}

async function overHttp(
  { app }: TestServer,
  path: string,
  headers: Record<string, string>,
): Promise<Answer> {
  const address = app.server.address()
  assert.ok(address && typeof address === 'object')
  const { port } = address
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      buffer(response).then((bytes) => {
        const { statusCode: status } = response
        resolve({ status, headers: comparable(response.headers), body: bytes.toString('base64') })
      }, reject)
    })
    asked.on('error', reject).end()
  })
}

async function byRoute(
  { app }: TestServer,
  url: string,
  headers: Record<string, string>,
): Promise<Answer> {
  const answer = await app.inject({ url, headers })
  const body = answer.rawPayload.toString('base64')
  return { status: answer.statusCode, headers: comparable(answer.headers), body }
}

const PATH = '/.well-known/jwks.json'

for (const mode of ['safe', 'nomad']) {
  test(`the direct answer is the route's, byte for byte (${mode})`, async (t) => {
    const server = await testServer(t, { settings: { ROTATION_MODE: mode } })
    await server.app.listen({ host: '127.0.0.1', port: 0 })
    const { headers } = await byRoute(server, PATH, {})
    const requests: Record<string, string>[] = [
      {},
      { 'accept-encoding': 'gzip' },
      { 'accept-encoding': 'gzip;q=0' },
      { 'if-none-match': String(headers['etag']) },
      { 'if-none-match': `W/${headers['etag']}, "other"`, 'accept-encoding': 'gzip' },
      { 'if-none-match': '"other"' },
    ]
    for (const headers of requests) {
      const direct = await overHttp(server, PATH, headers)
      assert.deepEqual(direct, await byRoute(server, PATH, headers), JSON.stringify(headers))
    }
    await server.call('PUT', '/v1/operator/keyring/rotate')
    const rotated = await overHttp(server, PATH, {})
    assert.notEqual(rotated.headers['etag'], headers['etag'])
    assert.deepEqual(rotated, await byRoute(server, PATH, {}))
  })
}

test('a direct answer is counted as any other', async (t) => {
  const server = await testServer(t)
  await server.app.listen({ host: '127.0.0.1', port: 0 })
  await overHttp(server, PATH, {})
  await byRoute(server, PATH, {})
  const { json } = await server.call('GET', '/metrics')
  assert.match(json, /^keyringd_jwks_requests_total\{status="200"\} 2$/m)
})

test('fixed headers and failures are left to the routes', async (t) => {
  const fixed = { HTTP_API_RESPONSE_HEADERS: '{"X-Frame-Options":"DENY"}' }
  const server = await testServer(t, { settings: fixed })
  await server.app.listen({ host: '127.0.0.1', port: 0 })
  const direct = await overHttp(server, PATH, {})
  assert.equal(direct.headers['x-frame-options'], 'DENY')
  assert.deepEqual(direct, await byRoute(server, PATH, {}))
})
