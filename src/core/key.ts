import { createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { Problem } from '../errors.ts'
import { ALGORITHMS, type Algorithm, type KeyType, type PublicMember } from './algorithms.ts'

export { importJwkSet, importPublicJwk, type VerificationKey } from './public-key.ts'

/** A published JWK: exactly these members, in the order of the algorithm table. */
export interface PublicJwk {
  use: 'sig'
  kty: KeyType
  kid: string
  crv?: string
  alg: Algorithm
  n?: string
  e?: string
  x?: string
  y?: string
  pub?: string
}

/** A public JWK that has not been given its kid yet. */
export type PublicJwkWithoutKid = Omit<PublicJwk, 'kid'>

export interface KeyMaterial {
  alg: Algorithm
  publicJwk: PublicJwkWithoutKid
  /** PKCS#8. A secret: seal it. */
  privateDer: Uint8Array
  /** RFC 7638, SHA-256. */
  thumbprint: string
}

/** Makes a key pair in the thread pool; the event loop stays free. */
export async function generateKeyMaterial(alg: Algorithm): Promise<KeyMaterial> {
  const { publicKey, privateKey } = await ALGORITHMS[alg].generate()
  const publicJwk = pick(publicKey.export({ format: 'jwk' }), alg)
  const privateDer = privateKey.export({ type: 'pkcs8', format: 'der' })
  return { alg, publicJwk, privateDer, thumbprint: thumbprint(publicJwk) }
}

/**
 * The published form of a key, built from the allow-list of its algorithm, so that nothing else can
 * slip in. Problem `key_rejected` when a member is missing.
 */
export function toPublicJwk(jwk: object, alg: Algorithm, kid: string): PublicJwk {
  return pick({ ...jwk, kid }, alg) as PublicJwk
}

function pick(jwk: object, alg: Algorithm): PublicJwkWithoutKid {
  const { members, kty, crv } = ALGORITHMS[alg]
  const source: Record<string, unknown> = { ...jwk, use: 'sig', kty, crv, alg }
  const present = members.filter((member) => member !== 'kid' || source.kid !== undefined)
  return Object.fromEntries(present.map((member) => [member, text(source, member)])) as never
}

function text(source: Record<string, unknown>, member: PublicMember): string {
  const value = source[member]
  if (typeof value !== 'string') throw new Problem('key_rejected', `The key has no ${member}`)
  return value
}

/**
 * What identifies a key of each type (RFC 7638 section 3.2, RFC 8037 section 2, RFC 9964), in
 * lexicographic order.
 */
const THUMBPRINT_MEMBERS: Record<string, readonly PublicMember[] | undefined> = {
  RSA: ['e', 'kty', 'n'],
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  AKP: ['alg', 'kty', 'pub'],
}

/**
 * JWK thumbprint (RFC 7638): SHA-256, base64url. Problem `key_rejected` when a needed member is
 * missing.
 */
export function thumbprint(jwk: object): string {
  const source: Record<string, unknown> = { ...jwk }
  const members = THUMBPRINT_MEMBERS[text(source, 'kty')]
  if (!members) throw new Problem('key_rejected', 'The key type is not supported')
  const canonical = Object.fromEntries(members.map((member) => [member, text(source, member)]))
  return createHash('sha256').update(JSON.stringify(canonical)).digest('base64url')
}

/** A private key to sign with, from PKCS#8. Problem `key_unusable` when it is none. */
export function importPrivateKey(der: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new Problem('key_unusable', undefined, { cause })
  }
}
