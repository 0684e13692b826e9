import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type LifetimeInput, lifetimeOf } from '../../src/identities/lifetime.ts'

// Identity contract, section 8.

const CEILING = 7_776_000
const EPOCH = 1_700_000_000

const ROWS: [ttl: number, maxTtl: number, since: number, lifetime: number | undefined][] = [
  [900, 7200, 0, 900],
  [0, 0, 0, 7_776_000],
  [900, 7200, 6900, 300],
  [900, 7200, 7200, undefined],
  [0, 20_000_000, 0, 7_776_000],
  [900, 0, 50_000_000, 900],
  // Beyond the contract's rows: the last second, the ceiling against a ttl, and long after the end.
  [900, 7200, 7199, 1],
  [900, 7200, 7201, undefined],
  [315_360_000, 0, 0, 7_776_000],
  [0, 7200, 100, 7100],
  [0, 0, 315_360_000, 7_776_000],
]

for (const [ttl, maxTtl, since, lifetime] of ROWS) {
  test(`section 8: ttl ${ttl}, max ${maxTtl}, ${since} s after the login: ${lifetime ?? 'refused'}`, () => {
    const now = EPOCH + since
    assert.equal(lifetimeOf({ ttl, maxTtl, creationEpoch: EPOCH, now, ceiling: CEILING }), lifetime)
  })
}

const seconds = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 315_360_000 }))
const inputs = fc.record<LifetimeInput>({
  ttl: seconds,
  maxTtl: seconds,
  creationEpoch: fc.constant(EPOCH),
  now: fc.integer({ min: EPOCH, max: EPOCH + 400_000_000 }),
  ceiling: fc.integer({ min: 1, max: CEILING }),
})

test('section 8: a lifetime is positive, within each limit, and as long as they allow', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const { ttl, maxTtl, now, ceiling } = input
      const lifetime = lifetimeOf(input)
      const left = EPOCH + maxTtl - now
      if (lifetime === undefined) {
        assert.ok(maxTtl > 0 && left <= 0)
        return
      }
      assert.ok(lifetime > 0 && lifetime <= ceiling)
      assert.ok(ttl === 0 || lifetime <= ttl)
      assert.ok(maxTtl === 0 || now + lifetime <= EPOCH + maxTtl)
      assert.ok([ceiling, ttl, left].includes(lifetime))
    }),
    { numRuns: 1000 },
  )
})

test('section 8: more of any limit never shortens a lifetime, and waiting never prolongs it', () => {
  const members = ['ttl', 'maxTtl', 'ceiling'] as const
  const length = (input: LifetimeInput) => lifetimeOf(input) ?? 0
  fc.assert(
    fc.property(inputs, fc.constantFrom(...members), fc.nat(1_000_000), (input, member, more) => {
      const raised = { ...input, [member]: input[member] + more }
      // 0 says that there is no limit, so from there on a number is less.
      if (input[member] > 0) assert.ok(length(raised) >= length(input))
      assert.ok(length({ ...input, now: input.now + more }) <= length(input))
    }),
    { numRuns: 1000 },
  )
})

test('what is no time leaves no lifetime', () => {
  const good = { ttl: 900, maxTtl: 7200, creationEpoch: EPOCH, now: EPOCH, ceiling: CEILING }
  for (const [member, value] of [
    ['ttl', Number.NaN],
    ['ttl', -1],
    ['maxTtl', Number.NaN],
    ['maxTtl', -1],
    ['creationEpoch', Number.NaN],
    ['now', Number.NaN],
    ['ceiling', Number.NaN],
    ['ceiling', 0],
    ['ceiling', -1],
  ] as const) {
    assert.equal(lifetimeOf({ ...good, [member]: value }), undefined, `${member} ${value}`)
  }
})
