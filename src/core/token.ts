import { type KeyObject, sign, verify } from 'node:crypto'
import { compactVerify } from 'jose'
import { isProblem, Problem } from '../errors.ts'
import { ALGORITHMS, type Algorithm, fits } from './algorithms.ts'
import {
  type Check,
  type CheckName,
  type ClaimRules,
  checkClaims,
  failed,
  parseClaims,
  passed,
} from './claims.ts'
import type { VerificationKey } from './public-key.ts'
import { type JoseHeader, type Screened, type ScreenLimits, screenCompact } from './strict.ts'

export type { Check, CheckName } from './claims.ts'
export type { VerificationKey } from './public-key.ts'

export interface SigningKey {
  kid: string
  alg: Algorithm
  key: KeyObject
}

/**
 * Header parameters that no caller may set: they would choose keys, or change what is signed and
 * how it is read.
 */
export const RESERVED_HEADERS: readonly string[] = [
  'alg',
  'kid',
  'jku',
  'jwk',
  'x5u',
  'x5c',
  'x5t',
  'x5t#S256',
  'crit',
  'b64',
  'zip',
]

/** Signs an ASCII signing input (RFC 7515 section 5.1). Resolves to base64url. */
export type SignInput = (key: SigningKey, input: string) => Promise<string>

/**
 * Signs a claims set as a compact JWS. The protected header is `alg` and `kid` of the key, then
 * `typ`, then the rest of `header`, whose own `alg` and `kid` are ignored; any other reserved
 * parameter is Problem `invalid_request`.
 */
export async function signCompact(
  key: SigningKey,
  header: Record<string, unknown>,
  claims: Record<string, unknown>,
  sign: SignInput = signInPool,
): Promise<string> {
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
  const signingInput = `${protectedHeader(key, header)}.${payload}`
  return `${signingInput}.${await sign(key, signingInput)}`
}

/**
 * Signs in Node's thread pool. By node:crypto and not jose: through WebCrypto, ES256 and EdDSA take
 * about four times as long.
 */
export function signInPool({ key, alg }: SigningKey, input: string): Promise<string> {
  const { hash, options } = ALGORITHMS[alg]
  return new Promise((resolve, reject) => {
    sign(hash, Buffer.from(input, 'ascii'), { key, ...options }, (error, signature) =>
      error ? reject(error) : resolve(signature.toString('base64url')),
    )
  })
}

interface EncodedHeader {
  kid: string
  alg: Algorithm
  typ: unknown
  encoded: string
}

/** The last plain header of each key: nearly every token of a key has the same one. */
const encodedHeaders = new WeakMap<KeyObject, EncodedHeader>()

function protectedHeader(key: SigningKey, header: Record<string, unknown>): string {
  const { kid, alg } = key
  const { alg: _alg, kid: _kid, typ, ...rest } = header
  if (typ !== undefined && typeof typ !== 'string') {
    throw new Problem('invalid_request', 'The typ of a token is text')
  }
  if (Object.keys(rest).length > 0) return encodeHeader({ alg, kid, typ, ...permitted(rest) })
  const last = encodedHeaders.get(key.key)
  if (last && last.kid === kid && last.alg === alg && last.typ === typ) return last.encoded
  const encoded = encodeHeader({ alg, kid, typ })
  encodedHeaders.set(key.key, { kid, alg, typ, encoded })
  return encoded
}

const encodeHeader = (header: Record<string, unknown>): string =>
  Buffer.from(JSON.stringify(header)).toString('base64url')

function permitted(header: Record<string, unknown>): Record<string, unknown> {
  const reserved = Object.keys(header).find((name) => RESERVED_HEADERS.includes(name))
  if (reserved) throw new Problem('invalid_request', `The header cannot set ${reserved}`)
  return header
}

export interface Verdict {
  valid: boolean
  /**
   * What the token says of itself, given as soon as it is well-formed; no proof of anything unless
   * `valid`.
   */
  header?: JoseHeader
  kid?: string
  /** Only once the signature has been checked; `valid` may still be false, say for `exp`. */
  claims?: Record<string, unknown>
  /** In order. The list ends at the first failure among `format key algorithm signature claims`. */
  checks: Check[]
}

export interface VerifyOptions extends ClaimRules {
  /**
   * The keys that a token may be checked with: those that have its kid, or all when it names none.
   */
  keys: (kid: string | undefined, alg: Algorithm) => readonly VerificationKey[]
  limits?: ScreenLimits
  check?: CheckSignature | undefined
}

/** A token without kid is tried against so many fitting keys; more are refused. */
const MAX_CANDIDATES = 8

/**
 * Checks a compact JWT and says how each check went; never throws for what the token contains. The
 * algorithm is the key's own and the header must name it (RFC 8725 section 3.1). `iat` is
 * information, not a gate.
 */
export async function verifyToken(token: string, options: VerifyOptions): Promise<Verdict> {
  const screened = attempt(() => screenCompact(token, options.limits))
  if (isProblem(screened)) return { valid: false, checks: [failed('format', screened.detail)] }
  const { header } = screened
  const checks: Check[] = [passed('format')]
  const verdict: Verdict = {
    valid: false,
    header,
    ...(header.kid !== undefined && { kid: header.kid }),
    checks,
  }

  const refuse = (name: CheckName, reason: string): Verdict => {
    checks.push(failed(name, reason))
    return verdict
  }

  const candidates = options
    .keys(header.kid, header.alg)
    .filter(({ kid }) => kid === undefined || header.kid === undefined || kid === header.kid)
  if (candidates.length === 0) return refuse('key', noKey(header))
  checks.push(passed('key'))

  const fitting = candidates.filter((key) => serves(key, header.alg))
  if (fitting.length === 0) return refuse('algorithm', `The key is not for ${header.alg}`)
  if (fitting.length > MAX_CANDIDATES) return refuse('algorithm', 'Too many keys fit the token')
  checks.push(passed('algorithm'))

  const signed = await anyVerifies(screened, fitting, options.check)
  if (!signed) return refuse('signature', 'The signature does not verify')
  checks.push(passed('signature'))

  const claims = attempt(() => parseClaims(screened.payload))
  if (isProblem(claims)) return refuse('claims', claims.detail)
  checks.push(passed('claims'), ...checkClaims(header, claims, options))
  return { ...verdict, claims, valid: checks.every(({ ok }) => ok) }
}

/** Runs what throws Problem `token_malformed` for bad input, and gives that back as a value. */
function attempt<T>(work: () => T): T | Problem {
  try {
    return work()
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return error
    throw error
  }
}

const noKey = ({ kid }: JoseHeader): string =>
  kid === undefined ? 'The token names no kid, and there is no key' : 'No key has this kid'

/**
 * A key that names an algorithm serves that one only; the others serve what their type and curve
 * allow.
 */
const serves = ({ key, alg }: VerificationKey, wanted: Algorithm): boolean =>
  (alg === undefined || alg === wanted) && fits(key, wanted)

async function anyVerifies(
  screened: Screened,
  keys: readonly VerificationKey[],
  check: CheckSignature | undefined,
): Promise<boolean> {
  for (const key of keys) if (await verifySignature(screened, key, check)) return true
  return false
}

/** Whether the signature of a screened token verifies; the key is fit for its algorithm. */
export type CheckSignature = (screened: Screened, key: KeyObject) => Promise<boolean>

/**
 * Whether the signature of a screened token verifies under a key. False for every failure, also for
 * a key that cannot be used: there is nothing the caller could do differently.
 */
export async function verifySignature(
  screened: Screened,
  key: VerificationKey,
  check: CheckSignature = verifyWithJose,
): Promise<boolean> {
  return serves(key, screened.header.alg) && check(screened, key.key)
}

/** By jose, which uses the thread pool; false for what it reports as a key it cannot use, too. */
export async function verifyWithJose(screened: Screened, key: KeyObject): Promise<boolean> {
  const { token, header, signingInput, signature } = screened
  // jose reaches ML-DSA through a WebCrypto interface that Node still calls experimental, and warns
  // of.
  if (ALGORITHMS[header.alg].postQuantum) {
    return verify(null, Buffer.from(signingInput), key, signature)
  }
  return compactVerify(token, key, { algorithms: [header.alg] }).then(
    () => true,
    () => false,
  )
}
