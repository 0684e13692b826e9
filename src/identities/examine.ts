import {
  type Algorithm,
  type CheckSignature,
  fits,
  isAlgorithm,
  isBase64url,
  MAX_TOKEN_SIZE,
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
  /** A token for one of these is meant for another purpose, whatever the bounds say. */
  refusedAudiences: readonly string[]
  /**
   * The keys of the configuration. May go to the network for a kid that is not known.
   * @throws Problem `jwks_unreachable`, `jwks_timeout`, `url_refused`, `source_refused`
   */
  keys(kid: string | undefined): Promise<readonly VerificationKey[]>
  check?: CheckSignature | undefined
}

/** What a foreign token may be signed with; post-quantum algorithms are for our own rings. */
const ALLOWED = /^(?:(?:RS|PS|ES)(?:256|384|512)|EdDSA|Ed25519)$/

// The five reasons of the wire (section 7).
const EXPIRED = 'jwt expired'
const NOT_ACTIVE = 'jwt not active'
const BAD_SIGNATURE = 'invalid signature'
const BAD_ALGORITHM = 'invalid algorithm'
const MALFORMED = 'jwt malformed'

/**
 * `now` in seconds, with a fraction. `decide` ends with the first failure: who has shown no signature gets no pattern
 * matched. Never throws for what the token contains.
 * @throws Problem `jwks_unreachable`, `jwks_timeout`, `url_refused`
 */
export async function examine(
  configuration: Configuration,
  jwt: string,
  now: number,
  how: 'decide' | 'explain',
): Promise<Examination> {
  const screened = screen(jwt)
  if ('fault' in screened) {
    return { ok: false, checks: [await faultCheck(configuration, screened)] }
  }
  const { token } = screened
  const checks: Check[] = [{ name: 'format', ok: true }]
  checks.push(...(await signatureChecks(configuration, token)))
  const isOver = () => how === 'decide' && checks.some(({ ok }) => !ok)
  if (isOver()) return { ok: false, checks }

  const claims = readClaims(token)
  if (isProblem(claims)) {
    const words = await wordsOf(configuration, MALFORMED, token)
    checks.push(failed('payload', words, claims.detail))
    return { ok: false, checks }
  }
  checks.push(
    { name: 'payload', ok: true },
    ...(await timeChecks(configuration, token, claims, now)),
  )
  if (isOver()) return { ok: false, checks }
  checks.push(...boundChecks(configuration, claims))
  const ok = checks.every((check) => check.ok)
  return { ok, checks, ...(ok && { claims }) }
}

// Form (steps 2 and 3) -------------------------------------------------------------------------------------

interface Fault {
  fault: 'no-jws' | typeof BAD_ALGORITHM | typeof MALFORMED | typeof BAD_SIGNATURE
  reason: string
}

/** Three segments, of which only a signature may be empty (RFC 7515 section 7.1). */
const SEGMENTS = /^([\w-]+)\.([\w-]+)\.[\w-]*$/

/**
 * First what the original asks before it verifies: a JWS at all, then an algorithm that may be. Then what we ask beyond
 * that (core/strict.ts), in the nearest of its words.
 */
function screen(jwt: string): { token: Screened } | Fault {
  const [, first = ''] = jwt.length > MAX_TOKEN_SIZE ? [] : (SEGMENTS.exec(jwt) ?? [])
  const header = toHeader(first)
  if (!header) return { fault: 'no-jws', reason: 'The text is no JWS in compact form' }
  const { alg } = header
  if (typeof alg !== 'string' || !ALLOWED.test(alg)) {
    return { fault: BAD_ALGORITHM, reason: 'The algorithm of the token is not accepted' }
  }
  try {
    return { token: screenCompact(jwt) }
  } catch (error) {
    if (!isProblem(error, 'token_malformed')) throw error
    // Bits left over at the end of another segment: what was signed, or its signature, has been changed.
    const inexact = jwt
      .split('.')
      .slice(1)
      .some((segment) => !isBase64url(segment))
    const isChanged = inexact && isBase64url(first)
    return { fault: isChanged ? BAD_SIGNATURE : MALFORMED, reason: error.detail }
  }
}

function toHeader(segment: string): Record<string, unknown> | undefined {
  try {
    const header: unknown = JSON.parse(Buffer.from(segment, 'base64url').toString())
    if (typeof header !== 'object' || header === null || Array.isArray(header)) return undefined
    return header as Record<string, unknown>
  } catch {
    return undefined
  }
}

async function faultCheck(configuration: Configuration, { fault, reason }: Fault): Promise<Check> {
  if (fault === 'no-jws') {
    return { name: 'format', ok: false, reason, words: 'Invalid JWT', denial: 'invalid_jwt' }
  }
  const name = fault === BAD_ALGORITHM ? 'algorithm' : 'format'
  return failed(name, await wordsOf(configuration, fault), reason)
}

// Keys and signature (steps 4 and 5) -----------------------------------------------------------------------

/** The algorithm is the key's, and the header must name it (RFC 8725 section 3.1). */
async function signatureChecks(configuration: Configuration, token: Screened): Promise<Check[]> {
  const { alg, kid } = token.header
  if (!isAlgorithm(alg)) {
    const words = await wordsOf(configuration, BAD_ALGORITHM)
    return [failed('algorithm', words, 'The algorithm of the token is not accepted')]
  }
  const algorithm: Check = { name: 'algorithm', ok: true }
  const { keys, reason } = await candidates(configuration, kid, alg)
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

/** All keys of a static configuration; of a set the one with its kid, or without a kid the only one that fits. */
async function candidates(
  { type, keys }: Configuration,
  kid: string | undefined,
  alg: Algorithm,
): Promise<Candidates> {
  const none = (reason: string): Candidates => ({ keys: [], reason })
  let all: readonly VerificationKey[]
  try {
    all = await keys(kid)
  } catch (error) {
    // A ring that is gone, or no source any more, has no keys.
    if (isProblem(error, 'source_refused')) return none(error.detail)
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
async function wordsOf(
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

const failed = (name: Check['name'], words: string, reason: string): Check => ({
  ...{ name, ok: false, reason, words, denial: 'jwt_verification_failed' },
})

// Claims (steps 5 to 9) ------------------------------------------------------------------------------------

function readClaims(token: Screened): Record<string, unknown> | Problem {
  try {
    return parseClaims(token.payload)
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return error
    throw error
  }
}

/** `exp` and `nbf` with no tolerance; either may be absent (RFC 7519 sections 4.1.4 and 4.1.5). */
async function timeChecks(
  configuration: Configuration,
  token: Screened,
  claims: Record<string, unknown>,
  now: number,
): Promise<Check[]> {
  const check = async (claim: 'exp' | 'nbf', over: (time: number) => boolean, words: string) => {
    const time = claims[claim]
    if (time === undefined) return []
    const isTime = typeof time === 'number' && Number.isFinite(time)
    if (isTime && !over(time)) return [{ name: claim, ok: true, claim }]
    const why = claim === 'exp' ? 'The token has expired' : 'The token is not valid yet'
    const reason = isTime ? why : `The ${claim} is not a number`
    const said = await wordsOf(configuration, isTime ? words : MALFORMED, token)
    return [{ ...failed(claim, said, reason), claim }]
  }
  return [
    ...(await check('exp', (exp) => now >= exp, EXPIRED)),
    ...(await check('nbf', (nbf) => now < nbf, NOT_ACTIVE)),
  ]
}

const CLAIMS = { issuer: 'iss', subject: 'sub', audience: 'aud', claim: '' }

function boundChecks(configuration: Configuration, claims: Record<string, unknown>): Check[] {
  const { bounds, refusedAudiences } = configuration
  const checks: Check[] = checkBounds(bounds, claims).map(({ name, path, rule, ok, denial }) => {
    const claim = path ?? CLAIMS[name]
    return { name, ok, claim, rule, ...(denial && describe(denial, claim)) }
  })
  const audiences: unknown[] = [claims['aud']].flat()
  if (audiences.some((one) => typeof one === 'string' && refusedAudiences.includes(one))) {
    const reason = 'The token is addressed to this server for another purpose than a login'
    const denied = describe('audience_not_allowed', 'aud')
    checks.push({ ...denied, name: 'audience', ok: false, claim: 'aud', reason })
  }
  return checks
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
