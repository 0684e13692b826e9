import assert from 'node:assert/strict'
import { test } from 'node:test'
import { iso, keysOf, rotating, twoLooks } from './rotating.ts'
import type { World } from './services.ts'

// Product.md section 5.3: what somebody writes while a rotation is under way.

const steps = async ({ ask }: World) => {
  const [rotation] = (await ask('GET', '/demo/plan')).json.rotations
  return rotation.steps as { step: string; doneAt: string | null; safeAt: string | null }[]
}

const written = async ({ ask }: World) => (await ask('GET', '/demo/cache-config')).bytes.toString()

test('the same bytes again, as often as anybody likes, keep no rotation from its end', async (t) => {
  const world = await rotating(t, { announceFor: '2h' })
  const { ask, clock, events } = world
  const before = await steps(world)
  for (let hour = 0; hour < 2; hour++) {
    clock.advance('1h')
    assert.equal((await ask('PUT', '/demo/keys', { raw: await written(world) })).status, 200)
  }
  assert.deepEqual(await steps(world), before)
  assert.deepEqual(await events(/^uri-keys\.rotation-/), [])
  await twoLooks(world)
  assert.notEqual((await steps(world))[1]?.doneAt, null, 'it signs')
})

test('other bytes have the wait begin anew, and that is on record', async (t) => {
  const world = await rotating(t, { announceFor: '2h' })
  const { ask, clock, events } = world
  const [, before] = await steps(world)
  clock.advance('1h')
  await ask('PUT', '/demo/keys', { raw: `${await written(world)}\n` })
  const [, after] = await steps(world)
  assert.equal(Date.parse(after?.safeAt ?? '') - Date.parse(before?.safeAt ?? ''), 3600_000)
  const [restarted, ...more] = await events(/^uri-keys\.rotation-/)
  assert.equal(restarted?.type, 'uri-keys.rotation-restarted')
  const detail = { issuer: 'studio-a', oldKid: 'a', newKid: 'b', by: 'stored' }
  assert.deepEqual([restarted?.detail, more], [detail, []])
})

test('a wait that begins anew while the clock is behind is as long once the clock is right again', async (t) => {
  const world = await rotating(t, { announceFor: '24h' })
  const { ask, clock, keyring } = world
  await keyring.scheduler.tick()
  clock.advance('23h')
  clock.jump('-100h')
  assert.equal((await ask('PUT', '/demo/keys', { raw: `${await written(world)}\n` })).status, 200)
  clock.jump('100h')
  const [, sign] = await steps(world)
  assert.equal(Date.parse(sign?.safeAt ?? '') - Date.parse(iso(world)), 24 * 3600_000)
})

test('a word of before a document that was written while the clock was behind does not count', async (t) => {
  const world = await rotating(t, { announceFor: '1h', automatic: false })
  const { ask, clock, keyring } = world
  await keyring.scheduler.tick()
  clock.advance('1h')
  for (const step of ['sign', 'renew']) await ask('POST', '/demo/rotate', { body: { step } })
  clock.advance('1h')
  const body = { cachesReloadedAt: iso(world) }
  clock.advance('1h')
  clock.jump('-100h')
  await ask('PUT', '/demo/keys', { raw: `${await written(world)}\n` })
  clock.jump('100h')
  assert.equal((await ask('POST', '/demo/attest', { body })).json.code, 'rotation_conflict')
})

test('a renewal_kid that was moved back holds the last step up, quietly, until it is put right', async (t) => {
  const world = await rotating(t, { announceFor: '1h' })
  const { ask, clock, log } = world
  clock.advance('1h')
  await twoLooks(world)
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'a', 'b'])
  const right = await written(world)
  const back = right.replace('"renewal_kid":"b"', '"renewal_kid":"a"')
  assert.notEqual(back, right)
  await ask('PUT', '/demo/keys', { raw: back })
  await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })
  clock.advance('2000h')
  await twoLooks(world)
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['a', 'a', 'b'])
  const refused = await ask('POST', '/demo/rotate', { body: { step: 'remove' } })
  assert.deepEqual(
    [refused.status, refused.json.code, refused.json.detail],
    [409, 'rotation_unsafe', 'renewal_kid names a again'],
  )
  assert.doesNotMatch(log.join(''), /a step of a rotation failed/)
  await ask('PUT', '/demo/keys', { raw: right })
  await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })
  clock.advance('2000h')
  await twoLooks(world)
  assert.deepEqual(await keysOf(world), ['b', 'b'])
})
