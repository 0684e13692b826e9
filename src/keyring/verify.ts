import type { Context } from '../context.ts'
import {
  type CheckSignature,
  importJwkSet,
  type Verdict,
  type VerificationKey,
  verifyToken,
} from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Ring } from '../store/rings.ts'
import { toSeconds } from '../time.ts'
import type { View } from './view.ts'

export interface VerifyRules {
  audience?: string | undefined
  /** Default for a ring: its own issuer. */
  issuer?: string | undefined
  /** The token must be of this type. */
  typ?: string | undefined
  /** Seconds; default: the clock skew. */
  skew?: number | undefined
}

export interface VerifyParts {
  context: Context
  view: View
  issuerOf(ring: Ring): string | undefined
  /** Seconds. */
  skew: number
  check: CheckSignature
  /**
   * Why a token that verifies under a key of this ring does not count any more, where the ring's tokens can end before
   * their `exp`; undefined when it counts.
   */
  endedBy?(ring: string, token: string): Promise<string | undefined>
  /** `kid` is one of our keys, or undefined where none was meant. */
  onVerified(kid: string | undefined, valid: boolean): void
}

export function createVerification(parts: VerifyParts) {
  const { context, view, issuerOf, skew, check, onVerified } = parts
  const now = () => toSeconds(context.now())

  return {
    /** As `withRing`, and whether the token still counts: what this server says of it to others. */
    async withRingNow(name: string, token: string, rules: VerifyRules): Promise<Verdict> {
      const verdict = await this.withRing(name, token, rules)
      if (!verdict.valid) return verdict
      const reason = await parts.endedBy?.(name, token)
      if (reason === undefined) return verdict
      return {
        ...verdict,
        valid: false,
        checks: [...verdict.checks, { name: 'status', ok: false, reason }],
      }
    },

    /**
     * Checks a token against what a ring publishes; a withdrawn or revoked key verifies nothing.
     * @throws Problem `ring_not_found`, `not_ready` until the rows are checked
     */
    async withRing(name: string, token: string, rules: VerifyRules): Promise<Verdict> {
      const seen = view.ring(name)
      if (!seen) throw new Problem('ring_not_found', `No ring ${name}`)
      // Publication does not wait for the KEK; a verdict of ours does, because until then nobody vouches for the rows.
      if (!view.isUnsealed()) throw new Problem('not_ready', 'The keys are not proven yet')
      const { verifiers, ring } = seen
      const all = (): VerificationKey[] => [...verifiers.values()]
      const byKid = (kid: string) => {
        const key = verifiers.get(kid)
        return key ? [key] : []
      }
      const verdict = await verifyToken(token, {
        keys: (kid) => (kid === undefined ? all() : byKid(kid)),
        now: now(),
        skew: rules.skew ?? skew,
        requireExp: true,
        check,
        typ: rules.typ,
        audience: rules.audience,
        issuer: rules.issuer ?? issuerOf(ring),
      })
      const expected = rules.issuer ?? issuerOf(ring)
      if (expected === undefined && verdict.valid && verdict.claims?.['iss'] !== undefined) {
        verdict.valid = false
        verdict.checks.push({
          name: 'iss',
          ok: false,
          reason: 'The ring has no issuer, the token does',
        })
      }
      const { kid } = verdict
      onVerified(kid !== undefined && verifiers.has(kid) ? kid : undefined, verdict.valid)
      return verdict
    },

    /** Checks a token against a JWK Set that the caller brings; unusable keys in it are passed over. */
    async withJwks(set: unknown, token: string, rules: VerifyRules): Promise<Verdict> {
      const { keys } = importJwkSet(set)
      const verdict = await verifyToken(token, {
        keys: (kid) => keys.filter((key) => kid === undefined || key.kid === kid),
        now: now(),
        skew,
        check,
        audience: rules.audience,
        issuer: rules.issuer,
      })
      onVerified(undefined, verdict.valid)
      return verdict
    },
  }
}

export type Verification = ReturnType<typeof createVerification>
