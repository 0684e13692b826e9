import { Problem } from '../errors.ts'
import { isObject, type JoseHeader, parseJsonStrict } from './strict.ts'

// What a claims set must say (RFC 7519 section 4.1, RFC 8725 sections 3.8 to 3.11). Pure; the
// signature is not its business.

export type CheckName =
  | 'format'
  | 'key'
  | 'algorithm'
  | 'signature'
  | 'claims'
  | 'typ'
  | 'exp'
  | 'nbf'
  | 'iss'
  | 'aud'
  | 'status'

export interface Check {
  name: CheckName
  ok: boolean
  /** Why it failed; of one that passed: that there was no rule to hold the claim to. */
  reason?: string
}

export interface ClaimRules {
  /** NumericDate: seconds. */
  now: number
  /** Tolerance for `exp` and `nbf`, in seconds. */
  skew: number
  /** A token must be for this audience; without it `aud` need only be well-formed. */
  audience?: string | undefined
  /** A token must be from this issuer, byte for byte. */
  issuer?: string | undefined
  requireExp?: boolean | undefined
  /** A token must be of this type (RFC 8725 section 3.11). */
  typ?: string | undefined
}

export type Claims = Record<string, unknown>

export const passed = (name: CheckName): Check => ({ name, ok: true })
export const failed = (name: CheckName, reason: string): Check => ({ name, ok: false, reason })

/** Reads a payload as a JWT claims set. Problem `token_malformed` when it is none. */
export function parseClaims(payload: Uint8Array): Claims {
  const claims = parseJsonStrict(payload)
  if (!isObject(claims)) throw new Problem('token_malformed', 'The payload is not a JSON object')
  return claims
}

/**
 * Every check of the claims, in order. All are made, so that an answer names everything that is
 * wrong.
 */
export function checkClaims(header: JoseHeader, claims: Claims, rules: ClaimRules): Check[] {
  const outcome = (name: CheckName, reason: string | undefined) =>
    reason === undefined ? passed(name) : failed(name, reason)
  return [
    ...(rules.typ === undefined ? [] : [outcome('typ', typFault(header.typ, rules.typ))]),
    outcome('exp', expFault(claims.exp, rules)),
    outcome('nbf', nbfFault(claims.nbf, rules)),
    unlessUnasked(outcome('iss', issFault(claims.iss, rules)), 'issuer', rules.issuer),
    unlessUnasked(outcome('aud', audFault(claims.aud, rules)), 'audience', rules.audience),
  ]
}

/** A claim that only has the right form must not look like one that was compared. */
const unlessUnasked = (check: Check, what: string, rule: string | undefined): Check =>
  check.ok && rule === undefined ? { ...check, reason: `No ${what} was asked for` } : check

/**
 * Media types compare without case, and `application/` may be left out (RFC 7515 section 4.1.9).
 */
const mediaType = (typ: string): string => typ.toLowerCase().replace(/^application\//, '')

const typFault = (typ: string | undefined, wanted: string): string | undefined =>
  typ !== undefined && mediaType(typ) === mediaType(wanted) ? undefined : `The typ is not ${wanted}`

function expFault(exp: unknown, { now, skew, requireExp }: ClaimRules): string | undefined {
  if (exp === undefined) return requireExp ? 'The token has no exp' : undefined
  if (!Number.isFinite(exp)) return 'The exp is not a number'
  return now < Number(exp) + skew ? undefined : 'The token has expired'
}

function nbfFault(nbf: unknown, { now, skew }: ClaimRules): string | undefined {
  if (nbf === undefined) return undefined
  if (!Number.isFinite(nbf)) return 'The nbf is not a number'
  return now >= Number(nbf) - skew ? undefined : 'The token is not valid yet'
}

function issFault(iss: unknown, { issuer }: ClaimRules): string | undefined {
  if (iss !== undefined && typeof iss !== 'string') return 'The iss is not a string'
  return issuer === undefined || iss === issuer ? undefined : 'The token is from another issuer'
}

function audFault(aud: unknown, { audience }: ClaimRules): string | undefined {
  const audiences: unknown[] = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud]
  if (!audiences.every((each) => typeof each === 'string')) {
    return 'The aud is not a string or a list of strings'
  }
  if (audience === undefined || audiences.includes(audience)) return undefined
  return 'The token is for another audience'
}
