import { Problem } from '../errors.ts'
import type { TokenForm } from './schema.ts'

// What a client asks of `/oauth/token`, read from its form. Pure: syntax and policy that need no look at a token.

const URN = 'urn:ietf:params:oauth'
export const TOKEN_EXCHANGE = `${URN}:grant-type:token-exchange`
export const JWT_BEARER = `${URN}:grant-type:jwt-bearer`
export const CLIENT_CREDENTIALS = 'client_credentials'
const CLIENT_ASSERTION = `${URN}:client-assertion-type:jwt-bearer`
const ACCESS_TOKEN = `${URN}:token-type:access_token`
const JWT = `${URN}:token-type:jwt`
const ID_TOKEN = `${URN}:token-type:id_token`

interface Common {
  /** The identity whose configuration checks the token. */
  clientId: string | undefined
  clientAssertion: string | undefined
}

export interface Exchange extends Common {
  grant: typeof TOKEN_EXCHANGE
  subjectToken: string
  /** An access token of this server, or a JWT of somebody else. */
  subject: 'ours' | 'foreign'
  /** As it was asked for. */
  issuedType: string
  /** Undefined: this server. */
  audience: string | undefined
}

export interface JwtBearer extends Common {
  grant: typeof JWT_BEARER
  assertion: string
}

export interface ClientCredentials extends Common {
  grant: typeof CLIENT_CREDENTIALS
  clientAssertion: string
}

export type TokenRequest = Exchange | JwtBearer | ClientCredentials

/** An identity's id is shorter; what is longer is nobody's, and is kept by no counter. */
export const MAX_CLIENT_ID = 128

/**
 * @throws Problem `invalid_request`, `invalid_client` for a way to authenticate that is none of ours,
 * `unsupported_grant_type`, `invalid_scope`, `invalid_target` (RFC 6749 section 5.2, RFC 8693 section 2.2.2)
 */
export function readTokenRequest(form: TokenForm): TokenRequest {
  const grant = needed(form, 'grant_type')
  if (grant !== TOKEN_EXCHANGE && grant !== JWT_BEARER && grant !== CLIENT_CREDENTIALS) {
    throw new Problem('unsupported_grant_type')
  }
  // Ignoring a scope would have to be told in a `scope` of the answer, which cannot say "none" (RFC 6749 section 3.3).
  if (form.scope !== undefined) throw new Problem('invalid_scope', 'This server has no scopes')
  const common = readClient(form)
  // A token for another target than the one asked for would be worse than none (RFC 8707 section 2).
  if (form.resource !== undefined || (form.audience !== undefined && grant !== TOKEN_EXCHANGE)) {
    throw new Problem('invalid_target', 'A target is named by audience, in a token exchange only')
  }
  if (grant === TOKEN_EXCHANGE) return readExchange(form, common)
  if (grant === JWT_BEARER) {
    if (common.clientAssertion === undefined) needed(form, 'client_id')
    return { ...common, grant, assertion: needed(form, 'assertion') }
  }
  const { clientAssertion } = common
  if (clientAssertion === undefined) {
    throw new Problem('invalid_client', 'This grant needs a client_assertion (private_key_jwt)')
  }
  return { ...common, grant, clientAssertion }
}

/** RFC 7521 section 4.2: a client_assertion and its type belong together. */
function readClient(form: TokenForm): Common {
  const { client_id: clientId, client_assertion: clientAssertion } = form
  if (clientId !== undefined && clientId.length > MAX_CLIENT_ID) {
    throw new Problem('invalid_client', 'The client is unknown')
  }
  if (form.client_secret !== undefined) {
    throw new Problem('invalid_client', 'Clients authenticate by private_key_jwt, or not at all')
  }
  if (clientAssertion !== undefined) needed(form, 'client_assertion_type')
  if (form.client_assertion_type !== undefined) {
    needed(form, 'client_assertion')
    if (form.client_assertion_type !== CLIENT_ASSERTION) {
      throw new Problem('invalid_client', `The client_assertion_type must be ${CLIENT_ASSERTION}`)
    }
  }
  return { clientId, clientAssertion }
}

function readExchange(form: TokenForm, common: Common): Exchange {
  const subjectToken = needed(form, 'subject_token')
  const type = needed(form, 'subject_token_type')
  if (type !== ACCESS_TOKEN && type !== JWT && type !== ID_TOKEN) {
    throw new Problem('invalid_request', 'This subject_token_type is not supported')
  }
  if (form.actor_token !== undefined || form.actor_token_type !== undefined) {
    throw new Problem('invalid_request', 'Delegation (actor_token) is not supported')
  }
  const issuedType = form.requested_token_type ?? ACCESS_TOKEN
  if (issuedType !== ACCESS_TOKEN && issuedType !== JWT) {
    throw new Problem('invalid_request', 'This requested_token_type is not supported')
  }
  const subject = type === ACCESS_TOKEN ? 'ours' : 'foreign'
  if (subject === 'foreign' && common.clientAssertion === undefined) needed(form, 'client_id')
  return {
    ...{ ...common, grant: TOKEN_EXCHANGE, subjectToken, subject, issuedType },
    audience: form.audience,
  }
}

function needed(form: TokenForm, name: keyof TokenForm): string {
  const value = form[name]
  if (value === undefined) throw new Problem('invalid_request', `${name} is missing`)
  return value
}
