import { createPublicKey, type KeyObject } from 'node:crypto'
import { isProblem, Problem } from '../errors.ts'
import {
  ALGORITHM_NAMES,
  ALGORITHMS,
  type Algorithm,
  type AlgorithmSpec,
  isAlgorithm,
} from './algorithms.ts'
import { isBase64url, isObject } from './strict.ts'
import { weaknessOf } from './weak-rsa.ts'

// Public keys that others made, and what they must be like before a token may be checked with them.

/**
 * A key to check signatures with. Without `alg` it serves every algorithm of its type and curve.
 */
export interface VerificationKey {
  key: KeyObject
  alg?: Algorithm
  kid?: string
}

type Jwk = Record<string, unknown>

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']
const MAX_KID_LENGTH = 512

const rejected = (reason: string, cause?: unknown) => new Problem('key_rejected', reason, { cause })

/**
 * Screens a public JWK (RFC 7517) and imports it. `alg` names the algorithm to bind it to; a key
 * that names another is refused. RSA: 2048 to 8192 bits, exponent odd and from 65537 up to 2⁶⁴.
 * Problem `key_rejected` with the reason.
 */
export function importPublicJwk(jwk: unknown, alg?: Algorithm): VerificationKey {
  if (!isObject(jwk)) throw rejected('The key is not a JSON object')
  screenMembers(jwk)
  const { kid } = jwk
  const bound = boundAlgorithm(jwk, alg)
  const spec = specFor(jwk, bound)
  const material = screenMaterial(jwk, spec)
  if (spec.kty === 'RSA') screenRsa(material)
  if (spec.kty === 'OKP') screenEd25519(material)
  const key = toKeyObject({ kty: spec.kty, crv: spec.crv, alg: bound, ...material })
  return {
    key,
    ...(bound !== undefined && { alg: bound }),
    ...(typeof kid === 'string' && { kid }),
  }
}

function screenMembers(jwk: Jwk): void {
  const { kty, use, key_ops: operations, kid } = jwk
  if (kty === 'oct') throw rejected('Symmetric keys are not accepted')
  for (const member of PRIVATE_MEMBERS) {
    if (Object.hasOwn(jwk, member)) throw rejected('The key has private members')
  }
  if (use !== undefined && use !== 'sig') throw rejected('The use of the key is not sig')
  if (operations !== undefined) {
    if (!Array.isArray(operations) || !operations.includes('verify')) {
      throw rejected('The key_ops of the key do not contain verify')
    }
    if (new Set(operations).size !== operations.length) throw rejected('The key_ops repeat a value')
  }
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH)) {
    throw rejected('The kid of the key is not a string of at most 512 characters')
  }
}

function boundAlgorithm(jwk: Jwk, expected: Algorithm | undefined): Algorithm | undefined {
  const { alg } = jwk
  if (alg === undefined) return expected
  if (typeof alg !== 'string' || !isAlgorithm(alg)) throw rejected('The alg is not supported')
  if (expected !== undefined && alg !== expected) throw rejected(`The key is not for ${expected}`)
  return alg
}

function specFor(jwk: Jwk, bound: Algorithm | undefined): AlgorithmSpec {
  const { kty, crv } = jwk
  if (bound === undefined && kty === 'AKP') throw rejected('A key of type AKP needs an alg')
  const candidates = bound === undefined ? ALGORITHM_NAMES : [bound]
  const spec = candidates
    .map((name) => ALGORITHMS[name])
    .find((each) => each.kty === kty && (each.crv === undefined || each.crv === crv))
  if (spec) return spec
  throw rejected(bound ? `The key does not fit ${bound}` : 'The key type or curve is not supported')
}

/**
 * The members with key material, exactly encoded and of the right length; all others are left
 * behind.
 */
function screenMaterial(jwk: Jwk, spec: AlgorithmSpec): Record<string, string> {
  const material: Record<string, string> = {}
  for (const [member, bytes] of Object.entries(spec.material)) {
    const value = jwk[member]
    if (typeof value !== 'string' || value === '' || !isBase64url(value)) {
      throw rejected(`The ${member} of the key is not exact base64url`)
    }
    if (bytes !== undefined && Buffer.byteLength(value, 'base64url') !== bytes) {
      throw rejected(`The ${member} of the key does not have ${bytes} bytes`)
    }
    material[member] = value
  }
  return material
}

function screenRsa({ n = '', e = '' }: Record<string, string>): void {
  if (n.startsWith('AA') || e.startsWith('AA')) throw rejected('An RSA number has leading zeros')
  const exponent = toBigInt(e)
  if (exponent < 65537n || exponent > 2n ** 64n || exponent % 2n === 0n) {
    throw rejected('The RSA exponent is not an odd number from 65537 to 2^64')
  }
  // In base64url without leading zeros, 8192 bits are 1366 characters.
  if (n.length > 1366) throw rejected('The RSA modulus has more than 8192 bits')
  const modulus = toBigInt(n)
  if (modulus < 2n ** 2047n) throw rejected('The RSA modulus has fewer than 2048 bits')
  const weakness = weaknessOf(modulus)
  if (weakness) throw rejected(`The key is weak: ${weakness}`)
}

const toBigInt = (number: string): bigint =>
  BigInt(`0x${Buffer.from(number, 'base64url').toString('hex')}`)

const FIELD_PRIME = 2n ** 255n - 19n
/**
 * y of the points of order 1, 2, 4 and 8: under such a key, one signature fits every eighth message
 * or more. Node 26 refuses such signatures by itself; not every older one does.
 */
const SMALL_ORDER_Y = new Set([
  0n,
  1n,
  FIELD_PRIME - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
])

function screenEd25519({ x = '' }: Record<string, string>): void {
  const bytes = Buffer.from(x, 'base64url').reverse()
  const y = BigInt(`0x${bytes.toString('hex')}`) & (2n ** 255n - 1n)
  if (y >= FIELD_PRIME) throw rejected('The point of the key is not canonical')
  if (SMALL_ORDER_Y.has(y)) throw rejected('The key is weak: a point of small order')
}

function toKeyObject(jwk: Record<string, string | undefined>): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch (cause) {
    throw rejected('The key is not valid, such as a point off its curve', cause)
  }
}

export interface ImportedSet {
  keys: VerificationKey[]
  /** What was left out, by its place in the set. */
  ignored: { index: number; reason: string }[]
}

/**
 * Imports a JWK Set. Keys that cannot be used are left out with their reason, not the whole set
 * (RFC 7517 section 5); so are usable keys that share a kid, for nobody can tell which is meant.
 * Problem `key_rejected` for what is no set.
 */
export function importJwkSet(set: unknown, maxKeys = 100): ImportedSet {
  if (!isObject(set) || !Array.isArray(set.keys)) throw rejected('The set has no array of keys')
  if (set.keys.length > maxKeys) throw rejected(`The set has more than ${maxKeys} keys`)
  const imported = set.keys.map((jwk) => importOrReason(jwk))
  const kids = imported.flatMap((each) => ('kid' in each ? [each.kid] : []))
  const result: ImportedSet = { keys: [], ignored: [] }
  for (const [index, each] of imported.entries()) {
    if ('reason' in each) result.ignored.push({ index, reason: each.reason })
    else if (kids.filter((kid) => kid === each.kid).length > 1) {
      result.ignored.push({ index, reason: 'Another key of the set has the same kid' })
    } else result.keys.push(each)
  }
  return result
}

function importOrReason(jwk: unknown): VerificationKey | { reason: string } {
  try {
    return importPublicJwk(jwk)
  } catch (error) {
    if (isProblem(error, 'key_rejected')) return { reason: error.detail }
    throw error
  }
}
