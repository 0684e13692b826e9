import type { Context } from '../context.ts'
import type { CheckSignature, VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { SECOND, toMillis } from '../time.ts'
import { type AccessTokens, NO_METHOD } from './access-tokens.ts'
import type { Check, Configuration, Examination, How } from './checks.ts'
import type { Account, Attached, Directory } from './directory.ts'
import { examine } from './examine.ts'
import { type LoginBody, ringOfUrl, type TokenAnswer } from './schema.ts'
import { AUTH_METHOD } from './token-claims.ts'

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
  /** Default: by jose. */
  check?: CheckSignature | undefined
  context: Context
  directory: Directory
  tokens: AccessTokens
  remoteKeys(source: RemoteSource, kid: string | undefined): Promise<readonly VerificationKey[]>
  /**
   * What a ring of this server publishes; one that was made after `asOf`, in Unix milliseconds, is another of the same
   * name. @throws Problem `source_refused`, `not_ready`
   */
  ringKeys(ring: string, asOf: number): readonly VerificationKey[]
  organisation(): Promise<{ id: string; slug: string }>
  /** Our issuer and our token endpoint: a JWT for them is an assertion, and a login would use it twice. */
  ownAudiences(): readonly string[]
  limiter: Limiter
}

/** Bounds failed verifications. @throws Problem `rate_limited` */
export interface Limiter {
  check(account: string, address: string): void
  /** Undefined: of an account that there is not. */
  failed(account: string | undefined, address: string): void
}

/** `client`: a client's own assertion, whose issuer, subject and audience the caller checks (RFC 7523 section 3). */
type Purpose = 'login' | 'subject' | 'client'
const NO_BOUNDS = { issuer: undefined, subject: undefined, audience: undefined }

export type Logins = ReturnType<typeof createLogins>

/** Statuses: most denials are 401, two are 403 (section 7). */
const FORBIDDEN: ReadonlySet<string> = new Set(['issuer_mismatch', 'subject_not_allowed'])

/** A source that fails is recorded once in this time for each identity, by monotonic clock. */
const FAILED_AGAIN = 60n * SECOND
const FAILED_SIZE = 1000

export function createLogins(parts: LoginParts) {
  const { context, directory, tokens, limiter } = parts
  const sourceFailures = new Map<string, bigint>()

  /** The compiled configuration of an identity, for `examine`. */
  function configurationOf(
    { row, bounds, caCert, staticKeys }: Attached,
    purpose: Purpose,
  ): Configuration {
    const { configurationType: type, id, jwksUrl: url } = row
    const ring = ringOfUrl(url)
    const keys = async (kid: string | undefined) => {
      if (type === 'static') return staticKeys()
      if (ring !== undefined) return parts.ringKeys(ring, row.updatedAt)
      const ca = caCert()
      const source = { id, version: String(row.updatedAt), url, ...(ca !== '' && { caCert: ca }) }
      return parts.remoteKeys(source, kid)
    }
    return {
      ...{ type, keys, check: parts.check },
      ...{ refusedAudiences: purpose === 'login' ? parts.ownAudiences() : [] },
      bounds: purpose === 'client' ? { ...NO_BOUNDS, claims: bounds().claims } : bounds(),
    }
  }

  async function record(identityId: string, reason: string, address: string): Promise<void> {
    await context.store.grouped((tx) =>
      tx.audit.append({
        ...{ type: 'login.denied', subject: identityId, principal: 'anonymous' },
        detail: { method: AUTH_METHOD, reason, address },
      }),
    )
  }

  /** The first check that fails decides. Records it, and counts it against the caller. */
  async function deny(account: Account, check: Check, address: string): Promise<never> {
    const { denial = 'jwt_verification_failed', words = '' } = check
    limiter.failed(account.identity.id, address)
    await record(account.identity.id, denial, address)
    const detail = denial === 'invalid_jwt' ? words : `Access denied: ${words}`
    throw new Problem(FORBIDDEN.has(denial) ? 'login_forbidden' : 'login_denied', detail)
  }

  /** Nothing counts against a caller whose token cannot be checked; but a flood of them must not flood the record. */
  async function sourceFailed(id: string, address: string, error: unknown): Promise<never> {
    if (!isProblem(error)) throw error
    const at = context.monotonic()
    const last = sourceFailures.get(id)
    if (last === undefined || at - last >= FAILED_AGAIN) {
      if (sourceFailures.size >= FAILED_SIZE) sourceFailures.clear()
      sourceFailures.set(id, at)
      await record(id, error.code, address)
    }
    throw error
  }

  type Ready = Account & { jwtAuth: Attached }

  const isReady = (account: Account | undefined): account is Ready => account?.jwtAuth !== undefined

  const look = (
    { jwtAuth }: Ready,
    jwt: string,
    purpose: Purpose,
    how: How,
  ): Promise<Examination> => {
    const seconds = toMillis(context.now()) / 1000
    return examine(configurationOf(jwtAuth, purpose), jwt, seconds, how)
  }

  async function decide(identityId: string, jwt: string, address: string, purpose: Purpose) {
    limiter.check(identityId, address)
    const account = await directory.get(identityId)
    if (!isReady(account)) {
      limiter.failed(account?.identity.id, address)
      // An id that is nobody's is whatever the caller likes; it is in no record.
      if (account) await record(identityId, 'jwt_auth_not_found', address)
      throw new Problem('jwt_auth_not_found', NO_METHOD)
    }
    const examination = await look(account, jwt, purpose, 'decide').catch((error: unknown) =>
      sourceFailed(identityId, address, error),
    )
    const failure = examination.checks.find(({ ok }) => !ok)
    if (failure) return deny(account, failure, address)
    return { account, claims: examination.claims ?? {} }
  }

  return {
    /**
     * A token that passes every check of the identity's configuration, or as a client's assertion only its keys and
     * boundClaims; for the OAuth grants, whose assertions are addressed to this server. What is exchanged must be good
     * for a login.
     * @throws Problem `jwt_auth_not_found`, `login_denied`, `login_forbidden`, `rate_limited`, `jwks_unreachable`,
     * `jwks_timeout`, `url_refused`, `not_ready`
     */
    admit: (identityId: string, jwt: string, address: string, purpose: Purpose = 'subject') =>
      decide(identityId, jwt, address, purpose),

    /** @throws Problem as `admit`, and `organisation_not_found`, `not_ready` */
    async login(body: LoginBody, address: string): Promise<TokenAnswer> {
      const { identityId, jwt, organizationSlug } = body
      const { account } = await decide(identityId, jwt, address, 'login')
      const { slug } = await parts.organisation()
      if (organizationSlug !== undefined && organizationSlug !== slug) {
        limiter.failed(identityId, address)
        await record(identityId, 'organisation_not_found', address)
        const detail = `Sub organization with slug ${organizationSlug} not found`
        throw new Problem('organisation_not_found', detail)
      }
      return tokens.issue(account)
    },

    /**
     * Every check of a login, pass or fail; issues nothing, records nothing. A source that fails is a check that fails.
     * @throws Problem `jwt_auth_not_found`, `not_ready`
     */
    async explain(identityId: string, jwt: string): Promise<Examination> {
      const account = await directory.get(identityId)
      if (!isReady(account)) throw new Problem('jwt_auth_not_found', NO_METHOD)
      return look(account, jwt, 'login', 'explain')
    },
  }
}
