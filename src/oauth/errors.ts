import type { Problem } from '../errors.ts'
import { type Format, problemJson } from '../http/problem.ts'

// Problems in OAuth's words: RFC 6749 section 5.2 at the token endpoint, RFC 6750 section 3 for the caller of the
// introspection endpoint (RFC 7662 section 2.3).

interface Words {
  status: number
  error: string
  headers?: Record<string, string>
}

/** Codes that are errors of RFC 6749 section 5.2 and RFC 8693 section 2.2.2 by themselves. */
const SAME = new Set([
  ...['invalid_request', 'invalid_client', 'invalid_grant', 'unauthorized_client'],
  ...['unsupported_grant_type', 'invalid_scope', 'invalid_target'],
])

/** A bearer at the introspection endpoint that does not count. */
const BEARER = new Set([
  ...['unauthenticated', 'access_token_invalid', 'access_token_foreign', 'access_token_revoked'],
  'address_not_trusted',
])

/** Of an HTTP request that never got as far as its form; all else is 400 (RFC 6749 section 5.2). */
const BEFORE: Record<string, Words> = {
  body_too_large: { status: 413, error: 'invalid_request' },
  request_timeout: { status: 408, error: 'invalid_request' },
  method_not_allowed: { status: 405, error: 'invalid_request', headers: { allow: 'POST' } },
}

function wordsOf(problem: Problem, presented: boolean): Words {
  const { code, extra, status } = problem
  // The scheme that the client used is named, as RFC 6749 section 5.2 has it; where it used none, there is no 401.
  if (code === 'invalid_client' && typeof extra['scheme'] === 'string') {
    const challenge = { 'www-authenticate': `${extra['scheme']} realm="keyringd"` }
    return { status: 401, error: code, headers: challenge }
  }
  if (SAME.has(code)) return { status: 400, error: code }
  if (BEARER.has(code)) return challenged(401, 'invalid_token', presented)
  if (code === 'forbidden') return challenged(403, 'insufficient_scope', true)
  // No RFC gives the token endpoint a word for "later"; this is the authorization endpoint's (RFC 6749 section 4.1.2.1).
  // `slow_down` is of the device grant, and makes its clients poll on (RFC 8628 section 3.5).
  if (code === 'rate_limited') {
    const headers = { 'retry-after': String(extra['retryAfter'] ?? 1) }
    return { status: 429, error: 'temporarily_unavailable', headers }
  }
  if (status === 500) return { status, error: 'server_error' }
  // 502 and 504, too: that an issuer's keys are out of reach is nothing that the client's request could change.
  if (status > 500) return { status: 503, error: 'temporarily_unavailable' }
  return BEFORE[code] ?? { status: 400, error: 'invalid_request' }
}

/** RFC 6750 section 3.1: who presented nothing is told nothing. */
function challenged(status: number, error: string, presented: boolean): Words {
  const about = presented ? `, error="${error}"` : ''
  return { status, error, headers: { 'www-authenticate': `Bearer realm="keyringd"${about}` } }
}

const MAX_DESCRIPTION = 300
/** What an error_description may be made of (RFC 6749 section 5.2). */
const printable = (text: string): string =>
  text.slice(0, MAX_DESCRIPTION).replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'")

export const oauthJson: Format = (problem, request) => {
  // A path that is not there is not OAuth's.
  if (problem.code === 'not_found' || problem.code === 'oauth_disabled') {
    return problemJson(problem, request)
  }
  const presented = request.headers.authorization !== undefined
  const { status, error, headers = {} } = wordsOf(problem, presented)
  const body = { error, error_description: printable(problem.detail) }
  return {
    ...{ status, headers: { ...NOT_STORED, ...headers } },
    ...{ type: 'application/json', body: JSON.stringify(body) },
  }
}

/** Of every answer (RFC 6749 section 5.1; RFC 7662 section 2.2). */
export const NOT_STORED = { 'cache-control': 'no-store', pragma: 'no-cache' }
