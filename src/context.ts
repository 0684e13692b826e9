import { randomFillSync } from 'node:crypto'
import type { Logger } from 'pino'
import type { Store } from './store/store.ts'
import type { Instant } from './time.ts'

/** What the world gives a service. Tests give a clock they move and ids that count. */
export interface Context {
  store: Store
  log: Logger
  /** The wall clock. */
  now(): Instant
  /** Nanoseconds since an arbitrary start; never jumps. */
  monotonic(): bigint
  /** A random 128-bit id, never reused: lower-case hex in the 8-4-4-4-12 form (keyring contract section 2.1). */
  newId(): string
}

export const systemClock = {
  now: (): Instant => BigInt(Date.now()) * 1_000_000n,
  monotonic: (): bigint => process.hrtime.bigint(),
}

/** Asking the system for each 16 bytes would take several times as long as using them. */
const pool = Buffer.alloc(4096)
let taken = pool.length

export function randomId(): string {
  if (taken === pool.length) {
    randomFillSync(pool)
    taken = 0
  }
  const hex = pool.toString('hex', taken, taken + 16)
  taken += 16
  const tail = `${hex.slice(16, 20)}-${hex.slice(20)}`
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${tail}`
}

/**
 * A version 7 UUID (RFC 9562 section 5.7) of an instant, in Unix milliseconds, and a random id, of which 74 bits stay.
 * Rows that are made one after the other then lie side by side, and a commit of many touches few pages.
 */
export function timeOrderedId(id: string, at: number): string {
  const time = at.toString(16).padStart(12, '0')
  const variant = ((Number.parseInt(id.charAt(19), 16) & 3) | 8).toString(16)
  return `${time.slice(0, 8)}-${time.slice(8)}-7${id.slice(15, 19)}${variant}${id.slice(20)}`
}

/** What a grant may name (product.md section 4). Names, never ids. */
export type Resource = RingResource | ServiceResource

export interface RingResource {
  ring: string
  profile?: string
}

/** By its xml_id. */
export interface ServiceResource {
  deliveryService: string
}

/** Who acts. Namespaced: `token:ci`, `user:ann`, `identity:…`; `anonymous` and `system` stand alone. */
export interface Principal {
  id: string
  /** The tenant it is bound to, by name; undefined means all. */
  tenant: string | undefined
  /** Unix milliseconds: when its credential ends; what it hands out ends no later. */
  expiresAt?: number | undefined
  may(capability: string, resource?: Resource): boolean
  /** Whether it may on anything at all, or on anything in one ring: what can be said before a body is read. */
  maySome(capability: string, ring?: string): boolean
}

/** The server itself: timers, bootstrap. Never the principal of a request. */
export const system: Principal = {
  id: 'system',
  tenant: undefined,
  may: () => true,
  maySome: () => true,
}
export const anonymous: Principal = {
  id: 'anonymous',
  tenant: undefined,
  may: () => false,
  maySome: () => false,
}

/** 0 ≤ r < 1, for jitter; never for secrets. */
export const random = (): number => Math.random()
