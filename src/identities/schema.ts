import { z } from 'zod'
import { TimeField } from '../http/fields.ts'
import { boundsFaults, normaliseList, type SomeBounds } from './bounds.ts'

// Wire shapes of the identities surface (identity contract, sections 2, 3, 7, 9, 10 and 12). Unknown members are dropped
// and numbers are never read from text, as in the original. What is answered has these members, in this order, and no
// others.

const MAX_SECONDS = 315_360_000
const MAX_NAME = 255
const MAX_VALUE = 1020
const MAX_URL = 2048
const MAX_LIST = 100

const Trimmed = z.string().trim()
const Seconds = z.int().min(0).max(MAX_SECONDS)

/** An id in a path; one that is nobody's is not found, whatever it looks like. */
export const IdentityParams = z.object({ identityId: Trimmed })

// The configuration (sections 2 and 3) -------------------------------------------------------------------

const RING_URL = /^ring:([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/

/** The ring that a `jwksUrl` names, which is our addition: `ring:NAME` stands for the set of a ring of this server. */
export const ringOfUrl = (jwksUrl: string): string | undefined => RING_URL.exec(jwksUrl)?.[1]

const isJwksUrl = (text: string): boolean =>
  ringOfUrl(text) !== undefined || (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol))

const JwksUrl = Trimmed.max(MAX_URL).refine(isJwksUrl, 'Expected a URL with http: or https:')

const List = Trimmed.transform(normaliseList)

/** Zod leaves a member `__proto__` out without a word; a bound that is left out lets everybody in. */
const BoundClaims = z.preprocess(
  (value, context) => {
    if (typeof value === 'object' && value !== null && Object.hasOwn(value, '__proto__')) {
      const message = 'No claim of this name is ever read'
      context.addIssue({ code: 'custom', path: ['__proto__'], message })
    }
    return value
  },
  z.record(z.string(), z.string().transform(normaliseList)),
)

const TrustedIps = z
  .array(z.object({ ipAddress: Trimmed }))
  .min(1)
  .max(MAX_LIST)
const ANYWHERE = [{ ipAddress: '0.0.0.0/0' }, { ipAddress: '::/0' }]
const DEFAULT_TTL = 2_592_000

const base = z.object({
  boundIssuer: Trimmed,
  boundAudiences: List,
  boundClaims: BoundClaims,
  boundSubject: Trimmed,
  accessTokenTrustedIps: TrustedIps,
  accessTokenTTL: Seconds,
  accessTokenMaxTTL: Seconds,
  accessTokenNumUsesLimit: z.int().min(0),
})

/** Defaults are added here and not in `base`: in zod 4 the partial of a field with a default would fill it in. */
const created = {
  ...base.shape,
  boundIssuer: base.shape.boundIssuer.default(''),
  boundAudiences: base.shape.boundAudiences.default(''),
  boundSubject: base.shape.boundSubject.default(''),
  accessTokenTrustedIps: base.shape.accessTokenTrustedIps.default(ANYWHERE),
  accessTokenTTL: base.shape.accessTokenTTL.default(DEFAULT_TTL),
  accessTokenMaxTTL: base.shape.accessTokenMaxTTL.default(DEFAULT_TTL),
  accessTokenNumUsesLimit: base.shape.accessTokenNumUsesLimit.default(0),
}
const updated = base.partial().shape

/** These have defaults in an update too: what it leaves out of them is reset (section 3). */
const jwks = {
  configurationType: z.literal('jwks'),
  jwksUrl: JwksUrl,
  jwksCaCert: Trimmed.default(''),
  publicKeys: z.array(z.string()).default([]),
}
const fixed = {
  configurationType: z.literal('static'),
  jwksUrl: Trimmed.max(MAX_URL).default(''),
  jwksCaCert: Trimmed.default(''),
  publicKeys: z.array(z.string().min(1)).min(1),
}

/** The bounds that were sent; those of an update are checked again together with what is stored. */
function checkSent(body: SomeBounds, context: z.RefinementCtx): void {
  for (const fault of boundsFaults(body)) context.addIssue({ ...fault })
}

export const JwtAuthCreate = z
  .discriminatedUnion('configurationType', [
    z.object({ ...jwks, ...created }),
    z.object({ ...fixed, ...created }),
  ])
  .superRefine(checkSent)
  .meta({ id: 'JwtAuthCreate' })
export type JwtAuthCreate = z.output<typeof JwtAuthCreate>

export const JwtAuthUpdate = z
  .discriminatedUnion('configurationType', [
    z.object({ ...jwks, ...updated }),
    z.object({ ...fixed, ...updated }),
  ])
  .superRefine(checkSent)
  .meta({ id: 'JwtAuthUpdate' })
export type JwtAuthUpdate = z.output<typeof JwtAuthUpdate>

const TrustedIpAnswer = z.object({
  ipAddress: z.string(),
  type: z.enum(['ipv4', 'ipv6']),
  prefix: z.int().optional().describe('Absent for a single address'),
})

const withoutSealed = {
  id: z.string(),
  accessTokenTTL: z.int(),
  accessTokenMaxTTL: z.int(),
  accessTokenNumUsesLimit: z.int(),
  accessTokenTrustedIps: z.array(TrustedIpAnswer),
  identityId: z.string(),
  configurationType: z.enum(['jwks', 'static']),
  jwksUrl: z.string(),
  boundIssuer: z.string(),
  boundAudiences: z.string(),
  boundClaims: z.record(z.string(), z.string()),
  boundSubject: z.string(),
  createdAt: TimeField,
  updatedAt: TimeField,
  accessTokenPeriod: z.literal(0),
}

export const JwtAuth = z
  .object({ ...withoutSealed, jwksCaCert: z.string(), publicKeys: z.array(z.string()) })
  .meta({ id: 'JwtAuth' })
export type JwtAuth = z.output<typeof JwtAuth>

export const JwtAuthAnswer = z.object({ identityJwtAuth: JwtAuth })
export const JwtAuthRevoked = z.object({ identityJwtAuth: z.object(withoutSealed) })

// Login and access tokens (sections 7, 9 and 10) ---------------------------------------------------------

const Slug = Trimmed.max(64).regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/, 'Expected a slug')

export const LoginBody = z.object({
  identityId: Trimmed,
  // Its size is judged by the login, which answers 401.
  jwt: Trimmed,
  organizationSlug: Slug.optional(),
})
export type LoginBody = z.output<typeof LoginBody>

export const TokenBody = z.object({ accessToken: Trimmed })

export const TokenAnswer = z
  .object({
    accessToken: z.string(),
    expiresIn: z.int().describe('Seconds; the lifetime that was signed'),
    accessTokenMaxTTL: z.int().describe('Seconds; as configured'),
    tokenType: z.literal('Bearer'),
  })
  .meta({ id: 'IdentityAccessToken' })
export type TokenAnswer = z.output<typeof TokenAnswer>

export const TokenRevoked = z.object({ message: z.string() })

// Identities (section 12) --------------------------------------------------------------------------------

const Metadata = z
  .array(
    z.object({
      key: Trimmed.min(1).max(MAX_NAME),
      value: Trimmed.min(1).max(MAX_VALUE),
    }),
  )
  .max(MAX_LIST)
/** Which names are roles is the access slice's to say. */
const RoleName = Trimmed.min(1).max(64)

const identity = z.object({
  name: Trimmed.min(1).max(MAX_NAME),
  role: RoleName,
  hasDeleteProtection: z.boolean(),
  metadata: Metadata.optional(),
})

export const IdentityCreate = identity
  .extend({
    organizationId: Trimmed.max(MAX_NAME).describe('Any is accepted: there is one organisation'),
    role: RoleName.default('no-access'),
    hasDeleteProtection: z.boolean().default(false),
  })
  .meta({ id: 'IdentityCreate' })
export type IdentityCreate = z.output<typeof IdentityCreate>

export const IdentityUpdate = identity.partial().meta({ id: 'IdentityUpdate' })
export type IdentityUpdate = z.output<typeof IdentityUpdate>

export const IdentityQuery = z.object({ orgId: Trimmed.optional() })

const MetadataAnswer = z.array(z.object({ key: z.string(), value: z.string() }))
const AuthMethods = z.array(z.string()).describe('`jwt-auth` while a configuration is attached')

export const Identity = z
  .object({
    id: z.string(),
    name: z.string(),
    authMethod: z.null(),
    orgId: z.string(),
    hasDeleteProtection: z.boolean(),
    createdAt: TimeField,
    updatedAt: TimeField,
    authMethods: AuthMethods,
    metadata: MetadataAnswer,
  })
  .meta({ id: 'Identity' })
export type Identity = z.output<typeof Identity>

export const Membership = z
  .object({
    id: z.string(),
    role: z.string(),
    roleId: z.null(),
    orgId: z.string(),
    identityId: z.string(),
    createdAt: TimeField,
    updatedAt: TimeField,
    lastLoginAuthMethod: z.string().nullable(),
    lastLoginTime: TimeField.nullable(),
    metadata: MetadataAnswer,
    identity: z.object({
      id: z.string(),
      name: z.string(),
      orgId: z.string(),
      hasDeleteProtection: z.boolean(),
      authMethods: AuthMethods,
      activeLockoutAuthMethods: z.array(z.string()).max(0),
    }),
  })
  .meta({ id: 'IdentityMembership' })
export type Membership = z.output<typeof Membership>

export const IdentityAnswer = z.object({ identity: Identity })
export const MembershipAnswer = z.object({ identity: Membership })
export const MembershipList = z.object({ identities: z.array(Membership), totalCount: z.int() })

export const IdentityDetails = z.object({
  identityDetails: z.object({
    organization: z.object({ id: z.string(), name: z.string(), slug: z.string() }),
  }),
})

export const ErrorEnvelope = z
  .object({
    reqId: z.string().describe('Also in the log'),
    statusCode: z.int(),
    message: z.union([z.string(), z.array(z.unknown())]).describe('A list where a body is refused'),
    error: z.string().describe('A name for programs, such as `UnauthorizedError`'),
    details: z.unknown().optional(),
  })
  .meta({ id: 'IdentityError' })

// Explanation: our own API ---------------------------------------------------------------------------------

export const IdParams = z.object({ id: Trimmed })

export const ExplainBody = z.strictObject({ jwt: Trimmed }).meta({ id: 'ExplainLogin' })

export const Explanation = z
  .object({
    ok: z.boolean().describe('Whether a login with this JWT would pass now'),
    checks: z.array(
      z.object({
        name: z.string(),
        ok: z.boolean(),
        claim: z.string().optional().describe('The claim that was looked at'),
        rule: z.string().optional().describe('What the configuration says of it'),
        reason: z.string().optional().describe('Why the check failed'),
      }),
    ),
  })
  .meta({ id: 'LoginExplanation' })
