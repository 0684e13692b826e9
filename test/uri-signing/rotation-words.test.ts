import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { iso, rotating, sign, twoLooks } from './rotating.ts'
import { documentText, octKey, servicesWorld } from './services.ts'

// Contract section 7, product.md section 5.3: whose word counts, for what, and what a clock that goes back changes of it.

test('a key that is only announced never signs by itself, and changes nothing of who signs', async (t) => {
  const world = await servicesWorld(t)
  const { ask, clock } = world
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const owners = { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'p' }
  const document = {
    'studio-a': { renewal_kid: 'a', keys: [octKey('a'), octKey('x')] },
    'partner-b': { keys: [owners] },
  }
  await ask('PUT', '/demo/keys', { raw: JSON.stringify(document) })
  const announceFor = '1h'
  await ask('POST', '/demo/rotate', { body: { kid: 'x', newKid: 'y', announceFor } })
  assert.equal((await sign(world)).kid, 'a', 'the one that signed before')
  const body = { issuer: 'partner-b', kid: 'p', newKid: 'q', announceFor }
  assert.equal((await ask('POST', '/demo/rotate', { body })).status, 200)
  assert.equal((await sign(world, { issuer: 'partner-b' })).code, 'key_rejected')
  clock.advance('1h')
  await twoLooks(world)
  assert.equal((await sign(world, { issuer: 'partner-b' })).kid, 'q')
})

test('an attestation that says nothing of what others signed takes nothing back of it', async (t) => {
  const world = await rotating(t, { automatic: false })
  const { ask, clock } = world
  const attest = async (more: object = {}) => {
    const body = { cachesReloadedAt: iso(world), ...more }
    return (await ask('POST', '/demo/attest', { body })).json.rotations[0].steps[3].safeAt
  }
  const step = (name: string) => ask('POST', '/demo/rotate', { body: { step: name } })
  await attest({ othersUntil: 4_102_444_800, othersRenewalTtl: '48h' })
  await step('sign')
  await step('renew')
  clock.advance('1m')
  const skew = 60_000
  assert.equal(Date.parse(await attest()), 4_102_444_800_000 + skew)
  const corrected = Date.parse(await attest({ othersUntil: 0 }))
  assert.equal(corrected, Date.parse(iso(world)) + 48 * 3_600_000 + skew)
})

test('while the clock is in doubt no wait begins, so that none is over when it comes back', async (t) => {
  const world = await servicesWorld(t)
  const { ask, clock, keyring } = world
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  await keyring.scheduler.tick()
  clock.jump('-100h')
  const begin = async () => (await ask('POST', '/demo/rotate', { body: { newKid: 'b' } })).json
  assert.equal((await begin()).code, 'clock_jumped')
  clock.jump('100h')
  assert.equal((await begin()).rotations[0].state, 'announced')
  clock.jump('-100h')
  const word = await ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world) } })
  assert.equal(word.json.code, 'clock_jumped')
  clock.jump('100h')
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'a')
})

test('there is a record of a rotation that a document ended', async (t) => {
  const world = await rotating(t)
  const { ask, clock, events } = world
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  await ask('POST', '/demo/rotate', { body: { newKid: 'c', announceFor: '1h' } })
  clock.advance('1h')
  await twoLooks(world)
  assert.equal((await sign(world)).kid, 'c')
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'c') })
  const ended = (await events(/^uri-keys\./)).filter(
    ({ detail }) => (detail as { by?: string }).by === 'stored',
  )
  const common = { issuer: 'studio-a', oldKid: 'a', by: 'stored' }
  assert.deepEqual(
    ended.map(({ type, detail }) => [type, detail]),
    [
      ['uri-keys.rotation-cancelled', { ...common, newKid: 'b' }],
      ['uri-keys.rotated', { ...common, newKid: 'c', step: 'remove' }],
    ],
  )
})

/** As an operator does it who attests what is so, and no clock goes wrong. */
const ATTESTED = ['attest', 'sign', 'renew', 'attest', 'wait', 'remove'] as const

test('a word of before a change never counts for after it, in any order, while the clock goes back', async (t) => {
  const world = await servicesWorld(t)
  const { ask, clock } = world
  const event = fc.constantFrom(
    ...(['attest', 'attest', 'sign', 'renew', 'remove', 'write', 'wait', 'back'] as const),
  )
  let removals = 0
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 6, maxLength: 30 }), async (all) => {
      await world.call('POST', '/v1/clock/confirm', { reason: 'the test' })
      await ask('DELETE', '/demo')
      await ask('PUT', '/demo', { body: { tenant: 'east' } })
      await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
      const begun = { newKid: 'b', automatic: false, announceFor: '8000h' }
      await ask('POST', '/demo/rotate', { body: begun })
      /** Whether somebody has said that caches have reloaded what is in the document now. */
      let isAttested = false
      for (const one of all) {
        if (one === 'wait') clock.advance('7m')
        else if (one === 'back') clock.jump('-20s')
        else if (one === 'write') {
          const { bytes } = await ask('GET', '/demo/cache-config')
          await ask('PUT', '/demo/keys', { raw: `${bytes}\n` })
          isAttested = false
        } else if (one === 'attest') {
          const body = { cachesReloadedAt: iso(world) }
          isAttested ||= (await ask('POST', '/demo/attest', { body })).status === 200
        } else {
          const { status } = await ask('POST', '/demo/rotate', { body: { step: one } })
          if (status !== 200) continue
          if (one !== 'renew') assert.ok(isAttested, `${one} of ${all}`)
          if (one === 'renew') isAttested = false
          if (one === 'remove') removals++
        }
      }
    }),
    { numRuns: 60, examples: [[[...ATTESTED]]] },
  )
  assert.ok(removals > 0)
})
