import { z } from 'zod'
import { DurationField, NameField, TimeField } from '../http/fields.ts'
import { ROLE_NAMES } from './capabilities.ts'
import { parseGrant } from './grants.ts'

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
