import { parseClaims, screenCompact } from '../core/index.ts'
import { isProblem } from '../errors.ts'
import { toSeconds } from '../time.ts'
import type { GrantParts, Issued, Order, WithIdentity } from './accounts.ts'
import { clientAssertionFault, FAULTS, usedAssertion } from './assertion.ts'
import { asOAuth, denied } from './denial.ts'
import { MAX_CLIENT_ID, type TokenRequest } from './request.ts'

// Who asks for a token (RFC 7521 section 4.2, RFC 7523 sections 2.2 and 3).

export interface Client<A> {
  id: string | undefined
  /** Of a client that has authenticated. */
  account?: A
  /** What it authenticated with. */
  assertions: Order['assertions']
}

export function createClients<A extends WithIdentity, U extends { account: A }>({
  context,
  accounts,
  skew,
}: GrantParts<A, U>) {
  /** A configuration that lets in whoever its issuer signs for is enough to log in, not for a grant. */
  function checkBounded(account: A): void {
    if (!accounts.isUnbounded(account)) return
    const detail = 'The identity has no bound on subject, audience or claims'
    const denial = { reason: 'unbounded', subject: account.identity.id }
    throw denied('unauthorized_client', detail, denial)
  }

  /**
   * Who the client is. It need not authenticate, but what it presents must be right (RFC 7521 section 4.2, RFC 7523
   * sections 2.2 and 3).
   * @throws Problem `invalid_client`, `unauthorized_client`
   */
  async function clientOf(
    { clientId, clientAssertion }: TokenRequest,
    address: string,
  ): Promise<Client<A>> {
    if (clientAssertion === undefined) return { id: clientId, assertions: [] }
    // The client_id may be left out: the assertion names the client, and is checked by that one's keys.
    const id = clientId ?? unverifiedSubject(clientAssertion)
    const { account, claims } = await asOAuth('invalid_client', () =>
      accounts.admit(id, clientAssertion, address, 'client'),
    )
    const fault = clientAssertionFault(claims, {
      ...{ clientId: id, ours: accounts.ownAudiences(), now: toSeconds(context.now()) },
    })
    if (fault) throw denied('invalid_client', FAULTS[fault], { reason: fault, subject: id })
    checkBounded(account)
    return { id, account, assertions: [usedAssertion(claims, clientAssertion, skew)] }
  }

  /** What was used before is the client's assertion, where it brought one, or the grant's. */
  async function once(
    client: Client<A>,
    work: () => Promise<Issued>,
    code: 'invalid_grant' | 'invalid_request',
  ): Promise<Issued> {
    try {
      return await asOAuth(code, work)
    } catch (error) {
      if (!isProblem(error, 'assertion_used')) throw error
      const whose = Number(error.extra['at']) < client.assertions.length ? 'invalid_client' : code
      throw denied(whose, error.detail, { reason: error.code, subject: client.id })
    }
  }

  return { checkBounded, clientOf, once }
}

/** Only says by whose keys an assertion is to be checked. */
function unverifiedSubject(jwt: string): string {
  try {
    const { sub } = parseClaims(screenCompact(jwt).payload)
    return typeof sub === 'string' && sub.length <= MAX_CLIENT_ID ? sub : ''
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return ''
    throw error
  }
}
