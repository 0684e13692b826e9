import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Step } from '../../src/keyring/lifecycle.ts'
import { safeToActivateAt } from '../../src/keyring/lifecycle.ts'
import type { Key } from '../../src/store/keys.ts'
import { HOUR, MINUTE, SECOND } from '../../src/time.ts'
import { createLane, DAY, type Lane, SAFE } from './lane.ts'

// What must hold after every step of every sequence, in safe mode.

type Action =
  | { do: 'advance'; by: number }
  | { do: 'tick' }
  | { do: 'rotate'; force: boolean }
  | { do: 'schedule'; in: number }
  | { do: 'remove'; at: number }
  | { do: 'promise'; ttl: number }
  | { do: 'algorithm'; other: boolean }

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.nat(40 * 24) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.nat(3) }) },
  { weight: 8, arbitrary: fc.constant({ do: 'tick' as const }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('rotate' as const), force: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('schedule' as const), in: fc.integer({ min: -100, max: 2000 }) },
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), at: fc.nat(20) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('promise' as const), ttl: fc.nat(90 * 24) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('algorithm' as const), other: fc.boolean() }),
  },
)

const isOpen = (lane: Lane, kid: string) =>
  (lane.promises.get(kid) ?? 0n) * SECOND + SAFE.skew > lane.now()

/** As `remove` does: not the active one, not one in use; a standby is replaced in the same write. */
function remove(lane: Lane, at: number): void {
  const keys = lane.keys()
  const key = keys[at % keys.length]
  if (!key || key.state === 'active' || isOpen(lane, key.kid)) return
  const insert = key.standby
    ? [
        {
          ...{ ...key, ...lane.fresh(), standby: true, absentUntil: lane.now() },
          publishedAt: lane.now(),
        },
      ]
    : []
  lane.apply({ insert, update: [], delete: [key.kid] })
}

function run(lane: Lane, act: Action): Step[] {
  switch (act.do) {
    case 'advance':
      lane.advance(BigInt(act.by) * HOUR)
      break
    case 'tick':
      return lane.tick()
    case 'rotate':
      if (act.force || (lane.safeAt() ?? 0n) <= lane.now()) lane.rotate()
      break
    case 'schedule':
      lane.schedule(lane.now() + BigInt(act.in) * HOUR)
      break
    case 'remove':
      remove(lane, act.at)
      break
    case 'promise': {
      const { kid = '' } = lane.active() ?? {}
      lane.promise(kid, (lane.now() + BigInt(act.ttl) * HOUR) / SECOND)
      break
    }
    case 'algorithm':
      lane.use(act.other ? 'RS256' : 'ES256')
  }
  return []
}

const RANK = { next: 0, active: 1, retired: 2, revoked: 2 }

function check(lane: Lane, before: readonly Key[], taken: readonly Step[], act: Action): void {
  const keys = lane.keys()
  const now = lane.now()
  assert.equal(keys.filter(({ state }) => state === 'active').length, 1, 'one active key')
  assert.equal(keys.filter(({ standby }) => standby).length, 1, 'one standby')
  const standby = keys.find((key) => key.standby)
  assert.equal(standby?.state, 'next')
  assert.ok(standby?.published, 'the next key is always published')

  for (const key of keys) {
    assert.equal(key.privateSealed === undefined, RANK[key.state] === 2, 'only a past key has none')
    const old = before.find(({ kid }) => kid === key.kid)
    if (!old) continue
    assert.ok(RANK[key.state] >= RANK[old.state], 'a key never goes backwards')
    assert.ok(old.published || !key.published, 'a withdrawn key never comes back')
    const isMeant = act.do === 'rotate' || old.state !== 'next' || key.state !== 'active'
    if (isMeant) continue
    const safeAt = safeToActivateAt(old, lane.facts, SAFE)
    assert.ok(safeAt === 0n || safeAt + SAFE.staleIfError <= now, 'not before everybody knows it')
    assert.ok(old.plannedAt <= now, 'not before its time')
  }
  for (const old of before) {
    if (!isOpen(lane, old.kid)) continue
    const key = lane.key(old.kid)
    assert.ok(key, 'a key with an open promise is not deleted')
    assert.ok(key.published || !old.published, 'nor withdrawn')
  }
  for (const step of taken) {
    if (step.do !== 'delete') continue
    assert.equal(before.find(({ kid }) => kid === step.kid)?.published, false, 'withdrawn first')
  }
}

/** Ticks until there is nothing to do; at most so many as there are keys and lanes of work. */
function settle(lane: Lane, onTick: (before: readonly Key[], taken: Step[]) => void): void {
  for (let tick = 0; tick < 3 * lane.keys().length + 5; tick++) {
    const before = lane.keys()
    const taken = lane.tick()
    onTick(before, taken)
    if (taken.length === 0) return
  }
  assert.fail('the lane never settles')
}

test('no sequence of events breaks what safe mode promises', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const lane = createLane(SAFE)
      for (const act of actions) {
        const before = lane.keys()
        check(lane, before, run(lane, act), act)
      }
      // Nothing that is due is forgotten, and what comes first comes at its time.
      for (let round = 0; round < 4; round++) {
        settle(lane, (before, taken) => check(lane, before, taken, { do: 'tick' }))
        const dated = lane.plan().filter(({ at }) => at !== undefined)
        assert.ok(dated.every(({ at }) => (at ?? 0n) > lane.now()))
        const [first] = dated
        assert.ok(first?.at, 'there is always a next key that will sign')
        lane.advance(first.at - lane.now() - 1n)
        assert.deepEqual(lane.steps(), [], 'not a nanosecond early')
        lane.advance(1n)
        const key = lane.key(first.kid)
        const [taken] = lane.tick()
        assert.ok(taken && 'kid' in taken && taken.kid === first.kid)
        assert.equal(taken.do, first.step === 'activate' ? 'promote' : first.step)
        assert.notDeepEqual(lane.key(first.kid), key)
      }
    }),
    { numRuns: 300 },
  )
})

test('a lane left alone settles at one active key, one standby and nothing else', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const lane = createLane(SAFE)
      for (const act of actions) run(lane, act)
      const scheduled = lane.keys().filter(({ state, standby }) => state === 'next' && !standby)
      for (let hours = 0n; hours < 250n * 24n; hours += 6n) {
        lane.advance(6n * HOUR)
        lane.tick()
      }
      assert.ok(lane.keys().length <= 4 + scheduled.length)
      assert.ok(lane.published().length <= 3)
      assert.equal(lane.active()?.alg, lane.alg())
    }),
    { numRuns: 30 },
  )
})

test('in steady state a key signs for one full threshold', () => {
  const lane = createLane(SAFE)
  const times: bigint[] = []
  for (let at = 0n; at < 365n * DAY; at += 10n * MINUTE) {
    const before = lane.active()?.kid
    lane.tick()
    if (lane.active()?.kid !== before) times.push(at)
    lane.advance(10n * MINUTE)
  }
  assert.deepEqual(
    times,
    Array.from({ length: 12 }, (_, index) => BigInt(index + 1) * SAFE.threshold),
  )
})
