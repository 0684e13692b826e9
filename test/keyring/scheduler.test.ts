import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { createClockWatch, createConfirmation } from '../../src/keyring/scheduler.ts'
import { HOUR, MINUTE, SECOND } from '../../src/time.ts'
import { type TestServer, testServer } from '../server.ts'
import { onDisk } from './on-disk.ts'

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }

const signer = async ({ call }: TestServer, ring = 'default'): Promise<string> => {
  const body = { claims: { sub: 'a' }, ttl: '1h' }
  const { status, json } = await call('POST', `/v1/rings/${ring}/sign`, body)
  assert.equal(status, 200, JSON.stringify(json))
  return json.kid
}

interface KeyDocument {
  kid: string
  alg: string
  state: string
  standby: boolean
  published: boolean
  safeToActivateAt: string | null
}

const keysOf = async ({ call }: TestServer, ring = 'default'): Promise<KeyDocument[]> =>
  (await call('GET', `/v1/rings/${ring}/keys`)).json.keys

/** One look of the timer, now. */
const look = ({ keyring }: TestServer) => keyring.scheduler.tick()

async function restart(t: TestContext, server: TestServer, settings: Record<string, string> = {}) {
  await server.close()
  const { store, clock } = server
  return testServer(t, { store, clock, settings: { ...FAST, ...settings } })
}

test('a step is confirmed when it was due a whole interval ago as well', () => {
  const promote = (kid: string) => ({ do: 'promote' as const, kid, at: 0n })
  const { confirmed } = createConfirmation(10n * MINUTE)
  const at = (minutes: number, ...kids: string[]) =>
    confirmed(kids.map(promote), BigInt(minutes) * MINUTE).map((step) => 'kid' in step && step.kid)
  assert.deepEqual(at(0, 'a'), [])
  assert.deepEqual(at(5, 'a', 'b'), [])
  assert.deepEqual(at(10, 'a', 'b'), ['a'])
  assert.deepEqual(at(15, 'b'), ['b'])
  assert.deepEqual(at(20), [])
  assert.deepEqual(at(25, 'a', 'b'), [], 'what was not due in between begins anew')
  assert.deepEqual(at(34, 'a', 'b'), ['a', 'b'], 'timers fire a little early')
})

test('a difference between the two clocks is a jump until it is confirmed or undone', () => {
  const watch = createClockWatch(5n * SECOND)
  assert.equal(watch.look(0n, 0n), undefined)
  assert.equal(watch.look(10n * MINUTE + 4n * SECOND, 10n * MINUTE), undefined, 'slewed')
  const by = watch.look(2n * HOUR, 20n * MINUTE)?.by ?? 0n
  assert.ok(by > 100n * MINUTE - SECOND && by <= 100n * MINUTE, 'what was slewed before counts')
  assert.ok(watch.look(2n * HOUR + MINUTE, 21n * MINUTE), 'it does not go away by itself')
  assert.equal(watch.look(22n * MINUTE, 22n * MINUTE), undefined, 'back where it was')
  assert.ok(watch.look(0n, 23n * MINUTE)?.by, 'backwards')
  assert.ok(watch.look(HOUR, 24n * MINUTE), 'too far forward again')
  watch.confirm()
  assert.equal(watch.look(HOUR + MINUTE, 25n * MINUTE), undefined)

  const other = createClockWatch(5n * SECOND)
  other.behind(100n * SECOND, 104n * SECOND)
  assert.equal(other.jump(), undefined)
  other.behind(100n * SECOND, 106n * SECOND)
  assert.equal(other.jump()?.by, -6n * SECOND)
  other.restore({ seenAt: 0n, by: 1n })
  assert.equal(other.jump()?.by, -6n * SECOND)
  other.confirm()
  other.restore({ seenAt: 0n, by: HOUR })
  assert.equal(other.jump()?.by, HOUR)
})

test('small differences add up, but for one tolerance a day', () => {
  const day = 24n * HOUR
  const slow = createClockWatch(5n * SECOND)
  for (let at = 0n; at < 100n; at++) {
    assert.equal(slow.look(at * (day + 4n * SECOND), at * day), undefined, `day ${at}`)
  }
  const fast = createClockWatch(5n * SECOND)
  const looks = [0n, 1n, 2n].map((at) => fast.look(at * (MINUTE + 4n * SECOND), at * MINUTE))
  assert.deepEqual([looks[0], looks[1]], [undefined, undefined])
  const by = looks[2]?.by ?? 0n
  assert.ok(by > 7n * SECOND && by <= 8n * SECOND)
})

test('a promotion happens at the second look after its time, an interval apart', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  await look(server)
  server.clock.advance('720h')
  await look(server)
  assert.equal(await signer(server), first, 'seen once')
  server.clock.advance('1m')
  await look(server)
  assert.equal(await signer(server), first, 'two looks in a row are one')
  server.clock.advance('8m')
  await look(server)
  assert.notEqual(await signer(server), first)
  const states = (await keysOf(server)).map(({ state, standby }) => [state, standby])
  assert.deepEqual(states.sort(), [
    ['active', false],
    ['next', true],
    ['retired', false],
  ])
})

const jumps = ({ call }: TestServer) =>
  call('GET', '/v1/status').then(({ json }) => json.clockJump?.byMs ?? null)

const confirm = async ({ call }: TestServer) => {
  const { status } = await call('POST', '/v1/clock/confirm', { reason: 'checked' })
  assert.equal(status, 204)
}

test('a clock that jumps forward freezes what cannot be undone until it is confirmed', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  await server.tick()
  server.clock.jump('960h')
  await server.tick()
  await server.tick()
  assert.equal(await jumps(server), 960 * 3_600_000)
  assert.equal(await signer(server), first)
  const refused = await server.call('POST', '/v1/rings/default/rotate')
  assert.equal(`${refused.status} ${refused.json.code}`, '409 clock_jumped')
  const dry = await server.call('POST', '/v1/rings/default/rotate', { dryRun: true })
  assert.equal(dry.status, 200)
  await confirm(server)
  assert.equal(await jumps(server), null)
  await server.tick()
  assert.notEqual(await signer(server), first)
})

test('a jump is noticed between two looks, and no promise counts as over meanwhile', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  assert.equal((await server.call('POST', '/v1/rings/default/rotate')).status, 200)
  await server.keyring.reseal.settled()
  server.clock.jump('960h')
  const remove = () => server.call('DELETE', `/v1/rings/default/keys/${first}`)
  const inUse = (await remove()).json
  assert.equal(inUse.code, 'key_in_use')
  assert.deepEqual(Object.keys(inUse.blockedBy), ['promisesUntil'])
  const refused = await server.call('POST', '/v1/rings/default/rotate')
  assert.equal(refused.json.code, 'clock_jumped')
  await confirm(server)
  assert.equal((await remove()).status, 204)
  // The standby has been shown for moments only, whatever the wall clock says.
  const unsafe = await server.call('POST', '/v1/rings/default/rotate')
  assert.equal(unsafe.json.code, 'activation_unsafe')
  const forced = { force: true, reason: 'test' }
  assert.equal((await server.call('POST', '/v1/rings/default/rotate', forced)).status, 200)
})

test('a clock that comes back to where it was is as good as new', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  await server.tick()
  server.clock.jump('960h')
  await server.tick()
  server.clock.jump('-960h')
  await server.tick()
  assert.equal(await jumps(server), null)
  assert.equal(await signer(server), first)
  server.clock.advance('720h')
  await server.tick()
  assert.notEqual(await signer(server), first)
})

test('a clock that was set back while the server was stopped is noticed', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  await server.tick()
  server.clock.jump('-3h')
  const again = await restart(t, server)
  assert.ok((await jumps(again)) < -2 * 3_600_000)
  again.clock.advance('800h')
  await again.tick()
  assert.equal(await signer(again), first)
  await confirm(again)
  await again.tick()
  assert.notEqual(await signer(again), first)
  assert.equal(await jumps(await restart(t, again)), null, 'confirmed is confirmed')
})

test('a restart is no confirmation of a jump forward', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  await server.tick()
  server.clock.jump('960h')
  await server.tick()
  const again = await restart(t, server)
  await again.tick()
  await again.tick()
  assert.equal(await signer(again), first)
  assert.equal(await jumps(again), 960 * 3_600_000)
  await confirm(again)
  const confirmed = await restart(t, again)
  assert.equal(await jumps(confirmed), null)
  await confirmed.tick()
  assert.notEqual(await signer(confirmed), first)
})

test('a jump that is undone after a restart is gone for the next one too', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await server.tick()
  server.clock.jump('960h')
  await server.tick()
  const again = await restart(t, server)
  assert.ok(await jumps(again))
  again.clock.jump('-960h')
  await again.tick()
  assert.equal(await jumps(again), null)
  assert.equal(await jumps(await restart(t, again)), null)
})

test('only the holder of the lease does scheduled work', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const first = await signer(server)
  server.clock.advance('720h')
  const hold = server.store.transaction((tx) =>
    tx.leases.acquire('keyring', 'somebody else', 7_200_000),
  )
  assert.notEqual(await hold, undefined)
  await server.tick()
  await server.tick()
  assert.equal(await signer(server), first)
  server.clock.advance('2h')
  await server.tick()
  assert.notEqual(await signer(server), first)
})

test('one ring that cannot rotate does not stop the others', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const names = ['a-ring', 'b-ring', 'z-ring']
  for (const name of names) await server.call('POST', '/v1/rings', { name, algorithms: ['ES256'] })
  const before = new Map<string, string>()
  for (const name of [...names, 'default']) before.set(name, await signer(server, name))
  disk.sql(
    `update keys set private_sealed = x'00' where standby = 1
       and ring_id in (select id from rings where name in ('a-ring', 'b-ring'))`,
  )
  server.clock.advance('720h')
  await server.tick()
  await server.tick()
  for (const [name, kid] of before) {
    const rotated = (await signer(server, name)) !== kid
    assert.equal(rotated, name === 'z-ring' || name === 'default', name)
  }
})

test('a new ROOT_KEY_ALGORITHM is a rotation: the next key is shown first, the old one stays', async (t) => {
  const first = await testServer(t, {
    settings: { ROOT_KEY_ALGORITHM: 'RS256' },
    issuer: 'https://a',
  })
  const rsa = await signer(first)
  await first.close()
  const { store, clock } = first
  const server = await testServer(t, { store, clock, settings: FAST, issuer: 'https://a' })
  const algorithms = async () => {
    const { json } = await server.call('GET', '/.well-known/openid-configuration')
    return json.id_token_signing_alg_values_supported.join()
  }
  const shown = async () => {
    const { json } = await server.call('GET', '/.well-known/jwks.json')
    return json.keys
      .map(({ alg }: { alg: string }) => alg)
      .sort()
      .join()
  }
  assert.equal(await signer(server), rsa)
  await look(server)
  assert.equal(await shown(), 'ES256,RS256', 'the old standby is replaced')
  assert.equal(await algorithms(), 'ES256,RS256')
  const refused = await server.call('POST', '/v1/rings/default/rotate')
  assert.equal(refused.json.code, 'activation_unsafe')
  assert.equal(await signer(server), rsa)

  const safeAt = Date.parse(refused.json.safeAt)
  const millis = () => Number(clock.now() / 1_000_000n)
  assert.equal(safeAt - millis(), 24 * 3_600_000 + 60_000)
  clock.advance(`${safeAt - millis() - 1}ms`)
  assert.equal((await server.call('POST', '/v1/rings/default/rotate')).status, 409)
  clock.advance('2ms')
  assert.equal((await server.call('POST', '/v1/rings/default/rotate')).status, 200)
  assert.notEqual(await signer(server), rsa)
  assert.equal(await algorithms(), 'ES256,RS256')
  clock.advance('100h')
  await server.tick()
  assert.equal(await algorithms(), 'ES256')
})

test('a longer cache life of earlier settings counts until its last copy is gone', async (t) => {
  const first = await testServer(t, { settings: { ...FAST, JWKS_MAX_AGE: '48h' } })
  await first.call('POST', '/v1/rings', {
    // Its own cache life is longer, and is nobody else's.
    ...{ name: 'slow', algorithms: ['ES256'], jwksMaxAge: '100h' },
  })
  const windowOf = async (server: TestServer, ring = 'default') => {
    assert.equal(
      (await server.call('POST', `/v1/rings/${ring}/rotate`, { force: true, reason: 'x' })).status,
      200,
    )
    const standby = (await keysOf(server, ring)).find((key) => key.standby)
    const now = Number(server.clock.now() / 1_000_000n)
    return Math.round((Date.parse(standby?.safeToActivateAt ?? '') - now) / 1000)
  }
  const minute = 60
  const long = 190_080 + 60 + minute
  assert.equal(await windowOf(first), long)
  const second = await restart(t, first)
  assert.equal(await windowOf(second), long, 'somebody may still hold it')
  const third = await restart(t, second, { JWKS_MAX_AGE: '30h' })
  assert.equal(await windowOf(third), long)
  third.clock.advance('40h')
  const fourth = await restart(t, third)
  assert.equal(await windowOf(fourth), long)
  assert.equal(await windowOf(fourth, 'slow'), 110 * 3600 + 60 + minute)
  fourth.clock.advance('34h')
  assert.equal(await windowOf(fourth), 24 * 3600 + minute, 'the 30 h of the third have passed too')
})

test('two months on a server: every token verifies with a copy of the set that is a day old', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const copy = async (): Promise<unknown> =>
    (await server.call('GET', '/.well-known/jwks.json')).json
  const seen = new Set<string>()
  let held = await copy()
  for (let step = 0; step < 130; step++) {
    const body = { claims: { sub: 'a' }, ttl: '12h' }
    const { json } = await server.call('POST', '/v1/rings/default/sign', body)
    seen.add(json.kid)
    const check = async () =>
      (await server.call('POST', '/v1/verify', { token: json.token, with: { jwks: held } })).json
    assert.equal((await check()).valid, true)
    server.clock.advance('719m')
    await look(server)
    assert.equal((await check()).valid, true)
    if (step % 2 === 0) held = await copy()
  }
  assert.ok(seen.size >= 3)
  assert.ok((await keysOf(server)).length <= 4)
})
