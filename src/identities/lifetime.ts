// How long an access token lives (identity contract, section 8). Pure; all numbers are seconds.

export interface LifetimeInput {
  /** Of one token; 0: none configured. */
  ttl: number
  /** Of the chain of renewals, from the login on; 0: no limit. */
  maxTtl: number
  /** Unix time of the login; stays the same when a token is renewed. */
  creationEpoch: number
  /** Unix time. */
  now: number
  /** Of one token, whatever is configured (`MAX_MACHINE_IDENTITY_TOKEN_AGE`). */
  ceiling: number
}

/**
 * The lifetime of a token that is signed now; undefined when there is none left, so that none may be signed. What is
 * no number, or negative, leaves none either.
 */
export function lifetimeOf(input: LifetimeInput): number | undefined {
  const { ttl, maxTtl, creationEpoch, now, ceiling } = input
  const limits = [ceiling]
  if (ttl !== 0) limits.push(ttl)
  if (maxTtl !== 0) limits.push(creationEpoch + maxTtl - now)
  const lifetime = Math.min(...limits)
  return lifetime > 0 ? lifetime : undefined
}
