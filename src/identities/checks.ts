import type { CheckSignature, VerificationKey } from '../core/index.ts'
import type { Bounds, Denial } from './bounds.ts'

// What an examination of a token says, check by check.

export type Reason = Denial | 'invalid_jwt' | 'jwt_verification_failed' | 'signing_key_not_found'

/** A login is decided by the first check that fails; an explanation shows them all. */
export type How = 'decide' | 'explain'

export interface Check {
  name:
    | 'format'
    | 'algorithm'
    | 'key'
    | 'signature'
    | 'payload'
    | 'exp'
    | 'nbf'
    | 'issuer'
    | 'subject'
    | 'audience'
    | 'claim'
  ok: boolean
  /** The claim that is looked at. */
  claim?: string
  /** What the configuration says of it. */
  rule?: string
  /** Why it fails, for a person. */
  reason?: string
  /** For the audit record. */
  denial?: Reason
  /** On the wire, after `Access denied: `, or instead of it. */
  words?: string
}

export interface Examination {
  ok: boolean
  checks: Check[]
  /** Only of a token that passed every check. */
  claims?: Record<string, unknown>
}

/** What a configuration says of tokens; all of it compiled. */
export interface Configuration {
  type: 'jwks' | 'static'
  bounds: Bounds
  /** A token for one of these is meant for another purpose, whatever the bounds say. */
  refusedAudiences: readonly string[]
  /**
   * The keys of the configuration. May go to the network for a kid that is not known.
   * @throws Problem `jwks_unreachable`, `jwks_timeout`, `url_refused`, `source_refused`
   */
  keys(kid: string | undefined): Promise<readonly VerificationKey[]>
  check?: CheckSignature | undefined
}

// The five reasons of the wire (section 7).
export const EXPIRED = 'jwt expired'
export const NOT_ACTIVE = 'jwt not active'
export const BAD_SIGNATURE = 'invalid signature'
export const BAD_ALGORITHM = 'invalid algorithm'
export const MALFORMED = 'jwt malformed'

export const failed = (name: Check['name'], words: string, reason: string): Check => ({
  ...{ name, ok: false, reason, words, denial: 'jwt_verification_failed' },
})
