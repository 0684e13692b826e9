import type { Format } from '../http/problem.ts'

// Problems in the words of the Nomad wire: the bare message as text. Clients match on these (contract section 1.5).

const TEXTS: Record<string, { status: number; text: string }> = {
  unauthenticated: { status: 403, text: 'Permission denied' },
  forbidden: { status: 403, text: 'Permission denied' },
  key_not_found: { status: 500, text: 'root key not found' },
  key_active: { status: 500, text: 'active root key cannot be deleted - call rotate first' },
  key_in_use: { status: 500, text: 'root key in use, cannot delete' },
  not_found: { status: 405, text: 'Invalid method' },
  internal: { status: 500, text: 'internal error' },
}

/** What fails before a request is understood keeps its status. */
const KEPT: ReadonlySet<string> = new Set([
  ...['malformed_request', 'malformed_body', 'body_too_large', 'headers_too_large'],
  ...['unsupported_media_type', 'request_timeout'],
])

/** What is not listed is 500 with its detail, as the original's RPC errors are: this wire has no 409. */
export const plainText: Format = (problem) => {
  const known = TEXTS[problem.code]
  return {
    status: known?.status ?? (KEPT.has(problem.code) ? problem.status : 500),
    type: 'text/plain; charset=utf-8',
    body: known?.text ?? problem.detail,
  }
}
