import type { Context, Principal } from '../context.ts'
import type { Verdict } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { SECOND, toMillis, toSeconds } from '../time.ts'
import type { Account, Directory } from './directory.ts'
import { lifetimeOf } from './lifetime.ts'
import type { TokenAnswer } from './schema.ts'
import { isTrusted } from './trusted-ips.ts'

// Access tokens of identities (identity contract, sections 8 to 11): JWTs of the `access` ring that anybody can verify
// offline. What cannot be seen in the token, whether it was revoked and how often it may still be used, is asked here.

/** What a token of ours says (section 8; RFC 9068 section 2.2). */
export interface AccessClaims {
  jti: string
  identityId: string
  configurationId: string
  accessTokenTTL: number
  accessTokenMaxTTL: number
  /** Seconds; stays the same when the token is renewed. */
  creationEpoch: number
  numUsesLimit?: number
  iat: number
  exp: number
  [name: string]: unknown
}

export interface AccessTokenParts {
  context: Context
  directory: Directory
  organisationId(): Promise<string>
  /** Signs with the `access` ring, under a promise that is on disk; `exp` in seconds. */
  sign(claims: Record<string, unknown>, exp: number): Promise<string>
  /** Checks signature, type, audience, `exp`. */
  verify(token: string): Promise<Verdict>
  /** Seconds: `MAX_MACHINE_IDENTITY_TOKEN_AGE`. */
  ceiling: number
}

export type AccessTokens = ReturnType<typeof createAccessTokens>

export const AUTH_METHOD = 'jwt-auth'
export const TOKEN_TYPE = 'identityAccessToken'

/** A marker is kept this long after the last token it speaks of has expired, in seconds (section 10). */
const GRACE = 300
const PRUNE_AT_ONCE = 1000

const TEXTS = {
  expired: 'Your token has expired. Please re-authenticate.',
  malformed:
    'The provided access token is malformed. Please use a valid token or generate a new one and try again.',
  algorithm:
    'The access token is signed with an invalid algorithm. Please provide a valid token and try again.',
  signature: 'invalid signature',
  claims: 'Invalid identity access token claims, please re-authenticate',
}

const invalid = (detail: string) => new Problem('access_token_invalid', detail)
const revokedProblem = (detail: string) => new Problem('access_token_revoked', detail)

export function createAccessTokens(parts: AccessTokenParts) {
  const { context, directory, ceiling } = parts
  const { store, now, newId } = context
  const seconds = () => toSeconds(context.now())
  /** Ids of revoked tokens → until when the marker is needed, in seconds. */
  const revoked = new Map<string, number>()

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

  /** @throws Problem `access_token_invalid`, `access_token_foreign` */
  async function verified(token: string): Promise<AccessClaims> {
    const verdict = await parts.verify(token)
    const failure = verdict.checks.find(({ ok }) => !ok)
    if (failure) throw invalid(textOf(failure.name))
    const claims = verdict.claims ?? {}
    if (claims['authTokenType'] !== TOKEN_TYPE) throw new Problem('access_token_foreign')
    if (!isComplete(claims)) throw revokedProblem(TEXTS.claims)
    return claims
  }

  /** @throws Problem `address_not_trusted`: against the configuration as it is now (section 5) */
  function checkAddress(account: Account | undefined, address: string): void {
    const trusted = account?.jwtAuth?.row.accessTokenTrustedIps ?? []
    if (!isTrusted(trusted, address)) throw new Problem('address_not_trusted')
  }

  /**
   * Who presents a token, which this does not count as a use (section 8, "Using a token", in that order).
   * @throws Problem `access_token_invalid`, `access_token_foreign`, `access_token_revoked`, `address_not_trusted`
   */
  async function check(token: string, address: string): Promise<Use> {
    const claims = await verified(token)
    const account = await directory.get(claims.identityId)
    const why = revocation(claims, account)
    if (why !== undefined || !account) throw revokedProblem(`Failed to authorize: ${why}`)
    checkAddress(account, address)
    const expiresAt = claims.exp * 1000
    const stillHolds = () =>
      toMillis(now()) < expiresAt && !revoked.has(claims.jti) && directory.isCurrent(account)
    return { claims, account, principal: { ...account.principal, expiresAt }, stillHolds }
  }

  async function claimsFor(account: Account, family: Family): Promise<Record<string, unknown>> {
    const { identity, jwtAuth } = account
    const { jti, creationEpoch, ttl, maxTtl, uses } = family
    const organisation = await parts.organisationId()
    return {
      ...{ sub: identity.id, client_id: identity.id, jti, identityAccessTokenId: jti },
      ...{ identityId: identity.id, identityName: identity.name, authMethod: AUTH_METHOD },
      ...{ authTokenType: TOKEN_TYPE, configurationId: jwtAuth?.row.id },
      ...{ orgId: organisation, rootOrgId: organisation, parentOrgId: organisation },
      ...{ accessTokenTTL: ttl, accessTokenMaxTTL: maxTtl, accessTokenPeriod: 0, creationEpoch },
      ...(uses > 0 && { numUsesLimit: uses }),
      ...{ clientSecretId: '', identityAuth: {} },
      ipRestrictionEnabled: isRestricted(account),
    }
  }

  return {
    /**
     * A first token after a login. Row, last login and audit record are on disk before it is answered.
     * @throws Problem `not_ready`
     */
    async issue(account: Account): Promise<TokenAnswer> {
      const { identity, jwtAuth } = account
      if (!jwtAuth) throw new Problem('jwt_auth_missing')
      const { row } = jwtAuth
      const at = seconds()
      const family: Family = {
        ...{ jti: newId(), creationEpoch: at, uses: row.accessTokenNumUsesLimit },
        ...{ ttl: row.accessTokenTtl, maxTtl: row.accessTokenMaxTtl },
      }
      const lifetime = lifetimeOf({ ...family, now: at, ceiling })
      if (lifetime === undefined) throw new Problem('ttl_above_max')
      const exp = at + lifetime
      const claims = await claimsFor(account, family)
      const accessToken = await parts.sign({ ...claims, iat: at, exp }, exp)
      await store.grouped(async (tx) => {
        // A detach that came first must not be outlived by a token of what it detached.
        const current = await tx.jwtAuth.byIdentity(identity.id)
        if (current?.id !== row.id) throw new Problem('jwt_auth_not_found', NO_METHOD)
        await tx.accessTokens.insert({
          ...{ id: family.jti, identityId: identity.id, configId: row.id, creationEpoch: at },
          usesLeft: family.uses > 0 ? family.uses : undefined,
          ...{ revokedAt: undefined, keepUntil: exp + GRACE },
        })
        await tx.identities.setLastLogin(identity.id, AUTH_METHOD, toMillis(now()))
        await tx.audit.append({
          ...{
            type: 'login.succeeded',
            subject: identity.id,
            principal: `identity:${identity.id}`,
          },
          detail: { method: AUTH_METHOD, token: family.jti, configuration: row.id },
        })
      })
      return answerOf(accessToken, lifetime, family.maxTtl)
    },

    /**
     * A new JWS of the same family, with a fresh lifetime (section 9). Counts as no use.
     * @throws Problem `access_token_invalid`, `access_token_foreign`, `access_token_revoked`, `address_not_trusted`
     */
    async renew(token: string, address: string): Promise<TokenAnswer> {
      const old = await verified(token)
      const account = await directory.get(old.identityId)
      const why = revocation(old, account)
      if (why !== undefined || !account) throw revokedProblem(`Cannot renew: ${why}`)
      checkAddress(account, address)
      const at = seconds()
      const family: Family = {
        ...{ jti: old.jti, creationEpoch: old.creationEpoch, uses: old.numUsesLimit ?? 0 },
        ...{ ttl: old.accessTokenTTL, maxTtl: old.accessTokenMaxTTL },
      }
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
      const claims = await claimsFor(account, family)
      const accessToken = await parts.sign({ ...claims, iat: at, exp }, exp)
      return answerOf(accessToken, lifetime, family.maxTtl)
    },

    /**
     * From the next request on every JWS of the family is refused, across restarts (section 10). Possession is the
     * authority; again is no error.
     * @throws Problem `access_token_invalid`, `access_token_foreign`
     */
    async revoke(token: string): Promise<void> {
      const { jti, identityId, exp } = await verified(token)
      await this.revokeFamily(jti, `identity:${identityId}`, exp)
    },

    /** `exp` in seconds: of a token that is known of the family. */
    async revokeFamily(jti: string, principal: string, exp: number): Promise<void> {
      if (revoked.has(jti)) return
      await store.transaction(async (tx) => {
        const row = await tx.accessTokens.byId(jti)
        if (row?.revokedAt !== undefined) return
        await tx.accessTokens.revoke(jti, toMillis(now()))
        const keepUntil = Math.max(row?.keepUntil ?? 0, exp + GRACE)
        await tx.audit.append({
          type: 'token.revoked',
          subject: jti,
          principal,
          detail: { keepUntil },
        })
      })
    },

    check,

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

    /** What a token says if it counts now; undefined when it does not. Is no use of it (RFC 7662). */
    async peek(token: string): Promise<{ claims: AccessClaims; account: Account } | undefined> {
      const claims = await verified(token).catch((error: unknown) => {
        if (error instanceof Problem && error.status < 500) return undefined
        throw error
      })
      const account = claims && (await directory.get(claims.identityId))
      if (!claims || !account || revocation(claims, account) !== undefined) return undefined
      if (claims.numUsesLimit === undefined) return { claims, account }
      const row = await store.read.accessTokens.byId(claims.jti)
      return row?.usesLeft === 0 ? undefined : { claims, account }
    },

    /** Reads which tokens are revoked; before the first request is answered. */
    async load(): Promise<void> {
      for (const { id, keepUntil } of await store.read.accessTokens.revoked(seconds())) {
        revoked.set(id, keepUntil)
      }
    },

    /** Forgets rows that nobody needs any more; the timer's work. */
    async prune(): Promise<void> {
      const at = seconds()
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

/** What all tokens of one login share. */
interface Family {
  jti: string
  creationEpoch: number
  ttl: number
  maxTtl: number
  /** 0: any number. */
  uses: number
}

export const NO_METHOD = 'JWT auth method not found for identity, did you configure JWT auth?'

const answerOf = (
  accessToken: string,
  expiresIn: number,
  accessTokenMaxTTL: number,
): TokenAnswer => ({
  ...{ accessToken, expiresIn, accessTokenMaxTTL, tokenType: 'Bearer' },
})

function textOf(check: string): string {
  if (check === 'exp') return TEXTS.expired
  if (check === 'format' || check === 'claims') return TEXTS.malformed
  if (check === 'algorithm') return TEXTS.algorithm
  return TEXTS.signature
}

function isComplete(claims: Record<string, unknown>): claims is AccessClaims {
  const texts = ['jti', 'identityId', 'configurationId']
  const numbers = ['accessTokenTTL', 'accessTokenMaxTTL', 'creationEpoch', 'iat', 'exp']
  const { numUsesLimit } = claims
  return (
    texts.every((name) => typeof claims[name] === 'string') &&
    numbers.every((name) => typeof claims[name] === 'number') &&
    (numUsesLimit === undefined || typeof numUsesLimit === 'number')
  )
}

const ANYWHERE = new Set(['0.0.0.0/0', '::/0'])

function isRestricted({ jwtAuth }: Account): boolean {
  const trusted = jwtAuth?.row.accessTokenTrustedIps ?? []
  const open = trusted.filter(({ ipAddress, prefix }) => ANYWHERE.has(`${ipAddress}/${prefix}`))
  return new Set(open.map(({ type }) => type)).size < 2
}

/** Between two prunings. */
export const PRUNE_INTERVAL = 600n * SECOND
