import assert from 'node:assert/strict'
import test from 'node:test'
import { parseConfig } from '../../src/config.ts'
import { activateFresh } from '../../src/keyring/lifecycle.ts'
import { policyOf } from '../../src/keyring/policy.ts'
import type { Ring } from '../../src/store/rings.ts'
import { HOUR, MINUTE, SECOND } from '../../src/time.ts'
import { createLane, DAY, type Lane, SAFE, T } from './lane.ts'
import { daily, honoursMaxAge, type RelyingParty, refetches } from './relying-parties.ts'

const RING: Ring = {
  ...{ id: 'default', name: 'default', reserved: true, algorithms: ['RS256'], exportable: false },
  ...{ rotationThreshold: undefined, maxTokenTtl: undefined, jwksMaxAge: undefined },
  ...{ issuer: undefined, createdAt: 0 },
}

test('the simulated policy is that of the default settings', () => {
  const settings = parseConfig({ HOME: '/nonexistent' })
  assert.deepEqual(policyOf(settings, RING, undefined, T), SAFE)
})

interface Token {
  kid: string
  exp: bigint
}

interface Year {
  lane: Lane
  failures: Map<string, number>
  checks: number
  rotations: number
}

/** Deterministic, so that a failure comes again. */
function createDice(seed: number) {
  let state = seed
  return (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state % below
  }
}

const STEP = 10n * MINUTE
const LEEWAY = MINUTE

/**
 * A year in steps of a tick. At every step a token is signed and every relying party is shown it, and one of the
 * tokens that are still valid; `wants` is asked at every step, and at the very moment the standby becomes safe.
 */
function simulate(days: bigint, wants: (lane: Lane) => false | (() => void)): Year {
  const lane = createLane(SAFE)
  const dice = createDice(42)
  let outageUntil = 0n
  const origin = {
    now: lane.now,
    fetch: () => ({ kids: lane.published(), maxAge: (300n + BigInt(dice(31))) * SECOND }),
  }
  const flaky = {
    now: lane.now,
    fetch: () => (lane.now() < outageUntil ? undefined : origin.fetch()),
  }
  const parties: RelyingParty[] = [
    honoursMaxAge(origin, 0n),
    { ...honoursMaxAge(flaky, SAFE.staleIfError), name: 'stale-if-error in outages' },
    refetches(origin),
    ...Array.from({ length: 24 }, (_, hour) => daily(origin, BigInt(hour) * HOUR + 7n * MINUTE)),
  ]
  const year: Year = { lane, failures: new Map(), checks: 0, rotations: 0 }
  let tokens: Token[] = []

  function sign(): Token {
    const { kid = '' } = lane.active() ?? {}
    const exp = lane.now() / SECOND + BigInt(60 + dice(24 * 3600 - 60))
    lane.promise(kid, exp + 600n)
    const token = { kid, exp }
    tokens.push(token)
    return token
  }

  function show(token: Token): void {
    for (const party of parties) {
      year.checks++
      if (party.knows(token.kid)) continue
      year.failures.set(party.name, (year.failures.get(party.name) ?? 0) + 1)
    }
  }

  function look(): void {
    show(sign())
    tokens = tokens.filter(({ exp }) => exp * SECOND + LEEWAY > lane.now())
    // The oldest ones are those whose key may be gone; one at random for all else.
    const oldest = tokens.reduce((min, token) => (token.kid < min.kid ? token : min))
    show(oldest)
    show(tokens[dice(tokens.length)] ?? oldest)
  }

  function turn(): void {
    const before = lane.active()?.kid
    const rotate = wants(lane)
    if (rotate) {
      look()
      rotate()
      look()
    }
    lane.tick()
    if (lane.active()?.kid !== before) year.rotations++
    look()
  }

  while (lane.now() < T + days * DAY) {
    if (dice(500) === 0) outageUntil = lane.now() + BigInt(dice(3300)) * SECOND
    turn()
    const next = lane.now() + STEP
    const safeAt = lane.safeAt() ?? 0n
    if (safeAt > lane.now() && safeAt < next) {
      lane.advance(safeAt - lane.now())
      turn()
    }
    lane.advance(next - lane.now())
  }
  return year
}

test('a year of automatic rotations: no relying party ever lacks a key', () => {
  const { failures, checks, rotations } = simulate(366n, () => false)
  assert.deepEqual([...failures], [])
  assert.equal(rotations, 12)
  assert.ok(checks > 3_000_000)
})

test('a year of manual rotations, each as early as it is allowed: no relying party ever lacks a key', () => {
  const { failures, rotations } = simulate(365n, (lane) => {
    return (lane.safeAt() ?? 0n) <= lane.now() && (() => lane.rotate())
  })
  assert.deepEqual([...failures], [])
  assert.ok(rotations > 350, `about one a day: ${rotations}`)
})

test('manual rotations now and then, with scheduled keys in between: no relying party ever lacks a key', () => {
  const dice = createDice(7)
  const { failures, rotations } = simulate(365n, (lane) => {
    if (dice(2000) === 0) lane.schedule(lane.now() + BigInt(dice(60) - 10) * DAY)
    return dice(1500) === 0 && (lane.safeAt() ?? 0n) <= lane.now() && (() => lane.rotate())
  })
  assert.deepEqual([...failures], [])
  assert.ok(rotations > 20)
})

test('control: an instant swap breaks those that keep their copy', () => {
  const { failures } = simulate(30n, (lane) => {
    if (lane.now() % (5n * DAY) >= STEP) return false
    return () => lane.apply(activateFresh(lane.keys(), lane.fresh(), false, lane.now()))
  })
  assert.ok((failures.get('honours max-age') ?? 0) > 0)
  assert.ok([...failures.keys()].filter((name) => name.startsWith('every 24 h')).length > 20)
})

test('control: two forced rotations in a row break those that load the set daily', () => {
  const { failures } = simulate(30n, (lane) => {
    if (lane.now() % (5n * DAY) >= STEP) return false
    return () => {
      lane.rotate()
      lane.rotate()
    }
  })
  assert.ok([...failures.keys()].some((name) => name.startsWith('every 24 h')))
})
