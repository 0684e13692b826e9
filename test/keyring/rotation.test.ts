import assert from 'node:assert/strict'
import test from 'node:test'
import { type TestServer, testServer } from '../server.ts'
import { callerWith } from './callers.ts'

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }
const FORCE = { force: true, reason: 'test' }

const rotate = ({ call }: TestServer, body: unknown = {}, ring = 'default') =>
  call('POST', `/v1/rings/${ring}/rotate`, body)

interface Row {
  kid: string
  alg: string
  state: string
  standby: boolean
}

const keysOf = async ({ call }: TestServer, ring = 'default'): Promise<Row[]> =>
  (await call('GET', `/v1/rings/${ring}/keys`)).json.keys

/** The algorithms of the keys in a state, sorted. */
const algsOf = (keys: Row[], state: string) =>
  keys.flatMap((key) => (key.state === state ? [key.alg] : [])).sort()

async function assertWhole(server: TestServer, ring: string, algorithms: string[]): Promise<void> {
  const keys = await keysOf(server, ring)
  assert.deepEqual(algsOf(keys, 'active'), algorithms.toSorted())
  assert.deepEqual(
    keys.flatMap(({ standby, alg }) => (standby ? [alg] : [])).sort(),
    algorithms.toSorted(),
  )
}

test('twenty rotations at once leave one active key and one standby, and each named one was active', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const algorithms = ['ES256', 'EdDSA']
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms })
  for (const [ring, lanes] of [
    ['default', ['ES256']],
    ['ring', algorithms],
  ] as const) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => rotate(server, FORCE, ring)))
    const named = answers.flatMap(({ status, json }) => {
      assert.equal(status, 200, JSON.stringify(json))
      assert.deepEqual(algsOf(json.keys, 'active'), [...lanes].sort())
      return json.keys.map(({ kid }: Row) => kid)
    })
    assert.equal(new Set(named).size, 20 * lanes.length)
    await assertWhole(server, ring, [...lanes])
    const retired = (await keysOf(server, ring)).filter(({ state }) => state === 'retired')
    assert.equal(retired.length, 20 * lanes.length)
    const activated = server.store.read.keys.ofRing(server.keyring.ringView(ring).ring.id)
    for (const { kid, activatedAt } of await activated) {
      assert.equal(
        activatedAt !== undefined,
        named.includes(kid) || retired.some((row) => row.kid === kid),
      )
    }
  }
})

test('rotations that are not forced: the first wins, the others are told when it is safe', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const answers = await Promise.all(Array.from({ length: 8 }, () => rotate(server)))
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(7).fill(409)])
  for (const { status, json } of answers) {
    if (status === 200) continue
    assert.equal(json.code, 'activation_unsafe')
    assert.equal(Date.parse(json.safeAt), Number(server.clock.now() / 1_000_000n) + 86_460_000)
  }
  await assertWhole(server, 'default', ['ES256'])
})

test('rotate, delete, schedule, full and ticks in any mixture leave every lane whole', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256', 'EdDSA'] })
  const work: Promise<unknown>[] = []
  for (let round = 0; round < 6; round++) {
    for (const ring of ['default', 'ring']) {
      work.push(rotate(server, FORCE, ring))
      work.push(rotate(server, { activateAt: '2027-01-01T00:00:00Z' }, ring))
      for (const { kid } of await keysOf(server, ring)) {
        work.push(server.call('DELETE', `/v1/rings/${ring}/keys/${kid}`))
      }
    }
    work.push(server.call('PUT', '/v1/operator/keyring/rotate?full'))
    work.push(server.keyring.scheduler.tick())
    server.clock.advance('6m')
  }
  await Promise.all(work)
  await server.tick()
  await assertWhole(server, 'default', ['ES256'])
  await assertWhole(server, 'ring', ['ES256', 'EdDSA'])
  await server.keyring.reseal.settled()
  const { status, json } = await server.call('GET', '/readyz')
  assert.equal(status, 200, JSON.stringify(json))
})

test('a ring of several algorithms rotates all of them, or one', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const algorithms = ['ES256', 'EdDSA', 'ML-DSA-44']
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms })
  await assertWhole(server, 'ring', algorithms)
  const one = await rotate(server, { algorithm: 'EdDSA' }, 'ring')
  assert.deepEqual(
    one.json.keys.map(({ alg }: Row) => alg),
    ['EdDSA'],
  )
  assert.deepEqual(algsOf(await keysOf(server, 'ring'), 'retired'), ['EdDSA'])
  // One lane is not safe: then none rotates.
  assert.equal((await rotate(server, {}, 'ring')).json.code, 'activation_unsafe')
  assert.deepEqual(algsOf(await keysOf(server, 'ring'), 'retired'), ['EdDSA'])
  const all = await rotate(server, FORCE, 'ring')
  assert.deepEqual(algsOf(all.json.keys, 'active'), algorithms.toSorted())
  await assertWhole(server, 'ring', algorithms)
  assert.equal(
    (await rotate(server, { algorithm: 'RS256' }, 'ring')).json.code,
    'algorithm_unavailable',
  )
})

test('twenty rings of one name: one is made', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const make = (over: object) =>
    server.call('POST', '/v1/rings', { algorithms: ['ES256'], ...over })
  const same = await Promise.all(Array.from({ length: 20 }, () => make({ name: 'ring' })))
  assert.deepEqual(same.map(({ status }) => status).sort(), [201, ...Array(19).fill(409)])
  assert.ok(same.every(({ status, json }) => status === 201 || json.code === 'name_taken'))

  const issuer = 'https://one.example'
  const shared = await Promise.all(
    Array.from({ length: 5 }, (_, index) => make({ name: `ring-${index}`, issuer })),
  )
  assert.deepEqual(shared.map(({ status }) => status).sort(), [201, 409, 409, 409, 409])
  assert.equal((await make({ name: 'default' })).status, 409)
  assert.equal((await server.call('GET', '/v1/rings')).json.rings.length, 5)
})

test("a ring is somebody else's issuer neither by name nor by choice", async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: 'https://id.example' })
  const make = (over: object) =>
    server.call('POST', '/v1/rings', { algorithms: ['ES256'], ...over })
  for (const issuer of ['https://id.example', 'https://id.example/rings/access']) {
    assert.equal((await make({ name: 'ring', issuer })).json.code, 'name_taken')
  }
  assert.equal((await make({ name: 'a', issuer: 'https://id.example/rings/b' })).status, 201)
  assert.equal((await make({ name: 'b' })).json.code, 'name_taken')
})

test('times and spans that no clock reaches are refused, not stored', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const make = (over: object) =>
    server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256'], ...over })
  for (const rotationThreshold of ['25h', '1s', '2562047h', '876001h']) {
    const { status, json } = await make({ rotationThreshold })
    assert.equal(`${status} ${json.code}`, '422 invalid_request', rotationThreshold)
  }
  assert.equal((await make({ rotationThreshold: '720h', jwksMaxAge: '1000h' })).status, 422)
  for (const activateAt of ['9999-12-31T23:59:59Z', '0001-01-01T00:00:00Z', 'soon', '']) {
    const { status, json } = await rotate(server, { activateAt })
    assert.equal(`${status} ${json.code}`, '422 invalid_request', activateAt)
  }
  assert.equal((await make({ rotationThreshold: '876000h' })).status, 201)
  assert.equal((await rotate(server, FORCE, 'ring')).status, 200)
  await server.tick()
  assert.equal((await server.call('GET', '/v1/rings/ring/plan')).status, 200)
})

test('a time in the past is refused, the epoch included, and nothing is published', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const before = await keysOf(server)
  for (const at of ['1970-01-01T00:00:00Z', '1960-01-01T00:00:00Z', '2025-01-01T00:00:00Z']) {
    const { status, json } = await rotate(server, { activateAt: at })
    assert.equal(status, 422)
    assert.equal(json.detail, 'activateAt lies in the past')
  }
  assert.deepEqual(await keysOf(server), before)
})

test('a key that the Nomad wire schedules for the past waits until it is safe', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const active = async () => (await keysOf(server)).find(({ state }) => state === 'active')?.kid
  const before = await active()
  const url = '/v1/operator/keyring/rotate?publish_time=-5'
  const { status, json } = await server.call('PUT', url)
  assert.equal(status, 200)
  await server.tick()
  assert.equal(await active(), before)
  server.clock.advance('25h')
  await server.tick()
  assert.equal(await active(), json.Key.KeyID)
  await assertWhole(server, 'default', ['ES256'])
})

test('a dry run says what would happen and does nothing', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const before = await keysOf(server)
  const index = server.keyring.view.index()
  const { status, json } = await rotate(server, { dryRun: true })
  assert.equal(status, 200)
  const standby = before.find((key) => key.standby)?.kid
  assert.partialDeepStrictEqual(json.keys, [{ kid: standby, state: 'active' }])
  assert.ok(json.plan.some(({ step }: { step: string }) => step === 'withdraw'))
  assert.deepEqual(await keysOf(server), before)
  assert.equal(server.keyring.view.index(), index)
  assert.equal((await rotate(server)).status, 200)
  assert.equal((await rotate(server, { dryRun: true })).json.code, 'activation_unsafe')
})

test('contradictions and missing reasons are refused', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256'] })
  const cases: [unknown, string, string][] = [
    [{ force: true }, 'default', 'invalid_request'],
    [{ full: true, activateAt: '2030-01-01T00:00:00Z' }, 'default', 'key_conflict'],
    [{ full: true }, 'ring', 'invalid_request'],
    [{}, 'unknown', 'ring_not_found'],
    [{ algorithm: 'ES384' }, 'default', 'algorithm_unavailable'],
  ]
  for (const [body, ring, code] of cases)
    assert.equal((await rotate(server, body, ring)).json.code, code)
  const caller = await callerWith(server, 'caller', ['keyring-rotate@ring:ring'])
  assert.equal((await caller('POST', '/v1/rings/default/rotate', {})).status, 403)
  assert.equal((await caller('POST', '/v1/rings/ring/rotate', {})).status, 200)
  for (const ring of ['access', 'audit']) assert.equal((await rotate(server, {}, ring)).status, 200)
})

test('deleting: not the active one, not one with open promises; a standby is replaced', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const body = { claims: { sub: 'a' }, ttl: '1h' }
  const { kid } = (await server.call('POST', '/v1/rings/default/sign', body)).json
  const remove = (one: string, ring = 'default') =>
    server.call('DELETE', `/v1/rings/${ring}/keys/${one}`)
  assert.equal((await remove(kid)).json.code, 'key_active')
  assert.equal((await remove(kid, 'access')).json.code, 'key_not_found')
  assert.equal((await remove('unknown')).json.code, 'key_not_found')
  assert.equal((await remove(kid, 'unknown')).json.code, 'ring_not_found')
  assert.equal((await rotate(server)).status, 200)
  await server.keyring.reseal.settled()
  const used = await remove(kid)
  assert.equal(used.json.code, 'key_in_use')
  const now = Number(server.clock.now() / 1_000_000_000n)
  // One hour, the step of the promise, and the leeway of a verifier.
  assert.deepEqual(used.json.blockedBy, {
    promisesUntil: new Date((now + 3600 + 600 + 60) * 1000).toISOString(),
  })
  server.clock.advance('71m')
  assert.equal((await remove(kid)).status, 204)
  assert.equal((await remove(kid)).status, 404)

  const [standby] = (await keysOf(server)).filter((key) => key.standby)
  assert.equal((await remove(standby?.kid ?? '')).status, 204)
  await assertWhole(server, 'default', ['ES256'])
  assert.equal(
    (await rotate(server)).json.code,
    'activation_unsafe',
    'nobody knows the new one yet',
  )
})

test('a switch from nomad to safe mode gives every lane its standby, a due key in the way or not', async (t) => {
  const nomad = await testServer(t, { settings: { ...FAST, ROTATION_MODE: 'nomad' } })
  const scheduled = await nomad.call('PUT', '/v1/operator/keyring/rotate?publish_time=1')
  assert.equal(scheduled.status, 200)
  await nomad.close()
  const { store, clock } = nomad
  const server = await testServer(t, { store, clock, settings: FAST })
  clock.advance('100h')
  assert.equal((await rotate(server)).json.code, 'activation_unsafe')
  await assertWhole(server, 'default', ['ES256'])
  await server.tick()
  const active = (await keysOf(server)).find(({ state }) => state === 'active')
  assert.equal(active?.kid, scheduled.json.Key.KeyID)
  await assertWhole(server, 'default', ['ES256'])
})
