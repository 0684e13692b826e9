import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { ALGORITHMS, toPublicJwk } from '../core/index.ts'
import type { Key } from '../store/keys.ts'
import { type Duration, type Instant, MINUTE, SECOND, toSeconds } from '../time.ts'

// The JWK Set as bytes: built when a key changes, served until the next change.

/** A prebuilt answer: its bytes, plain and gzip, each with the strong ETag of exactly those bytes. */
export interface PublicDocument {
  body: Buffer
  gzip: Buffer
  etag: string
  gzipEtag: string
}

export function createDocument(value: unknown): PublicDocument {
  const body = Buffer.from(JSON.stringify(value))
  const gzip = gzipSync(body)
  const tag = (bytes: Buffer) =>
    `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 27)}"`
  return { body, gzip, etag: tag(body), gzipEtag: tag(gzip) }
}

/** Public members by allow-list, sorted by kid. Post-quantum keys are in a set of their own (product.md 5.7). */
export function createJwks(keys: readonly Key[], postQuantum: boolean): PublicDocument {
  const published = keys
    .filter((key) => key.published && ALGORITHMS[key.alg].postQuantum === postQuantum)
    .sort((a, b) => (a.kid < b.kid ? -1 : 1))
  return createDocument({
    keys: published.map((key) => toPublicJwk(key.publicJwk, key.alg, key.kid)),
  })
}

export interface CachePolicy {
  /** `nomad` is the formula of contract section 2.4. */
  maxAge: Duration | 'nomad'
  staleWhileRevalidate: Duration
  staleIfError: Duration
  threshold: Duration
}

const FLOOR = 15n * MINUTE
/** `random` is in 0 ≤ r < 1; the extra is below a tenth, so that copies do not all expire at once. */
const jittered = (age: Duration, random: number): Duration =>
  age + BigInt(Math.floor((Number(age) / 10) * random))

/** Seconds of max-age for one answer. */
export function maxAgeSeconds(
  policy: CachePolicy,
  newest: Instant,
  now: Instant,
  random: number,
): number {
  if (policy.maxAge !== 'nomad') return toSeconds(jittered(policy.maxAge, random))
  const half = (newest + policy.threshold - now) / 2n
  return toSeconds(jittered(half < FLOOR ? FLOOR : half, random))
}

/** The longest that a copy can be fresh under this policy. */
export function longestMaxAge(policy: CachePolicy): Duration {
  const half = policy.threshold / 2n
  const base = policy.maxAge === 'nomad' ? (half < FLOOR ? FLOOR : half) : policy.maxAge
  return (base * 11n) / 10n
}

/** Cache-Control of a JWK Set. The `nomad` formula sends `max-age` alone, as its original does. */
export function cacheControl(
  policy: CachePolicy,
  newest: Instant,
  now: Instant,
  random: number,
): string {
  const age = maxAgeSeconds(policy, newest, now, random)
  if (policy.maxAge === 'nomad') return `max-age=${age}`
  const stale = policy.staleWhileRevalidate / SECOND
  const error = policy.staleIfError / SECOND
  return `public, max-age=${age}, stale-while-revalidate=${stale}, stale-if-error=${error}`
}
