import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { postSlowly } from '../loopback.ts'
import { MANAGEMENT_TOKEN, testServer } from '../server.ts'
import {
  ADDRESS,
  asManagement,
  type Call,
  documentOf,
  KEYS,
  PASSWORD,
  trafficOpsWorld,
  type World,
} from './traffic-ops.ts'

// What somebody who means harm tries on the Traffic Ops surface (contract sections 3 to 6, docs/threat-model.md).

const credentials = (name: string, password: string) => JSON.stringify({ u: name, p: password })
const LOGIN = '/api/5.0/user/login'

test('section 5: of two writers with the same If-Match, one is told', async (t) => {
  const world = await trafficOpsWorld(t)
  const first = await world.ask('PUT', KEYS('own'), { ...asManagement, body: documentOf() })
  const etag = String(first.headers['etag'])
  assert.match(etag, /^"[^"]+"$/)
  const write = (issuer: string) =>
    world.ask('PUT', KEYS('own'), {
      ...{ ...asManagement, body: documentOf(issuer), headers: { 'if-match': etag } },
    })
  const answers = await Promise.all([write('left'), write('right')])
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 412])
  const won = answers.find(({ status }) => status === 200)?.text
  assert.equal((await world.ask('GET', KEYS('own'), asManagement)).text, won)
})

test('section 3: a login flood is refused by address, and the right password from elsewhere is not', async (t) => {
  const world = await trafficOpsWorld(t, { RATE_LIMIT_LOGIN: '5/m' })
  const wrong = { body: credentials('ann', 'incorrect horse battery') }
  const flood = []
  for (let time = 0; time < 7; time++) flood.push(await world.ask('POST', LOGIN, wrong))
  assert.deepEqual(
    flood.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429, 429],
  )
  const refused = flood.at(-1)
  assert.match(
    refused?.text ?? '',
    /^\{"alerts":\[\{"text":"Rate limit exceeded\.[^"]+","level":"error"\}\]\}\n$/,
  )
  assert.match(String(refused?.headers['retry-after']), /^\d+$/)
  const right = { body: credentials('ann', PASSWORD) }
  assert.equal((await world.ask('POST', LOGIN, right)).status, 429)
  assert.equal((await world.ask('POST', LOGIN, { ...right, from: '198.51.100.9' })).status, 200)
  world.clock.advance('61s')
  assert.equal((await world.ask('POST', LOGIN, right)).status, 200)
})

/** A login token of ann's, and how it is used. */
async function withLoginToken(world: World) {
  const { status, json } = await world.call('POST', '/v1/users/ann/login-token')
  assert.equal(status, 201)
  const body = JSON.stringify({ t: json.token })
  const use = (call: Call = {}) => world.ask('POST', `${LOGIN}/token`, { body, ...call })
  return { token: String(json.token), use }
}

const TOKEN_WRONG = [401, 'Invalid token. Please contact your administrator.']

test('section 3: of fifty logins with one token at once one succeeds, whose cookies work', async (t) => {
  const world = await trafficOpsWorld(t)
  const { use } = await withLoginToken(world)
  const answers = await Promise.all(Array.from({ length: 50 }, () => use()))
  const [first, ...more] = answers.filter(({ status }) => status === 200)
  assert.deepEqual([first?.alert, more], ['Successfully logged in.', []])
  for (const answer of answers) {
    if (answer === first) continue
    assert.deepEqual([answer.status, answer.alert, answer.cookies], [...TOKEN_WRONG, []])
  }
  for (const cookie of first?.cookies ?? []) {
    const headers = { cookie: cookie.split(';', 1)[0] ?? '' }
    assert.equal((await world.ask('GET', KEYS('own'), { headers })).status, 200, cookie)
  }
  assert.equal((await world.events(/^session\.opened$/)).length, 1)
})

test('section 3: guesses at tokens are refused by address, as those at passwords are', async (t) => {
  const world = await trafficOpsWorld(t, { RATE_LIMIT_LOGIN: '5/m' })
  const { use } = await withLoginToken(world)
  const guess = { body: JSON.stringify({ t: `krl_${'A'.repeat(43)}` }) }
  const flood = []
  for (let time = 0; time < 7; time++) flood.push(await use(guess))
  assert.deepEqual(
    flood.map(({ status }) => status),
    [401, 401, 401, 401, 401, 429, 429],
  )
  assert.match(flood.at(-1)?.alert ?? '', /^Rate limit exceeded\./)
  assert.match(String(flood.at(-1)?.headers['retry-after']), /^\d+$/)
  assert.equal((await use()).status, 429, 'the right one, too')
  const password = { body: credentials('ann', PASSWORD) }
  assert.equal((await world.ask('POST', LOGIN, password)).status, 429)
  assert.equal((await use({ from: '198.51.100.9' })).status, 200, 'it was not used up')
})

test('section 3: what a page of elsewhere sends, or is too large, or too early, uses no token up', async (t) => {
  const world = await trafficOpsWorld(t)
  const { use, token } = await withLoginToken(world)
  const elsewhere = await use({ headers: { origin: 'https://evil.example' } })
  assert.deepEqual([elsewhere.status, elsewhere.alert, elsewhere.cookies], [403, 'Forbidden.', []])
  const large = await use({ body: JSON.stringify({ t: token, more: 'x'.repeat(20_000) }) })
  assert.deepEqual([large.status, large.alert], [413, 'Request Entity Too Large'])
  const twice = await use({ body: `{"t":"${token}","t":"${token}"}` })
  assert.equal(twice.status, 400)
  await world.login('rob')
  const { store, clock } = world
  const sealed = await testServer(t, { store, clock, open: false })
  const payload = JSON.stringify({ t: token })
  const early = await sealed.app.inject({ method: 'POST', url: `${LOGIN}/token`, payload })
  assert.equal(early.statusCode, 503)
  assert.equal((await use()).status, 200)
})

test('section 3: after another password, role or tenant a token is void', async (t) => {
  const world = await trafficOpsWorld(t)
  for (const body of [
    { password: 'another horse battery staple' },
    { role: 'cdn-admin' },
    { tenant: 'rival' },
  ]) {
    const { use } = await withLoginToken(world)
    assert.equal((await world.call('PATCH', '/v1/users/ann', body)).status, 200)
    const { status, alert } = await use()
    assert.deepEqual([status, alert], TOKEN_WRONG, JSON.stringify(body))
  }
  const { use } = await withLoginToken(world)
  world.clock.advance('61m')
  assert.deepEqual([(await use()).status], [401], 'it has ended')
  const late = await withLoginToken(world)
  assert.equal((await world.call('DELETE', '/v1/users/ann')).status, 204)
  assert.equal((await late.use()).status, 401)
})

test('section 3: a body of a login is small, and its members are text', async (t) => {
  const world = await trafficOpsWorld(t)
  const big = await world.ask('POST', LOGIN, { body: credentials('ann', 'x'.repeat(20_000)) })
  assert.deepEqual([big.status, big.alert], [413, 'Request Entity Too Large'])
  for (const body of [
    '{"u":["ann"],"p":"x"}',
    '{"u":{"$ne":null},"p":{"$ne":null}}',
    '{"__proto__":{"u":"ann","p":"x"}}',
    '[]',
    '7',
  ]) {
    const answer = await world.ask('POST', LOGIN, { body })
    assert.deepEqual(
      [answer.status, answer.alert],
      [400, 'username and password are required'],
      body,
    )
  }
  const twice = await world.ask('POST', LOGIN, { body: '{"u":"rob","u":"ann","p":"x"}' })
  assert.equal(twice.status, 400)
  const nested = await world.ask('POST', LOGIN, { body: '['.repeat(5000) + ']'.repeat(5000) })
  assert.equal(nested.status, 400)
})

test('section 3: a cross-site form changes nothing, and no session is lengthened by it', async (t) => {
  const world = await trafficOpsWorld(t)
  const cookie = await world.login('ann')
  const before = documentOf()
  assert.equal(
    (await world.ask('PUT', KEYS('own'), { headers: { cookie }, body: before })).status,
    200,
  )
  for (const headers of [
    { origin: 'https://evil.example', 'content-type': 'text/plain' },
    { 'sec-fetch-site': 'cross-site', 'content-type': 'multipart/form-data; boundary=x' },
    { 'sec-fetch-site': 'same-site', origin: 'http://neighbour.example' },
    { origin: 'null', 'content-type': 'application/x-www-form-urlencoded' },
  ]) {
    const call = { headers: { cookie, ...headers }, body: documentOf('evil') }
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const { status, alert, cookies } = await world.ask(method, KEYS('own'), call)
      assert.deepEqual([status, alert, cookies], [403, 'Forbidden.', []], JSON.stringify(headers))
    }
  }
  assert.equal((await world.ask('GET', KEYS('own'), asManagement)).text, before)
  const [denied] = await world.events(/^access\.denied$/)
  assert.deepEqual([denied?.principal, denied?.subject], ['user:ann', 'same-site'])
})

test('section 3: after a logout no copy of the cookies works, and other sessions go on', async (t) => {
  const world = await trafficOpsWorld(t)
  const [first, second] = [await world.login('ann'), await world.login('ann')]
  assert.notEqual(first, second)
  const out = await world.ask('POST', '/api/4.0/user/logout/', { headers: { cookie: first } })
  assert.equal(out.alert, 'You are logged out.')
  for (const cookie of first.split('; ')) {
    assert.equal((await world.ask('GET', KEYS('own'), { headers: { cookie } })).status, 401, cookie)
  }
  assert.equal((await world.ask('GET', KEYS('own'), { headers: { cookie: second } })).status, 200)
})

test('section 3: after a password change no session of before works', async (t) => {
  const world = await trafficOpsWorld(t)
  const cookie = await world.login('ann')
  const password = 'another horse battery staple'
  const { status } = await world.call('PATCH', '/v1/users/ann', { password })
  assert.equal(status, 200)
  for (const one of cookie.split('; ')) {
    const answer = await world.ask('GET', KEYS('own'), { headers: { cookie: one } })
    assert.equal(answer.status, 401, one)
  }
  const old = await world.ask('POST', LOGIN, { body: credentials('ann', PASSWORD) })
  assert.equal(old.alert, 'Invalid username or password.')
  const fresh = await world.login('ann', password)
  assert.equal((await world.ask('GET', KEYS('own'), { headers: { cookie: fresh } })).status, 200)
})

test('section 4: a foreign tenant that probes for names learns them by default, and nothing when they are hidden', async (t) => {
  const open = await trafficOpsWorld(t)
  const hidden = await trafficOpsWorld(t, { HIDE_FOREIGN_SERVICES: 'true' })
  for (const [world, expected] of [
    [open, [400, "no such deliveryservice: 'nothing'"]],
    [hidden, [403, 'Forbidden']],
  ] as const) {
    const headers = { cookie: await world.login('ann') }
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      const none = await world.ask(method, KEYS('nothing'), { headers, body: documentOf() })
      assert.deepEqual([none.status, none.alert], expected, method)
      const foreign = await world.ask(method, KEYS('foreign'), { headers, body: documentOf() })
      assert.deepEqual([foreign.status, foreign.alert], [403, 'Forbidden'], method)
    }
  }
})

test('section 3: a cookie of this surface counts nowhere else, however the path is written', async (t) => {
  const world = await trafficOpsWorld(t)
  const headers = { cookie: await world.login('ann') }
  for (const path of [
    '/v1/users',
    '/v1/operator/keyring/keys',
    '/api/v1/identities',
    '/api/5.0/../../v1/users',
    '/api/5.0/..%2f..%2fv1/users',
    '//v1/users',
  ]) {
    const { status } = await world.ask('GET', path, { headers })
    assert.ok([401, 403, 404].includes(status), `${path}: ${status}`)
  }
})

test('section 3: a token of an identity is no credential here', async (t) => {
  const world = await trafficOpsWorld(t)
  const body = { name: 'ci', organizationId: 'any', role: 'admin' }
  const made = await world.call('POST', '/api/v1/identities', body)
  const identityId = made.json.identity.id
  await world.call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] })
  const source = {
    configurationType: 'jwks',
    jwksUrl: 'ring:ci',
    boundSubject: 'job',
    boundClaims: {},
  }
  await world.call('POST', `/api/v1/auth/jwt-auth/identities/${identityId}`, source)
  const claims = { sub: 'job', aud: 'any' }
  const jwt = (await world.call('POST', '/v1/rings/ci/sign', { claims, ttl: '5m' })).json.token
  const login = await world.call('POST', '/api/v1/auth/jwt-auth/login', { identityId, jwt })
  const token = login.json.accessToken
  assert.ok(token, JSON.stringify([made.json, login.json]))
  const { status, alert } = await world.ask('GET', KEYS('own'), { token })
  assert.deepEqual([status, alert], [401, 'unauthorized, please log in.'])
  const cookie = `access_token=${token}`
  assert.equal((await world.ask('GET', KEYS('own'), { headers: { cookie } })).status, 401)
})

test('section 5: no key material, password or cookie is in a log line or an audit record', async (t) => {
  const world = await trafficOpsWorld(t)
  const { token, use } = await withLoginToken(world)
  const byToken = (await use()).cookies.map((one) => one.split(';', 1)[0] ?? '')
  assert.equal(byToken.length, 2)
  const cookie = await world.login('ann')
  const headers = { cookie }
  const body = documentOf()
  for (const method of ['PUT', 'GET', 'DELETE']) {
    assert.equal((await world.ask(method, KEYS('own'), { headers, body })).status, 200)
  }
  await world.ask('POST', LOGIN, { body: `{"u":"ann","p":"${PASSWORD}` })
  await world.ask('POST', LOGIN, { body: credentials('ann', 'hunter2hunter2') })
  const rows = await world.store.read.audit.list(0n, 10_000)
  const record = JSON.stringify(rows, (_, value) =>
    typeof value === 'bigint' ? `${value}` : value,
  )
  for (const text of [record, world.log.join('\n')]) {
    for (const secret of [
      JSON.parse(body)['studio-a'].keys[0].k,
      PASSWORD,
      'hunter2',
      ...[token, token.slice(4), ...byToken],
      ...cookie.split('; '),
    ]) {
      assert.ok(!text.includes(secret), secret)
    }
  }
})

test('section 5: reads, writes and deletes are on record, by whom', async (t) => {
  const world = await trafficOpsWorld(t)
  const headers = { cookie: await world.login('ann') }
  for (const [method, body] of [
    ['PUT', documentOf()],
    ['GET', undefined],
    ['DELETE', undefined],
  ] as const) {
    await world.ask(method, KEYS('own'), { headers, ...(body !== undefined && { body }) })
  }
  const events = await world.events(/^uri-keys\./)
  assert.deepEqual(
    events.map(({ type, subject, principal }) => [type, subject, principal]),
    ['stored', 'read', 'removed'].map((what) => [`uri-keys.${what}`, 'own', 'user:ann']),
  )
})

test('section 3: the secret that signs cookies is sealed, made once, and outlives a restart and a rotation', async (t) => {
  const world = await trafficOpsWorld(t)
  const cookies = await Promise.all([world.login('ann'), world.login('rob')])
  const row = await world.store.read.serverSecrets.byName('traffic-ops-sessions')
  assert.ok(row && row.valueSealed.length > 32)
  const rotated = await world.call('POST', '/v1/rings/default/rotate', {
    ...{ full: true, force: true, reason: 'test' },
  })
  assert.equal(rotated.status, 200)
  await world.keyring.reseal.settled()
  const after = await world.store.read.serverSecrets.byName('traffic-ops-sessions')
  assert.notEqual(after?.rootKid, row.rootKid)
  const { store, clock } = world
  const next = await testServer(t, { store, clock, settings: { ROOT_KEY_ALGORITHM: 'ES256' } })
  for (const [at, cookie] of cookies.entries()) {
    const url = KEYS(at === 0 ? 'own' : 'foreign')
    for (const one of cookie.split('; ')) {
      const { statusCode } = await next.app.inject({ url, headers: { cookie: one } })
      assert.equal(statusCode, 200, one)
    }
  }
})

test('section 3: cookies are Secure where a trusted proxy says that the client speaks TLS', async (t) => {
  const world = await trafficOpsWorld(t, { TRUSTED_PROXIES: ADDRESS })
  const call = { body: credentials('ann', PASSWORD) }
  const secure = async (headers: Record<string, string>, from = ADDRESS) => {
    const { status, cookies } = await world.ask('POST', LOGIN, { ...call, headers, from })
    assert.equal(status, 200)
    return cookies.every((cookie) => cookie.endsWith('; Secure'))
  }
  assert.equal(await secure({ 'x-forwarded-proto': 'https' }), true)
  assert.equal(await secure({}), false)
  assert.equal(await secure({ 'x-forwarded-proto': 'https' }, '198.51.100.9'), false)
})

test('section 4: a right that goes while the body arrives is no right', async (t) => {
  const world = await trafficOpsWorld(t)
  const grants = ['DS-SECURITY-KEY:UPDATE', 'DS-SECURITY-KEY:CREATE']
  const made = await world.call('POST', '/v1/api-tokens', { name: 'slow', grants })
  await world.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = world.app.server.address() as AddressInfo
  const what = { path: KEYS('own'), token: made.json.token, body: JSON.parse(documentOf()) }
  const status = await postSlowly(t, port, what, () => world.call('DELETE', '/v1/api-tokens/slow'))
  assert.equal(status, 401)
  assert.equal((await world.ask('GET', KEYS('own'), asManagement)).headers['etag'], undefined)
})

test('section 3: X-Nomad-Token carries an API token here, too, and counts before a cookie', async (t) => {
  const world = await trafficOpsWorld(t)
  const headers = { 'x-nomad-token': MANAGEMENT_TOKEN }
  assert.equal((await world.ask('GET', KEYS('foreign'), { headers })).status, 200)
  const cookie = await world.login('ann')
  const wrong = { cookie, 'x-nomad-token': 'krd_wrong' }
  assert.equal((await world.ask('GET', KEYS('own'), { headers: wrong })).status, 401)
})
