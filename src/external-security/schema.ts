import { z } from 'zod'

// The wire shapes, for the documentation alone: bodies are read by the table of fields, in JSON and in XML.

const KeyId = z.string().min(1).max(512).describe('`kid` of the tokens')

const JwtSecret = z.object({
  'oauth-jwt-key-id': KeyId,
  'oauth-jwt-secret-value': z
    .string()
    .optional()
    .describe('PEM for RS256, text for HS256; never returned, and left out for DELETE'),
})

export const JwtSecretsBody = z
  .object({
    'external-security-name': z.string().optional(),
    'oauth-server': z.object({ 'oauth-jwt-secret': z.array(JwtSecret).min(1).max(100) }),
  })
  .meta({ id: 'ManageJwtSecrets', description: 'Also as XML' })

export const ConfigurationBody = z
  .looseObject({
    'external-security-name': z.string().min(1).max(255),
    description: z.string().optional(),
    authentication: z.enum(['oauth', 'ldap', 'saml', 'kerberos', 'certificate']),
    'cache-timeout': z.int().optional().describe('Seconds; default 300'),
    authorization: z.enum(['oauth', 'internal', 'ldap', 'saml']),
    'oauth-server': z
      .looseObject({
        'oauth-client-id': z.string(),
        'oauth-username-attribute': z.string().describe('Claim with the name of the user'),
        'oauth-role-attribute': z.string().describe('Claim with the external roles'),
        'oauth-jwt-alg': z.enum(['HS256', 'RS256']).optional(),
        'oauth-jwt-issuer-uri': z.string().optional(),
        'oauth-jwks-uri': z.string().optional(),
        'oauth-jwt-secrets': z.object({ 'oauth-jwt-secret': z.array(JwtSecret) }).optional(),
      })
      .optional(),
  })
  .meta({
    id: 'ManageExternalSecurity',
    description: 'Also as XML. Every field that MarkLogic documents is kept; unknown ones are 400',
  })

const Meta = z.object({
  uri: z.string(),
  'current-time': z.string(),
  'elapsed-time': z.object({ units: z.string(), value: z.number() }),
})

export const ListDocument = z
  .object({
    'external-security-default-list': z.object({
      meta: Meta,
      'list-items': z.object({
        'list-count': z.object({ units: z.string(), value: z.int() }),
        'list-item': z.array(
          z.object({ uriref: z.string(), idref: z.string(), nameref: z.string() }),
        ),
      }),
    }),
  })
  .meta({ id: 'ManageExternalSecurityList' })

export const DefaultDocument = z
  .object({
    'external-security-default': z.object({
      id: z.string().describe('Unsigned 64-bit, in decimal'),
      name: z.string(),
      description: z.string(),
      authentication: z.string(),
      'cache-timeout': z.int(),
      authorization: z.string(),
      meta: Meta,
      relations: z.object({}),
    }),
  })
  .meta({ id: 'ManageExternalSecurityView' })

export const ErrorDocument = z
  .object({
    errorResponse: z.object({
      statusCode: z.string(),
      status: z.string(),
      messageCode: z.string(),
      message: z.string(),
    }),
  })
  .meta({ id: 'ManageError', description: 'Also as XML' })
