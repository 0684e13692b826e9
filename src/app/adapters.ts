import type { Principal } from '../context.ts'
import { joinIssuer } from '../discovery/configuration.ts'
import { Problem } from '../errors.ts'
import { isUnbounded } from '../identities/bounds.ts'
import type { Account } from '../identities/directory.ts'
import type { IdentitiesSlice } from '../identities/identities.ts'
import type { Keyring } from '../keyring/keyring.ts'
import { type Places, placesBelow } from '../oauth/metadata.ts'
import type { Store } from '../store/store.ts'

// One slice as another one sees it.

/** The keyring as those see it whose tokens the `access` ring signs. */
export function accessRing({ own, signing, verification, view, issuerOf }: Keyring) {
  return {
    ...own,
    sign: (claims: Record<string, unknown>) => signing.signOwn('access', 'at+jwt', claims),
    verify: (token: string, audience: string | undefined) =>
      verification.withRing('access', token, { audience, typ: 'at+jwt', skew: 0 }),
    issuer() {
      const ring = view.ring('access')?.ring
      return ring && issuerOf(ring)
    },
  }
}

/** What the grants ask of identities. */
export function oauthAccounts(
  { logins, tokens, derive, ownAudiences }: IdentitiesSlice,
  { read }: Pick<Store, 'read'>,
) {
  return {
    wasUsed: read.usedAssertions.has,
    ...{ admit: logins.admit, derive, ownAudiences },
    ...{ issue: tokens.issue, check: tokens.check, use: tokens.use },
    isUnbounded: ({ jwtAuth }: Account) => jwtAuth === undefined || isUnbounded(jwtAuth.bounds()),
  }
}

/** Where the endpoints are, made anew only when the issuer is another. */
export function createPlaces(issuer: () => string | undefined): () => Places | undefined {
  let known: { base: string; places: Places } | undefined
  return () => {
    const base = issuer()
    if (base === undefined) return undefined
    if (known?.base !== base) known = { base, places: placesBelow(base, joinIssuer) }
    return known.places
  }
}

/** What a login of an identity would say of a token, to those who may see the identity. */
export function identitySource({ identities, logins }: IdentitiesSlice) {
  return async (principal: Principal, id: string, token: string) => {
    if (!principal.may('identity:read')) {
      throw new Problem('forbidden', 'This needs identity:read')
    }
    await identities.get(principal, id)
    const { ok, checks } = await logins.explain(id, token)
    return { valid: ok, checks }
  }
}
