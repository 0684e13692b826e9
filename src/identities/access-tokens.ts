import { type Context, type Principal, timeOrderedId } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import { SECOND, toMillis, toSeconds } from '../time.ts'
import type { Account, Directory } from './directory.ts'
import { forAudience, type Grant, useUp } from './grant.ts'
import { lifetimeOf } from './lifetime.ts'
import type { TokenAnswer } from './schema.ts'
import {
  type Checked,
  createTokenCheck,
  incomplete,
  type TokenCheckParts,
  type Whose,
} from './token-check.ts'
import { type AccessClaims, AUTH_METHOD, claimsOf, type Family, familyOf } from './token-claims.ts'

// Access tokens of identities (identity contract, sections 8 to 11): JWTs of the `access` ring that anybody can verify
// offline. What cannot be seen in the token, whether it was revoked and how often it may still be used, is asked here.

export type { AccessClaims } from './token-claims.ts'

export interface AccessTokenParts extends Omit<TokenCheckParts, 'now'> {
  context: Context
  directory: Directory
  organisationId(): Promise<string>
  /** Signs with the `access` ring, under a promise that is on disk; `exp` in seconds. */
  sign(claims: Record<string, unknown>, exp: number): Promise<string>
  /** A token that verifies was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
  /** Seconds: `MAX_MACHINE_IDENTITY_TOKEN_AGE`. */
  ceiling: number
  /** The wall clock jumped, and nobody has confirmed it. */
  clockInDoubt(): boolean
}

export type AccessTokens = ReturnType<typeof createAccessTokens>

/** A marker is kept this long after the last token it speaks of has expired, in seconds (section 10). */
const GRACE = 300
const PRUNE_AT_ONCE = 1000

const revokedProblem = (detail: string) => new Problem('access_token_revoked', detail)

export function createAccessTokens(parts: AccessTokenParts) {
  const { context, directory, ceiling } = parts
  const { store, now, newId } = context
  const seconds = () => toSeconds(now())
  const { read, recall } = createTokenCheck({ ...parts, now: seconds })
  /** Ids of revoked tokens → until when the marker is needed, in seconds. */
  const revoked = new Map<string, number>()
  /** Unix seconds of the last look at what can be forgotten. */
  let lookedAt: number | undefined

  const stop = store.onCommit((events) => {
    for (const { type, subject, detail } of events) {
      if (type === 'token.revoked') revoked.set(subject, Number(detail['keepUntil']))
    }
  })

  /** Why a token that verifies does not count any more; undefined when it does. */
  function revocation({ jti, configurationId }: AccessClaims, account: Account | undefined) {
    if (revoked.has(jti)) return 'token has been revoked'
    if (!account) return 'identity tokens have been revoked'
    if (account.jwtAuth?.row.id !== configurationId) return 'auth method has been revoked'
    return undefined
  }

  /** @throws Problem `address_not_trusted`: against the configuration as it is now (section 5) */
  async function checkAddress({ jwtAuth, principal }: Account, address: string): Promise<void> {
    if (jwtAuth?.trusts(address)) return
    await parts.onDenied(principal, `trusted-address@${address}`)
    throw new Problem('address_not_trusted')
  }

  /**
   * Who presents a token, which this does not count as a use (section 8, "Using a token", in that order).
   * @throws Problem `access_token_invalid`, `access_token_revoked`, `address_not_trusted`
   */
  async function check(token: string, address: string): Promise<Use> {
    const checked = await read(token).catch((error: unknown) => {
      throw isProblem(error, 'access_token_foreign') ? incomplete() : error
    })
    const { claims } = checked
    const account = await directory.get(claims.identityId)
    const why = revocation(claims, account)
    if (why !== undefined || !account) throw revokedProblem(`Failed to authorize: ${why}`)
    await checkAddress(account, address)
    return useOf(checked, account)
  }

  function useOf({ claims, holds }: Checked, account: Account): Use {
    const stillHolds = () => holds() && !revoked.has(claims.jti) && directory.isCurrent(account)
    const principal = { ...account.principal, expiresAt: claims.exp * 1000 }
    return { claims, account, principal, stillHolds }
  }

  /** `exp` in seconds: of a token that is known of the family. */
  async function revokeFamily(jti: string, principal: string, exp: number): Promise<void> {
    if (revoked.has(jti)) return
    await store.transaction(async (tx) => {
      const row = await tx.accessTokens.byId(jti)
      if (row?.revokedAt !== undefined) return
      await tx.accessTokens.revoke(jti, toMillis(now()))
      const keepUntil = Math.max(row?.keepUntil ?? 0, exp + GRACE)
      await tx.audit.append({
        ...{ type: 'token.revoked', subject: jti, principal, detail: { keepUntil } },
      })
    })
  }

  return {
    /**
     * A first token after a login, or by a grant. Row, last login, used assertions and audit record are on disk before
     * it is answered.
     * @throws Problem `not_ready`, `assertion_used`, `address_not_trusted` for another audience
     */
    async issue(account: Account, grant?: Grant): Promise<TokenAnswer> {
      const { identity, jwtAuth } = account
      if (!jwtAuth) throw new Problem('jwt_auth_missing')
      const { row } = jwtAuth
      // Where this server is not asked again, it asks now.
      if (grant?.audience !== undefined) await checkAddress(account, grant.address)
      const at = seconds()
      const family: Family = {
        ...{ jti: timeOrderedId(newId(), toMillis(now())), creationEpoch: at },
        uses: row.accessTokenNumUsesLimit,
        ...{ ttl: row.accessTokenTtl, maxTtl: row.accessTokenMaxTtl },
      }
      const lifetime = lifetimeOf({ ...family, now: at, ceiling })
      if (lifetime === undefined) throw new Problem('ttl_above_max')
      const exp = at + lifetime
      const ours = claimsOf(account, await parts.organisationId(), family)
      const claims = grant?.audience === undefined ? ours : forAudience(ours, grant.audience)
      const onDisk = store.grouped(async (tx) => {
        await useUp(tx, grant?.assertions ?? [])
        // A detach that came first must not be outlived by a token of what it detached.
        const current = await tx.jwtAuth.versionOf(identity.id)
        if (current?.id !== row.id) throw new Problem('jwt_auth_not_found', NO_METHOD)
        // Nor one of what has been changed since the bounds were checked.
        if (current.updatedAt !== row.updatedAt) {
          throw new Problem('login_denied', 'Access denied: the configuration has just changed')
        }
        await tx.accessTokens.insert({
          ...{ id: family.jti, identityId: identity.id, configId: row.id, creationEpoch: at },
          usesLeft: family.uses > 0 ? family.uses : undefined,
          ...{ revokedAt: undefined, keepUntil: exp + GRACE },
        })
        await tx.identities.setLastLogin(identity.id, AUTH_METHOD, toMillis(now()))
        await tx.audit.append({
          type: grant ? 'token.issued' : 'login.succeeded',
          ...{ subject: identity.id, principal: `identity:${identity.id}` },
          detail: {
            ...{ method: AUTH_METHOD, token: family.jti, configuration: row.id },
            ...(grant && { grant: grant.name, audience: grant.audience }),
          },
        })
      })
      // Side by side: the disk and the signature wait for each other's sake only in the answer.
      const signed = parts.sign({ ...claims, iat: at, exp }, exp)
      const [accessToken] = await Promise.all([signed, onDisk])
      return answerOf(accessToken, lifetime, family.maxTtl)
    },

    /**
     * A new JWS of the same family, with a fresh lifetime (section 9). Counts as no use.
     * @throws Problem `access_token_invalid`, `access_token_foreign`, `access_token_revoked`, `address_not_trusted`
     */
    async renew(token: string, address: string): Promise<TokenAnswer> {
      const { claims: old } = await read(token)
      const account = await directory.get(old.identityId)
      const why = revocation(old, account)
      if (why !== undefined || !account) throw revokedProblem(`Cannot renew: ${why}`)
      await checkAddress(account, address)
      const at = seconds()
      const family = familyOf(old)
      const lifetime = lifetimeOf({ ...family, now: at, ceiling })
      if (lifetime === undefined) {
        throw revokedProblem('Cannot renew: identity access token has reached its max TTL')
      }
      const exp = at + lifetime
      // The marker of a revocation must outlive what is signed now, so that comes first.
      await store.grouped(async (tx) => {
        const row = await tx.accessTokens.byId(family.jti)
        if (row?.usesLeft === 0) throw revokedProblem('Cannot renew exhausted access token')
        if (!(await tx.accessTokens.extend(family.jti, exp + GRACE))) {
          throw revokedProblem('Cannot renew: token has been revoked')
        }
        await tx.audit.append({
          ...{ type: 'token.renewed', subject: family.jti, principal: account.principal.id },
        })
      })
      const claims = claimsOf(account, await parts.organisationId(), family)
      const accessToken = await parts.sign({ ...claims, iat: at, exp }, exp)
      return answerOf(accessToken, lifetime, family.maxTtl)
    },

    /**
     * From the next request on every JWS of the family is refused, across restarts (section 10). Possession is the
     * authority, of a token for another audience too where `any` will do; again is no error.
     * @throws Problem `access_token_invalid`, `access_token_foreign`
     */
    async revoke(token: string, whose: Whose = 'ours'): Promise<void> {
      const { jti, identityId, exp } = (await read(token, whose)).claims
      await revokeFamily(jti, `identity:${identityId}`, exp)
    },

    revokeFamily,

    check,

    /**
     * What `use` would find, for the token with this SHA-256 as base64, where all that it asks is in memory and uses
     * are not counted. Undefined: ask `use`, which also says why not.
     */
    recall(digest: string, address: string): Use | undefined {
      const checked = recall(digest)
      const account = checked && directory.recall(checked.claims.identityId)
      if (!account || checked.claims.numUsesLimit !== undefined) return undefined
      if (revocation(checked.claims, account) !== undefined) return undefined
      return account.jwtAuth?.trusts(address) ? useOf(checked, account) : undefined
    },

    /**
     * Who presents a token, for one use of it. Reads nothing but memory where uses are not counted.
     * @throws Problem as `check`
     */
    async use(token: string, address: string): Promise<Use> {
      const found = await check(token, address)
      const { jti, numUsesLimit } = found.claims
      if (numUsesLimit === undefined) return found
      const taken = await store.grouped((tx) => tx.accessTokens.consumeUse(jti))
      if (!taken) throw revokedProblem('Failed to authorize: token usage limit reached')
      return found
    },

    /** What a token of any audience says if it counts now; undefined when it does not. Is no use of it (RFC 7662). */
    async peek(token: string): Promise<{ claims: AccessClaims; account: Account } | undefined> {
      const checked = await read(token, 'any').catch((error: unknown) => {
        if (isProblem(error) && error.status < 500) return undefined
        throw error
      })
      const claims = checked?.claims
      const account = claims && (await directory.get(claims.identityId))
      if (!claims || !account || revocation(claims, account) !== undefined) return undefined
      if (claims.numUsesLimit === undefined) return { claims, account }
      const row = await store.read.accessTokens.byId(claims.jti)
      return row?.usesLeft === 0 ? undefined : { claims, account }
    },

    /** Reads which tokens are revoked, whatever the clock says now; before the first request is answered. */
    async load(): Promise<void> {
      for (const { id, keepUntil } of await store.read.accessTokens.revoked(0)) {
        revoked.set(id, keepUntil)
      }
    },

    /**
     * Forgets rows that nobody needs any more; the timer's work. What is forgotten cannot be had again, so it must have
     * been due at the look before as well, and nothing is while the wall clock is in doubt (product.md 5.3).
     */
    async prune(): Promise<void> {
      const before = lookedAt
      lookedAt = seconds()
      if (parts.clockInDoubt() || before === undefined) return
      const at = Math.min(before, lookedAt)
      for (const [id, keepUntil] of revoked) if (keepUntil < at) revoked.delete(id)
      let more = true
      while (more) {
        const counts = await store.transaction(async (tx) => [
          await tx.accessTokens.prune(at, PRUNE_AT_ONCE),
          await tx.usedAssertions.prune(at, PRUNE_AT_ONCE),
        ])
        more = counts.some((count) => count === PRUNE_AT_ONCE)
      }
    },

    close: stop,
  }
}

export interface Use {
  claims: AccessClaims
  account: Account
  principal: Principal
  /** Whether the token would pass once more now, its uses apart. */
  stillHolds(): boolean
}

export const NO_METHOD = 'JWT auth method not found for identity, did you configure JWT auth?'

const answerOf = (
  accessToken: string,
  expiresIn: number,
  accessTokenMaxTTL: number,
): TokenAnswer => ({
  ...{ accessToken, expiresIn, accessTokenMaxTTL, tokenType: 'Bearer' },
})

/** Between two prunings. */
export const PRUNE_INTERVAL = 600n * SECOND
