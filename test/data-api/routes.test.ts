import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { AS_ROOT, aSigner, basic, dataApiWorld, PASSWORD, SETUP, setUp } from './world.ts'

// jwks-setup contract, sections 2 to 5 and 9: routes, who may call, and what is said.

const MIB = 1024 * 1024

test('sections 3, 5, 9.1: whatever body and type, the call answers 200 and nothing', async (t) => {
  const world = await dataApiWorld(t)
  world.serve(aSigner('a'))
  await world.set('jwks_endpoint', world.issuer.url)
  const form = 'application/x-www-form-urlencoded'
  const bodies: [type: string | undefined, body: string | undefined][] = [
    [undefined, undefined],
    [undefined, ''],
    ['application/json', undefined],
    ['application/json', ''],
    ['application/json', '{'],
    [form, ''],
    [form, 'a=b'],
    ['text/plain', 'text'],
    ['no type at all;;', 'x'.repeat(2048)],
    ['multipart/form-data', 'x'.repeat(MIB)],
  ]
  for (const [type, body] of bodies) {
    const headers = { ...AS_ROOT, ...(type !== undefined && { 'content-type': type }) }
    const answer = await world.ask(headers, {
      url: `${SETUP}?any=query`,
      ...(body !== undefined && { body }),
    })
    assert.deepEqual([answer.status, answer.text], [200, ''], `${type} ${body?.slice(0, 20)}`)
    assert.equal(answer.headers['content-length'], '0')
    assert.equal(answer.headers['content-type'], undefined)
  }
  const over = await world.ask(AS_ROOT, { body: 'x'.repeat(MIB + 1) })
  assert.deepEqual([over.status, over.text], [413, 'request body too large'])
})

test('section 2, 9.2: route and method are judged before who asks', async (t) => {
  const { ask } = await dataApiWorld(t)
  const others = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'LOCK']
  for (const method of others) {
    const { status, text, headers } = await ask({}, { method })
    assert.deepEqual([status, headers['allow']], [405, 'POST'], method)
    assert.equal(text, method === 'HEAD' ? '' : 'method not allowed')
  }
  const paths = [
    ...[`${SETUP}/`, '/api/v2/exec', '/api/v2/query/rows', '/api/v2/query/tuples', '/api/v2/spec'],
    ...['/api', '/api/', '/api/v2', '/api/v2/', '/api/v3/jwks_setup', '/api/any/thing'],
    ...['/api/v2/JWKS_SETUP', '/api/v2/jwks_setup%2f'],
  ]
  for (const url of paths) {
    for (const method of ['POST', 'GET']) {
      const { status, text, headers } = await ask({}, { method, url })
      assert.deepEqual([status, text], [404, 'not found'], `${method} ${url}`)
      assert.equal(headers['content-type'], 'text/plain; charset=utf-8')
    }
  }
  const large = await ask({}, { url: '/api/v2/exec', body: 'x'.repeat(2 * MIB) })
  assert.deepEqual([large.status, large.text], [404, 'not found'], 'before its body is read')
  // Other surfaces answer below their own prefixes.
  assert.match((await ask({}, { method: 'GET', url: '/api/v1/nothing' })).text, /^\{"reqId"/)
  assert.match((await ask({}, { method: 'GET', url: '/api/9.9/nothing' })).text, /"alerts"/)
})

test('section 2: /ping answers pong to everybody', async (t) => {
  const { ask } = await dataApiWorld(t)
  const { status, text, headers } = await ask(
    { accept: 'text/plain' },
    { method: 'GET', url: '/ping' },
  )
  assert.deepEqual([status, text, headers['content-type']], [200, 'pong', 'text/plain'])
})

test('section 4, 9.3: what is no credential, or a wrong one, is 401 with both challenges', async (t) => {
  const { ask, store } = await dataApiWorld(t)
  const denied = 'Error 1045: Access denied'
  const table: [headers: Record<string, string>, text: string][] = [
    [{}, denied],
    [{ authorization: 'Negotiate abc' }, denied],
    [{ authorization: 'Basic' }, denied],
    [{ authorization: 'Basic ???' }, denied],
    [basic('root'), denied],
    [{ authorization: `Basic ${Buffer.from([0xff, 0x3a, 0x61]).toString('base64')}` }, denied],
    [basic('root:wrong'), denied],
    [basic('root:'), denied],
    [basic(`nobody:${PASSWORD}`), denied],
    [basic(`root:${PASSWORD} `), denied],
    [{ authorization: 'Bearer nonsense' }, 'no JWKS is loaded'],
    [{ authorization: 'Bearer a.b.c' }, 'no JWKS is loaded'],
  ]
  for (const [headers, expected] of table) {
    const answer = await ask(headers)
    const place = JSON.stringify(headers)
    assert.deepEqual([answer.status, answer.text], [401, expected], place)
    const isToken = expected !== denied
    assert.deepEqual(
      answer.headers['www-authenticate'],
      [
        'Basic realm="data-api", charset="UTF-8"',
        `Bearer realm="data-api"${isToken ? ', error="invalid_token"' : ''}`,
      ],
      place,
    )
    assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8')
    assert.equal(answer.headers['x-content-type-options'], 'nosniff')
  }
  assert.equal(await store.read.dataApiKeys.get(), undefined)
})

test('section 4: the scheme in any case, a password with colons, and none at all', async (t) => {
  const { ask, must } = await dataApiWorld(t, { settings: { MIN_PASSWORD_LENGTH: '1' } })
  const password = 'pass:with:colons ü'
  await must('POST', '/v1/users', { name: 'dan', password, role: 'security-admin' })
  const unset = [400, 'jwks_endpoint is not set']
  for (const scheme of ['Basic', 'basic', 'BASIC']) {
    const encoded = Buffer.from(`dan:${password}`).toString('base64')
    const { status, text } = await ask({ authorization: `${scheme} ${encoded}` })
    assert.deepEqual([status, text], unset, scheme)
  }
  // ann has no password: the empty one is none.
  assert.equal((await ask(basic('ann:'))).status, 401)
})

test('section 4: an API token with the right calls it; who lacks the right is told so', async (t) => {
  const { ask, must } = await dataApiWorld(t)
  const tokenOf = async (body: object) =>
    (await must('POST', '/v1/api-tokens', body)).token as string
  const may = await tokenOf({ name: 'may', grants: ['data-api-admin'] })
  const mayNot = await tokenOf({ name: 'may-not', role: 'operator' })
  for (const headers of [{ authorization: `Bearer ${may}` }, { 'x-nomad-token': may }]) {
    assert.equal((await ask(headers)).text, 'jwks_endpoint is not set')
  }
  const refused = await ask({ authorization: `Bearer ${mayNot}` })
  const words = 'Error 1227: Access denied; administrative privilege required'
  assert.deepEqual([refused.status, refused.text], [403, words])
})

test('section 5: every error is one line of bare text, without a secret', async (t) => {
  const { ask, set, issuer } = await dataApiWorld(t)
  await set('jwks_endpoint', `${issuer.url}?key=hidden-in-the-url`)
  issuer.answer((_, response) => response.writeHead(500).end('secret of the other side'))
  const { status, text, headers } = await ask(AS_ROOT)
  assert.deepEqual([status, text], [500, 'JWKS update failed: status 500'])
  assert.equal(headers['content-type'], 'text/plain; charset=utf-8')
  assert.equal(headers['x-content-type-options'], 'nosniff')
})

test('section 8: http_api off takes the whole surface away', async (t) => {
  const { ask, set } = await dataApiWorld(t)
  await set('http_api', false)
  for (const [method, url] of [
    ['POST', SETUP],
    ['GET', SETUP],
    ['GET', '/ping'],
  ] as const) {
    const { status, text } = await ask(AS_ROOT, { method, url })
    assert.deepEqual([status, text], [404, 'not found'], `${method} ${url}`)
  }
  await set('http_api', true)
  assert.equal((await ask({}, { method: 'GET', url: '/ping' })).text, 'pong')
})

test('section 8: over http_api_pool_capacity requests are refused, and no longer than that', async (t) => {
  const world = await setUp(t, [aSigner('a')])
  await world.set('http_api_pool_capacity', 1)
  const { promise: asked, resolve: ask } = Promise.withResolvers<() => void>()
  const key = aSigner('b')
  world.issuer.answer((_, response) => ask(() => response.end(JSON.stringify({ keys: [key.jwk] }))))
  const first = world.ask(AS_ROOT)
  const answer = await asked
  const second = await world.ask(AS_ROOT)
  assert.deepEqual([second.status, second.text], [503, 'too many requests at once'])
  answer()
  assert.equal((await first).status, 200)
  world.serve(key)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
})

test('section 8: who may not, or reads no answer, takes no place of those that there are', async (t) => {
  const world = await setUp(t, [aSigner('a')])
  await world.set('http_api_pool_capacity', 1)
  const address = await world.app.listen({ host: '127.0.0.1', port: 0 })
  const client = connect(Number(new URL(address).port), '127.0.0.1')
  // Answers are given in order: behind a held query they are never sent, and never closed.
  const { index } = (await world.call('GET', '/v1/status')).json
  const held = `GET /.well-known/jwks.json?index=${index}&wait=10m HTTP/1.1\r\nHost: x\r\n\r\n`
  const post = `POST ${SETUP} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`
  const { promise: arrived, resolve } = Promise.withResolvers<void>()
  let posts = 0
  world.app.server.on('request', ({ method }) => {
    if (method === 'POST' && ++posts === 20) resolve()
  })
  client.write(held + post.repeat(20))
  await arrived
  const { status } = await world.ask(AS_ROOT)
  // The app closes only after what it still holds.
  client.destroy()
  assert.equal(status, 200)
})

test('a surface that is switched off answers our 404', async (t) => {
  const { ask } = await dataApiWorld(t, { settings: { SURFACES: 'nomad' } })
  const { status, headers } = await ask(AS_ROOT)
  assert.deepEqual([status, headers['content-type']], [404, 'application/problem+json'])
})

test('failed passwords and tokens are counted, and refused in words of this surface', async (t) => {
  const world = await setUp(t, [aSigner('a')], { settings: { RATE_LIMIT_LOGIN: '5/m' } })
  for (let time = 0; time < 3; time++) {
    assert.equal((await world.ask(basic('root:wrong'))).status, 401)
    await world.bearer('a.b.c')
  }
  const { status, text, headers } = await world.ask(basic('root:wrong'))
  assert.equal(status, 429)
  assert.match(text, /^Rate limit exceeded/)
  assert.match(String(headers['retry-after']), /^\d+$/)
  assert.equal((await world.bearer('a.b.c'))[0], 429)
})

test('sections 3, 5: a body that does not arrive in time is 408 in words of this surface', async (t) => {
  const { app } = await dataApiWorld(t)
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  const client = connect(Number(new URL(address).port), '127.0.0.1')
  t.after(() => client.destroy())
  const { promise: arrived, resolve } = Promise.withResolvers<void>()
  app.server.once('request', () => resolve())
  const { authorization } = AS_ROOT
  client.write(
    `POST ${SETUP} HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nContent-Length: 10\r\n\r\n123`,
  )
  const [socket] = await accepted
  await arrived
  // As Node says it when its timer is up.
  const error = Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })
  app.server.emit('clientError', error, socket)
  const answer = await text(client)
  assert.match(answer, /^HTTP\/1\.1 408 /)
  assert.match(answer, /\r\nContent-Type: text\/plain; charset=utf-8\r\n/)
  assert.match(answer, /\r\nx-content-type-options: nosniff\r\n/i)
  assert.match(answer, /\r\n\r\nrequest timeout$/)
})
