import { isProblem, Problem, type ProblemCode } from '../errors.ts'

// Why a client or a token is refused: an error for the client, a reason for the audit record. Pure.

export interface Denial {
  /** For the audit record; never a claim or a token. */
  reason: string
  /** The identity, once it is known that there is one. */
  subject?: string | undefined
  /** Whoever looked has counted and recorded it already. */
  recorded?: boolean
}

export const denied = (code: ProblemCode, detail: string, denial: Denial): Problem =>
  new Problem(code, detail, { extra: { denial } })

/** Undefined for what is no decision about somebody: a fault of syntax, or our own. */
export const denialOf = (error: unknown): Denial | undefined =>
  isProblem(error) ? (error.extra['denial'] as Denial | undefined) : undefined

/** Of the identity's token: its login is refused, and on record. */
const LOGIN: ReadonlySet<ProblemCode> = new Set(['login_denied', 'login_forbidden'])
/** Of a token of ours. */
const TOKEN: ReadonlySet<ProblemCode> = new Set([
  ...(['access_token_invalid', 'access_token_foreign', 'access_token_revoked'] as const),
  'address_not_trusted',
])
/**
 * What is refused elsewhere, as OAuth calls it: `code` where it is the token, or the assertion, that is not accepted.
 * All else is given back as it is.
 */
export function inOAuth(error: unknown, code: ProblemCode): unknown {
  if (!isProblem(error) || denialOf(error)) return error
  const reason = error.code
  if (LOGIN.has(reason)) return denied(code, error.detail, { reason, recorded: true })
  if (TOKEN.has(reason)) return denied(code, error.detail, { reason })
  // What the configuration names is out of bounds for this server: not a failure that passes.
  if (reason === 'url_refused') {
    return denied('unauthorized_client', error.detail, { reason, recorded: true })
  }
  if (reason === 'jwt_auth_not_found') {
    return denied('invalid_client', 'The client is unknown', { reason, recorded: true })
  }
  if (reason === 'ttl_above_max') return denied(code, error.detail, { reason })
  return error
}

/** Runs `work`; what it refuses comes out in OAuth's words. */
export async function asOAuth<T>(code: ProblemCode, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw inOAuth(error, code)
  }
}
