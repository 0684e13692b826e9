import type { Context } from '../context.ts'
import type { usedAssertion } from './assertion.ts'

// What the grants ask of identities: keys, bounds, lifetimes, uses and revocation are theirs.

export interface WithIdentity {
  identity: { id: string }
}

/** Why a token is issued, and what that uses up. */
export interface Order {
  /** For the audit record. */
  name: string
  /** Used up with the token, or there is no token. */
  assertions: readonly ReturnType<typeof usedAssertion>[]
  /** Undefined: this server. */
  audience?: string | undefined
  address: string
}

export interface Issued {
  accessToken: string
  /** Seconds. */
  expiresIn: number
}

/** What is asked of identities: `A` is an account there, `U` an access token of one that counts. */
export interface Accounts<A extends WithIdentity, U extends { account: A }> {
  /**
   * A JWT that passes every check of the identity's configuration; or that of a `client`, for which only boundClaims
   * apply.
   */
  admit(
    identityId: string,
    jwt: string,
    address: string,
    purpose: 'subject' | 'client',
  ): Promise<{ account: A; claims: Record<string, unknown> }>
  /** Whether every token of the keys passes: too little for a grant that anybody on the network may ask for. */
  isUnbounded(account: A): boolean
  /** A first token. @throws Problem `assertion_used` with the place of it in `at`, `address_not_trusted` */
  issue(account: A, order: Order): Promise<Issued>
  /** Whose token it is; not counted as a use. */
  check(token: string, address: string): Promise<U>
  /** The same for one use of it. */
  use(token: string, address: string): Promise<U>
  /** A token of the same family, which ends with it. @throws Problem `assertion_used` */
  derive(used: U, order: Order): Promise<Issued>
  /** Whether an assertion was used up, by what `usedAssertion` knows it by. */
  wasUsed(iss: string, jti: string): Promise<boolean>
  /** Our issuer and our token endpoint. */
  ownAudiences(): readonly string[]
}

export interface GrantParts<A extends WithIdentity, U extends { account: A }> {
  context: Pick<Context, 'now'>
  accounts: Accounts<A, U>
  /** `TOKEN_EXCHANGE_AUDIENCES`. */
  exchangeAudiences: readonly string[]
  /** Seconds: how much longer than its `exp` a used assertion is remembered. */
  skew: number
}
