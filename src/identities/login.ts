import type { Context } from '../context.ts'
import type { VerificationKey } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { toSeconds } from '../time.ts'
import { type AccessTokens, AUTH_METHOD, NO_METHOD } from './access-tokens.ts'
import type { Account, Attached, Directory } from './directory.ts'
import { type Check, type Configuration, type Examination, examine } from './examine.ts'
import { type LoginBody, ringOfUrl, type TokenAnswer } from './schema.ts'

// Login and its explanation (identity contract, section 7).

/** A JWK Set of another server. */
export interface RemoteSource {
  /** The configuration's id. */
  id: string
  /** Changes whenever the configuration does. */
  version: string
  url: string
  caCert?: string
}

export interface LoginParts {
  context: Context
  directory: Directory
  tokens: AccessTokens
  remoteKeys(source: RemoteSource, kid: string | undefined): Promise<readonly VerificationKey[]>
  /** What a ring of this server publishes. @throws Problem `source_refused` */
  ringKeys(ring: string): readonly VerificationKey[]
  organisation(): Promise<{ id: string; slug: string }>
  /** Our issuer and our token endpoint: a JWT for them is an assertion, and a login would use it twice. */
  ownAudiences(): readonly string[]
  limiter: Limiter
}

/** Bounds failed verifications. @throws Problem `rate_limited` */
export interface Limiter {
  check(account: string, address: string): void
  failed(account: string, address: string): void
}

export type Logins = ReturnType<typeof createLogins>

/** Statuses: most denials are 401, two are 403 (section 7). */
const FORBIDDEN: ReadonlySet<string> = new Set(['issuer_mismatch', 'subject_not_allowed'])

export function createLogins(parts: LoginParts) {
  const { context, directory, tokens, limiter } = parts

  /** The compiled configuration of an identity, for `examine`. */
  function configurationOf({ row, bounds, caCert, staticKeys }: Attached): Configuration {
    const { configurationType: type, id, jwksUrl: url } = row
    const ring = ringOfUrl(url)
    const source: RemoteSource = {
      ...{ id, version: String(row.updatedAt), url },
      ...(caCert !== '' && { caCert }),
    }
    const keys = async (kid: string | undefined) => {
      if (type === 'static') return staticKeys
      return ring === undefined ? parts.remoteKeys(source, kid) : parts.ringKeys(ring)
    }
    return { type, bounds, keys }
  }

  async function audit(
    account: Account,
    { denial, reason }: Check,
    address: string,
  ): Promise<void> {
    const { identity } = account
    await context.store.grouped((tx) =>
      tx.audit.append({
        ...{ type: 'login.denied', subject: identity.id, principal: 'anonymous' },
        detail: { method: AUTH_METHOD, reason: denial ?? reason, address },
      }),
    )
  }

  /** The first check that fails decides. Records it, and counts it against the caller. */
  async function deny(account: Account, check: Check, address: string): Promise<never> {
    limiter.failed(account.identity.id, address)
    await audit(account, check, address)
    const { denial = '', words = '' } = check
    const detail = denial === 'invalid_jwt' ? words : `Access denied: ${words}`
    throw new Problem(FORBIDDEN.has(denial) ? 'login_forbidden' : 'login_denied', detail)
  }

  /** @throws Problem `jwt_auth_not_found` */
  async function accountOf(id: string): Promise<Account & { jwtAuth: Attached }> {
    const account = await directory.get(id)
    if (!account?.jwtAuth) throw new Problem('jwt_auth_not_found', NO_METHOD)
    return { ...account, jwtAuth: account.jwtAuth }
  }

  const look = ({ jwtAuth }: { jwtAuth: Attached }, jwt: string): Promise<Examination> =>
    examine(configurationOf(jwtAuth), jwt, toSeconds(context.now()))

  /**
   * A token that passes every check of the identity's configuration; login and the OAuth grants ask here.
   * @throws Problem `jwt_auth_not_found`, `login_denied`, `login_forbidden`, `rate_limited`, `jwks_unreachable`,
   * `jwks_timeout`, `source_refused`
   */
  async function admit(identityId: string, jwt: string, address: string) {
    limiter.check(identityId, address)
    const account = await accountOf(identityId)
    const examination = await look(account, jwt)
    const failure = examination.checks.find(({ ok }) => !ok)
    if (failure) return deny(account, failure, address)
    return { account, claims: examination.claims ?? {} }
  }

  return {
    admit,

    /** @throws Problem as `admit`, and `organisation_not_found`, `not_ready` */
    async login(body: LoginBody, address: string): Promise<TokenAnswer> {
      const { identityId, jwt, organizationSlug } = body
      const { account, claims } = await admit(identityId, jwt, address)
      const own = parts.ownAudiences()
      const audiences = [claims['aud'] ?? []].flat()
      if (audiences.some((audience) => own.includes(String(audience)))) {
        const words = 'token audience not allowed'
        const reason =
          'The token is addressed to this server, as an assertion for the token endpoint'
        const check = { name: 'audience' as const, ok: false, reason, words }
        return deny(account, { ...check, denial: 'audience_not_allowed' }, address)
      }
      const { slug } = await parts.organisation()
      if (organizationSlug !== undefined && organizationSlug !== slug) {
        const detail = `Sub organization with slug ${organizationSlug} not found`
        throw new Problem('organisation_not_found', detail)
      }
      return tokens.issue(account)
    },

    /**
     * Every check of a login, pass or fail; issues nothing, records nothing.
     * @throws Problem `jwt_auth_not_found`, `jwks_unreachable`, `jwks_timeout`, `source_refused`
     */
    async explain(identityId: string, jwt: string): Promise<Examination> {
      return look(await accountOf(identityId), jwt)
    },
  }
}
