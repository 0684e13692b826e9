import type { Format } from '../http/problem.ts'
import { faultOf } from './token-claims.ts'

// Problems in the words of the identities surface: the envelope of identity contract section 1.

const NAMES: Record<number, string> = {
  400: 'BadRequest',
  401: 'UnauthorizedError',
  403: 'ForbiddenError',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  408: 'RequestTimeout',
  409: 'Conflict',
  413: 'PayloadTooLarge',
  415: 'UnsupportedMediaType',
  422: 'ValidationFailure',
  429: 'RateLimitExceeded',
  500: 'InternalServerError',
  502: 'BadGateway',
  503: 'ServiceUnavailable',
  504: 'GatewayTimeoutError',
}

interface Words {
  status?: number
  error?: string
  message?: unknown
  details?: unknown
  headers?: Record<string, string>
}

type Problem = Parameters<Format>[0]
type Request = Parameters<Format>[1]

/** By code, where it is more than the status and the detail. */
const WORDS: Record<string, (problem: Problem, request: Request) => Words> = {
  unauthenticated: (_, request) => unauthenticated(request),
  // An expired bearer is 403 here.
  access_token_invalid: () => ({ status: 403, error: 'TokenError' }),
  forbidden: ({ extra }) => ({
    error: 'PermissionDenied',
    details: [
      { action: extra['action'], inverted: false, subject: extra['subject'], conditions: {} },
    ],
  }),
  privilege_boundary: ({ extra }) => ({
    error: 'PermissionBoundaryError',
    details: { missingPermissions: toPermissions(extra['missing']) },
  }),
  invalid_request: ({ extra, detail }) => ({
    message: extra['errors'] ?? [{ code: 'custom', path: [], message: detail }],
  }),
  rate_limited: ({ extra }) => ({ headers: { 'retry-after': String(extra['retryAfter']) } }),
}

/** API tokens are ours alone; any other bearer was meant as a token of the original, whose words these are. */
function unauthenticated({ headers }: Request): Words {
  const [scheme = '', token] = (headers.authorization ?? '').trim().split(/\s+/, 2)
  const bearer = scheme.toLowerCase() === 'bearer' ? token : undefined
  const named = Boolean(headers['x-nomad-token'])
  if (bearer === undefined && !named) return { message: 'Token missing' }
  if (bearer === undefined || named || bearer.startsWith('krd_')) {
    return { message: 'You are not allowed to access this resource' }
  }
  return { status: 403, error: 'TokenError', message: faultOf(bearer) }
}

/** As grants are written: `identity:edit` is the action `edit` on `identity`, `sign@ring:ci` is `sign` on `ring:ci`. */
function toPermissions(missing: unknown): { action: string; subject: string }[] {
  const names = Array.isArray(missing) ? missing.map(String) : []
  return names.map((name) => {
    const [capability = '', resource] = name.split('@', 2)
    if (resource !== undefined) return { action: capability, subject: resource }
    const [subject = '', action] = capability.split(':', 2)
    return action === undefined ? { action: 'use', subject } : { action, subject }
  })
}

export const envelope: Format = (problem, request) => {
  const words = WORDS[problem.code]?.(problem, request) ?? {}
  const statusCode = words.status ?? problem.status
  // Whatever broke is for the log (section 1).
  const message = statusCode === 500 ? 'Something went wrong' : (words.message ?? problem.detail)
  const fallback = statusCode < 500 ? 'BadRequest' : 'InternalServerError'
  const body = {
    reqId: request.id,
    ...{ statusCode, message, error: words.error ?? NAMES[statusCode] ?? fallback },
    ...(words.details !== undefined && { details: words.details }),
  }
  return {
    ...{ status: statusCode, type: 'application/json; charset=utf-8' },
    body: JSON.stringify(body),
    ...(words.headers && { headers: words.headers }),
  }
}
