import { timingSafeEqual, verify } from 'node:crypto'
import { ALGORITHMS, parseClaims, type Screened, screenAnyAlgorithm } from '../core/index.ts'
import { isProblem } from '../errors.ts'
import { hmac, isHmac, isUriAlgorithm } from './algorithms.ts'
import { containerFault } from './container.ts'
import type { DocumentKey, IssuerSet, KeyDocument, UsableKey } from './document.ts'
import { cookieTokens, findToken, MAX_SIGNED_URI, normaliseUri, PARAMETER } from './uri.ts'

// Checks a URI as a cache would, and more strictly (contract section 10). Nothing that a URI, a cookie or a token
// contains makes this throw: everything is a verdict.

/** RFC 9246 section 6.4, as numbers. */
export const REASONS = {
  0: 'not verified',
  200: 'verified',
  400: 'signature',
  401: 'issuer',
  402: 'subject',
  403: 'audience',
  404: 'expired',
  405: 'not before',
  406: 'only one of cdnistt/cdniets present',
  407: 'JWT ID',
  408: 'version',
  409: 'critical claims',
  410: 'client IP',
  411: 'URI container',
  500: 'malformed URI',
} as const

export type UriCode = keyof typeof REASONS

export interface UriCheck {
  name:
    | 'uri'
    | 'token'
    | 'format'
    | 'issuer'
    | 'key'
    | 'algorithm'
    | 'signature'
    | 'claims'
    | 'container'
  ok: boolean
  /** A sentence, of a failure. */
  reason?: string
}

export interface UriVerdict {
  code: UriCode
  /** The section's words for the code. */
  reason: string
  /** Of a token whose signature verifies, even where the verdict is another than 200. */
  claims?: Record<string, unknown>
  /** Of the token that the verdict is about, in order; the last one may be the first that failed. */
  checks: UriCheck[]
  /** Where that token was. */
  source?: 'uri' | 'cookie'
  issuer?: string
  kid?: string
  /** The URI without its token, as containers are matched against it. */
  normalised?: string
}

export interface VerifyUriRequest {
  uri: string
  /** The values of Cookie header fields. */
  cookies?: string | readonly string[] | undefined
  document: KeyDocument
  /** Seconds, may be fractional. */
  now: number
  /** Default `URISigningPackage`. */
  parameter?: string | undefined
}

/** A token without kid is tried against so many fitting keys; more are refused. */
const MAX_CANDIDATES = 32

const passed = (name: UriCheck['name']): UriCheck => ({ name, ok: true })

/**
 * Looks at the token in the URI, then at cookies from left to right, until one is good; where none is, the verdict is
 * about the first. No leeway for clocks (RFC 9246 sections 2.1.4 and 2.1.5).
 */
export async function verifyUri(request: VerifyUriRequest): Promise<UriVerdict> {
  const { uri, cookies = [], parameter = PARAMETER } = request
  if (uri.length > MAX_SIGNED_URI) return without(500, 'uri', 'The URI is too long')
  const found = findToken(uri, parameter)
  // For cookies, too, the URI is the one without its token (RFC 9246 section 2.1.15): a bad token in it is no part of
  // what a good cookie is for. (Caches leave it in there, so that an exact container does not match.)
  const normalised = normaliseUri(found?.stripped ?? uri)
  if (normalised === undefined) {
    return without(500, 'uri', 'The URI without its token is not an absolute http or https URI')
  }
  const headers = typeof cookies === 'string' ? [cookies] : cookies
  const inCookies = cookieTokens(headers, parameter)
  let first: UriVerdict | undefined
  for (const token of found ? [found.token, ...inCookies] : inCookies) {
    const source = found && first === undefined ? 'uri' : 'cookie'
    const verdict: UriVerdict = { ...(await judge(token, normalised, request)), source }
    if (verdict.code === 200) return verdict
    first ??= verdict
  }
  return first ?? without(0, 'token', 'There is no token in the URI, nor in a cookie')
}

const without = (code: UriCode, name: UriCheck['name'], reason: string): UriVerdict => ({
  code,
  reason: REASONS[code],
  checks: [{ name, ok: false, reason }],
})

/** One token against one URI. */
async function judge(
  token: string,
  normalised: string,
  { document, now }: VerifyUriRequest,
): Promise<UriVerdict> {
  const checks: UriCheck[] = [passed('uri')]
  const verdict: UriVerdict = { code: 200, reason: REASONS[200], checks, normalised }
  const refuse = (code: UriCode, name: UriCheck['name'], reason: string): UriVerdict => {
    checks.push({ name, ok: false, reason })
    return { ...verdict, code, reason: REASONS[code] }
  }

  const read = readToken(token)
  if (typeof read === 'string') return refuse(400, 'format', read)
  const { screened, claims } = read
  const { alg, kid } = screened.header
  if (kid !== undefined) verdict.kid = kid
  checks.push(passed('format'))

  const { iss } = claims
  const set = typeof iss === 'string' ? document.issuers.get(iss) : undefined
  if (!set) return refuse(401, 'issuer', issuerFault(iss))
  verdict.issuer = set.issuer
  checks.push(passed('issuer'))

  const named = kid === undefined ? set.keys : firstWith(set, kid)
  if (named.length === 0) return refuse(400, 'key', 'The issuer has no key with this kid')
  checks.push(passed('key'))
  const fitting = isUriAlgorithm(alg) ? named.filter((key) => key.alg === alg) : []
  if (fitting.length === 0) return refuse(400, 'algorithm', `The key is not for ${alg}`)
  if (fitting.length > MAX_CANDIDATES) {
    return refuse(400, 'algorithm', 'The token names no kid, and too many keys fit it')
  }
  checks.push(passed('algorithm'))

  const key = await signerOf(screened, fitting)
  if (!key) return refuse(400, 'signature', 'The signature does not verify')
  verdict.kid = key.kid
  verdict.claims = claims
  checks.push(passed('signature'))

  const wrong = claimFault(claims, document.id, now)
  if (wrong) return refuse(wrong.code, 'claims', wrong.reason)
  checks.push(passed('claims'))

  const { cdniuc } = claims
  if (typeof cdniuc !== 'string') return refuse(411, 'container', 'The token has no cdniuc')
  const outside = containerFault(cdniuc, normalised)
  if (outside !== undefined) return refuse(411, 'container', outside)
  checks.push(passed('container'))
  return verdict
}

/** A cache takes the first of several keys with one kid, and so must we. */
function firstWith({ keys }: IssuerSet, kid: string): readonly DocumentKey[] {
  const key = keys.find((each) => each.kid === kid)
  return key ? [key] : []
}

const issuerFault = (iss: unknown): string =>
  iss === undefined ? 'The token has no iss' : 'The document has no such issuer'

type AnyJws = Pick<Screened, 'signature' | 'signingInput'> & {
  header: { alg: string; kid?: string | undefined }
}

function readToken(token: string): { screened: AnyJws; claims: Record<string, unknown> } | string {
  try {
    const screened = screenAnyAlgorithm(token)
    return { screened, claims: parseClaims(screened.payload) }
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return error.detail
    throw error
  }
}

async function signerOf(jws: AnyJws, keys: readonly DocumentKey[]): Promise<UsableKey | undefined> {
  for (const key of keys) {
    const usable = key.usable()
    if (usable && (await verifies(jws, usable))) return usable
  }
  return undefined
}

/** With the key's own algorithm; the header only had to name it. */
function verifies({ signingInput, signature }: AnyJws, key: UsableKey): boolean | Promise<boolean> {
  const { alg, verifyingKey } = key
  if (isHmac(alg)) {
    const expected = hmac(verifyingKey, alg, signingInput)
    return signature.length === expected.length && timingSafeEqual(signature, expected)
  }
  const { hash, options } = ALGORITHMS[alg]
  return new Promise((resolve) => {
    const input = Buffer.from(signingInput, 'ascii')
    verify(hash, input, { key: verifyingKey, ...options }, signature, (error, ok) =>
      resolve(!error && ok),
    )
  })
}

interface ClaimFault {
  code: UriCode
  reason: string
}

/** Everything but issuer and container, in the order of the codes. Claims that no cache can check are refused. */
function claimFault(
  claims: Readonly<Record<string, unknown>>,
  id: string | undefined,
  now: number,
): ClaimFault | undefined {
  const { sub, aud, exp, nbf, jti, cdniv, cdnicrit, cdniip } = claims
  if (sub !== undefined && !isJwe(sub)) return { code: 402, reason: 'The sub is not encrypted' }
  if (aud !== undefined && !isFor(aud, id)) {
    return { code: 403, reason: 'The aud does not name the id of this cache' }
  }
  if (!isDate(exp)) return { code: 404, reason: 'The token has no exp that is a number' }
  if (exp <= now) return { code: 404, reason: 'The token has expired' }
  if (nbf !== undefined && !isDate(nbf)) return { code: 405, reason: 'The nbf is not a number' }
  if (isDate(nbf) && nbf > now) return { code: 405, reason: 'The token is not valid yet' }
  const renewal = renewalFault(claims)
  if (renewal !== undefined) return { code: 406, reason: renewal }
  if (jti !== undefined) return { code: 407, reason: 'A jti is not supported' }
  if (cdniv !== undefined && cdniv !== 1) return { code: 408, reason: 'The cdniv is not 1' }
  if (cdnicrit !== undefined) return { code: 409, reason: 'Critical claims are not supported' }
  if (cdniip !== undefined) return { code: 410, reason: 'A client IP is not supported' }
  return undefined
}

const isDate = (value: unknown): value is number => Number.isFinite(value)

/** Five segments, as RFC 7516 section 7.1 has them; it is for others to decrypt. */
const isJwe = (value: unknown): boolean =>
  typeof value === 'string' && /^[\w-]+\.[\w-]*\.[\w-]+\.[\w-]*\.[\w-]+$/.test(value)

const isFor = (aud: unknown, id: string | undefined): boolean =>
  id !== undefined && (Array.isArray(aud) ? aud.includes(id) : aud === id)

function renewalFault({ cdnistt, cdniets, cdnistd }: Readonly<Record<string, unknown>>) {
  if ((cdnistt === undefined) !== (cdniets === undefined)) {
    return 'The token has only one of cdnistt and cdniets'
  }
  if (cdnistt !== undefined && cdnistt !== 0 && cdnistt !== 1) {
    return 'The cdnistt is neither 0 nor 1'
  }
  if (cdniets !== undefined && !Number.isSafeInteger(cdniets))
    return 'The cdniets is not an integer'
  if (cdnistd === undefined) return undefined
  return Number.isSafeInteger(cdnistd) && Number(cdnistd) >= 0
    ? undefined
    : 'The cdnistd is not an integer from 0 on'
}
