import { z } from 'zod'

// Wire shapes of `/oauth/*`. What a form may hold is said here for the documentation; what it means is decided in
// `request.ts`. Parameters that nobody knows are ignored (RFC 6749 section 3.2).

const Parameter = z.string().optional()

export const TokenForm = z
  .object({
    grant_type: Parameter.describe(
      '`client_credentials`, or the URN of jwt-bearer or token-exchange',
    ),
    client_id: Parameter.describe('An identity’s id: its configuration checks the token'),
    client_secret: Parameter.describe('Refused: clients have keys'),
    client_assertion_type: Parameter,
    client_assertion: Parameter.describe('RFC 7523 section 2.2; `iss` and `sub` are the client_id'),
    assertion: Parameter.describe('RFC 7523 section 2.1'),
    subject_token: Parameter.describe('RFC 8693 section 2.1'),
    subject_token_type: Parameter.describe('The URN of access_token (ours), jwt or id_token'),
    actor_token: Parameter.describe('Refused'),
    actor_token_type: Parameter.describe('Refused'),
    requested_token_type: Parameter.describe('The URN of access_token or jwt'),
    audience: Parameter.describe('One that `KEYRINGD_TOKEN_EXCHANGE_AUDIENCES` lists'),
    resource: Parameter.describe('Refused: targets are named by `audience`'),
    scope: Parameter.describe('Refused: there are no scopes'),
  })
  .meta({ id: 'OAuthTokenRequest' })
export type TokenForm = z.output<typeof TokenForm>

export const TokenAnswer = z
  .object({
    access_token: z.string(),
    issued_token_type: z.string().optional().describe('Of an exchange (RFC 8693 section 2.2.1)'),
    token_type: z.literal('Bearer'),
    expires_in: z.int().describe('Seconds'),
  })
  .meta({ id: 'OAuthToken' })
export type TokenAnswer = z.output<typeof TokenAnswer>

/** RFC 7662 section 2.1, RFC 7009 section 2.1. Hints are for servers with several kinds of tokens. */
export const AboutToken = z
  .object({ token: z.string(), token_type_hint: Parameter.describe('Ignored') })
  .meta({ id: 'OAuthAboutToken' })

export const Introspection = z
  .object({
    active: z.boolean(),
    token_type: z.literal('Bearer').optional(),
    iss: z.string().optional(),
    sub: z.string().optional(),
    aud: z.string().optional(),
    client_id: z.string().optional(),
    jti: z.string().optional(),
    iat: z.int().optional(),
    exp: z.int().optional(),
  })
  .meta({
    id: 'OAuthIntrospection',
    description: 'RFC 7662 section 2.2; `active` alone when false',
  })
export type Introspection = z.output<typeof Introspection>

export const OAuthError = z
  .object({ error: z.string(), error_description: z.string().optional() })
  .meta({ id: 'OAuthError', description: 'RFC 6749 section 5.2' })

const Names = z.array(z.string())

export const ServerMetadata = z
  .object({
    issuer: z.string().describe('Of the `access` ring, which signs what is issued'),
    token_endpoint: z.string(),
    jwks_uri: z.string(),
    response_types_supported: Names.max(0),
    grant_types_supported: Names,
    token_endpoint_auth_methods_supported: Names,
    token_endpoint_auth_signing_alg_values_supported: Names,
    revocation_endpoint: z.string(),
    revocation_endpoint_auth_methods_supported: Names,
    introspection_endpoint: z.string(),
    introspection_endpoint_auth_methods_supported: Names,
  })
  .meta({ id: 'AuthorizationServerMetadata', description: 'RFC 8414 section 2' })
export type ServerMetadata = z.output<typeof ServerMetadata>

/** RFC 7009 section 2.2: the answer has nothing to say. */
export const Revoked = z.undefined().describe('Revoked, or never valid')
