import { constants, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

// The one table of signature algorithms (RFC 7518 section 3, RFC 8037, RFC 9864, RFC 9964).
// Symmetric ones and `none` are absent on purpose: what is not here can neither sign nor verify.

export type KeyType = 'RSA' | 'EC' | 'OKP' | 'AKP'
/** The public members that a JWK of ours may have; nothing else is ever published. */
export type PublicMember = 'use' | 'kty' | 'kid' | 'crv' | 'alg' | 'n' | 'e' | 'x' | 'y' | 'pub'
type KeyMember = 'n' | 'e' | 'x' | 'y' | 'pub'

export interface AlgorithmSpec {
  kty: KeyType
  crv?: string
  /** Node's `asymmetricKeyType`. */
  nodeType: string
  /** Node's `namedCurve`, for EC. */
  nodeCurve?: string
  /** Digest for node:crypto; null where the algorithm hashes by itself. */
  hash: 'sha256' | 'sha384' | 'sha512' | null
  /** What node:crypto wants beside the key, to sign and to verify. */
  options: { padding?: number; saltLength?: number; dsaEncoding?: 'ieee-p1363' }
  /** Members of a published JWK, in wire order (keyring contract section 2.4). */
  members: readonly PublicMember[]
  /** The members that hold key material, with their exact length in bytes where that is fixed. */
  material: Partial<Record<KeyMember, number | undefined>>
  /** Makes a key pair in the thread pool. */
  generate: () => Promise<{ publicKey: KeyObject; privateKey: KeyObject }>
  /** RFC 9964: published only in a set of its own. */
  postQuantum: boolean
  /** Generation is slow enough (about 30 ms and up to 2 s) to happen before anybody asks. */
  generatedAhead: boolean
  /** A signature takes about as long as to hand it to another thread: tens of microseconds. */
  signsQuickly: boolean
  /** The same of a check. */
  verifiesQuickly: boolean
}

const generatePair = promisify(generateKeyPair)

type Hash = 'sha256' | 'sha384' | 'sha512'

const rsa = (hash: Hash, saltLength?: number): AlgorithmSpec => ({
  kty: 'RSA',
  nodeType: 'rsa',
  hash,
  options:
    saltLength === undefined
      ? { padding: constants.RSA_PKCS1_PADDING }
      : { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength },
  members: ['use', 'kty', 'kid', 'alg', 'n', 'e'],
  material: { n: undefined, e: undefined },
  generate: () => generatePair('rsa', { modulusLength: 2048, publicExponent: 65537 }),
  postQuantum: false,
  generatedAhead: true,
  signsQuickly: false,
  verifiesQuickly: true,
})

const ecdsa = (crv: string, nodeCurve: string, hash: Hash, bytes: number): AlgorithmSpec => ({
  kty: 'EC',
  crv,
  nodeType: 'ec',
  nodeCurve,
  hash,
  options: { dsaEncoding: 'ieee-p1363' },
  members: ['use', 'kty', 'kid', 'crv', 'alg', 'x', 'y'],
  material: { x: bytes, y: bytes },
  generate: () => generatePair('ec', { namedCurve: nodeCurve }),
  postQuantum: false,
  generatedAhead: false,
  signsQuickly: crv === 'P-256',
  verifiesQuickly: crv === 'P-256',
})

const ed25519 = (): AlgorithmSpec => ({
  kty: 'OKP',
  crv: 'Ed25519',
  nodeType: 'ed25519',
  hash: null,
  options: {},
  members: ['use', 'kty', 'kid', 'crv', 'alg', 'x'],
  material: { x: 32 },
  generate: () => generatePair('ed25519', {}),
  postQuantum: false,
  generatedAhead: false,
  signsQuickly: true,
  verifiesQuickly: true,
})

const mlDsa = (
  nodeType: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87',
  bytes: number,
): AlgorithmSpec => ({
  kty: 'AKP',
  nodeType,
  hash: null,
  options: {},
  members: ['use', 'kty', 'kid', 'alg', 'pub'],
  material: { pub: bytes },
  generate: () => generatePair(nodeType, {}),
  postQuantum: true,
  generatedAhead: false,
  signsQuickly: false,
  verifiesQuickly: false,
})

const table = {
  RS256: rsa('sha256'),
  RS384: rsa('sha384'),
  RS512: rsa('sha512'),
  PS256: rsa('sha256', 32),
  PS384: rsa('sha384', 48),
  PS512: rsa('sha512', 64),
  ES256: ecdsa('P-256', 'prime256v1', 'sha256', 32),
  ES384: ecdsa('P-384', 'secp384r1', 'sha384', 48),
  ES512: ecdsa('P-521', 'secp521r1', 'sha512', 66),
  EdDSA: ed25519(), // RFC 8037, Ed25519 only; deprecated by RFC 9864 and widely expected
  Ed25519: ed25519(),
  'ML-DSA-44': mlDsa('ml-dsa-44', 1312),
  'ML-DSA-65': mlDsa('ml-dsa-65', 1952),
  'ML-DSA-87': mlDsa('ml-dsa-87', 2592),
}

export type Algorithm = keyof typeof table
export const ALGORITHMS: Readonly<Record<Algorithm, AlgorithmSpec>> = table
export const ALGORITHM_NAMES = Object.keys(table) as readonly Algorithm[]

export const isAlgorithm = (text: string): text is Algorithm => Object.hasOwn(table, text)

/**
 * Whether a key can be used with an algorithm at all: its type and curve, not what it is meant for.
 */
export function fits(key: KeyObject, alg: Algorithm): boolean {
  const { nodeType, nodeCurve } = ALGORITHMS[alg]
  return key.asymmetricKeyType === nodeType && key.asymmetricKeyDetails?.namedCurve === nodeCurve
}
