import type { Ring } from '../store/rings.ts'
import { type Duration, fromSeconds, type Instant, MINUTE } from '../time.ts'
import { type CachePolicy, longestMaxAge } from './jwks.ts'
import type { Policy } from './lifecycle.ts'

/** The settings that the keyring reads; names and meanings as in `src/config.ts`. Durations in nanoseconds. */
export interface KeyringSettings {
  rotationMode: 'safe' | 'nomad'
  rootKeyRotationThreshold: Duration
  rootKeyGcThreshold: Duration
  rootKeyGcInterval: Duration
  jwksMaxAge: Duration | 'nomad'
  jwksStaleWhileRevalidate: Duration
  jwksStaleIfError: Duration
  assumedRpCache: Duration
  clockSkew: Duration
  replicaStaleness: Duration
  maxTokenTtl: Duration
}

/** Leeway of a verifier on the Nomad wire (contract section 5.4). */
export const NOMAD_LEEWAY: Duration = MINUTE

/** A longer cache life that was handed out under earlier settings and may still be in use. */
export interface EarlierCache {
  life: Duration
  until: Instant
}

export function cachePolicy(settings: KeyringSettings, ring: Ring): CachePolicy {
  return {
    maxAge: ring.jwksMaxAge === undefined ? settings.jwksMaxAge : fromSeconds(ring.jwksMaxAge),
    staleWhileRevalidate: settings.jwksStaleWhileRevalidate,
    staleIfError: settings.jwksStaleIfError,
    threshold: ring.rotationThreshold ?? settings.rootKeyRotationThreshold,
  }
}

/** How long a copy of the set may be used, stale or not: max-age × 1.1 + stale-while-revalidate. */
export const cacheLife = (policy: CachePolicy): Duration =>
  longestMaxAge(policy) + (policy.maxAge === 'nomad' ? 0n : policy.staleWhileRevalidate)

const longest = (...spans: readonly Duration[]): Duration =>
  spans.reduce((max, span) => (span > max ? span : max), 0n)

/** The life-cycle policy of a ring at a moment. `nomad` mode is for the `default` ring, which that wire shows. */
export function policyOf(
  settings: KeyringSettings,
  ring: Ring,
  earlier: EarlierCache | undefined,
  now: Instant,
): Policy {
  const mode = ring.id === 'default' ? settings.rotationMode : 'safe'
  const cache = cachePolicy(settings, ring)
  const stillCached = earlier && earlier.until > now ? earlier.life : 0n
  return {
    mode,
    threshold: cache.threshold,
    gcThreshold: settings.rootKeyGcThreshold,
    window:
      longest(settings.assumedRpCache, cacheLife(cache), stillCached) +
      settings.clockSkew +
      settings.replicaStaleness,
    staleIfError: settings.jwksStaleIfError,
    skew: mode === 'nomad' ? longest(settings.clockSkew, NOMAD_LEEWAY) : settings.clockSkew,
    maxAge: longest(longestMaxAge(cache), stillCached),
  }
}
