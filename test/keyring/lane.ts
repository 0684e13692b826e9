import { ALGORITHMS, type Algorithm } from '../../src/core/index.ts'
import type { Facts, NewKey, Policy, Step } from '../../src/keyring/lifecycle.ts'
import * as lifecycle from '../../src/keyring/lifecycle.ts'
import type { Key, RingChange } from '../../src/store/keys.ts'
import { HOUR, type Instant, MINUTE, SECOND } from '../../src/time.ts'

// One lane of keys in memory, moved by the decisions of lifecycle.ts and by nothing else.

export const T: Instant = 1_767_225_600_000_000_000n
export const DAY = 24n * HOUR

export const SAFE: Policy = {
  mode: 'safe',
  threshold: 30n * DAY,
  gcThreshold: HOUR,
  window: DAY + MINUTE,
  staleIfError: HOUR,
  skew: MINUTE,
  maxAge: 330n * SECOND,
}
export const NOMAD: Policy = { ...SAFE, mode: 'nomad' }

export const newKey = (kid: string, now: Instant, alg: Algorithm = 'ES256'): NewKey => ({
  kid,
  ringId: 'default',
  alg,
  publicJwk: { use: 'sig', kty: ALGORITHMS[alg].kty, kid, alg, x: kid },
  thumbprint: kid,
  origin: 'generated',
  handedOutAt: undefined,
  attestedAt: undefined,
  privateSealed: new Uint8Array(8),
  rootKid: kid,
  mac: new Uint8Array(),
  createdAt: now,
  activatedAt: undefined,
  retiredAt: undefined,
  withdrawnAt: undefined,
  revokedAt: undefined,
  createIndex: 0n,
  modifyIndex: 0n,
})

export const aKey = (kid: string, over: Partial<Key> = {}): Key => ({
  ...newKey(kid, T),
  state: 'next',
  standby: false,
  published: true,
  rekeying: false,
  absentUntil: T,
  plannedAt: 0n,
  publishedAt: T,
  ...over,
})

export const retired = (kid: string, over: Partial<Key> = {}): Key =>
  aKey(kid, { state: 'retired', retiredAt: T, privateSealed: undefined, ...over })

export const facts = (over: Partial<Facts> = {}): Facts => ({
  promisedUntil: () => undefined,
  sealedRows: () => 0,
  shownAt: () => undefined,
  ...over,
})

/** A lane with a clock, a ledger and a timer like the scheduler's, without its confirmation. */
export function createLane(policy: Policy, start: Instant = T) {
  let keys: Key[] = []
  let now = start
  let alg: Algorithm = 'ES256'
  let made = 0
  const promises = new Map<string, bigint>()
  const sealed = new Map<string, number>()
  const known = facts({
    promisedUntil: (kid) => promises.get(kid),
    sealedRows: (kid) => sealed.get(kid) ?? 0,
  })

  const fresh = () => newKey(`k${String(++made).padStart(5, '0')}`, now, alg)

  function apply(change: RingChange): void {
    const updated = new Map(change.update.map((key) => [key.kid, key]))
    keys = keys
      .filter(({ kid }) => !change.delete.includes(kid))
      .map((key) => updated.get(key.kid) ?? key)
    keys.push(...change.insert)
  }

  function take(step: Step): void {
    if (step.do === 'promote') {
      const next = policy.mode === 'safe' ? fresh() : undefined
      apply(lifecycle.promote(keys, step.kid, next, { full: false, policy, now }))
    } else if (step.do === 'prepublish') {
      apply(lifecycle.addStandby(fresh(), step.plannedAt, now))
    } else if (step.do === 'replace-standby') {
      apply(lifecycle.addStandby(fresh(), step.plannedAt, now, step.kid))
    } else if (step.do === 'withdraw') {
      apply(lifecycle.withdraw(keys, step.kid, now))
    } else {
      apply({ insert: [], update: [], delete: [step.kid] })
    }
  }

  apply(lifecycle.bootstrap([fresh(), policy.mode === 'safe' ? fresh() : undefined], policy, now))

  return {
    policy,
    facts: known,
    promises,
    sealed,
    now: () => now,
    keys: () => keys,
    key: (kid: string) => keys.find((key) => key.kid === kid),
    alg: () => alg,
    active: () => lifecycle.activeOf(keys),
    standby: () => lifecycle.standbyOf(keys),
    published: () => keys.filter((key) => key.published).map(({ kid }) => kid),
    fresh,
    apply,
    plan: () => lifecycle.plan(keys, known, policy, now),
    steps: () => lifecycle.step(keys, alg, known, policy, now),
    advance(span: bigint) {
      now += span
    },
    use(algorithm: Algorithm) {
      alg = algorithm
    },
    /** One look; the steps that were taken. */
    tick(): Step[] {
      const steps = lifecycle.step(keys, alg, known, policy, now)
      for (const step of steps) take(step)
      return steps
    },
    safeAt: () => {
      const standby = lifecycle.standbyOf(keys)
      return standby ? lifecycle.safeToActivateAt(standby, known, policy) : undefined
    },
    /** What `rotate` does: the standby at once, safe or not. */
    rotate(full = false) {
      const standby = lifecycle.standbyOf(keys)
      if (!standby) return
      apply(lifecycle.promote(keys, standby.kid, fresh(), { full, policy, now }))
    },
    schedule(plannedAt: Instant) {
      apply(lifecycle.schedule(fresh(), plannedAt, now))
    },
    promise(kid: string, exp: bigint) {
      const before = promises.get(kid) ?? 0n
      promises.set(kid, exp > before ? exp : before)
    },
  }
}

export type Lane = ReturnType<typeof createLane>
