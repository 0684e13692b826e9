import { isAlgorithm } from '../core/index.ts'
import type { Account } from './directory.ts'

// What an access token says (identity contract, section 8), and what is said of one that does not count. Pure.

/** What a token of ours says (section 8; RFC 9068 section 2.2). */
export interface AccessClaims {
  jti: string
  identityId: string
  configurationId: string
  /** Seconds, as is the next; as configured at the login. */
  accessTokenTTL: number
  accessTokenMaxTTL: number
  /** Unix seconds; stays the same when the token is renewed. */
  creationEpoch: number
  /** There only when uses are counted. */
  numUsesLimit?: number
  /** Unix seconds, as is the next. */
  iat: number
  exp: number
  [name: string]: unknown
}

/** What all tokens of one login share. */
export interface Family {
  jti: string
  /** Unix seconds. */
  creationEpoch: number
  /** Seconds, as is the next. */
  ttl: number
  maxTtl: number
  /** 0: any number. */
  uses: number
}

export const AUTH_METHOD = 'jwt-auth'
export const TOKEN_TYPE = 'identityAccessToken'

/** `clientSecretId`, `identityAuth` and `accessTokenPeriod` are there for the shape. */
export function claimsOf(
  account: Account,
  organisation: string,
  { jti, creationEpoch, ttl, maxTtl, uses }: Family,
): Record<string, unknown> {
  const { identity, jwtAuth } = account
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

const ANYWHERE = new Set(['0.0.0.0/0', '::/0'])

function isRestricted({ jwtAuth }: Account): boolean {
  const trusted = jwtAuth?.row.accessTokenTrustedIps ?? []
  const open = trusted.filter(({ ipAddress, prefix }) => ANYWHERE.has(`${ipAddress}/${prefix}`))
  return new Set(open.map(({ type }) => type)).size < 2
}

export const familyOf = (claims: AccessClaims): Family => ({
  ...{ jti: claims.jti, creationEpoch: claims.creationEpoch, uses: claims.numUsesLimit ?? 0 },
  ...{ ttl: claims.accessTokenTTL, maxTtl: claims.accessTokenMaxTTL },
})

export function isComplete(claims: Record<string, unknown>): claims is AccessClaims {
  const texts = ['jti', 'identityId', 'configurationId']
  const numbers = ['accessTokenTTL', 'accessTokenMaxTTL', 'creationEpoch', 'iat', 'exp']
  const { numUsesLimit } = claims
  return (
    texts.every((name) => typeof claims[name] === 'string') &&
    numbers.every((name) => typeof claims[name] === 'number') &&
    (numUsesLimit === undefined || typeof numUsesLimit === 'number')
  )
}

/** Texts of a 403 `TokenError` (section 1). */
export const TEXTS = {
  expired: 'Your token has expired. Please re-authenticate.',
  malformed:
    'The provided access token is malformed. Please use a valid token or generate a new one and try again.',
  algorithm:
    'The access token is signed with an invalid algorithm. Please provide a valid token and try again.',
  signature: 'invalid signature',
}

/** Three segments; a token of `none` has an empty third. */
const SEGMENTS = /^([\w-]+)\.[\w-]+\.[\w-]*$/

/** What to say of a token that nobody here signed, by its form and its header alone. */
export function faultOf(token: string): string {
  const [, header] = SEGMENTS.exec(token) ?? []
  if (header === undefined) return TEXTS.malformed
  try {
    const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg?: unknown }
    if (typeof alg !== 'string' || !isAlgorithm(alg)) return TEXTS.algorithm
  } catch {
    return TEXTS.malformed
  }
  return TEXTS.signature
}
