import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { iso, keysOf, rotating, seconds, sign, twoLooks } from './rotating.ts'
import { documentText, octKey, servicesWorld } from './services.ts'

// Contract section 7, product.md section 5.3: add → announce → sign → move renewal_kid → remove.

test('no body at all begins a rotation of the key that signs, as it would by itself', async (t) => {
  const world = await servicesWorld(t)
  await world.ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  const { status, json } = await world.ask('POST', '/demo/rotate')
  assert.equal(status, 200, JSON.stringify(json))
  const [renewal, old, fresh, ...more] = await keysOf(world)
  assert.deepEqual([renewal, old, more], ['a', 'a', []])
  assert.notEqual(fresh, 'a')
})

test('the timer takes each step when it is safe, at its second look, and the last one after an attestation', async (t) => {
  const world = await rotating(t)
  const { ask, clock, events } = world
  assert.deepEqual(await keysOf(world), ['a', 'a', 'b'])
  const first = await sign(world, { ttl: '3h', renewable: true, renewalTtl: '5h' })
  assert.equal(first.kid, 'a')
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'a')
  clock.advance('24h')
  await world.uriSigning.tick()
  assert.equal((await sign(world)).kid, 'a', 'one look is not enough')
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'b')
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'a', 'b'])
  clock.advance('1000h')
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'a', 'b'], 'time alone removes nothing')
  const reloaded = seconds(world)
  assert.equal(
    (await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })).status,
    200,
  )
  const { json } = await ask('GET', '/demo/plan')
  const safeAt = Date.parse(json.rotations[0].steps[3].safeAt) / 1000
  assert.ok(safeAt >= reloaded + 5 * 3600, 'the longest renewal')
  clock.advance('4h')
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'a', 'b'])
  clock.advance('2h')
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'b'])
  assert.equal((await ask('GET', '/demo/plan')).json.rotations[0].state, 'done')
  const steps = (await events(/^uri-keys\.rotated/)).map(
    ({ detail }) => (detail as { step: string }).step,
  )
  assert.deepEqual(steps, ['add', 'sign', 'renew', 'remove'])
  assert.equal((await sign(world)).kid, 'b')
})

test('an operator is refused what is not safe, with the time, and what is not next', async (t) => {
  const world = await rotating(t, { automatic: false, announceFor: '2h' })
  const { ask, clock } = world
  const step = async (name: string) =>
    (await ask('POST', '/demo/rotate', { body: { step: name } })).json
  const early = await step('sign')
  assert.deepEqual([early.code, early.status], ['rotation_unsafe', 409])
  assert.equal(Date.parse(early.safeAt), Number(clock.now() / 1_000_000n) + 7_200_000)
  assert.equal((await step('remove')).code, 'rotation_conflict')
  assert.equal((await sign(world, { kid: 'b' })).code, 'rotation_unsafe')
  clock.advance('2h')
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'a', 'the timer leaves it alone')
  assert.equal((await step('sign')).rotations[0].state, 'signing')
  assert.equal((await sign(world, { kid: 'a' })).code, 'rotation_conflict')
  assert.equal((await step('renew')).rotations[0].state, 'retiring')
  const blocked = await step('remove')
  assert.deepEqual([blocked.code, blocked.safeAt], ['rotation_unsafe', null])
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { cancel: true } })).json.code,
    'rotation_conflict',
  )
  const future = { cachesReloadedAt: '2027-01-01T00:00:00Z' }
  assert.equal((await ask('POST', '/demo/attest', { body: future })).json.code, 'invalid_request')
  const past = { cachesReloadedAt: '2026-01-01T00:00:00Z' }
  assert.equal((await ask('POST', '/demo/attest', { body: past })).json.code, 'rotation_conflict')
  assert.equal(
    (await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })).status,
    200,
  )
  assert.equal((await step('remove')).code, 'rotation_unsafe', 'a clock may be behind')
  clock.advance('24h')
  assert.equal((await step('remove')).rotations[0].state, 'done')
  assert.equal((await step('remove')).code, 'rotation_not_found')
})

test('a clock that jumped freezes the steps, for the timer and for operators', async (t) => {
  const world = await rotating(t)
  const { ask, clock, keyring } = world
  await keyring.scheduler.tick()
  clock.jump('1000h')
  await keyring.scheduler.tick()
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'a')
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { step: 'sign' } })).json.code,
    'clock_jumped',
  )
  await world.call('POST', '/v1/clock/confirm', { reason: 'the test' })
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'b')
})

test('a rotation is taken back while nothing signs with the new key, and a kid is used once', async (t) => {
  const world = await rotating(t)
  const { ask } = world
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { newKid: 'c' } })).json.code,
    'rotation_conflict',
  )
  assert.equal((await ask('POST', '/demo/rotate', { body: { cancel: true } })).status, 200)
  assert.deepEqual(await keysOf(world), ['a', 'a'])
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { newKid: 'b' } })).json.code,
    'key_conflict',
  )
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { kid: 'none' } })).json.code,
    'key_not_found',
  )
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { issuer: 'none' } })).json.code,
    'issuer_not_found',
  )
  const other = await ask('POST', '/demo/rotate', { body: { algorithm: 'ES256', newKid: 'e' } })
  assert.equal(other.status, 200)
  assert.deepEqual(await keysOf(world), ['a', 'a', 'e'])
})

test('a document that is written over ends the rotation, or begins its wait anew', async (t) => {
  const world = await rotating(t, { announceFor: '1h' })
  const { ask, clock } = world
  clock.advance('59m')
  const stored = (await ask('GET', '/demo/cache-config')).bytes
  await ask('PUT', '/demo/keys', { raw: `${stored}\n` })
  clock.advance('30m')
  assert.equal(
    (await ask('POST', '/demo/rotate', { body: { step: 'sign' } })).json.code,
    'rotation_unsafe',
  )
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  assert.equal((await ask('GET', '/demo/plan')).json.rotations[0].state, 'cancelled')
  assert.equal((await sign(world)).kid, 'a')
  await ask('DELETE', '/demo/keys')
  assert.equal((await ask('POST', '/demo/rotate', { body: {} })).json.code, 'keys_missing')
})

test('a key that does not renew has nothing to hand over', async (t) => {
  const world = await servicesWorld(t)
  const { ask, clock } = world
  const document = {
    'studio-a': { renewal_kid: 'a', keys: [octKey('a')] },
    'partner-b': { keys: [octKey('p')] },
  }
  await ask('PUT', '/demo/keys', { raw: JSON.stringify(document) })
  await ask('POST', '/demo/rotate', {
    body: { issuer: 'partner-b', newKid: 'q', announceFor: '1h' },
  })
  clock.advance('1h')
  await twoLooks(world)
  assert.equal((await ask('GET', '/demo/plan')).json.rotations[0].state, 'retiring')
  assert.equal((await sign(world, { issuer: 'partner-b' })).kid, 'q')
  assert.equal((await sign(world)).kid, 'a')
})

/** A rotation from its beginning to its end. */
const COMPLETE = [
  { do: 'sign', ttl: '2h' },
  { do: 'rotate' },
  { do: 'wait', span: '3h' },
  { do: 'step', step: 'sign' },
  { do: 'step', step: 'renew' },
  { do: 'attest' },
  { do: 'wait', span: '3h' },
  { do: 'step', step: 'remove' },
] as const

test('whatever happens, no URI that was signed is refused before it expires', async (t) => {
  const world = await servicesWorld(t)
  const { ask, clock } = world
  const event = fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .constantFrom('10m', '50m', '3h', '11h')
        .map((span) => ({ do: 'wait' as const, span })),
    },
    {
      weight: 4,
      arbitrary: fc.constantFrom('5m', '2h', '10h').map((ttl) => ({ do: 'sign' as const, ttl })),
    },
    { weight: 2, arbitrary: fc.constant({ do: 'look' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'attest' as const }) },
    {
      weight: 2,
      arbitrary: fc
        .constantFrom('sign', 'renew', 'remove')
        .map((step) => ({ do: 'step' as const, step })),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'rotate' as const }) },
  )
  let removals = 0
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 10, maxLength: 40 }), async (all) => {
      await ask('DELETE', '/demo')
      await ask('PUT', '/demo', { body: { tenant: 'east' } })
      await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'first') })
      const live: { uri: string; exp: number }[] = []
      for (const one of all) {
        if (one.do === 'wait') clock.advance(one.span)
        if (one.do === 'sign') live.push(await sign(world, { ttl: one.ttl }))
        if (one.do === 'look') await twoLooks(world)
        if (one.do === 'attest')
          await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })
        if (one.do === 'step') {
          const { status } = await ask('POST', '/demo/rotate', { body: { step: one.step } })
          if (one.step === 'remove' && status === 200) removals++
        }
        if (one.do === 'rotate') await ask('POST', '/demo/rotate', { body: { announceFor: '1h' } })
        for (const { uri, exp } of live) {
          if (exp <= seconds(world)) continue
          const { json } = await ask('POST', '/demo/verify', { body: { uri } })
          assert.equal(json.code, 200, JSON.stringify(json))
        }
      }
    }),
    {
      numRuns: 25,
      examples: [[[...COMPLETE]]],
    },
  )
  assert.ok(removals > 0)
})
