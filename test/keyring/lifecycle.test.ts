import assert from 'node:assert/strict'
import test from 'node:test'
import type { Policy } from '../../src/keyring/lifecycle.ts'
import * as lifecycle from '../../src/keyring/lifecycle.ts'
import { HOUR, MINUTE, SECOND } from '../../src/time.ts'
import { aKey, createLane, DAY, facts, NOMAD, newKey, retired, SAFE, T } from './lane.ts'

const exp = (instant: bigint) => instant / SECOND
const promised = (table: Record<string, bigint>) => facts({ promisedUntil: (kid) => table[kid] })
const sealing = (kid: string) => facts({ sealedRows: (one) => (one === kid ? 1 : 0) })

test('a key that nobody lacks is safe at once; another one when the window has passed', () => {
  const cases: [string, bigint, bigint | undefined, bigint][] = [
    ['bootstrap', 0n, undefined, 0n],
    ['published at T', T, undefined, T + SAFE.window],
    ['shown later than decided', T, T + MINUTE, T + MINUTE + SAFE.window],
    ['decided later than shown', T, T - MINUTE, T + SAFE.window],
    ['shown again, though of the first set', 0n, T, T + SAFE.window],
  ]
  for (const [name, absentUntil, shownAt, expected] of cases) {
    const known = facts({ shownAt: () => shownAt })
    assert.equal(
      lifecycle.safeToActivateAt(aKey('a', { absentUntil }), known, SAFE),
      expected,
      name,
    )
  }
})

test('a key is in use until its last promise and the skew have passed', () => {
  const key = retired('a')
  assert.equal(lifecycle.inUseUntil(key, facts(), SAFE), 0n)
  assert.equal(lifecycle.inUseUntil(key, promised({ a: 100n }), SAFE), 100n * SECOND + MINUTE)
})

test('bootstrap makes an active key and, in safe mode, a standby for one threshold later', () => {
  const keys = [newKey('a', T), newKey('b', T)] as const
  const both = lifecycle.bootstrap(keys, SAFE, T).insert
  assert.deepEqual(
    both.map(({ kid, state, standby, plannedAt, absentUntil, activatedAt }) => [
      ...[kid, state, standby, plannedAt, absentUntil, activatedAt],
    ]),
    [
      ['a', 'active', false, 0n, 0n, T],
      ['b', 'next', true, T + SAFE.threshold, 0n, undefined],
    ],
  )
  assert.equal(lifecycle.bootstrap([keys[0]], NOMAD, T).insert.length, 1)
})

test('promotion retires the active key without its private half and leaves one standby', () => {
  const keys = [
    aKey('a', { state: 'active', activatedAt: T }),
    aKey('b', { standby: true, plannedAt: T + 9n * DAY }),
    aKey('s', { plannedAt: T + 40n * DAY }),
    retired('old'),
  ]
  const now = T + DAY
  const options = { full: false, policy: SAFE, now }
  const change = lifecycle.promote(keys, 'b', newKey('c', now), options)
  const [b, a, ...others] = change.update
  assert.deepEqual(others, [])
  assert.partialDeepStrictEqual(b, { kid: 'b', state: 'active', standby: false, plannedAt: now })
  assert.equal(b?.activatedAt, now)
  assert.partialDeepStrictEqual(a, { kid: 'a', state: 'retired', retiredAt: now, rekeying: false })
  assert.equal(a?.privateSealed, undefined)
  assert.equal(change.insert.length, 1)
  assert.partialDeepStrictEqual(change.insert[0], {
    ...{ kid: 'c', state: 'next', standby: true, absentUntil: now },
    plannedAt: now + SAFE.threshold,
  })

  const scheduled = lifecycle.promote(keys, 's', newKey('c', now), options)
  assert.deepEqual(scheduled.insert, [], 'the standby that is there stays')
  assert.equal(scheduled.update.find(({ kid }) => kid === 'b')?.plannedAt, now + SAFE.threshold)

  const alone = lifecycle.promote([keys[0] as never, keys[2] as never], 's', undefined, options)
  assert.deepEqual(alone.insert, [])
})

test('promotion of what does not wait changes nothing', () => {
  const keys = [aKey('a', { state: 'active' }), retired('r')]
  for (const kid of ['a', 'r', 'unknown']) {
    const change = lifecycle.promote(keys, kid, undefined, { full: false, policy: SAFE, now: T })
    assert.deepEqual(change, { insert: [], update: [], delete: [] })
  }
})

test('a promotion on time leaves the planned time as the wire showed it', () => {
  const keys = [aKey('a', { state: 'active' }), aKey('b', { standby: true, plannedAt: T })]
  const options = { full: false, policy: NOMAD, now: T + HOUR }
  const change = lifecycle.promote(keys, 'b', undefined, options)
  assert.equal(change.update[0]?.plannedAt, T)
  assert.deepEqual(change.insert, [])
})

test('full re-keys the former active and every published retired key, once (contract section 4)', () => {
  const keys = [
    aKey('a', { state: 'active' }),
    retired('r'),
    retired('again', { rekeying: true }),
    retired('withdrawn', { published: false }),
    aKey('waits'),
  ]
  const change = lifecycle.activateFresh(keys, newKey('f', T), true, T)
  assert.deepEqual(
    change.insert.map(({ kid, state }) => [kid, state]),
    [['f', 'active']],
  )
  assert.deepEqual(
    change.update.map(({ kid, state, rekeying }) => [kid, state, rekeying]),
    [
      ['a', 'retired', true],
      ['r', 'retired', true],
    ],
  )
  const plain = lifecycle.activateFresh(keys, newKey('f', T), false, T)
  assert.deepEqual(
    plain.update.map(({ kid, rekeying }) => [kid, rekeying]),
    [['a', false]],
  )
  assert.equal(lifecycle.activateFresh([], newKey('f', T), false, T).insert.length, 1)
})

test('a scheduled key stays as it was scheduled', () => {
  const [key] = lifecycle.schedule(newKey('s', T), T - DAY, T).insert
  assert.partialDeepStrictEqual(key, {
    ...{ state: 'next', standby: false, published: true },
    ...{ plannedAt: T - DAY, absentUntil: T },
  })
})

test('a key is withdrawn only when it is retired and published, and re-keying ends with it', () => {
  const change = lifecycle.withdraw([retired('r', { rekeying: true })], 'r', T + DAY)
  assert.partialDeepStrictEqual(change.update[0], {
    ...{ published: false, rekeying: false, withdrawnAt: T + DAY, state: 'retired' },
  })
  for (const key of [
    aKey('r'),
    aKey('r', { state: 'active' }),
    retired('r', { published: false }),
  ]) {
    assert.deepEqual(lifecycle.withdraw([key], 'r', T).update, [])
  }
})

test('re-keying ends once', () => {
  const change = lifecycle.finishRekey([retired('r', { rekeying: true })], 'r')
  assert.deepEqual(
    change.update.map(({ rekeying }) => rekeying),
    [false],
  )
  assert.deepEqual(lifecycle.finishRekey([retired('r')], 'r').update, [])
})

test('the standby follows what the lane has and the algorithm that the ring wants', () => {
  const active = aKey('a', { state: 'active', activatedAt: T })
  const standby = aKey('b', { standby: true, plannedAt: T + DAY })
  const now = T + HOUR
  assert.equal(lifecycle.standbyStep([active, standby], 'ES256', SAFE, now), undefined)
  assert.deepEqual(lifecycle.standbyStep([active], 'ES256', SAFE, now), {
    ...{ do: 'prepublish', plannedAt: T + SAFE.threshold },
  })
  assert.deepEqual(
    lifecycle.standbyStep([{ ...active, activatedAt: undefined }], 'ES256', SAFE, now),
    {
      ...{ do: 'prepublish', plannedAt: now + SAFE.threshold },
    },
  )
  assert.deepEqual(lifecycle.standbyStep([active, standby], 'RS256', SAFE, now), {
    ...{ do: 'replace-standby', kid: 'b', plannedAt: T + DAY },
  })
  assert.equal(lifecycle.standbyStep([], 'ES256', SAFE, now), undefined)
})

test('safe mode: a key takes over when it is planned, safe, and past what stale-if-error keeps alive', () => {
  const active = aKey('a', { state: 'active', activatedAt: T })
  const unsafe = T + SAFE.window + SAFE.staleIfError
  const cases: [string, Parameters<typeof aKey>[1], bigint][] = [
    ['bootstrap standby', { absentUntil: 0n, plannedAt: T + HOUR }, T + HOUR],
    ['planned before it is safe', { plannedAt: T }, unsafe],
    ['planned in the past', { plannedAt: -1n }, unsafe],
    ['safe before it is planned', { plannedAt: T + 9n * DAY }, T + 9n * DAY],
  ]
  for (const [name, over, at] of cases) {
    const keys = [active, aKey('b', { standby: true, ...over })]
    assert.deepEqual(lifecycle.step(keys, 'ES256', facts(), SAFE, at - 1n), [], name)
    assert.deepEqual(lifecycle.step(keys, 'ES256', facts(), SAFE, at), [
      { do: 'promote', kid: 'b', at },
    ])
    const [first] = lifecycle.plan(keys, facts(), SAFE, T)
    assert.partialDeepStrictEqual(first, { kid: 'b', step: 'activate', at }, name)
  }
})

test('a waiting key that is not safe yet does not hold up one that is', () => {
  const keys = [
    aKey('a', { state: 'active', activatedAt: T }),
    aKey('early', { plannedAt: T, absentUntil: T + 5n * DAY }),
    aKey('b', { standby: true, plannedAt: T + DAY, absentUntil: 0n }),
  ]
  assert.deepEqual(lifecycle.step(keys, 'ES256', facts(), SAFE, T + 2n * DAY), [
    { do: 'promote', kid: 'b', at: T + DAY },
  ])
})

const LANE = [
  aKey('a', { state: 'active', activatedAt: T }),
  aKey('b', { standby: true, plannedAt: T + 9999n * DAY }),
]
const rest = (mode: Policy, known = facts(), ...keys: ReturnType<typeof aKey>[]) => ({
  at: (now: bigint) => lifecycle.step([...LANE, ...keys], 'ES256', known, mode, now),
  plan: lifecycle.plan([...LANE, ...keys], known, mode, T).filter(({ kid }) => kid !== 'b'),
})

test('safe mode: a retired key leaves the set when its promises and one max-age have passed', () => {
  const cases: [string, bigint | undefined, bigint][] = [
    ['never signed', undefined, T + SAFE.maxAge],
    ['promise before retirement', exp(T) - 999n, T + SAFE.maxAge],
    ['promise after retirement', exp(T) + 7200n, T + 2n * HOUR + MINUTE + SAFE.maxAge],
  ]
  for (const [name, until, at] of cases) {
    const known = facts({ promisedUntil: () => until })
    const { at: stepsAt, plan } = rest(SAFE, known, retired('r'))
    assert.deepEqual(stepsAt(at - 1n), [], name)
    assert.deepEqual(stepsAt(at), [{ do: 'withdraw', kid: 'r', at }], name)
    assert.partialDeepStrictEqual(plan[0], { kid: 'r', step: 'withdraw', at }, name)
  }
  const odd = retired('r', { retiredAt: undefined, publishedAt: T + DAY })
  assert.deepEqual(rest(SAFE, facts(), odd).at(T + DAY), [])
})

test('safe mode: what others may hold is not withdrawn before somebody attests', () => {
  const late = T + 999n * DAY
  for (const over of [{ origin: 'imported' as const }, { handedOutAt: T }]) {
    const waits = rest(SAFE, facts(), retired('r', over))
    assert.deepEqual(waits.at(late), [])
    assert.partialDeepStrictEqual(waits.plan[0], { step: 'withdraw', at: undefined })
    assert.deepEqual(
      rest(SAFE, facts(), retired('r', { ...over, published: false, withdrawnAt: T })).at(late),
      [],
    )
    const attested = rest(SAFE, facts(), retired('r', { ...over, attestedAt: T }))
    assert.equal(attested.at(late).length, 1)
  }
})

test('safe mode: a row goes when it is withdrawn, unused and seals nothing', () => {
  const gone = { published: false, withdrawnAt: T + DAY }
  const at = T + DAY + SAFE.gcThreshold
  const { at: stepsAt, plan } = rest(SAFE, facts(), retired('r', gone))
  assert.deepEqual(stepsAt(at - 1n), [])
  assert.deepEqual(stepsAt(at), [{ do: 'delete', kid: 'r', at }])
  assert.partialDeepStrictEqual(plan[0], { kid: 'r', step: 'delete', at })

  const late = T + 999n * DAY
  const sealed = rest(SAFE, sealing('r'), retired('r', gone))
  assert.deepEqual(sealed.at(late), [])
  assert.partialDeepStrictEqual(sealed.plan[0], { step: 'delete', at: undefined })
  assert.deepEqual(rest(SAFE, facts(), retired('r', { ...gone, rekeying: true })).at(late), [])
  assert.deepEqual(rest(SAFE, promised({ r: exp(late) }), retired('r', gone)).at(late), [])

  const revoked = aKey('r', { state: 'revoked', published: false, revokedAt: T + 2n * DAY })
  assert.equal(rest(SAFE, facts(), revoked).at(T + 2n * DAY + HOUR).length, 1)
  assert.deepEqual(rest(SAFE, facts(), revoked).at(T + 2n * DAY + HOUR - 1n), [])
  const undated = aKey('r', { state: 'revoked', published: false, publishedAt: T + 3n * DAY })
  assert.deepEqual(rest(SAFE, facts(), undated).at(T + 3n * DAY + HOUR - 1n), [])
  assert.equal(rest(SAFE, facts(), undated).at(T + 3n * DAY + HOUR).length, 1)
})

test('nomad mode: collection is by age since creation, use and seals (contract section 5.4)', () => {
  const age = NOMAD.threshold + NOMAD.gcThreshold
  const { at: stepsAt, plan } = rest(
    NOMAD,
    facts(),
    retired('r'),
    retired('deprecated', { published: false }),
    retired('busy', { rekeying: true }),
  )
  // `b` waits, so there is no rotation; collection follows in the same tick.
  assert.deepEqual(stepsAt(T + age - 1n), [])
  assert.deepEqual(stepsAt(T + age), [
    { do: 'delete', kid: 'r', at: T + age },
    { do: 'delete', kid: 'deprecated', at: T + age },
  ])
  assert.deepEqual(
    plan.map(({ kid, step, at }) => [kid, step, at]),
    [
      ['r', 'delete', T + age],
      ['deprecated', 'delete', T + age],
      ['busy', 'delete', undefined],
    ],
  )
  const until = exp(T + 60n * DAY)
  const used = rest(NOMAD, promised({ r: until }), retired('r'))
  assert.deepEqual(used.at(until * SECOND + NOMAD.skew - 1n), [])
  assert.equal(used.at(until * SECOND + NOMAD.skew).length, 1)
  assert.deepEqual(
    rest(NOMAD, sealing('r'), retired('r'))
      .at(T + 999n * DAY)
      .slice(1),
    [],
  )
})

test('nomad mode: the smallest publish time goes first, then the lower kid (contract section 5.2)', () => {
  const keys = [
    aKey('a', { state: 'active' }),
    aKey('d', { plannedAt: T + 2n }),
    aKey('c', { plannedAt: T + 1n }),
    aKey('b', { plannedAt: T + 1n }),
  ]
  for (const order of [keys, keys.toReversed()]) {
    assert.deepEqual(lifecycle.step(order, 'ES256', facts(), NOMAD, T + DAY), [
      { do: 'promote', kid: 'b', at: T + 1n },
    ])
  }
  const [, ...later] = keys
  assert.deepEqual(lifecycle.step(later, 'ES256', facts(), NOMAD, T), [], 'no active key: nothing')
  assert.deepEqual(lifecycle.step([], 'ES256', facts(), NOMAD, T), [])
})

test('nomad mode: the worked example of contract section 5.2', () => {
  const lane = createLane(NOMAD)
  const events: [bigint, string, string][] = []
  while (lane.now() < T + 61n * DAY) {
    for (const step of lane.tick()) {
      const kid = 'kid' in step ? step.kid : (lane.keys().at(-1)?.kid ?? '')
      events.push([lane.now() - T, step.do, kid])
    }
    lane.advance(10n * MINUTE)
  }
  const TICK = 10n * MINUTE
  assert.deepEqual(events, [
    [15n * DAY, 'prepublish', 'k00002'],
    [30n * DAY, 'promote', 'k00002'],
    [30n * DAY + TICK, 'prepublish', 'k00003'],
    [30n * DAY + HOUR, 'delete', 'k00001'],
    [45n * DAY, 'promote', 'k00003'],
    [45n * DAY + TICK, 'prepublish', 'k00004'],
    [45n * DAY + HOUR, 'delete', 'k00002'],
    [60n * DAY + TICK, 'promote', 'k00004'],
    [60n * DAY + 2n * TICK, 'prepublish', 'k00005'],
    [60n * DAY + TICK + HOUR, 'delete', 'k00003'],
  ])
})

test('nomad mode: while any key is prepublished, however far ahead, nothing rotates (contract 5.2)', () => {
  const lane = createLane(NOMAD)
  lane.schedule(T + 10_000n * DAY)
  lane.advance(400n * DAY)
  assert.deepEqual(lane.tick(), [])
})

test('a plan is in the order of time, undated steps last', () => {
  const keys = [
    ...LANE,
    retired('undated', { origin: 'imported' }),
    retired('soon'),
    aKey('scheduled', { plannedAt: T + 50n * DAY }),
  ]
  const plan = lifecycle.plan(keys, facts(), SAFE, T)
  assert.deepEqual(
    plan.map(({ kid }) => kid),
    ['soon', 'scheduled', 'b', 'undated'],
  )
})
