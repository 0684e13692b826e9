import {
  type Algorithm,
  fits,
  isAlgorithm,
  parseClaims,
  type Screened,
  screenCompact,
  type VerificationKey,
  verifySignature,
} from '../core/index.ts'
import { isProblem, type Problem } from '../errors.ts'
import { type Bounds, checkBounds, type Denial } from './bounds.ts'

// One engine for logins and their explanation: every check of a token against a configuration, in the order of identity
// contract section 7, steps 2 to 9. A login is decided by the first that fails; an explanation shows them all.

export type Reason = Denial | 'invalid_jwt' | 'jwt_verification_failed' | 'signing_key_not_found'

export interface Check {
  name:
    | 'format'
    | 'algorithm'
    | 'key'
    | 'signature'
    | 'payload'
    | 'exp'
    | 'nbf'
    | 'issuer'
    | 'subject'
    | 'audience'
    | 'claim'
  ok: boolean
  /** The claim that is looked at. */
  claim?: string
  /** What the configuration says of it. */
  rule?: string
  /** Why it fails, for a person. */
  reason?: string
  /** For the audit record. */
  denial?: Reason
  /** On the wire, after `Access denied: `, or instead of it. */
  words?: string
}

export interface Examination {
  ok: boolean
  checks: Check[]
  /** Only of a token that passed every check. */
  claims?: Record<string, unknown>
}

/** What a configuration says of tokens; all of it compiled. */
export interface Configuration {
  type: 'jwks' | 'static'
  bounds: Bounds
  /**
   * The keys of the configuration. May go to the network for a kid that is not known.
   * @throws Problem `jwks_unreachable`, `jwks_timeout`, `source_refused`
   */
  keys(kid: string | undefined): Promise<readonly VerificationKey[]>
}

/** What a foreign token may be signed with; post-quantum algorithms are for our own rings. */
const ALLOWED = /^(?:(?:RS|PS|ES)(?:256|384|512)|EdDSA|Ed25519)$/

const EXPIRED = 'jwt expired'
const NOT_ACTIVE = 'jwt not active'
const BAD_SIGNATURE = 'invalid signature'
const BAD_ALGORITHM = 'invalid algorithm'
const MALFORMED = 'jwt malformed'

/** `now` in seconds. Never throws for what the token contains. */
export async function examine(
  configuration: Configuration,
  jwt: string,
  now: number,
): Promise<Examination> {
  const screened = screen(jwt)
  if ('checks' in screened) return { ok: false, checks: screened.checks }
  const checks: Check[] = [{ name: 'format', ok: true }]
  checks.push(...(await signatureChecks(configuration, screened.token)))

  const claims = readClaims(screened.token)
  if (isProblem(claims)) {
    checks.push(failed(configuration, 'payload', MALFORMED, claims.detail))
    return { ok: false, checks }
  }
  checks.push({ name: 'payload', ok: true }, ...timeChecks(configuration, claims, now))
  for (const { name, path, rule, ok, denial } of checkBounds(configuration.bounds, claims)) {
    const claim = path ?? CLAIMS[name]
    checks.push({ name, ok, claim, rule, ...(denial && describe(denial, claim)) })
  }
  const ok = checks.every((check) => check.ok)
  return { ok, checks, ...(ok && { claims }) }
}

const CLAIMS = { issuer: 'iss', subject: 'sub', audience: 'aud', claim: '' }

function screen(jwt: string): { token: Screened } | { checks: Check[] } {
  try {
    return { token: screenCompact(jwt) }
  } catch (error) {
    if (!isProblem(error, 'token_malformed')) throw error
    const reason = error.detail
    // A JWS of an algorithm that we do not know, or with an extension, is still a JWS.
    if (isJws(jwt)) {
      const words = /alg/.test(reason) ? BAD_ALGORITHM : MALFORMED
      const name = words === BAD_ALGORITHM ? 'algorithm' : 'format'
      return {
        checks: [{ ...{ name, ok: false, reason, words }, denial: 'jwt_verification_failed' }],
      }
    }
    const words = 'Invalid JWT'
    return { checks: [{ name: 'format', ok: false, reason, words, denial: 'invalid_jwt' }] }
  }
}

const MAX_SIZE = 16 * 1024

/** Three parts, and a header that is a JSON object: all that the original asks before it verifies. */
function isJws(jwt: string): boolean {
  if (jwt.length > MAX_SIZE) return false
  const parts = jwt.split('.', 4)
  if (parts.length !== 3) return false
  try {
    const header: unknown = JSON.parse(Buffer.from(parts[0] ?? '', 'base64url').toString())
    return typeof header === 'object' && header !== null && !Array.isArray(header)
  } catch {
    return false
  }
}

/** Steps 3 to 5: algorithm, keys, signature. The algorithm is the key's, and the header must name it. */
async function signatureChecks(configuration: Configuration, token: Screened): Promise<Check[]> {
  const { alg, kid } = token.header
  if (!ALLOWED.test(alg) || !isAlgorithm(alg)) {
    return [
      failed(configuration, 'algorithm', BAD_ALGORITHM, `The algorithm ${alg} is not accepted`),
    ]
  }
  const algorithm: Check = { name: 'algorithm', ok: true }
  const all = await configuration.keys(kid)
  const { keys, reason } =
    configuration.type === 'static' ? { keys: all, reason: undefined } : selected(all, kid, alg)
  if (reason !== undefined) {
    const words = 'no matching signing key'
    const denial = 'signing_key_not_found' as const
    return [algorithm, { name: 'key', ok: false, reason, words, denial }]
  }
  const found: Check = { name: 'key', ok: true }
  const outcomes: string[] = []
  for (const key of keys) {
    if (!serves(key, alg)) outcomes.push(BAD_ALGORITHM)
    else if (await verifySignature(token, key))
      return [algorithm, found, { name: 'signature', ok: true }]
    else outcomes.push(BAD_SIGNATURE)
  }
  const words = outcomes.join('; ')
  return [
    algorithm,
    found,
    failed(configuration, 'signature', words, 'The signature does not verify'),
  ]
}

const serves = ({ key, alg }: VerificationKey, wanted: Algorithm): boolean =>
  (alg === undefined || alg === wanted) && fits(key, wanted)

/** By its kid, or without one the only key that fits. */
function selected(
  all: readonly VerificationKey[],
  kid: string | undefined,
  alg: Algorithm,
): { keys: readonly VerificationKey[]; reason: string | undefined } {
  const none = (reason: string) => ({ keys: [], reason })
  if (kid !== undefined) {
    const named = all.filter((key) => key.kid === kid)
    if (named.length === 0) return none('No key of the source has this kid')
    if (named.length > 1) return none('Several keys of the source have this kid')
    return { keys: named, reason: undefined }
  }
  const fitting = all.filter((key) => serves(key, alg))
  if (fitting.length === 1) return { keys: fitting, reason: undefined }
  return none(
    fitting.length === 0
      ? `The token names no kid, and no key of the source is for ${alg}`
      : `The token names no kid, and ${fitting.length} keys of the source are for ${alg}`,
  )
}

function readClaims(token: Screened): Record<string, unknown> | Problem {
  try {
    return parseClaims(token.payload)
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return error
    throw error
  }
}

/** `exp` and `nbf` with no tolerance, to the second; either may be absent (RFC 7519 section 4.1.4 and 5). */
function timeChecks(
  configuration: Configuration,
  claims: Record<string, unknown>,
  now: number,
): Check[] {
  const { exp, nbf } = claims
  const checks: Check[] = []
  if (exp !== undefined) {
    checks.push(
      !isTime(exp)
        ? failed(configuration, 'exp', MALFORMED, 'The exp is not a number', 'exp')
        : now >= exp
          ? failed(configuration, 'exp', EXPIRED, 'The token has expired', 'exp')
          : { name: 'exp', ok: true, claim: 'exp' },
    )
  }
  if (nbf !== undefined) {
    checks.push(
      !isTime(nbf)
        ? failed(configuration, 'nbf', MALFORMED, 'The nbf is not a number', 'nbf')
        : now < nbf
          ? failed(configuration, 'nbf', NOT_ACTIVE, 'The token is not valid yet', 'nbf')
          : { name: 'nbf', ok: true, claim: 'nbf' },
    )
  }
  return checks
}

const isTime = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value)

/** A failed verification, in the words of its kind of configuration. */
function failed(
  { type }: Configuration,
  name: Check['name'],
  words: string,
  reason: string,
  claim?: string,
): Check {
  const prefix = type === 'static' ? 'JWT verification failed with all keys. Errors - ' : ''
  return {
    ...{ name, ok: false, reason, words: `${prefix}${words}` },
    ...(claim !== undefined && { claim }),
    denial: 'jwt_verification_failed',
  }
}

function describe(
  denial: Denial,
  claim: string,
): { denial: Denial; words: string; reason: string } {
  const words: Record<Denial, string> = {
    issuer_mismatch: 'issuer mismatch',
    missing_subject: 'token has no subject field',
    subject_not_allowed: 'subject not allowed',
    missing_audience: 'token has no audience field',
    audience_not_allowed: 'token audience not allowed',
    missing_claim: `token has no ${claim} field`,
    claim_mismatch: `claim mismatch for field ${claim}`,
  }
  return { denial, words: words[denial], reason: words[denial] }
}
