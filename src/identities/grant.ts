import { Problem } from '../errors.ts'
import type { Tx } from '../store/store.ts'

// What the grants of `/oauth/token` ask of a token that is issued, beside what a login does.

export interface Grant {
  /** For the audit record. */
  name: string
  /** These are used up in the transaction of the token. */
  assertions: readonly UsedAssertion[]
  /** Other than this server. */
  audience?: string | undefined
  /** Of the caller. */
  address: string
}

/** What tells one assertion from another (RFC 7523 section 3, item 7). */
export interface UsedAssertion {
  iss: string
  jti: string
  /** Unix seconds: nobody accepts it after that. */
  keepUntil: number
}

/** @throws Problem `assertion_used`, with the place of the first that was used before in `at` */
export async function useUp(tx: Tx, assertions: readonly UsedAssertion[]): Promise<void> {
  for (const [at, { iss, jti, keepUntil }] of assertions.entries()) {
    if (await tx.usedAssertions.use(iss, jti, keepUntil)) continue
    throw new Problem('assertion_used', undefined, { extra: { at } })
  }
}

/** What RFC 9068 section 2.2 asks for, and by what the family is known: others learn no more about the identity. */
const FOR_OTHERS = [
  ...['iss', 'sub', 'client_id', 'jti', 'identityId', 'configurationId'],
  ...['accessTokenTTL', 'accessTokenMaxTTL', 'creationEpoch'],
]

/** Claims for another audience. Without `authTokenType` and with a foreign `aud`, they are no credential here. */
export const forAudience = (claims: Record<string, unknown>, aud: string) => ({
  ...Object.fromEntries(Object.entries(claims).filter(([name]) => FOR_OTHERS.includes(name))),
  aud,
})
