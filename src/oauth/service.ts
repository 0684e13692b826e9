import type { Context } from '../context.ts'
import { isProblem } from '../errors.ts'
import type { GrantParts, WithIdentity } from './accounts.ts'
import { type Denial, denialOf } from './denial.ts'
import { createGrants } from './grants.ts'
import { readTokenRequest, type TokenRequest } from './request.ts'
import type { Introspection, TokenAnswer, TokenForm } from './schema.ts'

// The three endpoints. What is refused is counted against the caller and recorded, in one place.

export interface OAuthParts<A extends WithIdentity, U extends { account: A }>
  extends GrantParts<A, U> {
  context: Context
  tokens: {
    /** What a token of ours says, for whichever audience, if it counts now. */
    peek(token: string): Promise<{ claims: Record<string, unknown> } | undefined>
    /** Ends the family of a token, for whichever audience. */
    revoke(token: string): Promise<void>
  }
  /** Bounds failed verifications. @throws Problem `rate_limited` */
  limiter: {
    check(account: string, address: string): void
    /** Undefined: of nobody we know. */
    failed(account: string | undefined, address: string): void
  }
}

export interface OAuth {
  token(form: TokenForm, address: string): Promise<TokenAnswer>
  introspect(token: string): Promise<Introspection>
  revoke(token: string): Promise<void>
}

/** The subject of a record about nobody we know: what was sent as a client_id may be anything. */
const UNKNOWN = 'unknown'

export function createOAuth<A extends WithIdentity, U extends { account: A }>(
  parts: OAuthParts<A, U>,
): OAuth {
  const { context, limiter, tokens } = parts
  const grant = createGrants(parts)

  async function record({ grant }: TokenRequest, denial: Denial, address: string): Promise<void> {
    const { reason, subject = UNKNOWN } = denial
    await context.store.grouped((tx) =>
      tx.audit.append({
        ...{ type: 'token.denied', subject, principal: 'anonymous' },
        detail: { grant, reason, address },
      }),
    )
  }

  return {
    /**
     * RFC 6749 section 3.2. Faults of syntax are nobody's denial: they are neither counted nor recorded.
     * @throws Problem as `readTokenRequest` and the grants, `rate_limited`, and what keeps the keys of an identity away
     */
    async token(form, address) {
      const request = readTokenRequest(form)
      limiter.check(request.clientId ?? '', address)
      try {
        return await grant(request, address)
      } catch (error) {
        const denial = denialOf(error)
        if (denial && !denial.recorded) {
          limiter.failed(denial.subject, address)
          await record(request, denial, address)
        }
        throw error
      }
    },

    /**
     * RFC 7662 section 2.2: whatever the reason, a token that does not count is only "not active". Is no use of it;
     * where it may be used from is not asked, because that is nobody's address here.
     */
    async introspect(token) {
      const found = await tokens.peek(token)
      if (!found) return { active: false }
      const { iss, sub, aud, client_id, jti, iat, exp } = found.claims
      const about = { iss, sub, aud, client_id, jti, iat, exp }
      return { active: true, token_type: 'Bearer', ...about } as Introspection
    },

    /**
     * RFC 7009 section 2.1 and 2.2: possession is the authority, and a token that does not count is revoked already.
     * One for another audience ends its family, too: they are the same grant.
     */
    async revoke(token) {
      await tokens.revoke(token).catch((error: unknown) => {
        if (!isProblem(error) || error.status >= 500) throw error
      })
    },
  }
}
