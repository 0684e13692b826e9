// The one table of what a configuration may say: every field that the vendor documents for one, also of authentication
// kinds that this server does not perform (REST reference of `external-security`; Secure MarkLogic Server, "The OAuth,
// LDAP and SAML Server Fields"; `sec:saml-server` for the HTTP options). Pure.

interface Common {
  /** Sealed at rest, and never returned. */
  secret?: true
}

/** Characters unless `max` says otherwise. */
export interface TextField extends Common {
  kind: 'text'
  max?: number
  /** Nothing else is taken; empty means absent. */
  values?: readonly string[]
  /** A URI: credentials in it would be shown with it, so they are refused. */
  uri?: true
}

export interface NumberField {
  kind: 'number'
  max: number
}

export interface GroupField {
  kind: 'group'
  fields: Fields
}

/** An element that holds one repeated element. */
export interface ListField {
  kind: 'list'
  item: string
  max?: number
}

export type Field =
  | TextField
  | NumberField
  | GroupField
  | ListField
  | { kind: 'flag' }
  /** Text or a flag: documentation and samples differ. */
  | { kind: 'word' }
  /** Names of the sender's own, with texts: one of them may be a credential, so all are kept as one. */
  | { kind: 'headers'; secret: true }
  /** The keys of tokens, which have rows of their own (contract section 5). */
  | { kind: 'jwt-secrets' }
  /** Of the server that wrote it; means nothing here. */
  | { kind: 'ignored' }

export type Fields = Readonly<Record<string, Field>>

export const fieldOf = (fields: Fields, name: string): Field | undefined =>
  Object.hasOwn(fields, name) ? fields[name] : undefined

/** A name that somebody sent, for a message. */
export const shown = (name: string): string => JSON.stringify(name.slice(0, 64))

export const MAX_NAME = 255
export const MAX_UINT32 = 4_294_967_295
export const DEFAULT_CACHE_TIMEOUT = 300
const MAX_TEXT = 16 * 1024
const MAX_PEM = 128 * 1024

/** Bounds of a text that names no own. */
export const maxOf = ({ max = MAX_TEXT }: { max?: number }): number => max

const text: TextField = { kind: 'text' }
const uri: TextField = { kind: 'text', uri: true }
const pem: TextField = { kind: 'text', max: MAX_PEM }
const secret: TextField = { kind: 'text', secret: true }
const secretPem: TextField = { kind: 'text', max: MAX_PEM, secret: true }
const flag: Field = { kind: 'flag' }
const seconds: NumberField = { kind: 'number', max: MAX_UINT32 }
const oneOf = (...values: string[]): TextField => ({ kind: 'text', values })
const group = (fields: Fields): GroupField => ({ kind: 'group', fields })
const list = (item: string, max?: number): ListField => ({
  ...{ kind: 'list', item },
  ...(max !== undefined && { max }),
})

const LDAP: Fields = {
  'ldap-server-uri': uri,
  'ldap-base': text,
  'ldap-attribute': text,
  'ldap-default-user': text,
  'ldap-password': secret,
  'ldap-bind-method': oneOf('MD5', 'simple', 'external'),
  'ldap-memberof-attribute': text,
  'ldap-member-attribute': text,
  'ldap-start-tls': flag,
  'ldap-certificate': pem,
  'ldap-private-key': secretPem,
  'ldap-nested-lookup': flag,
  'ldap-remove-domain': flag,
  'ldap-negative-cache-timeout': seconds,
}

const TICKETS = oneOf('disabled', 'optional', 'required')

const HTTP_OPTIONS: Fields = {
  timeout: seconds,
  'credential-id': text,
  method: text,
  username: text,
  password: secret,
  authentication: group({ method: text, username: text, password: secret }),
  'client-cert': pem,
  'client-key': secretPem,
  'pass-phrase': secret,
  // The spelling of flexible replication, which has the same options.
  'client-pass-phrase': secret,
  headers: { kind: 'headers', secret: true },
  proxy: uri,
  ciphers: text,
  'verify-cert': flag,
  'kerberos-ticket-forwarding': TICKETS,
}

const SAML: Fields = {
  'saml-entity-id': text,
  'saml-destination': uri,
  'saml-issuer': text,
  'saml-assertion-host': text,
  'saml-idp-certificate-authority': pem,
  'saml-sp-certificate': pem,
  'saml-sp-private-key': secretPem,
  'saml-authn-signature': { kind: 'word' },
  'saml-attribute-names': list('saml-attribute-name'),
  'saml-privilege-attribute-name': text,
  'http-options': group(HTTP_OPTIONS),
}

export const JWT_ALGORITHMS = ['HS256', 'RS256'] as const
export const RESOURCE_SERVER = 'Resource server'
export const JSON_WEB_TOKENS = 'JSON Web Tokens'

const OAUTH: Fields = {
  'oauth-vendor': oneOf('Microsoft Entra', 'Amazon Cognito', 'Ping Identity', 'Other'),
  // All but the first are deprecated or bound to versions.
  'oauth-flow-type': oneOf(RESOURCE_SERVER, 'Authorization code', 'Client credentials'),
  'oauth-server-uri': uri,
  'oauth-authorization-server-uri': uri,
  'oauth-token-server-uri': uri,
  'oauth-introspection-server-uri': uri,
  'oauth-scope': text,
  'oauth-client-authentication-method': text,
  'oauth-client-id': text,
  'oauth-client-secret': secret,
  'oauth-redirect-uri': uri,
  'oauth-jwt-issuer-uri': text,
  'oauth-token-type': oneOf(JSON_WEB_TOKENS, 'Internally managed reference tokens'),
  'oauth-username-attribute': text,
  'oauth-role-attribute': text,
  'oauth-privilege-attribute': text,
  'oauth-jwt-alg': oneOf(...JWT_ALGORITHMS),
  'oauth-jwks-uri': uri,
  'oauth-jwt-secrets': { kind: 'jwt-secrets' },
  'oauth-jwt-secret': { kind: 'jwt-secrets' },
}

/** In the order in which they are shown. */
export const CONFIGURATION: GroupField = group({
  'external-security-id': { kind: 'ignored' },
  'external-security-name': { kind: 'text', max: MAX_NAME },
  description: text,
  authentication: oneOf('oauth', 'ldap', 'saml', 'kerberos', 'certificate'),
  'cache-timeout': seconds,
  authorization: oneOf('oauth', 'internal', 'ldap', 'saml'),
  ...LDAP,
  'ldap-server': group(LDAP),
  'saml-server': group(SAML),
  'http-options': group(HTTP_OPTIONS),
  'kerberos-ticket-forwarding': TICKETS,
  'oauth-server': group(OAUTH),
  'ssl-client-certificate-authorities': list('ssl-client-certificate-authority', MAX_PEM),
  'ssl-client-certificate-pems': list('ssl-client-certificate-pem', MAX_PEM),
  'ssl-require-client-certificate': flag,
})

/** What `…/jwt-secrets` takes (contract section 5). */
export const JWT_SECRETS: GroupField = group({
  'external-security-name': { kind: 'text', max: MAX_NAME },
  name: { kind: 'text', max: MAX_NAME },
  'oauth-server': group({
    'oauth-jwt-secrets': { kind: 'jwt-secrets' },
    'oauth-jwt-secret': { kind: 'jwt-secrets' },
  }),
})
