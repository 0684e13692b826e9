import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto'
import { ALGORITHMS, importPublicJwk, isBase64url } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { HMAC, isHmac, type PairAlgorithm, type UriAlgorithm } from './algorithms.ts'
import { type JsonObject, memberOf, stringOf } from './json-tree.ts'

// From a JWK of a key document to keys that sign and verify, or the reason why it is none. What importing libraries
// take on trust is checked here: that a private half belongs to its public one.

export interface UsableKey {
  kid: string
  alg: UriAlgorithm
  /** Secret of HS*, private key of the others; undefined for a public-only JWK. */
  signingKey: KeyObject | undefined
  /** Secret of HS*, public key of the others. */
  verifyingKey: KeyObject
}

/** The members that hold key material, by `kty`; the second list only where the key is private. */
export const MATERIAL: Readonly<Record<string, { public: string[]; private: string[] }>> = {
  oct: { public: ['k'], private: [] },
  RSA: { public: ['n', 'e'], private: ['d', 'p', 'q', 'dp', 'dq', 'qi'] },
  EC: { public: ['x', 'y'], private: ['d'] },
  OKP: { public: ['x'], private: ['d'] },
}

export const hasPrivateHalf = (jwk: JsonObject): boolean => memberOf(jwk, 'd') !== undefined

const RSA_BITS = 2048

/** Why a secret or a modulus is too short for its algorithm: the name of the member; undefined where it is not. */
export function tooShort(jwk: JsonObject, alg: UriAlgorithm): 'k' | 'n' | undefined {
  const bytes = (name: string) => Buffer.from(stringOf(jwk, name) ?? '', 'base64url')
  if (isHmac(alg)) return bytes('k').length < HMAC[alg].bytes ? 'k' : undefined
  if (ALGORITHMS[alg].kty !== 'RSA') return undefined
  return toNumber(bytes('n')) < 2n ** BigInt(RSA_BITS - 1) ? 'n' : undefined
}

/** The first member with key material that is not unpadded base64url, or is empty. */
export function badlyEncoded(jwk: JsonObject): string | undefined {
  const { public: always = [], private: optional = [] } = MATERIAL[stringOf(jwk, 'kty') ?? ''] ?? {}
  const names = hasPrivateHalf(jwk) ? [...always, ...optional] : always
  return names.find((name) => {
    const value = stringOf(jwk, name)
    if (value === undefined) return always.includes(name) || name === 'd'
    return value === '' || !isBase64url(value)
  })
}

/** Imports a JWK whose `alg` fits it. Problem `key_rejected` with the reason, which names no key material. */
export function importKey(jwk: JsonObject, kid: string, alg: UriAlgorithm): UsableKey {
  if (isHmac(alg)) {
    const k = stringOf(jwk, 'k') ?? ''
    if (k === '' || !isBase64url(k)) throw rejected('The k is not base64url')
    const secret = createSecretKey(Buffer.from(k, 'base64url'))
    return { kid, alg, signingKey: secret, verifyingKey: secret }
  }
  const { kty } = ALGORITHMS[alg]
  const crv = stringOf(jwk, 'crv')
  const material = textsOf(jwk, MATERIAL[kty]?.public ?? [])
  const verifyingKey = importPublicJwk({ kty, crv, ...material }, alg).key
  if (!hasPrivateHalf(jwk)) return { kid, alg, signingKey: undefined, verifyingKey }
  const all = { ...material, ...textsOf(jwk, MATERIAL[kty]?.private ?? []) }
  if (kty === 'RSA') checkRsa(all)
  else checkEc(all, alg)
  return { kid, alg, signingKey: toPrivateKey({ kty, crv, ...all }), verifyingKey }
}

const rejected = (reason: string, cause?: unknown) => new Problem('key_rejected', reason, { cause })

function textsOf(jwk: JsonObject, names: readonly string[]): Record<string, string> {
  const texts: Record<string, string> = {}
  for (const name of names) {
    const value = stringOf(jwk, name)
    if (value === undefined || !isBase64url(value)) throw rejected(`The key has no usable ${name}`)
    texts[name] = value
  }
  return texts
}

function toPrivateKey(jwk: Record<string, string | undefined>): KeyObject {
  try {
    return createPrivateKey({ key: jwk, format: 'jwk' })
  } catch {
    throw rejected('The private key is not valid') // no cause: it may quote the key
  }
}

const toNumber = (bytes: Uint8Array): bigint =>
  bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`)

/** RFC 8017 section 3.2: the parts of a private key fit each other and the modulus. */
function checkRsa(texts: Record<string, string>): void {
  const number = (name: string) => toNumber(Buffer.from(texts[name] ?? '', 'base64url'))
  const e = number('e')
  const d = number('d')
  const p = number('p')
  const q = number('q')
  const fits =
    p > 1n &&
    q > 1n &&
    p * q === number('n') &&
    (d * e) % (p - 1n) === 1n &&
    (d * e) % (q - 1n) === 1n &&
    number('dp') === d % (p - 1n) &&
    number('dq') === d % (q - 1n) &&
    (number('qi') * q) % p === 1n
  if (!fits) throw rejected('The private key does not belong to the public one')
}

/** That the point is d times the generator of the curve, node:crypto sees to; the length it takes as it comes. */
function checkEc({ d = '' }: Record<string, string>, alg: PairAlgorithm): void {
  const bytes = ALGORITHMS[alg].material.x
  if (Buffer.byteLength(d, 'base64url') !== bytes) {
    throw rejected(`The d of the key does not have ${bytes} bytes`)
  }
}
