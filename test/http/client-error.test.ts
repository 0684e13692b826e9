import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { testServer } from '../server.ts'
import { exchange, listen } from './setup.ts'

// What never became a request has the words of the surface that its first line names, too: external-security contract
// section 6, URI signing contract section 2, over real sockets.

async function listening(t: TestContext, settings: Record<string, string> = {}) {
  const server = await testServer(t, {
    settings: { ROOT_KEY_ALGORITHM: 'ES256', ...settings },
  })
  return { ...server, ...(await listen(server.app)) }
}

const split = (answer: string) => {
  const at = answer.indexOf('\r\n\r\n')
  const [line = '', ...fields] = answer.slice(0, at).split('\r\n')
  const headers = new Map(
    fields.map((field) => {
      const [name = '', value = ''] = field.split(/: (.*)/s)
      return [name.toLowerCase(), value]
    }),
  )
  return { line, type: headers.get('content-type'), headers, body: answer.slice(at + 4) }
}

/** A whole head that is over the limit, one with a header that is none, and a framing that is ambiguous. */
const heads = (target: string, method = 'GET'): [code: number, bytes: string][] => [
  [431, `${method} ${target} HTTP/1.1\r\nHost: a\r\nX-Long: ${'a'.repeat(50_000)}\r\n\r\n`],
  [400, `${method} ${target} HTTP/1.1\r\nHost: a\r\nBad Header: y\r\n\r\n`],
  [
    400,
    `${method} ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
  ],
  [400, `${method} ${target} HTTP/9.9\r\n\r\n`],
]

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  431: 'Request Header Fields Too Large',
}

const PROBLEM = 'application/problem+json'
type Check = (body: string, code: number) => void

const isProblem: Check = (body, code) => assert.equal(JSON.parse(body).status, code)
const isXml: Check = (body, code) => {
  assert.match(body, /^<\?xml version="1\.0" encoding="UTF-8"\?>\n<error xmlns="[^"]+">/)
  assert.match(
    body,
    new RegExp(`<status-code>${code}</status-code><status>${REASONS[code]}</status>`),
  )
}
const isErrorResponse: Check = (body, code) =>
  assert.equal(JSON.parse(body).errorResponse.statusCode, String(code))
const isAlerts: Check = (body, code) =>
  assert.equal(body, `{"alerts":[{"text":"${REASONS[code]}","level":"error"}]}\n`)
const isEnvelope: Check = (body, code) => {
  const { reqId, statusCode, error } = JSON.parse(body)
  assert.deepEqual([reqId, statusCode, error], ['none', code, 'BadRequest'])
}
const isText: Check = (body) => assert.match(body, /^[^{}\n]+$/)
const isOAuth: Check = (body) => assert.equal(JSON.parse(body).error, 'invalid_request')

const XML = 'application/xml; charset=UTF-8'
const JSON_8 = 'application/json; charset=UTF-8'

const TABLE: [target: string, type: string, check: Check][] = [
  ['/manage/v2/external-security', XML, isXml],
  ['/manage', XML, isXml],
  ['/manage/v2/external-security?format=json', JSON_8, isErrorResponse],
  ['/manage/v2/external-security?view=default&format=xml', XML, isXml],
  ['/api/5.0/deliveryservices/demo/urisignkeys', 'application/json', isAlerts],
  ['/api/4.0/user/login', 'application/json', isAlerts],
  ['/api/9.9/anything', 'application/json', isAlerts],
  ['/api/v1/auth/jwt-auth/login', 'application/json; charset=utf-8', isEnvelope],
  ['/api/v2/jwks_setup', 'text/plain; charset=utf-8', isText],
  ['/v1/operator/keyring/keys', 'text/plain; charset=utf-8', isText],
  ['/oauth/token', 'application/json', isOAuth],
  ['/v1/rings', PROBLEM, isProblem],
  ['/', PROBLEM, isProblem],
  ['/managed', PROBLEM, isProblem],
  ['//manage/v2', PROBLEM, isProblem],
  ['/elsewhere?/manage/v2', PROBLEM, isProblem],
  ['http://a/manage/v2', PROBLEM, isProblem],
  ['*', PROBLEM, isProblem],
]

for (const [target, type, check] of TABLE) {
  test(`what fails before it is a request for ${target} has the words of that place`, async (t) => {
    const { port } = await listening(t)
    for (const method of ['GET', 'PUT']) {
      for (const [code, bytes] of heads(target, method)) {
        const found = split(await exchange(port, bytes))
        const place = bytes.slice(0, 120)
        assert.equal(found.line, `HTTP/1.1 ${code} ${REASONS[code]}`, place)
        assert.equal(found.type, type, place)
        assert.equal(found.headers.get('content-length'), String(Buffer.byteLength(found.body)))
        check(found.body, code)
      }
    }
    assert.equal(
      (await exchange(port, 'GET /healthz HTTP/1.0\r\n\r\n')).slice(0, 12),
      'HTTP/1.1 200',
    )
  })
}

test('garbage, and what begins with no request line, has our problem document', async (t) => {
  const { port } = await listening(t)
  for (const bytes of [
    ...['garbage\r\n\r\n', 'garbage/manage/v2\r\n\r\n', ' GET /manage/v2 HTTP/1.1\r\n\r\n'],
    ...['GET\t/manage/v2 HTTP/1.1\r\n\r\n', '\u0000\u0001'],
    ...['/manage/v2', `${'G'.repeat(2000)} /manage/v2 HTTP/1.1\r\n\r\n`],
    Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]),
  ]) {
    const { line, type, body } = split(await exchange(port, bytes))
    assert.equal(line, 'HTTP/1.1 400 Bad Request', String(bytes).slice(0, 60))
    assert.equal(type, PROBLEM, String(bytes).slice(0, 60))
    assert.equal(JSON.parse(body).code, 'malformed_request')
  }
})

test('of a target without an end its beginning is enough, and nothing of it is repeated', async (t) => {
  const { port } = await listening(t)
  for (const [prefix, type] of [
    ['/manage/v2/external-security/', XML],
    ['/api/5.0/', 'application/json'],
    ['/api/v1/', 'application/json; charset=utf-8'],
    ['/api/v2/', 'text/plain; charset=utf-8'],
  ] as const) {
    const answer = await exchange(
      port,
      `GET ${prefix}${'c'.repeat(50_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
    )
    const found = split(answer)
    assert.deepEqual([found.line.slice(9, 12), found.type], ['431', type], prefix)
    assert.ok(!answer.includes('cccccccc'), prefix)
  }
})

test('a surface that is off has no words', async (t) => {
  const { port } = await listening(t, { SURFACES: 'nomad' })
  for (const target of [
    '/manage/v2',
    '/api/5.0/ping',
    '/api/v1/identities',
    '/api/v2/jwks_setup',
  ]) {
    for (const [, bytes] of heads(target)) {
      assert.equal(split(await exchange(port, bytes)).type, PROBLEM, target)
    }
  }
})

test('a head that came in pieces names no surface; the one before it on the connection neither', async (t) => {
  const { port, app } = await listening(t)
  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  const client = connect(port, '127.0.0.1').setNoDelay()
  t.after(() => client.destroy())
  const answered = text(client)
  const [socket] = await accepted
  const sent = async (bytes: string) => {
    const before = socket.bytesRead
    client.write(bytes)
    while (socket.bytesRead < before + bytes.length) await new Promise(setImmediate)
  }
  await sent('GET /api/5.0/ping HTTP/1.1\r\nHost: a\r\n\r\n')
  await sent('GET /manage/v2 HTTP/1.1\r\nHost: a\r\n')
  await sent('Bad Header: y\r\n\r\n')
  const found = split((await answered).replace(/^HTTP\/1\.1 200 .*?\{"ping":"pong"\}/s, ''))
  assert.deepEqual([found.line, found.type], ['HTTP/1.1 400 Bad Request', PROBLEM])
})
