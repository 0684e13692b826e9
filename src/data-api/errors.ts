import type { FastifyRequest } from 'fastify'
import type { Problem, ProblemCode } from '../errors.ts'
import type { Format } from '../http/problem.ts'

// Problems as the data API says them: bare text, never JSON (contract section 5).

const TEXT = 'text/plain; charset=utf-8'
const NO_SNIFFING = { 'x-content-type-options': 'nosniff' }

const DENIED = 'Error 1045: Access denied'

/** Of what is not listed here, the title is one line and safe. */
const WORDS: Partial<Record<ProblemCode, string>> = {
  unauthenticated: DENIED,
  credentials_wrong: DENIED,
  forbidden: 'Error 1227: Access denied; administrative privilege required',
  not_found: 'not found',
  method_not_allowed: 'method not allowed',
  request_timeout: 'request timeout',
  body_too_large: 'request body too large',
  overloaded: 'too many requests at once',
  internal: 'internal error',
}

function textOf({ code, detail }: Problem): string {
  if (code === 'jwks_update_failed' || code === 'jwks_update_timeout') {
    return `JWKS update failed: ${detail}`
  }
  return WORDS[code] ?? detail
}

const BEARER = /^\s*bearer\s+\S/i

/** Both schemes, each on a line of its own; the second says so where a bearer failed (contract section 4, RFC 6750). */
function challengesOf({ headers }: FastifyRequest): string[] {
  const isToken = BEARER.test(headers.authorization ?? '')
  return [
    'Basic realm="data-api", charset="UTF-8"',
    `Bearer realm="data-api"${isToken ? ', error="invalid_token"' : ''}`,
  ]
}

export const bareText: Format = (problem, request) => ({
  type: TEXT,
  body: textOf(problem).replace(/\s+/g, ' '),
  headers: {
    ...NO_SNIFFING,
    ...(problem.code === 'method_not_allowed' && { allow: 'POST' }),
    ...(problem.code === 'rate_limited' && {
      'retry-after': String(problem.extra['retryAfter'] ?? 1),
    }),
    ...(problem.status === 401 && { 'www-authenticate': challengesOf(request) }),
  },
})
