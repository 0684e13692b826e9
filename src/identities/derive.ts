import type { Context } from '../context.ts'
import { Problem } from '../errors.ts'
import { toSeconds } from '../time.ts'
import type { Use } from './access-tokens.ts'
import { forAudience, type Grant, useUp } from './grant.ts'

// A token made of another one (RFC 8693): of the same family, so that it ends with it.

export interface DeriveParts {
  context: Context
  /** With the `access` ring, under a promise that is on disk. */
  sign(claims: Record<string, unknown>): Promise<string>
}

export type Derive = ReturnType<typeof createDerive>

export function createDerive({ context, sign }: DeriveParts) {
  const { store, now } = context

  /**
   * A token that expires with the one that was used, and whose renewals do, too: `accessTokenMaxTTL` says how long the
   * family may go on under it.
   * @throws Problem `access_token_invalid`, `access_token_revoked`, `assertion_used`, `not_ready`
   */
  return async ({ claims: subject, account }: Pick<Use, 'claims' | 'account'>, grant: Grant) => {
    const { jti, configurationId, creationEpoch, exp } = subject
    const iat = toSeconds(now())
    if (exp <= iat) throw new Problem('access_token_invalid')
    // 0 would be no limit.
    const accessTokenMaxTTL = Math.max(1, exp - creationEpoch)
    const ours = { ...subject, accessTokenMaxTTL }
    const claims = grant.audience === undefined ? ours : forAudience(ours, grant.audience)
    const accessToken = await sign({ ...claims, iat, exp })
    const { id } = account.identity
    await store.grouped(async (tx) => {
      await useUp(tx, grant.assertions)
      // Whatever ended the family since it was looked at comes first.
      const family = await tx.accessTokens.byId(jti)
      const attached = await tx.jwtAuth.byIdentity(id)
      if (!family || family.revokedAt !== undefined || attached?.id !== configurationId) {
        throw new Problem('access_token_revoked')
      }
      await tx.audit.append({
        ...{ type: 'token.issued', subject: id, principal: `identity:${id}` },
        detail: {
          ...{ token: jti, configuration: configurationId },
          ...{ grant: grant.name, audience: grant.audience },
        },
      })
    })
    return { accessToken, expiresIn: exp - iat }
  }
}
