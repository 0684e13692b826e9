import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { RotationRow } from '../../src/store/uri-signing.ts'
import {
  afterChange,
  announcedKid,
  nextStep,
  planOf,
  type RotationFacts,
  safeAtOf,
  signerByRotation,
} from '../../src/uri-signing/rotation-steps.ts'

// Contract section 7 and product.md section 5.3: when a step of a rotation is safe.

const HOUR = 3_600_000

const aRotation = (over: Partial<RotationRow> = {}): RotationRow => ({
  ...{ id: 'r', serviceId: 's', issuer: 'i', oldKid: 'old', newKid: 'new', state: 'announced' },
  ...{ automatic: true, announceTtl: 3600, startedBy: 'token:t', addedAt: 10 * HOUR },
  ...{ signingAt: undefined, retiringAt: undefined, endedAt: undefined, reloadedAt: undefined },
  ...{ othersUntil: undefined, othersRenewalTtl: undefined, attestedAt: undefined },
  attestedBy: undefined,
  ...over,
})

const facts = (over: Partial<RotationFacts> = {}): RotationFacts => ({
  ...{ promise: undefined, longestRenewal: 0, oldRenews: false, skew: 0 },
  ...over,
})

const retiring = (over: Partial<RotationRow> = {}) =>
  aRotation({ state: 'retiring', signingAt: 11 * HOUR, retiringAt: 11 * HOUR, ...over })
const promise = (until: number) => ({ issuer: 'i', kid: 'old', until, renewalTtl: 0 })

test('when the next step is safe, by example', () => {
  const table: [string, RotationRow, RotationFacts, number | undefined][] = [
    ['announced: after the window', aRotation(), facts(), 11 * HOUR],
    [
      'announced: once it is attested',
      aRotation({ reloadedAt: 10.5 * HOUR }),
      facts(),
      10.5 * HOUR,
    ],
    [
      'announced: an attestation from before counts for nothing',
      aRotation({ reloadedAt: 9 * HOUR }),
      facts(),
      11 * HOUR,
    ],
    [
      'signing: at once',
      aRotation({ state: 'signing', signingAt: 11 * HOUR }),
      facts({ oldRenews: true }),
      11 * HOUR,
    ],
    ['retiring: never without a word', retiring(), facts(), undefined],
    ['retiring: nor with one of before', retiring({ reloadedAt: 10 * HOUR }), facts(), undefined],
    ['retiring: the reload', retiring({ reloadedAt: 12 * HOUR }), facts(), 12 * HOUR],
    [
      'retiring: a promise',
      retiring({ reloadedAt: 12 * HOUR }),
      facts({ promise: promise(20 * 3600) }),
      20 * HOUR,
    ],
    [
      'retiring: the longest renewal',
      retiring({ reloadedAt: 12 * HOUR }),
      facts({ longestRenewal: 7200 }),
      14 * HOUR,
    ],
    [
      'retiring: renewals of others',
      retiring({ reloadedAt: 12 * HOUR, othersRenewalTtl: 10_800 }),
      facts({ longestRenewal: 7200 }),
      15 * HOUR,
    ],
    [
      'retiring: tokens of others',
      retiring({ reloadedAt: 12 * HOUR, othersUntil: 30 * 3600 }),
      facts({ promise: promise(20 * 3600) }),
      30 * HOUR,
    ],
    [
      'retiring: clocks that are behind',
      retiring({ reloadedAt: 12 * HOUR }),
      facts({ skew: 60 }),
      12 * HOUR + 60_000,
    ],
    [
      'retiring: not while the old key renews',
      retiring({ reloadedAt: 12 * HOUR }),
      facts({ oldRenews: true }),
      undefined,
    ],
    ['done', aRotation({ state: 'done', endedAt: 1 }), facts(), undefined],
    ['cancelled', aRotation({ state: 'cancelled', endedAt: 1 }), facts(), undefined],
  ]
  for (const [name, rotation, given, expected] of table) {
    assert.equal(safeAtOf(rotation, given), expected, name)
    const next = nextStep(rotation)
    const steps = planOf(rotation, given)
    assert.equal(steps.find(({ step }) => step === next)?.safeAt, expected, name)
    assert.ok(
      steps.every(({ step, safeAt }) => step === next || safeAt === undefined),
      name,
    )
  }
})

test('which key signs: the old one while the new one is announced, the new one after', () => {
  const last = (state: RotationRow['state'], more = {}) => [
    aRotation({ id: 'q', oldKid: 'older', newKid: 'old', state: 'done', endedAt: 1 }),
    aRotation({ state, ...more }),
  ]
  const table: [RotationRow['state'], string, object][] = [
    ['announced', 'old', {}],
    ['signing', 'new', {}],
    ['retiring', 'new', {}],
    ['done', 'new', { endedAt: 2 }],
    ['cancelled', 'old', { endedAt: 2 }],
  ]
  for (const [state, kid, more] of table) {
    assert.equal(signerByRotation(last(state, more), 'i'), kid, state)
    const unknown = state === 'announced' ? 'new' : undefined
    assert.equal(announcedKid(last(state, more), 'i'), unknown, state)
  }
  assert.equal(signerByRotation(last('done', { endedAt: 2 }), 'other'), undefined)
  // The clock went back between the two: the one under way comes first by its time.
  assert.equal(signerByRotation(last('signing').toReversed(), 'i'), 'new')
  assert.equal(signerByRotation([aRotation()], 'i'), undefined, 'announced: all is as before')
})

test('a document that is changed from outside ends a rotation, or has its wait begin anew', () => {
  const both = { hasOld: true, hasNew: true }
  assert.equal(afterChange(aRotation(), { ...both, hasNew: false }, 5).state, 'cancelled')
  assert.equal(afterChange(aRotation(), { ...both, hasOld: false }, 5).state, 'cancelled')
  assert.equal(afterChange(aRotation(), both, 11 * HOUR).addedAt, 11 * HOUR)
  assert.equal(afterChange(retiring(), { ...both, hasNew: false }, 5).state, 'cancelled')
  assert.equal(afterChange(retiring(), { ...both, hasOld: false }, 5).state, 'done')
  const again = afterChange(retiring({ reloadedAt: 12 * HOUR }), both, 13 * HOUR)
  assert.equal(safeAtOf(again, facts()), undefined)
  // A clock that went back makes no wait shorter, and no word of before count for what came after.
  const announced = afterChange(aRotation({ reloadedAt: 10.5 * HOUR }), both, 9 * HOUR)
  assert.deepEqual([announced.addedAt, announced.reloadedAt], [10 * HOUR, undefined])
  const back = afterChange(retiring({ reloadedAt: 12 * HOUR }), both, 9 * HOUR)
  assert.deepEqual([back.retiringAt, safeAtOf(back, facts())], [11 * HOUR, undefined])
})

test('the old key is never removed while a token, a renewal or an unseen signer may still need it', () => {
  const time = fc.integer({ min: 0, max: 100 * HOUR })
  const seconds = fc.integer({ min: 0, max: 360_000 })
  const given = fc.record({
    ...{ retiringAt: time, reloadedAt: fc.option(time, { nil: undefined }), now: time },
    ...{ until: seconds, longestRenewal: seconds, skew: fc.integer({ min: 0, max: 120 }) },
    othersUntil: fc.option(seconds, { nil: undefined }),
    othersRenewalTtl: fc.option(seconds, { nil: undefined }),
    oldRenews: fc.boolean(),
  })
  fc.assert(
    fc.property(given, (all) => {
      const { retiringAt, reloadedAt, now, until, longestRenewal, skew, oldRenews } = all
      const { othersUntil, othersRenewalTtl } = all
      const rotation = retiring({ retiringAt, reloadedAt, othersUntil, othersRenewalTtl })
      const safeAt = safeAtOf(rotation, {
        promise: promise(until),
        longestRenewal,
        skew,
        oldRenews,
      })
      if (safeAt === undefined || safeAt > now) return
      assert.ok(!oldRenews)
      assert.ok(reloadedAt !== undefined && reloadedAt >= retiringAt)
      // What a cache with the slowest clock may still be shown.
      const slowest = now - skew * 1000
      assert.ok(until * 1000 <= slowest)
      assert.ok((othersUntil ?? 0) * 1000 <= slowest)
      const lastRenewal = reloadedAt + Math.max(longestRenewal, othersRenewalTtl ?? 0) * 1000
      assert.ok(lastRenewal <= slowest)
    }),
    { numRuns: 5000 },
  )
})
