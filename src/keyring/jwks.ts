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

/** The document of a value; `before` itself where nothing changed, because compressing costs more than all the rest. */
export function createDocument(value: unknown, before?: PublicDocument): PublicDocument {
  const body = Buffer.from(JSON.stringify(value))
  if (before?.body.equals(body)) return before
  const gzip = gzipSync(body)
  const tag = (bytes: Buffer) =>
    `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 27)}"`
  return { body, gzip, etag: tag(body), gzipEtag: tag(gzip) }
}

/** Public members by allow-list, sorted by kid. Post-quantum keys are in a set of their own (product.md 5.7). */
export function createJwks(
  keys: readonly Key[],
  postQuantum: boolean,
  before?: PublicDocument,
): PublicDocument {
  const published = keys
    .filter((key) => key.published && ALGORITHMS[key.alg].postQuantum === postQuantum)
    .sort((a, b) => (a.kid < b.kid ? -1 : 1))
  const jwks = { keys: published.map((key) => toPublicJwk(key.publicJwk, key.alg, key.kid)) }
  return createDocument(jwks, before)
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

/** Seconds of max-age by the formula of contract section 2.4. */
function formulaSeconds(
  threshold: Duration,
  newest: Instant,
  now: Instant,
  random: number,
): number {
  const half = (newest + threshold - now) / 2n
  return toSeconds(jittered(half < FLOOR ? FLOOR : half, random))
}

/** The longest that a copy can be fresh under this policy. */
export function longestMaxAge(policy: CachePolicy): Duration {
  const half = policy.threshold / 2n
  const base = policy.maxAge === 'nomad' ? (half < FLOOR ? FLOOR : half) : policy.maxAge
  return (base * 11n) / 10n
}

/**
 * Cache-Control of a JWK Set, of which `newest` is the latest key. The `nomad` formula sends `max-age` alone, as its
 * original does. What stays the same for every answer is put together once.
 */
export function createCacheControl(
  policy: CachePolicy,
  newest: Instant,
): (now: () => Instant, random: number) => string {
  const { maxAge } = policy
  if (maxAge === 'nomad') {
    return (now, random) => `max-age=${formulaSeconds(policy.threshold, newest, now(), random)}`
  }
  const stale = policy.staleWhileRevalidate / SECOND
  const error = policy.staleIfError / SECOND
  const rest = `stale-while-revalidate=${stale}, stale-if-error=${error}`
  // Without BigInt: it would be a good part of what an answer costs.
  const seconds = Number(maxAge) / Number(SECOND)
  return (_, random) => `public, max-age=${Math.floor(seconds * (1 + random / 10))}, ${rest}`
}
