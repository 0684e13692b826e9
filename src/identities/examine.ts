import {
  isBase64url,
  MAX_TOKEN_SIZE,
  parseClaims,
  type Screened,
  screenCompact,
} from '../core/index.ts'
import { isProblem, type Problem } from '../errors.ts'
import { checkBounds, type Denial } from './bounds.ts'
import {
  BAD_ALGORITHM,
  BAD_SIGNATURE,
  type Check,
  type Configuration,
  EXPIRED,
  type Examination,
  failed,
  type How,
  MALFORMED,
  NOT_ACTIVE,
} from './checks.ts'
import { signatureChecks, wordsOf } from './signature.ts'

// One engine for logins and their explanation: every check of a token against a configuration, in the order of identity
// contract section 7, steps 2 to 9. A login is decided by the first that fails; an explanation shows them all.

/** What a foreign token may be signed with; post-quantum algorithms are for our own rings. */
const ALLOWED = /^(?:(?:RS|PS|ES)(?:256|384|512)|EdDSA|Ed25519)$/

/**
 * `now` in seconds, with a fraction. `decide` ends with the first failure: who has shown no signature gets no pattern
 * matched. Never throws for what the token contains.
 * @throws Problem `jwks_unreachable`, `jwks_timeout`, `url_refused` to who decides; `not_ready`
 */
export async function examine(
  configuration: Configuration,
  jwt: string,
  now: number,
  how: How,
): Promise<Examination> {
  const screened = screen(jwt)
  if ('fault' in screened) {
    return { ok: false, checks: [await faultCheck(configuration, screened)] }
  }
  const { token } = screened
  const checks: Check[] = [{ name: 'format', ok: true }]
  checks.push(...(await signatureChecks(configuration, token, how)))
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
