// What is remembered of each source, and when a set may be used or must be fetched. Pure.
import type { VerificationKey } from '../core/index.ts'
import { HOUR, type Instant, MINUTE, SECOND } from '../time.ts'

/**
 * As the contract has it, whatever `Cache-Control` says: a shorter time would let the endpoint
 * choose how often our logins ask it, a longer one how long we trust a key that it withdrew.
 */
export const FRESH = 10n * MINUTE
/** From attempt to attempt for kids that a fresh set does not have. */
export const COOLDOWN = 30n * SECOND
/** From the end of a failed attempt to the next. */
export const FAILURE = 5n * SECOND
/** How long the last good set outlives its fetch. */
export const KEPT = 24n * HOUR

export interface CachedSet {
  keys: readonly VerificationKey[]
  kids: ReadonlySet<string>
  ignored: number
  /** Bytes as text; in memory a key takes seven to eight times as much. */
  weight: number
  fetchedAt: Instant
  /** Monotonic. */
  freshUntil: bigint
  /** Monotonic. */
  keptUntil: bigint
}

export interface Entry {
  version: string
  /** Where its sets come from and what vouches for them. */
  origin: string
  host: string
  set: CachedSet | undefined
  /** Monotonic; of the last attempt, good or bad. */
  attemptedAt: bigint | undefined
  failure: { error: unknown; until: bigint } | undefined
  /** The attempt that runs. Never rejects. */
  pending: Promise<void> | undefined
}

export type Decision = 'serve' | 'join' | 'fetch' | 'fail'

/**
 * Whether the set has what a token with this kid needs; without one, any key may be it. An empty
 * set has nothing.
 */
function hasFitting({ keys, kids }: CachedSet, kid: string | undefined): boolean {
  return kid === undefined ? keys.length > 0 : kids.has(kid)
}

/** What to do for a token with `kid` at `at` (monotonic). */
export function decide(entry: Entry, kid: string | undefined, at: bigint): Decision {
  const { set, attemptedAt, failure } = entry
  const isFresh = set !== undefined && at < set.freshUntil
  if (isFresh && hasFitting(set, kid)) return 'serve'
  if (entry.pending) return 'join'
  if (isFresh) return attemptedAt === undefined || at >= attemptedAt + COOLDOWN ? 'fetch' : 'serve'
  if (failure && at < failure.until) return set ? 'serve' : 'fail'
  return 'fetch'
}

/**
 * Forgets a set that is too old by either clock: a wall clock that was set back must not lengthen
 * its life, nor a machine that slept.
 */
export function dropExpired(entry: Entry, at: bigint, now: Instant): void {
  const { set } = entry
  if (set && (at >= set.keptUntil || now >= set.fetchedAt + KEPT)) entry.set = undefined
}

/** When (monotonic) the next token with a known kid may cause a fetch. */
export function nextAttempt({ set, failure }: Entry, at: bigint): bigint {
  const fresh = set?.freshUntil ?? at
  const allowed = failure?.until ?? at
  const next = fresh > allowed ? fresh : allowed
  return next > at ? next : at
}

export interface Bounds {
  maxSources: number
  /** Of all sets together, in bytes as text. */
  maxWeight: number
}

const weightOf = ({ set }: Entry): number => set?.weight ?? 0

/**
 * Drops the least recently used, which come first, while there are too many; and the heaviest while
 * they weigh too much: a few huge sets push out each other, never the many small ones, whose
 * endpoints would be asked again. What is being fetched stays.
 */
export function evict(entries: Map<string, Entry>, { maxSources, maxWeight }: Bounds): void {
  for (const [id, entry] of entries) {
    if (entries.size <= maxSources) break
    if (!entry.pending) entries.delete(id)
  }
  let weight = 0
  for (const entry of entries.values()) weight += weightOf(entry)
  if (weight <= maxWeight) return
  const heaviestFirst = [...entries].sort(([, a], [, b]) => weightOf(b) - weightOf(a))
  for (const [id, entry] of heaviestFirst) {
    if (weight <= maxWeight) return
    if (entry.pending) continue
    weight -= weightOf(entry)
    entries.delete(id)
  }
}
