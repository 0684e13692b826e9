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

/** Statuses are those of the wire: what is not listed is 500 with its detail, as the original's RPC errors are. */
export const plainText: Format = (problem) => {
  const known = TEXTS[problem.code]
  const status =
    known?.status ?? (problem.status < 500 && problem.status >= 400 ? problem.status : 500)
  return {
    status,
    type: 'text/plain; charset=utf-8',
    body: known?.text ?? problem.detail,
  }
}
