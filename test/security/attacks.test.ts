import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { signCompact, thumbprint, toPublicJwk } from '../../src/core/index.ts'
import { onDisk } from '../keyring/on-disk.ts'
import { postSlowly } from '../loopback.ts'
import { MANAGEMENT_TOKEN, type TestServer, testServer } from '../server.ts'

// What an attacker tried, and what has to come of it (docs/threat-model.md).

const SETTINGS = { ROOT_KEY_ALGORITHM: 'ES256' }

async function tokenWith(server: TestServer, name: string, grants: string[]): Promise<string> {
  const { status, json } = await server.call('POST', '/v1/api-tokens', { name, grants })
  assert.equal(status, 201)
  return json.token
}

/** Sends the head, runs `meanwhile` once the server has read it, then sends the body; the status. */
async function slowly(
  t: TestContext,
  server: TestServer,
  what: { path: string; token: string; body: unknown },
  meanwhile: () => Promise<unknown>,
): Promise<number | undefined> {
  await server.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.app.server.address() as AddressInfo
  return postSlowly(t, port, what, meanwhile)
}

for (const [how, meanwhile] of [
  ['deleted', (server: TestServer) => server.call('DELETE', '/v1/api-tokens/stolen')],
  ['expired', async (server: TestServer) => server.clock.advance('2h')],
] as const) {
  test(`a token that is ${how} while its request arrives makes no other token`, async (t) => {
    const server = await testServer(t, { settings: SETTINGS })
    const grants = ['access-manage']
    const made = await server.call('POST', '/v1/api-tokens', { name: 'stolen', grants, ttl: '1h' })
    const what = { path: '/v1/api-tokens', token: made.json.token, body: { name: 'heir', grants } }
    assert.equal(await slowly(t, server, what, () => meanwhile(server)), 401)
    assert.equal((await server.call('GET', '/v1/api-tokens/heir')).status, 404)
  })
}

test('a slow request whose token keeps its rights is answered', async (t) => {
  const server = await testServer(t, { settings: SETTINGS })
  const token = await tokenWith(server, 'patient', ['access-manage'])
  const what = { path: '/v1/api-tokens', token, body: { name: 'other' } }
  assert.equal(await slowly(t, server, what, async () => undefined), 201)
})

test('no ring takes over the path, or another spelling, of somebody else’s issuer', async (t) => {
  const OIDC_ISSUER = 'https://id.example/team'
  const server = await testServer(t, { settings: { ...SETTINGS, OIDC_ISSUER } })
  const path = '/team/.well-known/jwks.json'
  const before = (await server.app.inject(path)).body
  const make = (name: string, issuer: string) =>
    server.call('POST', '/v1/rings', { name, algorithms: ['ES256'], issuer })
  for (const issuer of [
    'https://id.example/team/',
    'https://ID.example:443/team',
    'https://elsewhere.example/team',
    'https://elsewhere.example/team//',
    'https://id.example/team/rings/audit/',
  ]) {
    const { status, json } = await make('thief', issuer)
    assert.deepEqual([status, json.code], [409, 'name_taken'], issuer)
  }
  assert.equal((await server.app.inject(path)).body, before)
  assert.equal((await make('other', 'https://id.example/teams')).status, 201)
  assert.equal((await make('plain', 'https://plain.example')).status, 201)
  assert.equal((await make('plain2', 'https://plain2.example/')).status, 201)
})

test('the check of a bearer refuses a query it does not know, such as a misspelt aud', async (t) => {
  const server = await testServer(t, { settings: SETTINGS, issuer: 'https://id.example' })
  const asked = { claims: { sub: 'ann', aud: 'billing' }, ttl: '15m' }
  const { json } = await server.call('POST', '/v1/rings/default/sign', asked)
  const check = async (query: string) => {
    const headers = { authorization: `Bearer ${json.token}` }
    return (await server.app.inject({ url: `/v1/rings/default/auth${query}`, headers })).statusCode
  }
  assert.equal(await check('?aud=billing'), 200)
  for (const query of ['?aud=admin', '?aud=']) assert.equal(await check(query), 401)
  for (const query of ['?audience=admin', '?AUD=admin', '?aud=admin&aud=billing']) {
    assert.equal(await check(query), 422, query)
  }
})

test('who may rotate one ring cannot fill its set with keys that wait', async (t) => {
  const server = await testServer(t, { settings: SETTINGS })
  await server.call('POST', '/v1/rings', { name: 'x', algorithms: ['ES256'] })
  const token = await tokenWith(server, 'rotator', ['keyring-rotate@ring:x'])
  const statuses = new Set<number>()
  for (let round = 0; round < 40; round++) {
    const answer = await server.app.inject({
      ...{ method: 'POST', url: '/v1/rings/x/rotate' },
      headers: { authorization: `Bearer ${token}` },
      payload: { activateAt: '2200-01-01T00:00:00Z' },
    })
    statuses.add(answer.statusCode)
  }
  assert.deepEqual([...statuses], [200, 409])
  const { keys } = (await server.app.inject('/rings/x/.well-known/jwks.json')).json()
  assert.ok(keys.length < 40)
})

test('patterns that visit many states are not run over audiences without end', async (t) => {
  const server = await testServer(t, { settings: SETTINGS })
  const aud = Array.from({ length: 100 }, () => '*a'.repeat(512))
  await server.call('PUT', '/v1/rings/default/profiles/slow', { sub: '*', aud, maxTtl: '5m' })
  const sign = (audience: string | string[]) => ({
    ...{ claims: { sub: 'x', aud: audience }, ttl: '1m', profile: 'slow' },
  })
  const url = '/v1/rings/default/sign'
  // Either would be served last of all: each needs 10¹¹ steps.
  for (const audience of ['a'.repeat(4095), Array.from({ length: 200 }, () => 'a'.repeat(4000))]) {
    const { status, json } = await server.call('POST', url, sign(audience))
    assert.deepEqual([status, json.code], [403, 'profile_violation'])
    assert.match(json.detail, /too long/)
  }
})

test('a long batch lets others be served in between', async (t) => {
  const server = await testServer(t, { settings: SETTINGS })
  const batch = Array.from({ length: 100 }, () => ({ claims: { sub: 'x' }, ttl: '1m' }))
  let turns = 0
  const count = (): void => {
    turns++
    turn = setImmediate(count)
  }
  let turn = setImmediate(count)
  t.after(() => clearImmediate(turn))
  const { status } = await server.call('POST', '/v1/rings/default/sign', { batch })
  assert.equal(status, 200)
  assert.ok(turns > 20, `${turns} turns`)
})

test('a key that somebody wrote into the database verifies nothing, before unsealing or after', async (t) => {
  const disk = onDisk(t)
  const issuer = 'https://id.example'
  const kid = '99999999-0000-4000-8000-000000000000'
  await (await disk.start({ issuer })).call('GET', '/v1/status')
  await disk.stop()
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = toPublicJwk(publicKey.export({ format: 'jwk' }), 'ES256', kid)
  const print = thumbprint(jwk)
  disk.sql("insert into kid_history values (?, ?, 'audit', 'ES256', 1)", kid, print)
  disk.sql(
    `insert into keys select ?, ring_id, alg, 'retired', 0, 1, 0, ?, ?, origin, null, null, null, root_kid, mac,
       created_at, absent_until, planned_at, published_at, activated_at, 1, null, null, 0, 0
     from keys where ring_id = 'audit' and state = 'active'`,
    ...[kid, JSON.stringify(jwk), print],
  )
  const exp = Number(disk.clock.now() / 1_000_000_000n) + 600
  const claims = { iss: `${issuer}/rings/audit`, sub: 'mallory', exp }
  const token = await signCompact({ kid, alg: 'ES256', key: privateKey }, { typ: 'JWT' }, claims)
  for (const [open, status] of [[false, 503] as const, [true, 401] as const]) {
    const server = await disk.start({ issuer, open })
    const headers = { authorization: `Bearer ${token}` }
    const answer = await server.app.inject({ url: '/v1/rings/audit/auth', headers })
    assert.equal(answer.statusCode, status)
    await disk.stop()
  }
})

test('a token that ends cannot make one that outlives it', async (t) => {
  const server = await testServer(t)
  const body = { name: 'short', grants: ['access-manage', 'keyring-read'], ttl: '1h' }
  const made = await server.call('POST', '/v1/api-tokens', body)
  const child = async (ttl: string | undefined) => {
    const answer = await server.app.inject({
      method: 'POST',
      url: '/v1/api-tokens',
      headers: { authorization: `Bearer ${made.json.token}` },
      payload: { name: `child-${ttl}`, grants: ['keyring-read'], ...(ttl && { ttl }) },
    })
    return `${answer.statusCode} ${answer.json().code ?? ''}`
  }
  assert.equal(await child(undefined), '403 privilege_boundary')
  assert.equal(await child('61m'), '403 privilege_boundary')
  assert.equal(await child('59m'), '201 ')
})

test('many small steps of the wall clock are one jump', async (t) => {
  const server = await testServer(t)
  for (let step = 0; step < 10; step++) {
    server.clock.jump('30s')
    await server.call('POST', '/v1/rings/default/rotate', { dryRun: true })
    server.clock.advance('1s')
    await server.keyring.scheduler.tick()
  }
  const { json } = await server.call('GET', '/v1/status')
  assert.ok(json.clockJump.byMs > 60_000, JSON.stringify(json.clockJump))
})

test('a ring without issuer takes no token that names one', async (t) => {
  const server = await testServer(t)
  const profile = { iss: 'https://elsewhere.example', sub: '*', maxTtl: '1h' }
  await server.call('PUT', '/v1/rings/default/profiles/foreign', profile)
  const request = { claims: { sub: 'a' }, ttl: '5m', profile: 'foreign' }
  const { json } = await server.call('POST', '/v1/rings/default/sign', request)
  const asked = { token: json.token, with: { ring: 'default' } }
  assert.equal((await server.call('POST', '/v1/verify', asked)).json.valid, false)
  const named = { ...asked, issuer: 'https://elsewhere.example' }
  assert.equal((await server.call('POST', '/v1/verify', named)).json.valid, true)
})

test('numbers that would be signed as something else are refused', async (t) => {
  const { app } = await testServer(t)
  const sign = (claims: string) =>
    app.inject({
      method: 'POST',
      url: '/v1/rings/default/sign',
      headers: { authorization: `Bearer ${MANAGEMENT_TOKEN}`, 'content-type': 'application/json' },
      payload: `{"ttl":"5m","claims":${claims}}`,
    })
  for (const claims of ['{"x":1e999}', '{"x":[{"y":9007199254740993}]}', '{"x":-1e999}']) {
    const answer = await sign(claims)
    assert.equal(answer.statusCode, 422, claims)
    assert.match(answer.json().detail, /beyond 2\^53/)
  }
  assert.equal((await sign('{"x":9007199254740991,"y":0.1,"z":-5}')).statusCode, 200)
})
