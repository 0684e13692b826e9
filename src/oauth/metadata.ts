import { CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE } from './request.ts'
import type { ServerMetadata } from './schema.ts'

// Where things are, and what they can do (RFC 8414). Pure.

export interface Places {
  /** Of the `access` ring, which signs what is issued. */
  issuer: string
  token: string
  introspection: string
  revocation: string
  jwks: string
}

/** `base` is the issuer of the host; `join` puts a path below it. */
export function placesBelow(base: string, join: (issuer: string, path: string) => string): Places {
  const issuer = join(base, APPENDED)
  return {
    issuer,
    token: join(base, '/oauth/token'),
    introspection: join(base, '/oauth/introspect'),
    revocation: join(base, '/oauth/revoke'),
    jwks: join(issuer, '/.well-known/jwks.json'),
  }
}

/** What a client assertion may be signed with: what a configuration of an identity accepts. */
const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]

/** RFC 8414 section 2. */
export const createMetadata = ({
  issuer,
  token,
  introspection,
  revocation,
  jwks,
}: Places): ServerMetadata => ({
  issuer,
  token_endpoint: token,
  jwks_uri: jwks,
  response_types_supported: [],
  grant_types_supported: [CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE],
  token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
  token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
  revocation_endpoint: revocation,
  revocation_endpoint_auth_methods_supported: ['none'],
  introspection_endpoint: introspection,
  // An access token type, where others name a way of client authentication: both registries are allowed here.
  introspection_endpoint_auth_methods_supported: ['Bearer'],
})

const WELL_KNOWN = '/.well-known/oauth-authorization-server'
/** The path of our issuer, below that of the host. */
export const APPENDED = '/rings/access'

/**
 * Whether the metadata is at this path: the bare one, with `/rings/access` appended, and with the whole path of the
 * issuer appended, as RFC 8414 section 3.1 has it for an issuer below a path.
 */
export function isMetadataPath(path: string, { issuer }: Places): boolean {
  const below = URL.canParse(issuer) ? new URL(issuer).pathname : ''
  return [WELL_KNOWN, `${WELL_KNOWN}${APPENDED}`, `${WELL_KNOWN}${below}`].includes(path)
}

/**
 * Below which paths the endpoints are: none, and that of the host's issuer, for proxies that pass it on as it is. Only
 * of plain characters, because a router reads the others.
 */
export function mountsOf(base: string | undefined): string[] {
  const path = base && URL.canParse(base) ? new URL(base).pathname.replace(/\/+$/, '') : ''
  return /^(?:\/[\w.~-]+)+$/.test(path) ? ['', path] : ['']
}
