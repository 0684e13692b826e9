import { HOUR, type Instant, MINUTE, SECOND } from '../../src/time.ts'

// Models of what JWT libraries, gateways and caches do with a JWK Set: only what matters for a rotation.

export interface Origin {
  now(): Instant
  /** The kids in the set, and for how long a copy may be used; undefined while nobody can be reached. */
  fetch(): { kids: readonly string[]; maxAge: bigint } | undefined
}

export interface RelyingParty {
  name: string
  /** Whether it has the key of a token that it is shown now. */
  knows(kid: string): boolean
}

interface Copy {
  kids: readonly string[]
  maxAge: bigint
  at: Instant
}

function createCache(origin: Origin) {
  let copy: Copy | undefined
  return {
    copy: () => copy,
    age: () => (copy ? origin.now() - copy.at : 2n ** 62n),
    refresh(): void {
      const answer = origin.fetch()
      if (answer) copy = { ...answer, at: origin.now() }
    },
    has: (kid: string) => copy?.kids.includes(kid) ?? false,
  }
}

/** Uses a copy for as long as Cache-Control allows, and through an outage for as long as stale-if-error does. */
export function honoursMaxAge(origin: Origin, staleIfError: bigint): RelyingParty {
  const cache = createCache(origin)
  return {
    name: 'honours max-age',
    knows(kid) {
      if (cache.age() >= (cache.copy()?.maxAge ?? 0n)) cache.refresh()
      return cache.age() < (cache.copy()?.maxAge ?? 0n) + staleIfError && cache.has(kid)
    },
  }
}

/** Loads the set once a day, `phase` after the start, whatever happens in between. */
export function daily(origin: Origin, phase: bigint): RelyingParty {
  const cache = createCache(origin)
  let next = origin.now() + phase
  cache.refresh()
  return {
    name: `every 24 h, phase ${phase / MINUTE} min`,
    knows(kid) {
      if (origin.now() >= next) {
        cache.refresh()
        while (next <= origin.now()) next += 24n * HOUR
      }
      return cache.has(kid)
    },
  }
}

/** Keeps a copy for ten minutes and fetches again for an unknown kid, with a cooldown of 30 s between fetches. */
export function refetches(origin: Origin): RelyingParty {
  const cache = createCache(origin)
  let triedAt = origin.now() - HOUR
  const fetch = () => {
    if (origin.now() - triedAt < 30n * SECOND) return
    triedAt = origin.now()
    cache.refresh()
  }
  return {
    name: 'refetches with a cooldown',
    knows(kid) {
      if (cache.age() >= 10n * MINUTE) fetch()
      if (!cache.has(kid)) fetch()
      return cache.has(kid)
    },
  }
}
