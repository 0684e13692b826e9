import { closeSync, openSync, readSync } from 'node:fs'
import {
  type Algorithm,
  fits,
  type HmacAlgorithm,
  importPublicPem,
  isAlgorithm,
  isHmacAlgorithm,
  parseJsonStrict,
  type VerificationKey,
} from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// `jwt_auth_config_file`: keys that are chosen by the token's algorithm, beside the JWK Set (contract section 8). Read
// once, at the start, which fails where the file is no good.

const MAX_BYTES = 1024 * 1024
const MAX_METHODS = 100
/** Characters of a shared secret: a short one can be guessed offline from a single token. */
const MIN_SECRET = 32

export interface StaticKeys {
  /** The claim with the name of the user; undefined: as the settings say. */
  usernameClaim: string | undefined
  methods: readonly StaticMethod[]
}

export interface StaticMethod {
  algorithms: ReadonlySet<string>
  /** A public key, or a shared secret. */
  key: VerificationKey | Uint8Array
}

export const NO_STATIC_KEYS: StaticKeys = { usernameClaim: undefined, methods: [] }

/** @throws Problem `config_invalid`, which repeats nothing of the file */
export function readStaticKeys(path: string): StaticKeys {
  try {
    return parseStaticKeys(readBounded(path))
  } catch (error) {
    const reason = isProblem(error) ? error.detail : 'it cannot be read'
    throw new Problem('config_invalid', `KEYRINGD_JWT_AUTH_CONFIG_FILE (${path}): ${reason}.`, {
      cause: error,
    })
  }
}

/** One byte over the limit at most: what is no file may have no end. */
function readBounded(path: string): Uint8Array {
  const bytes = Buffer.alloc(MAX_BYTES + 1)
  const file = openSync(path, 'r')
  try {
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null)
    }
    return bytes.subarray(0, length)
  } finally {
    closeSync(file)
  }
}

const bad = (reason: string) => new Problem('config_invalid', reason)

/** @throws Problem `config_invalid` with the reason alone */
export function parseStaticKeys(bytes: Uint8Array): StaticKeys {
  const { username_claim: claim, methods, ...more } = objectOf(parsed(bytes), 'the file')
  const [other] = Object.keys(more)
  if (other !== undefined) throw bad(`there is no member ${other.slice(0, 40)}`)
  if (claim !== undefined && (typeof claim !== 'string' || claim === '')) {
    throw bad('username_claim is the name of a claim')
  }
  if (!Array.isArray(methods) || methods.length === 0 || methods.length > MAX_METHODS) {
    throw bad(`methods is a list of 1 to ${MAX_METHODS}`)
  }
  return { usernameClaim: claim, methods: methods.map(methodOf) }
}

function parsed(bytes: Uint8Array): unknown {
  if (bytes.length > MAX_BYTES) throw bad(`it is too large: more than ${MAX_BYTES} bytes`)
  try {
    return parseJsonStrict(bytes, { maxBytes: MAX_BYTES })
  } catch (error) {
    if (isProblem(error)) throw bad('it is no JSON')
    throw error
  }
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw bad(`${what} is no JSON object`)
}

function methodOf(value: unknown, at: number): StaticMethod {
  const place = `methods[${at}]`
  const { algorithms, secret, ...more } = objectOf(value, place)
  if (Object.keys(more).length > 0) throw bad(`${place} has other members than algorithms, secret`)
  if (!isNames(algorithms) || algorithms.length === 0) {
    throw bad(`${place}.algorithms is a list of algorithms`)
  }
  if (typeof secret !== 'string' || secret === '') throw bad(`${place}.secret is text`)
  if (algorithms.every((alg): alg is HmacAlgorithm => isHmacAlgorithm(alg))) {
    if (secret.includes('-----BEGIN')) throw bad(`${place}: a public key is no shared secret`)
    if (secret.length < MIN_SECRET)
      throw bad(`${place}.secret has fewer than ${MIN_SECRET} characters`)
    return { algorithms: new Set(algorithms), key: Buffer.from(secret) }
  }
  if (!algorithms.every((alg): alg is Algorithm => isAlgorithm(alg))) {
    throw bad(`${place}.algorithms names some that are not supported, or mixes both kinds`)
  }
  const key = publicKey(secret, place)
  const unfit = algorithms.find((alg) => !fits(key.key, alg))
  if (unfit !== undefined) throw bad(`${place}: the key is not for ${unfit}`)
  return { algorithms: new Set(algorithms), key }
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string')

function publicKey(pem: string, place: string): VerificationKey {
  try {
    return importPublicPem(pem)
  } catch (error) {
    if (isProblem(error)) throw bad(`${place}: ${error.detail}`)
    throw error
  }
}
