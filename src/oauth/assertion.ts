import { createHash } from 'node:crypto'

// What an assertion must say (RFC 7521 section 5.2, RFC 7523 section 3). Pure; that it verifies, has not expired and
// keeps within the bounds of its identity is known before.

/** For the audit record. */
export type Fault = keyof typeof FAULTS

/** For the client. */
export const FAULTS = {
  issuer_missing: 'The assertion has no iss',
  subject_missing: 'The assertion has no sub',
  audience_not_ours:
    'The aud is neither our issuer nor our token endpoint; our metadata names both',
  exp_missing: 'The assertion has no exp',
  exp_too_far: 'The assertion expires too far from now',
  jti_missing: 'The assertion has no jti',
  jti_unusable: 'The jti is no text of at most 512 characters',
  client_mismatch: 'The iss and sub of the assertion are not the client_id',
} as const

type Claims = Readonly<Record<string, unknown>>

/** They are kept until the assertion has expired. */
const MAX_KEPT = 512
/** Seconds (RFC 7523 section 3, item 4: not unreasonably far in the future). */
const MAX_CLIENT_LIFE = 600
const MAX_LIFE = 86_400

const isName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= MAX_KEPT

/**
 * Why an assertion is none for this server, which goes by the names in `ours`; undefined when it is one (RFC 7523
 * section 3, items 1 to 4 and 7). `now` in seconds.
 */
export function assertionFault(
  claims: Claims,
  { ours, now }: { ours: readonly string[]; now: number },
): Fault | undefined {
  const { iss, sub, aud, exp, jti } = claims
  if (!isName(iss)) return 'issuer_missing'
  if (!isName(sub)) return 'subject_missing'
  const members: unknown[] = Array.isArray(aud) ? aud : [aud]
  const isWellFormed = members.every((member) => typeof member === 'string')
  if (!isWellFormed || !members.some((member) => ours.includes(member))) {
    return 'audience_not_ours'
  }
  if (typeof exp !== 'number') return 'exp_missing'
  // It is remembered until then.
  if (exp - now > MAX_LIFE) return 'exp_too_far'
  return jti === undefined || isName(jti) ? undefined : 'jti_unusable'
}

/** The same for one by which a client authenticates: it speaks for itself, for a short time, once. `now` in seconds. */
export function clientAssertionFault(
  claims: Claims,
  { clientId, ours, now }: { clientId: string; ours: readonly string[]; now: number },
): Fault | undefined {
  const { iss, sub, exp, jti } = claims
  if (iss !== clientId || sub !== clientId) return 'client_mismatch'
  const fault = assertionFault(claims, { ours, now })
  if (fault !== undefined) return fault
  if (Number(exp) - now > MAX_CLIENT_LIFE) return 'exp_too_far'
  return jti === undefined ? 'jti_missing' : undefined
}

/**
 * By what an assertion without fault is known again, and until when. Without a jti, which an assertion may lack (RFC
 * 7523 section 3, item 7), by what was signed: the signature itself could be written differently.
 */
export function usedAssertion({ iss, jti, exp }: Claims, jwt: string, skew: number) {
  const signed = jwt.slice(0, jwt.lastIndexOf('.'))
  const digest = () => `sha256:${createHash('sha256').update(signed).digest('base64url')}`
  return {
    iss: String(iss),
    jti: typeof jti === 'string' ? jti : digest(),
    keepUntil: Math.min(Math.ceil(Number(exp)) + skew, Number.MAX_SAFE_INTEGER),
  }
}
