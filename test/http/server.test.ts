import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { z } from 'zod'
import { PROBLEMS } from '../../src/errors.ts'
import { Int64Field } from '../../src/http/fields.ts'
import { ourApi } from '../../src/http/server.ts'
import { exchange, listen, testApp } from './setup.ts'

const open = { capability: 'public' }
const MIB = 1024 * 1024

test('64-bit integers pass both ways without loss, bare', async (t) => {
  const { app } = testApp(t)
  const schema = { response: { 200: z.object({ at: Int64Field, list: z.array(Int64Field) }) } }
  const at = 2n ** 63n - 1n
  app.get('/', { config: open, schema }, async () => ({ at, list: [-1n, 9007199254740993n] }))
  assert.equal(
    (await app.inject('/')).body,
    '{"at":9223372036854775807,"list":[-1,9007199254740993]}',
  )
})

test('1 MB of header is answered 431 by a server that goes on', async (t) => {
  const { app } = testApp(t)
  app.get('/', { config: open }, async () => ({ ok: true }))
  const { port, url } = await listen(app)
  const answer = await exchange(
    port,
    `GET / HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: ${'a'.repeat(MIB)}\r\n\r\n`,
  )
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  assert.match(head, /^HTTP\/1\.1 431 /)
  assert.match(head, /Content-Type: application\/problem\+json\r\n/)
  assert.equal(JSON.parse(body).code, 'headers_too_large')
  assert.equal((await fetch(url)).status, 200)
})

test('what is no HTTP is answered 400 by a server that goes on', async (t) => {
  const { app } = testApp(t)
  app.get('/', { config: open }, async () => ({ ok: true }))
  const { port, url } = await listen(app)
  const nonsense = [
    'hello\r\n\r\n',
    Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]),
    'GET / HTTP/9.9\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
  ]
  for (const bytes of nonsense) {
    const answer = await exchange(port, bytes)
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, String(bytes))
    assert.equal(JSON.parse(answer.split('\r\n\r\n')[1] ?? '').code, 'malformed_request')
  }
  assert.equal((await fetch(url)).status, 200)
})

test('a body over the limit is 413, and a client that sends it all reads the answer', async (t) => {
  const { app } = testApp(t, { bodyLimit: 1000 })
  app.post('/', { config: open }, async () => ({}))
  app.get('/', { config: open }, async () => ({}))
  const { port } = await listen(app)
  const body = 'x'.repeat(8 * MIB)
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
  const next = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  for (const request of [
    `${head}Content-Length: ${body.length}\r\n\r\n${body}`,
    `${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
  ]) {
    const answer = await exchange(port, request, next)
    assert.match(answer, /^HTTP\/1\.1 413 /)
    assert.match(answer, /"code":"body_too_large"/)
    assert.match(answer, /HTTP\/1\.1 200 OK/, 'the connection goes on')
  }
})

test('our API: no content type is JSON, another one 415, bad JSON 400, no body needs no type', async (t) => {
  const { app } = testApp(t)
  await app.register(async (scope) => {
    ourApi(scope)
    const schema = { body: z.strictObject({ n: z.number() }) }
    scope.post('/n', { config: open, schema }, async (request) => request.body)
    scope.delete('/n', { config: open }, async () => ({ gone: true }))
  })
  const { url } = await listen(app)
  const send = async (method: string, body?: string, type?: string) => {
    const answer = await fetch(`${url}/n`, {
      method,
      // A Blob without a type sends none.
      ...(body !== undefined && { body: new Blob([body]) }),
      headers: type === undefined ? {} : { 'content-type': type },
    })
    return [answer.status, ((await answer.json()) as { code?: string }).code]
  }
  assert.deepEqual(await send('POST', '{"n":1}'), [200, undefined])
  assert.deepEqual(await send('POST', '{"n":1}', 'application/json; charset=utf-8'), [
    200,
    undefined,
  ])
  assert.deepEqual(await send('POST', '{"n":1}', 'text/plain'), [415, 'unsupported_media_type'])
  assert.deepEqual(await send('POST', 'n=1', 'application/x-www-form-urlencoded'), [
    ...[415, 'unsupported_media_type'],
  ])
  assert.deepEqual(await send('POST', '{"n":1}', ';;'), [415, 'unsupported_media_type'])
  assert.deepEqual(await send('POST', '{"n":'), [400, 'malformed_body'])
  assert.deepEqual(await send('POST', '{"n":1,"__proto__":{}}'), [400, 'malformed_body'])
  assert.deepEqual(await send('POST', '{"n":1,"m":2}'), [422, 'invalid_request'])
  assert.deepEqual(await send('POST'), [422, 'invalid_request'])
  assert.deepEqual(await send('DELETE', undefined, 'application/json'), [200, undefined])
})

test('our API says what a body must be; another API has its own words', async (t) => {
  const { app } = testApp(t)
  const post = async (url: string, payload: string, type = 'application/json') => {
    const headers = { 'content-type': type }
    return (await app.inject({ method: 'POST', url, payload, headers })).json().detail
  }
  app.post('/other', { config: open }, async () => ({}))
  await app.register(async (scope) => {
    ourApi(scope)
    scope.post('/n', { config: open }, async () => ({}))
  })
  const form = 'application/x-www-form-urlencoded'
  assert.match(await post('/n', 'n=1', form), /Content-Type: application\/json \(curl: --json\)$/)
  assert.match(await post('/n', '{"n":'), /^The body is not JSON/)
  assert.match(await post('/n', '{"__proto__":{}}'), /a member __proto__$/)
  assert.equal(await post('/other', 'n=1', form), PROBLEMS.unsupported_media_type.title)
  assert.equal(await post('/other', '{"n":'), PROBLEMS.malformed_body.title)
})

test('a client that hangs up in the middle is no error of ours', async (t) => {
  const { app, lines } = testApp(t)
  const uploading = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  const onRequest = async () => uploading.resolve()
  app.post('/body', { config: open, onRequest }, async () => ({}))
  app.get('/held', { config: open }, async (_, reply) => {
    reply.raw.once('close', () => gone.resolve())
    held.resolve()
    await gone.promise
    return { late: true }
  })
  const { port } = await listen(app)
  const connect = (bytes: string) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.write(bytes)
    return socket
  }
  const head = 'HTTP/1.1\r\nHost: x\r\n'
  const type = 'Content-Type: application/json\r\nContent-Length: 99\r\n'
  const uploader = connect(`POST /body ${head}${type}\r\n{"a`)
  const waiter = connect(`GET /held?token=s ${head}\r\n`)
  await Promise.all([uploading.promise, held.promise])
  waiter.destroy()
  uploader.destroy()
  await gone.promise
  await app.close()
  const bad = lines().filter(({ level }) => level === 'error' || level === 'warn')
  assert.deepEqual(bad, [])
  const aborted = lines().filter((line) => line.aborted === true)
  assert.deepEqual(aborted.map(({ route }) => route).sort(), ['/body', '/held'])
})

test('one line per request: the pattern, no query, no header, no body; reads are debug', async (t) => {
  const finished: unknown[] = []
  const { app, lines, text } = testApp(t, {
    rights: { ci: ['keyring-read'] },
    onFinished: ({ method, route, status }) => finished.push([method, route, status]),
  })
  const config = { capability: 'keyring-read' }
  app.get('/keys/:kid', { config }, async () => ({}))
  app.post('/keys/:kid', { config }, async () => ({}))
  app.get('/bytes', { config: { capability: 'public', log: false } }, async (_, reply) => {
    reply.hijack()
    reply.raw.writeHead(200).end('x')
  })
  const headers = { authorization: 'Bearer ci', 'x-other': 'header-value' }
  const read = await app.inject({ url: '/keys/a?secret=query-value', headers })
  await app.inject({ method: 'POST', url: '/keys/b', headers, payload: { v: 'body-value' } })
  await app.inject('/keys/c')
  await app.inject(`/nowhere/${'z'.repeat(1000)}`)
  assert.equal((await app.inject('/bytes')).headers['x-request-id'], undefined)

  const requests = lines().filter(({ msg }) => msg === 'request')
  const view = ({ level, method, route, status, principal }: Record<string, unknown>) =>
    [level, method, route, status, principal].join(' ')
  assert.deepEqual(requests.map(view), [
    'debug GET /keys/:kid 200 token:ci',
    'info POST /keys/:kid 200 token:ci',
    'info GET /keys/:kid 401 anonymous',
    'info GET unmatched 404 anonymous',
  ])
  assert.equal(requests[0]?.path, '/keys/a')
  assert.equal(requests[0]?.requestId, read.headers['x-request-id'])
  assert.equal(typeof requests[0]?.ms, 'number')
  assert.ok(String(requests[3]?.path).length < 300)
  assert.doesNotMatch(text(), /query-value|header-value|body-value|Bearer/)
  assert.deepEqual(finished, [
    ...[
      ['GET', '/keys/:kid', 200],
      ['POST', '/keys/:kid', 200],
    ],
    ...[
      ['GET', '/keys/:kid', 401],
      ['GET', 'unmatched', 404],
    ],
  ])
})

test('fixed headers are on every answer: routes, problems, hijacked bytes', async (t) => {
  const { app } = testApp(t, { extraHeaders: { 'X-Frame-Options': 'DENY' } })
  app.get('/json', { config: open }, async () => ({}))
  app.get('/bytes', { config: { ...open, log: false } }, async (_, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'Content-Type': 'text/plain' }).end('x')
  })
  for (const url of ['/json', '/bytes', '/none']) {
    assert.equal((await app.inject(url)).headers['x-frame-options'], 'DENY', url)
  }
})

test('request ids are ours alone and never repeat', async (t) => {
  const { app } = testApp(t)
  app.get('/', { config: open }, async () => ({}))
  const ids = new Set<unknown>()
  for (let n = 0; n < 50; n++) {
    const headers = { 'x-request-id': 'theirs', 'request-id': 'theirs' }
    ids.add((await app.inject({ url: '/', headers })).headers['x-request-id'])
  }
  assert.equal(ids.size, 50)
  assert.ok(!ids.has('theirs'))
})

test('nothing cuts a request that is held; heads and bodies must arrive in time', async (t) => {
  const { app } = testApp(t)
  await app.ready()
  const { timeout, headersTimeout, requestTimeout, keepAliveTimeout } = app.server
  assert.equal(timeout, 0, 'no time limit for a quiet connection')
  assert.equal(headersTimeout, 60_000)
  assert.equal(requestTimeout, 120_000)
  assert.equal(keepAliveTimeout, 75_000)
})

test('X-Forwarded-For counts only from a trusted proxy', async (t) => {
  const headers = { 'x-forwarded-for': '203.0.113.9' }
  for (const [trustedProxies, expected] of [
    [[], '127.0.0.1'],
    [['127.0.0.0/8'], '203.0.113.9'],
    [['10.0.0.0/8'], '127.0.0.1'],
  ] as const) {
    const { app } = testApp(t, { trustedProxies })
    app.get('/', { config: open }, async (request) => ({ ip: request.ip }))
    assert.equal((await app.inject({ url: '/', headers })).json().ip, expected)
  }
})

test('a parameter may be as long as a head allows', async (t) => {
  const { app } = testApp(t)
  app.get('/k/:kid', { config: open }, async (request) => request.params as object)
  const kid = 'k'.repeat(10_000)
  assert.deepEqual((await app.inject(`/k/${kid}`)).json(), { kid })
})

test('answers that are made together leave together, and one that cannot leave keeps none back', async (t) => {
  const { app } = testApp(t)
  const made: string[] = []
  app.get('/good/:n', { config: open }, async ({ params }) => {
    made.push((params as { n: string }).n)
    return { made: made.length }
  })
  app.get('/bad', { config: open }, async (_, reply) => {
    reply.header('x-broken', 'two\nlines')
    return {}
  })
  await app.ready()
  const paths = ['/good/1', '/bad', '/good/2', '/nowhere', '/good/3']
  const answers = await Promise.all(paths.map((path) => app.inject(path)))
  assert.deepEqual(
    answers.map(({ statusCode }) => statusCode),
    [200, 500, 200, 404, 200],
  )
  assert.deepEqual(made, ['1', '2', '3'])
})
