// The signature algorithms of caches (contract section 6.2). Those with key pairs are the core's; HMAC is here alone,
// because nothing else of this server signs with a shared secret.
import { createHmac, type KeyObject } from 'node:crypto'
import { ALGORITHMS, type Algorithm } from '../core/index.ts'

type Size = '256' | '384' | '512'
export type HmacAlgorithm = `HS${Size}`
export type PairAlgorithm = `${'RS' | 'PS' | 'ES'}${Size}`
export type UriAlgorithm = HmacAlgorithm | PairAlgorithm

/** Hash for node:crypto, and the bytes that a secret must have at least (RFC 7518 section 3.2). */
export const HMAC: Readonly<Record<HmacAlgorithm, { hash: string; bytes: number }>> = {
  HS256: { hash: 'sha256', bytes: 32 },
  HS384: { hash: 'sha384', bytes: 48 },
  HS512: { hash: 'sha512', bytes: 64 },
}

const PAIRS: readonly PairAlgorithm[] = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512'] as const),
]

export const isHmac = (alg: string): alg is HmacAlgorithm => Object.hasOwn(HMAC, alg)

const isPair = (alg: string): alg is PairAlgorithm & Algorithm =>
  (PAIRS as readonly string[]).includes(alg)

export const isUriAlgorithm = (alg: string): alg is UriAlgorithm => isHmac(alg) || isPair(alg)

/** Whether a key of this type and curve is one for `alg`. */
export function fitsKey(alg: string, kty: string, crv: string | undefined): alg is UriAlgorithm {
  if (isHmac(alg)) return kty === 'oct'
  return (
    isPair(alg) && ALGORITHMS[alg].kty === kty && [crv, undefined].includes(ALGORITHMS[alg].crv)
  )
}

/** Synchronous: a hand-over to another thread takes longer than the HMAC of a token. */
export const hmac = (key: KeyObject, alg: HmacAlgorithm, input: string): Buffer =>
  createHmac(HMAC[alg].hash, key).update(input).digest()
