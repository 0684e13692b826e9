import { parseDuration, SECOND, toSeconds } from '../time.ts'
import type { SignRequest } from './sign.ts'

// The everyday request to sign: a ring, claims and a ttl, nothing else. The schemas take a fifth as long as the
// signature to say the same of it.

const RING = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Exactly what `RingParams` makes of the parameters of a path; undefined: ask it. */
export function readPlainRing(params: unknown): { ring: string } | undefined {
  if (typeof params !== 'object' || params === null || Object.keys(params).length !== 1) {
    return undefined
  }
  const { ring } = params as { ring?: unknown }
  return typeof ring === 'string' && RING.test(ring) ? { ring } : undefined
}

const MAX_NAME = 256
const MAX_TTL_TEXT = 64

/** Callers use the same few. */
const MAX_KNOWN = 64
const known = new Map<string, number>()

function secondsOf(ttl: string): number | undefined {
  const seen = known.get(ttl)
  if (seen !== undefined) return seen
  const span = ttl.length <= MAX_TTL_TEXT ? parseDuration(ttl) : undefined
  if (span === undefined || span < SECOND) return undefined
  const seconds = toSeconds(span)
  if (known.size < MAX_KNOWN) known.set(ttl, seconds)
  return seconds
}

/** Exactly what `SignBody` makes of a parsed JSON body; undefined: ask it. */
export function readPlainSign(body: unknown): SignRequest | undefined {
  if (typeof body !== 'object' || body === null || Object.keys(body).length !== 2) return undefined
  const { claims, ttl } = body as { claims?: unknown; ttl?: unknown }
  if (typeof ttl !== 'string' || typeof claims !== 'object' || claims === null) return undefined
  if (Array.isArray(claims)) return undefined
  const seconds = secondsOf(ttl)
  if (seconds === undefined) return undefined
  for (const name in claims) if (name.length > MAX_NAME) return undefined
  return { claims: claims as Record<string, unknown>, ttl: seconds }
}
