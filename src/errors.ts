/** Every error a caller may see: stable code → HTTP status and title (RFC 9457). */
export const PROBLEMS = {
  invalid_request: { status: 422, title: 'The request is not valid' },
  malformed_request: { status: 400, title: 'The request cannot be read' },
  malformed_body: { status: 400, title: 'The body cannot be read' },
  body_too_large: { status: 413, title: 'The body is too large' },
  headers_too_large: { status: 431, title: 'The request headers are too large' },
  unsupported_media_type: { status: 415, title: 'The content type is not supported' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  unauthenticated: { status: 401, title: 'No valid credential was presented' },
  forbidden: { status: 403, title: 'The credential does not allow this' },
  privilege_boundary: { status: 403, title: 'The result would exceed your own rights' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  discovery_disabled: { status: 404, title: 'OIDC Discovery endpoint disabled' },
  ring_not_found: { status: 404, title: 'No such ring' },
  key_not_found: { status: 404, title: 'No such key' },
  profile_not_found: { status: 404, title: 'No such profile' },
  token_not_found: { status: 404, title: 'No such API token' },
  tenant_not_found: { status: 404, title: 'No such tenant' },
  tenant_in_use: { status: 409, title: 'The tenant is in use' },
  tenant_limit: { status: 409, title: 'There are too many tenants' },
  role_grant_not_found: { status: 404, title: 'No such role grant' },
  user_not_found: { status: 404, title: 'No such user' },
  nonce_stale: { status: 401, title: 'The nonce has ended; a fresh one is in the challenge' },
  credentials_wrong: { status: 401, title: 'The name or the password is wrong' },
  name_taken: { status: 409, title: 'The name is taken' },
  ring_reserved: { status: 409, title: 'The ring is reserved' },
  activation_unsafe: { status: 409, title: 'The key cannot sign yet without breaking verifiers' },
  key_active: { status: 409, title: 'The active key cannot be deleted; rotate first' },
  key_in_use: { status: 409, title: 'The key is in use' },
  key_conflict: { status: 409, title: 'The request contradicts itself' },
  key_rejected: { status: 422, title: 'The key is not acceptable' },
  clock_jumped: { status: 409, title: 'The clock jumped; irreversible steps are frozen' },
  claim_reserved: { status: 422, title: 'A claim is set by the server and cannot be chosen' },
  profile_violation: { status: 403, title: 'The profile does not allow these claims' },
  ttl_too_long: { status: 422, title: 'The lifetime exceeds the limit' },
  algorithm_unavailable: { status: 422, title: 'The ring has no such algorithm' },
  not_ready: { status: 503, title: 'The server is not ready' },
  overloaded: { status: 503, title: 'The server is at its limit' },
  store_unwritable: { status: 503, title: 'The database cannot be written' },
  key_unusable: { status: 500, title: 'A published key cannot be unwrapped' },
  wrap_failed: { status: 500, title: 'The key could not be wrapped' },
  internal: { status: 500, title: 'Internal error' },
  rate_limited: { status: 429, title: 'Too many requests' },
  // identities/: configurations, logins and access tokens
  identity_not_found: { status: 404, title: 'No such identity' },
  identity_protected: { status: 400, title: 'The identity is protected from deletion' },
  role_unknown: { status: 400, title: 'There is no such role' },
  organisation_not_found: { status: 404, title: 'No such organisation' },
  jwt_auth_not_found: { status: 404, title: 'The identity has no JWT auth to log in with' },
  jwt_auth_missing: { status: 400, title: 'The identity has no JWT auth' },
  jwt_auth_attached: { status: 400, title: 'The identity has JWT auth already' },
  ttl_above_max: { status: 400, title: 'Access token TTL cannot be greater than max TTL' },
  source_refused: { status: 400, title: 'The ring cannot be a source of keys' },
  login_denied: { status: 401, title: 'The login was denied' },
  login_forbidden: { status: 403, title: 'The login was denied' },
  access_token_invalid: { status: 401, title: 'The access token is not valid' },
  access_token_revoked: { status: 401, title: 'The access token was revoked' },
  token_kind_refused: { status: 403, title: 'This kind of token is not allowed here' },
  access_token_foreign: { status: 400, title: 'Token is not an identity access token' },
  address_not_trusted: {
    status: 403,
    title: 'You are not allowed to access this resource from the current IP address',
  },
  trusted_ip_invalid: { status: 400, title: 'The IP is not a valid IPv4, IPv6, or CIDR block' },
  pem_rejected: { status: 400, title: 'The PEM text is not acceptable' },
  // oauth/: the errors of RFC 6749 section 5.2 and RFC 8693 section 2.2.2, beside `invalid_request`
  invalid_client: { status: 400, title: 'The client is unknown, or its authentication failed' },
  invalid_grant: { status: 400, title: 'The assertion is not accepted' },
  unauthorized_client: { status: 400, title: 'The client may not use this grant' },
  unsupported_grant_type: { status: 400, title: 'There is no such grant' },
  invalid_scope: { status: 400, title: 'There is no such scope' },
  invalid_target: { status: 400, title: 'No tokens are issued for this audience' },
  assertion_used: { status: 400, title: 'The assertion was used before' },
  oauth_disabled: { status: 404, title: 'OAuth is off: this server has no issuer' },
  // uri-signing/: documents and tokens
  keyset_invalid: { status: 400, title: 'The key document is not acceptable' },
  uri_invalid: { status: 422, title: 'The URI cannot be signed' },
  // uri-signing/: delivery services, versions of their keys, rotations for caches
  delivery_service_not_found: { status: 404, title: 'No such delivery service' },
  tenant_forbidden: { status: 403, title: 'The delivery service is of another tenant' },
  precondition_failed: { status: 412, title: 'What is there is not what was meant' },
  keys_missing: { status: 409, title: 'The delivery service has no keys' },
  keys_exist: { status: 409, title: 'The delivery service has keys already' },
  issuer_not_found: { status: 404, title: 'The key document has no such issuer' },
  version_not_found: { status: 404, title: 'No such version of the key document' },
  rotation_not_found: { status: 404, title: 'No rotation is under way' },
  rotation_conflict: { status: 409, title: 'The rotation does not allow this now' },
  rotation_unsafe: {
    status: 409,
    title: 'The step cannot be taken yet without turning clients away',
  },
  // uri-signing/: sessions of Traffic Ops clients
  session_forged: { status: 401, title: 'The session cookie was not made here' },
  session_expired: { status: 401, title: 'The session has ended' },
  session_orphaned: { status: 401, title: 'The user of the session is no more' },
  login_token_wrong: { status: 401, title: 'No such login token' },
  cross_site: { status: 403, title: 'Another site sent this request' },
  // settings/: what changes while the server runs
  setting_not_found: { status: 404, title: 'No such setting' },
  setting_fixed: { status: 409, title: 'The environment gives this setting' },
  // external-security/: the MarkLogic surface; its own codes are in its errors.ts
  external_security_invalid: { status: 400, title: 'The payload is not acceptable' },
  external_security_conflict: { status: 400, title: 'The name or key id is in use' },
  external_security_uri_invalid: { status: 400, title: 'The URI is not acceptable' },
  external_security_in_use: { status: 400, title: 'The external security is in use' },
  external_security_not_found: { status: 404, title: 'No such external security' },
  jwt_secret_not_found: { status: 404, title: 'No such key id' },
  parameter_invalid: { status: 400, title: 'A parameter of the query is not acceptable' },
  // data-api/: the set of jwks_setup, and who has a token of it
  jwks_endpoint_unset: { status: 400, title: 'jwks_endpoint is not set' },
  jwks_endpoint_invalid: { status: 400, title: 'jwks_endpoint is not a valid URL' },
  jwks_update_failed: { status: 500, title: 'The key set was not updated' },
  jwks_update_timeout: { status: 504, title: 'The key set was not updated in time' },
  jwks_not_loaded: { status: 401, title: 'no JWKS is loaded' },
  jwt_invalid: { status: 401, title: 'invalid JWT' },
  // remote-jwks/: what may be fetched from elsewhere, and how that fails
  url_insecure: { status: 400, title: 'A public host is reached by https only' },
  url_refused: { status: 400, title: 'The URL is not allowed' },
  jwks_unreachable: { status: 502, title: 'The JWKS endpoint failed' },
  jwks_timeout: { status: 504, title: 'The JWKS endpoint timed out' },
  // core/: why a token or a sealed value was refused
  token_malformed: { status: 401, title: 'The token is not a well-formed JWS' },
  token_invalid: { status: 401, title: 'The token is not valid' },
  token_expired: { status: 401, title: 'The token has expired' },
  seal_broken: { status: 500, title: 'A sealed value does not open' },
  // start-up: one plain sentence, exit code 1
  config_invalid: { status: 500, title: 'The configuration is not valid' },
  kek_wrong: { status: 500, title: 'The KEK does not open this data' },
  kek_missing: { status: 500, title: 'The KEK is missing' },
  kek_unreachable: { status: 503, title: 'The KEK provider cannot be reached' },
  store_locked: { status: 500, title: 'Another process owns the database' },
  store_unusable: { status: 500, title: 'The database cannot be used' },
  migration_mismatch: { status: 500, title: 'A migration was changed after it ran' },
  // cli/: what ends a command; never sent
  wrong_usage: { status: 400, title: 'The command line is not right' },
  command_failed: { status: 502, title: 'The command failed' },
} as const satisfies Record<string, { status: number; title: string }>

export type ProblemCode = keyof typeof PROBLEMS

export interface ProblemOptions {
  /** For the log only; never sent. */
  cause?: unknown
  /** Extra members of the problem document, such as `safeAt` or `errors`. */
  extra?: Record<string, unknown>
}

/** The one error that services and pure code throw on purpose. `detail` is for the caller, `cause` for the log. */
export class Problem extends Error {
  override name = 'Problem'
  readonly code: ProblemCode
  readonly detail: string
  readonly extra: Record<string, unknown>

  constructor(code: ProblemCode, detail?: string, options: ProblemOptions = {}) {
    super(detail ?? PROBLEMS[code].title, { cause: options.cause })
    this.code = code
    this.detail = detail ?? PROBLEMS[code].title
    this.extra = options.extra ?? {}
  }

  get status(): number {
    return PROBLEMS[this.code].status
  }
}

export const isProblem = (error: unknown, code?: ProblemCode): error is Problem =>
  error instanceof Problem && (code === undefined || error.code === code)
