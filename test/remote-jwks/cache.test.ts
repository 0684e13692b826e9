import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type CachedSet,
  COOLDOWN,
  type Decision,
  decide,
  dropExpired,
  type Entry,
  evict,
  FAILURE,
  FRESH,
  KEPT,
  nextAttempt,
} from '../../src/remote-jwks/cache.ts'
import { SECOND } from '../../src/time.ts'

const T = 1_000_000n * SECOND

const aSet = (over: Partial<CachedSet> = {}): CachedSet => ({
  ...{ keys: [], kids: new Set(['a']), ignored: 0, weight: 10, fetchedAt: T },
  ...{ freshUntil: T + FRESH, keptUntil: T + KEPT },
  ...over,
})

const anEntry = (over: Partial<Entry> = {}): Entry => ({
  ...{ version: '1', origin: 'https://a/', host: 'a', set: undefined, attemptedAt: undefined },
  ...{ failure: undefined, pending: undefined, ...over },
})

const failed = (at: bigint) => ({
  attemptedAt: at,
  failure: { error: new Error('x'), until: at + FAILURE },
})
const pending = Promise.resolve()

const table: [name: string, entry: Entry, kid: string | undefined, at: bigint, Decision][] = [
  ['nothing known', anEntry(), 'a', T, 'fetch'],
  ['nothing known, and asked already', anEntry({ pending }), 'a', T, 'join'],
  ['fresh and known', anEntry({ set: aSet() }), 'a', T + FRESH - 1n, 'serve'],
  ['fresh and known, while it is fetched', anEntry({ set: aSet(), pending }), 'a', T, 'serve'],
  ['no longer fresh', anEntry({ set: aSet() }), 'a', T + FRESH, 'fetch'],
  ['no longer fresh, and asked already', anEntry({ set: aSet(), pending }), 'a', T + FRESH, 'join'],
  [
    'unknown in the cooldown',
    anEntry({ set: aSet(), attemptedAt: T }),
    'b',
    T + COOLDOWN - 1n,
    'serve',
  ],
  [
    'unknown after the cooldown',
    anEntry({ set: aSet(), attemptedAt: T }),
    'b',
    T + COOLDOWN,
    'fetch',
  ],
  ['unknown, and asked already', anEntry({ set: aSet(), attemptedAt: T, pending }), 'b', T, 'join'],
  [
    'an empty set, no kid',
    anEntry({ set: aSet({ kids: new Set() }), attemptedAt: T }),
    undefined,
    T + COOLDOWN,
    'fetch',
  ],
  [
    'an empty set, no kid, cooldown',
    anEntry({ set: aSet(), attemptedAt: T }),
    undefined,
    T,
    'serve',
  ],
  ['failed just now', anEntry(failed(T)), 'a', T + FAILURE - 1n, 'fail'],
  ['failed before', anEntry(failed(T)), 'a', T + FAILURE, 'fetch'],
  [
    'failed just now, with a last good set',
    anEntry({ set: aSet({ freshUntil: T }), ...failed(T) }),
    'z',
    T,
    'serve',
  ],
  [
    'failed before, with a last good set',
    anEntry({ set: aSet({ freshUntil: T }), ...failed(T) }),
    'a',
    T + FAILURE,
    'fetch',
  ],
  [
    'failed after the cooldown, still fresh',
    anEntry({ set: aSet(), ...failed(T + COOLDOWN) }),
    'b',
    T + COOLDOWN + FAILURE,
    'serve',
  ],
]

for (const [name, entry, kid, at, expected] of table) {
  test(`decided: ${name}: ${expected}`, () => assert.equal(decide(entry, kid, at), expected))
}

test('whatever is asked, attempts keep their distance', () => {
  const asks = fc.array(
    fc.record({
      wait: fc.integer({ min: 0, max: 700 }),
      kid: fc.constantFrom('a', 'b', 'c', undefined),
      works: fc.boolean(),
    }),
    { maxLength: 200 },
  )
  fc.assert(
    fc.property(asks, (list) => {
      const entry = anEntry()
      let at = T
      for (const { wait, kid, works } of list) {
        at += BigInt(wait) * (SECOND / 10n)
        dropExpired(entry, at, at)
        const before = entry.attemptedAt
        const wasFresh = entry.set !== undefined && at < entry.set.freshUntil
        if (decide(entry, kid, at) !== 'fetch') continue
        if (before !== undefined) assert.ok(at - before >= (wasFresh ? COOLDOWN : FAILURE))
        entry.attemptedAt = at
        if (works) {
          entry.set = aSet({ fetchedAt: at, freshUntil: at + FRESH, keptUntil: at + KEPT })
          entry.failure = undefined
        } else entry.failure = { error: new Error('x'), until: at + FAILURE }
      }
    }),
  )
})

test('a set ends by whichever clock ends it first', () => {
  const alive = (at: bigint, now: bigint) => {
    const entry = anEntry({ set: aSet() })
    dropExpired(entry, at, now)
    return entry.set !== undefined
  }
  assert.equal(alive(T + KEPT - 1n, T + KEPT - 1n), true)
  assert.equal(alive(T + KEPT, T), false, 'the wall clock was set back')
  assert.equal(alive(T, T + KEPT), false, 'the monotonic clock slept')
})

test('the next attempt is when the set ends or the failure is forgotten, and never in the past', () => {
  assert.equal(nextAttempt(anEntry(), T), T)
  assert.equal(nextAttempt(anEntry({ set: aSet() }), T), T + FRESH)
  assert.equal(nextAttempt(anEntry({ set: aSet() }), T + 2n * FRESH), T + 2n * FRESH)
  assert.equal(nextAttempt(anEntry(failed(T)), T), T + FAILURE)
})

test('the least recently used go first, by number and by weight; what is fetched stays', () => {
  const entries = new Map(
    ['a', 'b', 'c', 'd'].map((id) => [
      id,
      anEntry({ set: aSet(), ...(id === 'a' && { pending }) }),
    ]),
  )
  const left = (bounds: { maxSources: number; maxWeight: number }) => {
    const copy = new Map(entries)
    evict(copy, bounds)
    return [...copy.keys()].join('')
  }
  assert.equal(left({ maxSources: 4, maxWeight: 40 }), 'abcd')
  assert.equal(left({ maxSources: 3, maxWeight: 40 }), 'acd')
  assert.equal(left({ maxSources: 4, maxWeight: 29 }), 'ad')
  assert.equal(left({ maxSources: 0, maxWeight: 0 }), 'a')
})

test('a few huge sets push out each other, not the small ones', () => {
  const weights = [10, 500, 10, 400, 10]
  const entries = new Map(
    weights.map((weight, at) => [`${at}`, anEntry({ set: aSet({ weight }) })] as const),
  )
  evict(entries, { maxSources: 10, maxWeight: 450 })
  assert.deepEqual([...entries.keys()], ['0', '2', '3', '4'])
  evict(entries, { maxSources: 10, maxWeight: 30 })
  assert.deepEqual([...entries.keys()], ['0', '2', '4'])
})
