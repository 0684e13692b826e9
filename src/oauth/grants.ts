import { toSeconds } from '../time.ts'
import type { GrantParts, Issued, WithIdentity } from './accounts.ts'
import { assertionFault, FAULTS, usedAssertion } from './assertion.ts'
import { type Client, createClients } from './client.ts'
import { asOAuth, denied } from './denial.ts'
import {
  CLIENT_CREDENTIALS,
  type ClientCredentials,
  type Exchange,
  JWT_BEARER,
  type JwtBearer,
  type TokenRequest,
} from './request.ts'
import type { TokenAnswer } from './schema.ts'

// The three grants: who the client is, whether its token is accepted, and what is issued for it.

export function createGrants<A extends WithIdentity, U extends { account: A }>(
  parts: GrantParts<A, U>,
) {
  const { accounts, context, skew } = parts
  const { checkBounded, clientOf, once } = createClients(parts)

  /**
   * Which audience a token is for; undefined: this server. @throws Problem `invalid_target` (RFC 8693 section 2.2.2)
   */
  function targetOf(audience: string | undefined): string | undefined {
    if (audience === undefined) return undefined
    if (!parts.exchangeAudiences.includes(audience)) {
      const detail = 'No tokens are issued for this audience'
      throw denied('invalid_target', detail, { reason: 'audience_not_listed' })
    }
    return accounts.ownAudiences().includes(audience) ? undefined : audience
  }

  /**
   * RFC 8693. A subject token that is not accepted is `invalid_request` (section 2.2.2).
   * @throws Problem `invalid_request`, `invalid_target`, `invalid_client`, `unauthorized_client`
   */
  async function exchange(request: Exchange, address: string): Promise<TokenAnswer> {
    const { subject, subjectToken, issuedType } = request
    const audience = targetOf(request.audience)
    const client = await clientOf(request, address)
    const order = { name: 'token-exchange', assertions: client.assertions, audience, address }
    const account =
      subject === 'ours'
        ? await ownSubject(subjectToken, client, address)
        : await foreignSubject(subjectToken, client, address)
    const issue = async () =>
      subject === 'ours'
        ? accounts.derive(await accounts.use(subjectToken, address), order)
        : accounts.issue(account, order)
    const issued = await once(client, issue, 'invalid_request')
    return { ...answerOf(issued), issued_token_type: issuedType }
  }

  /** A token of ours; who names a client must name the one that it was issued to. Not counted as a use yet. */
  async function ownSubject(token: string, client: Client<A>, address: string): Promise<A> {
    const { account } = await asOAuth('invalid_request', () => accounts.check(token, address))
    const { id } = account.identity
    if (client.id !== undefined && client.id !== id) {
      const detail = 'The subject_token was issued to another client'
      throw denied('invalid_request', detail, { reason: 'client_mismatch', subject: id })
    }
    checkBounded(account)
    return account
  }

  /**
   * A JWT within the identity's own bounds, and no more is asked of it. One that was used as an assertion here counts no
   * second time by the other door.
   */
  async function foreignSubject(jwt: string, client: Client<A>, address: string): Promise<A> {
    const { account, claims } = await asOAuth('invalid_request', () =>
      accounts.admit(client.id ?? '', jwt, address, 'subject'),
    )
    checkBounded(account)
    const { iss, jti } = usedAssertion(claims, jwt, skew)
    if (await accounts.wasUsed(iss, jti)) {
      const reason = 'assertion_used'
      throw denied('invalid_request', 'The subject_token was used as an assertion', {
        ...{ reason, subject: account.identity.id },
      })
    }
    return account
  }

  /** RFC 7523 section 2.1. @throws Problem `invalid_grant` (section 3.1), `invalid_client`, `unauthorized_client` */
  async function jwtBearer(request: JwtBearer, address: string): Promise<TokenAnswer> {
    const { assertion } = request
    const client = await clientOf(request, address)
    const { account, claims } = await asOAuth('invalid_grant', () =>
      accounts.admit(client.id ?? '', assertion, address, 'subject'),
    )
    const subject = account.identity.id
    const fault = assertionFault(claims, {
      ...{ ours: accounts.ownAudiences(), now: toSeconds(context.now()) },
    })
    if (fault) throw denied('invalid_grant', FAULTS[fault], { reason: fault, subject })
    checkBounded(account)
    const assertions = [...client.assertions, usedAssertion(claims, assertion, skew)]
    const order = { name: 'jwt-bearer', assertions, address }
    return answerOf(await once(client, () => accounts.issue(account, order), 'invalid_grant'))
  }

  /** RFC 6749 section 4.4 with RFC 7523 section 2.2. @throws Problem `invalid_client`, `unauthorized_client` */
  async function clientCredentials(
    request: ClientCredentials,
    address: string,
  ): Promise<TokenAnswer> {
    const client = await clientOf(request, address)
    const { account, assertions } = client
    if (!account)
      throw denied('invalid_client', 'The client is unknown', { reason: 'client_unknown' })
    const order = { name: CLIENT_CREDENTIALS, assertions, address }
    return answerOf(await once(client, () => accounts.issue(account, order), 'invalid_grant'))
  }

  return (request: TokenRequest, address: string): Promise<TokenAnswer> => {
    if (request.grant === JWT_BEARER) return jwtBearer(request, address)
    if (request.grant === CLIENT_CREDENTIALS) return clientCredentials(request, address)
    return exchange(request, address)
  }
}

const answerOf = ({ accessToken, expiresIn }: Issued): TokenAnswer => ({
  ...{ access_token: accessToken, token_type: 'Bearer', expires_in: expiresIn },
})
