import type { Format } from '../http/problem.ts'

// Problems in the words of the identities surface: the envelope of identity contract section 1.

const NAMES: Record<number, string> = {
  400: 'BadRequest',
  401: 'UnauthorizedError',
  403: 'ForbiddenError',
  404: 'NotFound',
  408: 'RequestTimeout',
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
}

const DEFAULT_401 = 'You are not allowed to access this resource'

/** By code, where it is more than the status and the detail. */
const WORDS: Record<string, (problem: Parameters<Format>[0]) => Words> = {
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
  internal: () => ({ message: 'Something went wrong' }),
}

/** `identity:edit` is the action `edit` on the subject `identity`; another capability is its own subject. */
function toPermissions(missing: unknown): { action: string; subject: string }[] {
  const names = Array.isArray(missing) ? missing.map(String) : []
  return names.map((name) => {
    const [subject = '', action] = name.split(':')
    return action === undefined ? { action: 'use', subject } : { action, subject }
  })
}

export const envelope: Format = (problem, request) => {
  const words = WORDS[problem.code]?.(problem) ?? {}
  const statusCode = words.status ?? problem.status
  const { authorization, 'x-nomad-token': nomadToken } = request.headers
  const presented = authorization !== undefined || nomadToken !== undefined
  const unauthenticated = presented ? DEFAULT_401 : 'Token missing'
  const message = problem.code === 'unauthenticated' ? unauthenticated : problem.detail
  const body = {
    reqId: request.id,
    statusCode,
    message: words.message ?? message,
    error: words.error ?? NAMES[statusCode] ?? 'BadRequest',
    ...(words.details !== undefined && { details: words.details }),
  }
  return {
    status: statusCode,
    type: 'application/json; charset=utf-8',
    body: JSON.stringify(body),
  }
}
