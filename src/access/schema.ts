import { z } from 'zod'
import { DurationField, NameField, TimeField } from '../http/fields.ts'
import { HOUR } from '../time.ts'
import { ROLE_NAMES } from './capabilities.ts'
import { parseGrant } from './grants.ts'
import { MAX_PASSWORD_UNITS } from './passwords.ts'

const GrantField = z
  .string()
  .max(300)
  .describe(
    '`capability`, `capability@ring:NAME`, `capability@profile:RING/NAME` or `capability@delivery-service:XML_ID`',
  )
  .meta({ examples: ['sign@profile:payments/ci'] })

const NewGrantField = GrantField.transform((text, context) => {
  const grant = parseGrant(text)
  if (typeof grant !== 'string') return grant
  context.addIssue({ code: 'custom', message: grant })
  return z.NEVER
})

const RoleField = z.enum(ROLE_NAMES)

export const ApiTokenCreate = z
  .strictObject({
    name: NameField,
    role: RoleField.optional(),
    grants: z.array(NewGrantField).max(100).optional(),
    tenant: NameField.optional().describe('Bound to this tenant and those below it; none: all'),
    ttl: DurationField.optional().describe(
      'How long it lives: `720h`, or integer seconds; none: until it is deleted',
    ),
  })
  .meta({ id: 'ApiTokenCreate' })
export type ApiTokenCreate = z.output<typeof ApiTokenCreate>

const members = {
  id: z.string(),
  name: z.string(),
  role: z.string().optional(),
  grants: z.array(GrantField),
  tenant: z.string().optional(),
  createdAt: TimeField,
  createdBy: z.string().describe('The principal that made it'),
  expiresAt: TimeField.optional(),
}

export const ApiToken = z.object(members).meta({ id: 'ApiToken' })
export type ApiToken = z.output<typeof ApiToken>

export const ApiTokenCreated = z
  .object({ ...members, token: z.string().describe('The token itself; never shown again') })
  .meta({ id: 'ApiTokenCreated' })
export type ApiTokenCreated = z.output<typeof ApiTokenCreated>

export const ApiTokenList = z
  .object({ apiTokens: z.array(ApiToken).describe('By name') })
  .meta({ id: 'ApiTokenList' })

export const ApiTokenParams = z.strictObject({ name: z.string() })

const PasswordField = z.string().max(MAX_PASSWORD_UNITS)

const tenant = NameField.optional().describe('Bound to this tenant and those below it; none: all')

export const TenantCreate = z
  .strictObject({
    name: NameField,
    parent: NameField.optional().describe('Default: your own tenant, else `root`'),
  })
  .meta({ id: 'TenantCreate' })
export type TenantCreate = z.output<typeof TenantCreate>

export const TenantMove = z.strictObject({ parent: NameField }).meta({ id: 'TenantMove' })

export const Tenant = z
  .object({
    name: z.string(),
    parent: z.string().optional().describe('Absent where you may not see it'),
    createdAt: TimeField,
  })
  .meta({ id: 'Tenant' })
export type Tenant = z.output<typeof Tenant>

export const TenantList = z
  .object({ tenants: z.array(Tenant).describe('By name') })
  .meta({ id: 'TenantList' })

export const UserCreate = z
  .strictObject({
    name: NameField,
    password: PasswordField.optional().describe(
      'At least `KEYRINGD_MIN_PASSWORD_LENGTH` characters; none: no password opens the account',
    ),
    role: RoleField,
    tenant,
    digest: z
      .boolean()
      .optional()
      .describe('Logins by HTTP Digest on /manage; not for role admin, and it needs a password'),
    jwt: z.boolean().optional().describe('Whether JWTs of a trusted set may be of this user'),
  })
  .meta({ id: 'UserCreate' })
export type UserCreate = z.output<typeof UserCreate>

export const UserPatch = z
  .strictObject({
    password: PasswordField.optional().describe('Ends every session of the user'),
    role: RoleField.optional(),
    tenant: NameField.nullable().optional().describe('`null`: bound to none'),
    jwt: z.boolean().optional(),
    digest: z.boolean().optional().describe('`true` needs a password in the same request'),
  })
  .refine((patch) => Object.keys(patch).length > 0, 'Expected at least one member')
  .meta({ id: 'UserPatch' })
export type UserPatch = z.output<typeof UserPatch>

export const PasswordChange = z
  .strictObject({ currentPassword: PasswordField, password: PasswordField })
  .meta({ id: 'PasswordChange' })

export const User = z
  .object({
    name: z.string(),
    role: z.string(),
    tenant: z.string().optional(),
    hasPassword: z.boolean(),
    jwt: z.boolean(),
    digest: z.boolean(),
    createdAt: TimeField,
    updatedAt: TimeField,
  })
  .meta({ id: 'User' })
export type User = z.output<typeof User>

const MAX_LOGIN_TTL = 24n * HOUR

export const LoginTokenCreate = z
  .strictObject({
    ttl: DurationField.refine((ttl) => ttl <= MAX_LOGIN_TTL, 'Expected 24h at most')
      .optional()
      .describe('How long it may wait to be used, at most `24h`; default `1h`'),
  })
  .meta({ id: 'LoginTokenCreate' })

export const LoginToken = z
  .object({
    token: z.string().describe('The token itself; never shown again'),
    expiresAt: TimeField,
  })
  .meta({ id: 'LoginToken' })
export type LoginToken = z.output<typeof LoginToken>

export const UserList = z
  .object({ users: z.array(User).describe('By name') })
  .meta({ id: 'UserList' })

export const RoleGrantCreate = z
  .strictObject({
    externalSecurity: z
      .string()
      .min(1)
      .max(255)
      .describe('Name of the configuration that the tokens verify against'),
    externalName: z
      .string()
      .min(1)
      .max(512)
      .refine((name) => !/[\p{Cc}\p{Cs}]/u.test(name), 'Expected text on one line')
      .describe('The role as tokens name it'),
    role: RoleField,
    tenant,
  })
  .meta({ id: 'RoleGrantCreate' })
export type RoleGrantCreate = z.output<typeof RoleGrantCreate>

export const RoleGrant = z
  .object({
    ...{ id: z.string(), externalSecurity: z.string(), externalName: z.string() },
    role: z.string(),
    tenant: z.string().optional(),
    createdAt: TimeField,
  })
  .meta({ id: 'RoleGrant' })
export type RoleGrant = z.output<typeof RoleGrant>

export const RoleGrantList = z
  .object({ roleGrants: z.array(RoleGrant).describe('The oldest first') })
  .meta({ id: 'RoleGrantList' })

export const RoleGrantParams = z.strictObject({ id: z.string().max(64) })

/** Of what is named in a path. */
export const NameParams = z.strictObject({ name: z.string() })
