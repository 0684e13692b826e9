import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import { configPath, identitiesWorld, workload } from './setup.ts'

// Identity contract, section 1: conventions and the error envelope.

const JSON_TYPE = { 'content-type': 'application/json' }

test('section 1: every error below /api/v1 is an envelope whose reqId is in the log', async (t) => {
  const world = await identitiesWorld(t)
  const id = await world.identity()
  const big = `{"jwt":"${'x'.repeat(1_100_000)}"}`
  const login = '/api/v1/auth/jwt-auth/login'
  const rows: [string, string, Parameters<typeof world.ask>[2], number, string][] = [
    ['POST', login, { body: '{"jwt":', headers: JSON_TYPE }, 400, 'BadRequest'],
    ['POST', login, { body: '{"__proto__":{}}', headers: JSON_TYPE }, 400, 'BadRequest'],
    ['POST', login, { body: big, headers: JSON_TYPE }, 413, 'PayloadTooLarge'],
    [
      'POST',
      login,
      { body: 'x', headers: { 'content-type': 'text/plain' } },
      415,
      'UnsupportedMediaType',
    ],
    ['POST', login, { body: 'x', headers: { 'content-type': ';;' } }, 415, 'UnsupportedMediaType'],
    ['POST', login, {}, 422, 'ValidationFailure'],
    ['POST', login, { headers: JSON_TYPE }, 422, 'ValidationFailure'],
    ['GET', login, {}, 404, 'NotFound'],
    ['PUT', '/api/v1/identities', { body: {} }, 404, 'NotFound'],
    ['HEAD', '/api/v1/identities', {}, 404, ''],
    ['GET', '/api/v1', {}, 404, 'NotFound'],
    ['GET', '/api/v1/', {}, 404, 'NotFound'],
    ['GET', '/api/v1/nothing', { token: null }, 404, 'NotFound'],
    ['GET', '/api/v1/identities/%zz', {}, 400, 'BadRequest'],
    ['GET', `/api/v1/identities/${'x'.repeat(20_000)}`, {}, 404, 'NotFound'],
    ['GET', `/api/v1/identities/${id}`, { token: null }, 401, 'UnauthorizedError'],
    ['GET', '/api/v1/identities/nobody', {}, 404, 'NotFound'],
    ['GET', configPath(id), {}, 400, 'BadRequest'],
  ]
  for (const [method, path, call, status, error] of rows) {
    const answer = await world.ask(method, path, call)
    const what = `${method} ${path.slice(0, 60)} ${JSON.stringify(call).slice(0, 60)}`
    assert.equal(answer.status, status, `${what}: ${answer.text}`)
    if (method === 'HEAD') continue
    assert.match(String(answer.headers['content-type']), /^application\/json/, what)
    assert.deepEqual(Object.keys(answer.json), ['reqId', 'statusCode', 'message', 'error'], what)
    const { reqId, statusCode, message } = answer.json
    assert.deepEqual([statusCode, answer.json.error], [status, error], what)
    assert.match(reqId, /^req-[0-9A-Za-z]+$/)
    assert.ok(Array.isArray(message) === (status === 422), what)
    assert.ok(
      world.log.some((line) => JSON.parse(line).requestId === reqId),
      `${what}: ${reqId} is in no log line`,
    )
  }
})

test('section 1: what only a socket can send gets the envelope, too', async (t) => {
  const world = await identitiesWorld(t)
  await world.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = world.app.server.address() as AddressInfo
  const raw = async (text: string) => {
    const socket = connect(port, '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write(text)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    await once(socket, 'close')
    return answer
  }
  const end = 'Host: x\r\nConnection: close\r\n\r\n'
  assert.match(
    await raw(`PROPFIND /api/v1/identities HTTP/1.1\r\n${end}`),
    /404.*"error":"NotFound"/s,
  )
  const chunked = 'Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n'
  const id = await world.identity()
  const bearer = 'Authorization: Bearer management-token-of-the-tests-0123456789\r\n'
  const empty = `DELETE ${configPath(id)} HTTP/1.1\r\n${chunked}${bearer}Host: x\r\nConnection: close\r\n\r\n0\r\n\r\n`
  assert.match(await raw(empty), /400.*does not have JWT auth/s)
})

test('section 1: the words for a bearer that does not count', async (t) => {
  const world = await identitiesWorld(t)
  const { issuer, token } = await workload(t, world, { accessTokenTTL: 60 })
  const ours = await token()
  const [header = '', payload = '', signature = ''] = ours.split('.')
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString())
  const hs256 = await new SignJWT({})
    .setProtectedHeader({ alg: 'HS256', kid })
    .sign(Buffer.from(issuer.publicPem))
  const malformed =
    'The provided access token is malformed. Please use a valid token or generate a new one and try again.'
  const algorithm =
    'The access token is signed with an invalid algorithm. Please provide a valid token and try again.'
  const none = 'You are not allowed to access this resource'
  const rows: [string, Record<string, string>, number, string, string][] = [
    ['no header', {}, 401, 'UnauthorizedError', 'Token missing'],
    ['another scheme', { authorization: 'Basic YTpi' }, 401, 'UnauthorizedError', 'Token missing'],
    ['no token', { authorization: 'Bearer ' }, 401, 'UnauthorizedError', 'Token missing'],
    ['an API token', { authorization: 'Bearer krd_x' }, 401, 'UnauthorizedError', none],
    ['an API token', { 'x-nomad-token': 'krd_x' }, 401, 'UnauthorizedError', none],
    ['ours, as X-Nomad-Token', { 'x-nomad-token': ours }, 401, 'UnauthorizedError', none],
    ['no JWT', { authorization: 'Bearer garbage' }, 403, 'TokenError', malformed],
    [
      'two segments',
      { authorization: `Bearer ${header}.${payload}` },
      403,
      'TokenError',
      malformed,
    ],
    ['padding', { authorization: `Bearer ${ours}==` }, 403, 'TokenError', malformed],
    ['HS256', { authorization: `Bearer ${hs256}` }, 403, 'TokenError', algorithm],
    [
      'none',
      { authorization: `Bearer ${encode({ alg: 'none', kid })}.${payload}.` },
      403,
      'TokenError',
      algorithm,
    ],
    [
      'another key',
      { authorization: `Bearer ${await issuer.sign({})}` },
      403,
      'TokenError',
      'invalid signature',
    ],
    [
      'another key, our kid',
      { authorization: `Bearer ${await issuer.sign({}, { kid })}` },
      403,
      'TokenError',
      'invalid signature',
    ],
    [
      'another payload',
      { authorization: `Bearer ${header}.${encode({ sub: 'x' })}.${signature}` },
      403,
      'TokenError',
      'invalid signature',
    ],
    [
      'another algorithm',
      {
        authorization: `Bearer ${encode({ alg: 'RS512', kid, typ: 'at+jwt' })}.${payload}.${signature}`,
      },
      403,
      'TokenError',
      algorithm,
    ],
  ]
  const check = async (headers: Record<string, string>) => {
    const answer = await world.ask('GET', '/api/v1/identities', { token: null, headers })
    return [answer.status, answer.json.error, answer.json.message]
  }
  for (const [what, headers, ...expected] of rows)
    assert.deepEqual(await check(headers), expected, what)
  const expired = 'Your token has expired. Please re-authenticate.'
  world.clock.advance('60s')
  assert.deepEqual(await check({ authorization: `Bearer ${ours}` }), [403, 'TokenError', expired])
})

test('section 1: a schema failure lists the issues of zod, without what was sent', async (t) => {
  const world = await identitiesWorld(t)
  const id = await world.identity()
  const body = { configurationType: 'jwks', jwksUrl: 'not-a-url-hunter2', accessTokenTTL: '5' }
  const { status, json, text } = await world.attach(id, body)
  assert.equal(status, 422)
  const paths = json.message.map((issue: { path: string[] }) => issue.path.join('.'))
  assert.deepEqual(paths.sort(), ['accessTokenTTL', 'boundClaims', 'jwksUrl'])
  for (const issue of json.message) {
    assert.ok(typeof issue.code === 'string' && typeof issue.message === 'string', text)
  }
  assert.ok(!text.includes('hunter2'))
})

test('section 1: the public routes ignore any Authorization header', async (t) => {
  const world = await identitiesWorld(t)
  const { id, jwt, token } = await workload(t, world)
  for (const authorization of ['Bearer garbage', `Bearer ${await token()}x`, 'Basic ===', '']) {
    const call = (path: string, body: unknown) =>
      world.ask('POST', `/api/v1/auth/${path}`, { body, token: null, headers: { authorization } })
    const answer = await call('jwt-auth/login', { identityId: ` ${id} `, jwt: ` ${await jwt()}\n` })
    assert.equal(answer.status, 200, answer.text)
    const { accessToken } = answer.json
    assert.equal((await call('token/renew', { accessToken })).status, 200)
    assert.equal((await call('token/revoke', { accessToken })).status, 200)
  }
})

test('section 1: DELETE takes no body, an empty one of any type, and a JSON body that it ignores', async (t) => {
  const world = await identitiesWorld(t)
  for (const call of [
    {},
    { headers: JSON_TYPE },
    { headers: { ...JSON_TYPE, 'content-length': '0' } },
    { headers: { 'content-type': 'text/plain' } },
    { body: { identityId: 'another' } },
  ]) {
    const { id } = await workload(t, world)
    for (const path of [configPath(id), `/api/v1/identities/${id}`]) {
      const answer = await world.ask('DELETE', path, call)
      assert.equal(answer.status, 200, `${JSON.stringify(call)}: ${answer.text}`)
    }
  }
})

test('section 1: ids in paths are trimmed, unknown members dropped', async (t) => {
  const world = await identitiesWorld(t)
  const id = await world.identity()
  assert.equal((await world.ask('GET', `/api/v1/identities/%20${id}%20`)).json.identity.id, id)
  const body = { name: 'x', organizationId: 'o', authMethods: ['none'], id: 'mine' }
  const { status, json } = await world.ask('POST', '/api/v1/identities', { body })
  assert.equal(status, 200)
  assert.notEqual(json.identity.id, 'mine')
})

test('section 1: what breaks inside is 500 without a word of why', async (t) => {
  const world = await identitiesWorld(t)
  const { id, jwt } = await workload(t, world)
  const row = await world.store.read.jwtAuth.byIdentity(id)
  assert.ok(row?.publicKeysSealed)
  const broken = {
    ...row,
    publicKeysSealed: Uint8Array.from(row.publicKeysSealed, (byte) => byte ^ 1),
  }
  await world.store.transaction((tx) => tx.jwtAuth.update(broken))
  const answer = await world.login(id, await jwt())
  const { statusCode, message, error } = answer.json
  assert.deepEqual(
    [statusCode, message, error],
    [500, 'Something went wrong', 'InternalServerError'],
  )
})
