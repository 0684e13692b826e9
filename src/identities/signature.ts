import {
  type Algorithm,
  fits,
  isAlgorithm,
  type Screened,
  type VerificationKey,
  verifySignature,
} from '../core/index.ts'
import { isProblem, type ProblemCode } from '../errors.ts'
import {
  BAD_ALGORITHM,
  BAD_SIGNATURE,
  type Check,
  type Configuration,
  failed,
  type How,
} from './checks.ts'

// Which key a token is checked with, and whether its signature verifies (identity contract section 7, steps 4 and 5).

/**
 * The algorithm is the key's, and the header must name it (RFC 8725 section 3.1). Where the keys cannot be had, an
 * explanation says so and goes on.
 * @throws Problem of a source that fails, to a login
 */
export async function signatureChecks(
  configuration: Configuration,
  token: Screened,
  how: How,
): Promise<Check[]> {
  const { alg, kid } = token.header
  if (!isAlgorithm(alg)) {
    const words = await wordsOf(configuration, BAD_ALGORITHM)
    return [failed('algorithm', words, 'The algorithm of the token is not accepted')]
  }
  const algorithm: Check = { name: 'algorithm', ok: true }
  const { keys, reason } = await candidates(configuration, { kid, alg }, how)
  if (reason !== undefined) {
    const words = 'no matching signing key'
    return [algorithm, { name: 'key', ok: false, reason, words, denial: 'signing_key_not_found' }]
  }
  const found: Check[] = [algorithm, { name: 'key', ok: true }]
  const serving = keys.filter((key) => serves(key, alg))
  for (const key of serving) {
    if (await verifySignature(token, key, configuration.check))
      return [...found, { name: 'signature', ok: true }]
  }
  const none = serving.length === 0
  const words = keys.map((key) => (serves(key, alg) ? BAD_SIGNATURE : BAD_ALGORITHM))
  const why = none ? `The key is not for ${alg}` : 'The signature does not verify'
  return [...found, failed('signature', joined(configuration, words), why)]
}

const serves = ({ key, alg }: VerificationKey, wanted: Algorithm): boolean =>
  (alg === undefined || alg === wanted) && fits(key, wanted)

interface Candidates {
  keys: readonly VerificationKey[]
  /** Why there are none. */
  reason?: string
}

/** How a source fails. Its details are ours, and say nothing of the other side (remote-jwks/fetch.ts). */
const FAILED: ReadonlySet<ProblemCode> = new Set([
  ...(['jwks_unreachable', 'jwks_timeout', 'url_refused'] as const),
])

/** All keys of a static configuration; of a set the one with its kid, or without a kid the only one that fits. */
async function candidates(
  { type, keys }: Configuration,
  { kid, alg }: { kid: string | undefined; alg: Algorithm },
  how: How,
): Promise<Candidates> {
  const none = (reason: string): Candidates => ({ keys: [], reason })
  let all: readonly VerificationKey[]
  try {
    all = await keys(kid)
  } catch (error) {
    // A ring that is gone, or no source any more, has no keys.
    if (isProblem(error, 'source_refused')) return none(error.detail)
    // A login answers that it cannot say: nobody is denied because of a source that fails.
    if (how === 'explain' && isProblem(error) && FAILED.has(error.code)) {
      return none(`The keys of the issuer cannot be had: ${error.detail}`)
    }
    throw error
  }
  if (type === 'static') return { keys: all }
  if (kid !== undefined) {
    const named = all.filter((key) => key.kid === kid)
    if (named.length === 1) return { keys: named }
    return none(`${named.length === 0 ? 'No key' : 'More than one key'} of the source has this kid`)
  }
  const fitting = all.filter((key) => serves(key, alg))
  if (fitting.length === 1) return { keys: fitting }
  const count = fitting.length === 0 ? 'no key' : `${fitting.length} keys`
  return none(`The token names no kid, and the source has ${count} for ${alg}`)
}

/** A reason in the words of the kind of configuration: a static one names it for each of its keys (step 4). */
export async function wordsOf(
  configuration: Configuration,
  reason: string,
  token?: Screened,
): Promise<string> {
  if (configuration.type === 'jwks') return reason
  const words: string[] = []
  for (const key of await configuration.keys(undefined)) {
    if (!token) words.push(reason)
    else if (!serves(key, token.header.alg)) words.push(BAD_ALGORITHM)
    else {
      const signed = await verifySignature(token, key, configuration.check)
      words.push(signed ? reason : BAD_SIGNATURE)
    }
  }
  return joined(configuration, words)
}

const joined = ({ type }: Configuration, reasons: readonly string[]): string =>
  type === 'jwks'
    ? reasons.join('; ')
    : `JWT verification failed with all keys. Errors - ${reasons.join('; ')}`
