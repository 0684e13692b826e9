import type { Key, RingChange } from '../store/keys.ts'
import { type Duration, type Instant, SECOND } from '../time.ts'

// What happens to which key when, and why. Pure: rows, policy, facts and a moment in; named rows out.
//
// A *lane* is a succession of keys: one per algorithm of a ring, one in all for a reserved ring. Two modes share
// the rows: `nomad` is the keyring contract's sections 4 and 5 to the letter, `safe` is product.md section 5.

export interface Policy {
  mode: 'safe' | 'nomad'
  /** How long a key signs (safe); contract section 5.2 (nomad). */
  threshold: Duration
  gcThreshold: Duration
  /** Propagation window (product.md 5.2). */
  window: Duration
  staleIfError: Duration
  skew: Duration
  /** The longest a copy of the set may be fresh. */
  maxAge: Duration
}

/** What the decisions need to know besides the rows. */
export interface Facts {
  /** The latest `exp` promised, in seconds; undefined when none was. */
  promisedUntil(kid: string): bigint | undefined
  /** Rows sealed under this root key, its own key apart. */
  sealedRows(kid: string): number
  /** When this process began to serve the key; undefined when it always did. */
  shownAt(kid: string): Instant | undefined
}

export interface Plan {
  kid: string
  step: 'activate' | 'withdraw' | 'delete'
  /** When it can happen at the earliest; undefined while something without a date is in the way. */
  at: Instant | undefined
  why: string
}

export type Step =
  | { do: 'promote'; kid: string; at: Instant }
  | { do: 'prepublish'; plannedAt: Instant }
  | { do: 'replace-standby'; kid: string; plannedAt: Instant }
  | { do: 'withdraw'; kid: string; at: Instant }
  | { do: 'delete'; kid: string; at: Instant }

/** A step that only publishes, and so needs no confirmation. */
export type StandbyStep = Extract<Step, { do: 'prepublish' | 'replace-standby' }>

const NOTHING: RingChange = { insert: [], update: [], delete: [] }

const later = (a: Instant, b: Instant): Instant => (a > b ? a : b)

export const activeOf = (keys: readonly Key[]) => keys.find((key) => key.state === 'active')
export const standbyOf = (keys: readonly Key[]) => keys.find((key) => key.standby)

/** Keys waiting to sign, in the order they will: planned time, then kid (contract section 5.2). */
function waiting(keys: readonly Key[]): Key[] {
  return keys
    .filter((key) => key.state === 'next')
    .sort((a, b) =>
      a.plannedAt === b.plannedAt ? (a.kid < b.kid ? -1 : 1) : a.plannedAt < b.plannedAt ? -1 : 1,
    )
}

/** The earliest moment at which no relying party can still hold a set without this key; 0 when none ever did. */
export function safeToActivateAt(key: Key, facts: Facts, policy: Policy): Instant {
  const shownAt = facts.shownAt(key.kid) ?? 0n
  if (key.absentUntil === 0n && shownAt === 0n) return 0n
  return later(key.absentUntil, shownAt) + policy.window
}

/** When an automatic promotion may happen: planned, safe, and past what stale-if-error may keep alive. */
function dueAt(key: Key, facts: Facts, policy: Policy): Instant {
  if (policy.mode === 'nomad') return key.plannedAt
  const safeAt = safeToActivateAt(key, facts, policy)
  return later(key.plannedAt, safeAt === 0n ? 0n : safeAt + policy.staleIfError)
}

/** When the last token under this key is past everybody's clock; a key that never signed is unused at once. */
export function inUseUntil(key: Key, facts: Facts, policy: Policy): Instant {
  const promised = facts.promisedUntil(key.kid)
  return promised === undefined ? 0n : promised * SECOND + policy.skew
}

/** When the last copy of a set that needs this key is gone: in use, then one max-age more. */
function withdrawableAt(key: Key, facts: Facts, policy: Policy): Instant {
  const unused = inUseUntil(key, facts, policy)
  return later(unused, key.retiredAt ?? key.publishedAt) + policy.maxAge
}

/** True when somebody else may hold the private half and nobody has said since when not (product.md 5.3). */
const needsAttestation = (key: Key) =>
  (key.origin === 'imported' || key.handedOutAt !== undefined) && key.attestedAt === undefined

export type NewKey = Omit<
  Key,
  'state' | 'standby' | 'published' | 'rekeying' | 'absentUntil' | 'plannedAt' | 'publishedAt'
>

const fresh = (key: NewKey, now: Instant): Key => ({
  ...key,
  state: 'next',
  standby: false,
  published: true,
  rekeying: false,
  absentUntil: now,
  plannedAt: 0n,
  publishedAt: now,
})

/** Makes `key` the active one of its lane; the private half of the one before is destroyed with the same write. */
function activate(keys: readonly Key[], key: Key, now: Instant, full: boolean): [Key, ...Key[]] {
  const changed: [Key, ...Key[]] = [{ ...key, state: 'active', standby: false, activatedAt: now }]
  for (const other of keys) {
    if (other.kid === key.kid) continue
    if (other.state === 'active') {
      changed.push({
        ...other,
        state: 'retired',
        rekeying: full,
        retiredAt: now,
        privateSealed: undefined,
      })
    } else if (full && other.state === 'retired' && other.published && !other.rekeying) {
      changed.push({ ...other, rekeying: true })
    }
  }
  return changed
}

/** The first keys of a lane: nobody has seen a set without them, so they are safe at once. */
export function bootstrap(
  [first, second]: readonly [NewKey, (NewKey | undefined)?],
  policy: Policy,
  now: Instant,
): RingChange {
  const unseen = (key: NewKey): Key => ({ ...fresh(key, now), absentUntil: 0n })
  const insert: Key[] = [{ ...unseen(first), state: 'active', activatedAt: now }]
  if (second) {
    insert.push({ ...unseen(second), standby: true, plannedAt: now + policy.threshold })
  }
  return { ...NOTHING, insert }
}

/** Rotates at once to a key nobody has seen: `nomad` mode, contract section 4. */
export function activateFresh(
  keys: readonly Key[],
  key: NewKey,
  full: boolean,
  now: Instant,
): RingChange {
  const [insert, ...update] = activate(keys, fresh(key, now), now, full)
  return { insert: [insert], update, delete: [] }
}

/** Publishes a key that somebody scheduled; it stays as scheduled (contract section 2.2, product.md 5.1). */
export function schedule(key: NewKey, plannedAt: Instant, now: Instant): RingChange {
  return { ...NOTHING, insert: [{ ...fresh(key, now), plannedAt }] }
}

/** Publishes the lane's standby, in the place of one that never signed if `replaced` names it. */
export function addStandby(
  key: NewKey,
  plannedAt: Instant,
  now: Instant,
  replaced?: string,
): RingChange {
  return {
    insert: [{ ...fresh(key, now), standby: true, plannedAt }],
    update: [],
    delete: replaced === undefined ? [] : [replaced],
  }
}

/**
 * Makes a waiting key active. In `safe` mode exactly one standby is left, planned one threshold from now: `next`
 * if the promoted key was the standby, else the standby there is. A key promoted ahead of its time shows when it was.
 */
export function promote(
  keys: readonly Key[],
  kid: string,
  next: NewKey | undefined,
  options: { full: boolean; policy: Policy; now: Instant },
): RingChange {
  const { full, policy, now } = options
  const key = keys.find((one) => one.kid === kid && one.state === 'next')
  if (!key) return NOTHING
  const promoted = key.plannedAt > now ? { ...key, plannedAt: now } : key
  const update = activate(keys, promoted, now, full)
  if (policy.mode === 'nomad') return { insert: [], update, delete: [] }
  const plannedAt = now + policy.threshold
  const standby = keys.find((one) => one.standby && one.kid !== kid)
  if (standby) return { insert: [], update: [...update, { ...standby, plannedAt }], delete: [] }
  return { insert: next ? addStandby(next, plannedAt, now).insert : [], update, delete: [] }
}

/** Takes a key out of the set; its row stays until its last seal is gone. */
export function withdraw(keys: readonly Key[], kid: string, now: Instant): RingChange {
  const key = keys.find((one) => one.kid === kid && one.state === 'retired' && one.published)
  if (!key) return NOTHING
  const update = [{ ...key, published: false, rekeying: false, withdrawnAt: now }]
  return { ...NOTHING, update }
}

/** Ends the re-keying of a key whose last seal is gone (contract section 5.5). */
export function finishRekey(keys: readonly Key[], kid: string): RingChange {
  const key = keys.find((one) => one.kid === kid && one.rekeying)
  return key ? { ...NOTHING, update: [{ ...key, rekeying: false }] } : NOTHING
}

/** What one tick should do to a lane of algorithm `alg`; the service decides again inside the transaction. */
export function step(
  keys: readonly Key[],
  alg: string,
  facts: Facts,
  policy: Policy,
  now: Instant,
): Step[] {
  return policy.mode === 'nomad'
    ? nomadStep(keys, facts, policy, now)
    : safeStep(keys, alg, facts, policy, now)
}

/** Contract section 5.2: promotion, else prepublication, else collection; the first that applies ends the tick. */
function nomadStep(keys: readonly Key[], facts: Facts, policy: Policy, now: Instant): Step[] {
  const [first] = waiting(keys)
  if (first && first.plannedAt <= now) {
    return [{ do: 'promote', kid: first.kid, at: first.plannedAt }]
  }
  const active = activeOf(keys)
  if (!first && active && active.createdAt <= now - policy.threshold / 2n) {
    return [{ do: 'prepublish', plannedAt: active.createdAt + policy.threshold }]
  }
  return keys.flatMap((key): Step[] => {
    const at = deletableAt(key, facts, policy)
    return at !== undefined && at <= now ? [{ do: 'delete', kid: key.kid, at }] : []
  })
}

function safeStep(
  keys: readonly Key[],
  alg: string,
  facts: Facts,
  policy: Policy,
  now: Instant,
): Step[] {
  const due = waiting(keys).find((key) => dueAt(key, facts, policy) <= now)
  if (due) return [{ do: 'promote', kid: due.kid, at: dueAt(due, facts, policy) }]
  const standby = standbyStep(keys, alg, policy, now)
  if (standby) return [standby]
  return keys.flatMap((key): Step[] => {
    if (key.state === 'retired' && key.published) {
      const at = withdrawableAt(key, facts, policy)
      return at <= now && !needsAttestation(key) ? [{ do: 'withdraw', kid: key.kid, at }] : []
    }
    const at = deletableAt(key, facts, policy)
    return at !== undefined && at <= now ? [{ do: 'delete', kid: key.kid, at }] : []
  })
}

/** What a lane's standby needs: to be there, and to be of the algorithm that the ring has now (product.md 5.1). */
export function standbyStep(
  keys: readonly Key[],
  alg: string,
  policy: Policy,
  now: Instant,
): StandbyStep | undefined {
  const active = activeOf(keys)
  const standby = standbyOf(keys)
  if (standby) {
    const { kid, plannedAt } = standby
    return standby.alg === alg ? undefined : { do: 'replace-standby', kid, plannedAt }
  }
  if (!active) return undefined
  return { do: 'prepublish', plannedAt: (active.activatedAt ?? now) + policy.threshold }
}

/** When the row may go; undefined while it may not. Contract section 5.4 (nomad), product.md section 3 (safe). */
function deletableAt(key: Key, facts: Facts, policy: Policy): Instant | undefined {
  const gone = key.state === 'retired' || key.state === 'revoked'
  if (!gone || key.rekeying || facts.sealedRows(key.kid) > 0) return undefined
  const unused = inUseUntil(key, facts, policy)
  if (policy.mode === 'nomad') {
    return later(unused, key.createdAt + policy.threshold + policy.gcThreshold)
  }
  if (key.published || needsAttestation(key)) return undefined
  return later(unused, (key.withdrawnAt ?? key.revokedAt ?? key.publishedAt) + policy.gcThreshold)
}

/** Everything that will happen to the keys of a lane by itself, soonest first. */
export function plan(keys: readonly Key[], facts: Facts, policy: Policy, now: Instant): Plan[] {
  // In the order in which keys of one moment take their turn; sorting is stable.
  const others = keys.filter((key) => key.state !== 'next')
  const steps = [...waiting(keys), ...others].flatMap((key) => planOf(key, facts, policy))
  return steps.sort((a, b) => Number((a.at ?? now * 2n) - (b.at ?? now * 2n)))
}

function planOf(key: Key, facts: Facts, policy: Policy): Plan[] {
  const { kid } = key
  if (key.state === 'active') return []
  if (key.state === 'next') {
    const at = dueAt(key, facts, policy)
    const why =
      at > key.plannedAt
        ? 'no verifier can still hold a set without it by then, not even a stale one'
        : 'its planned time'
    return [{ kid, step: 'activate', at, why }]
  }
  if (policy.mode === 'safe' && key.published) {
    if (needsAttestation(key)) {
      return [{ kid, step: 'withdraw', at: undefined, why: 'waits for an attestation' }]
    }
    const at = withdrawableAt(key, facts, policy)
    const promised = facts.promisedUntil(kid) !== undefined
    const why = promised
      ? 'its last promised token has expired by then, and every copy of the set that lacks its successor'
      : 'it never signed; by then every copy of the set has its successor'
    return [{ kid, step: 'withdraw', at, why }]
  }
  const at = deletableAt(key, facts, policy)
  const why = at === undefined ? 'what it seals is being sealed anew' : 'nothing needs it by then'
  return [{ kid, step: 'delete', at, why }]
}
