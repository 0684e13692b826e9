import { z } from 'zod'
import { ALGORITHM_NAMES, type Algorithm } from '../core/index.ts'
import { DurationField, Int64Field, NameField, TimeField } from '../http/fields.ts'
import { toSeconds } from '../time.ts'

// The wire shapes of our own ring API (product.md section 6).

const AlgorithmField = z.enum(ALGORITHM_NAMES as [Algorithm, ...Algorithm[]]).meta({
  id: 'Algorithm',
  description: 'EdDSA and Ed25519 are one algorithm under two names (RFC 9864); ML-DSA: RFC 9964',
})
const SecondsField = DurationField.transform(toSeconds)
const ReasonField = z.string().trim().min(1).max(500)

export const RingParams = z.strictObject({ ring: NameField })
export const KeyParams = z.strictObject({ ring: NameField, kid: z.string().min(1).max(512) })
export const ProfileParams = z.strictObject({ ring: NameField, name: NameField })

export const RingCreate = z
  .strictObject({
    name: NameField,
    algorithms: z
      .tuple([AlgorithmField], AlgorithmField, { error: 'Expected a list such as ["ES256"]' })
      .refine((list) => new Set(list).size === list.length && list.length <= 8, {
        message: 'Expected 1 to 8 different algorithms',
      })
      .describe('The first is what `sign` uses when none is asked for'),
    rotationThreshold: DurationField.optional().describe(
      'How long a key signs; default: the setting',
    ),
    maxTokenTtl: SecondsField.optional(),
    jwksMaxAge: SecondsField.optional(),
    issuer: z
      .url({ protocol: /^https?$/ })
      .max(2000)
      .refine((text) => !/[?#\s]|\/\/[^/]*@/.test(text.slice(text.indexOf(':') + 1)), {
        message: 'Expected a URL without query, fragment or credentials',
      })
      .optional()
      .describe('Default: the issuer of the server with `/rings/NAME` below it'),
    exportable: z.boolean().optional(),
  })
  .meta({ id: 'RingCreate' })

export const RingDocument = z
  .object({
    name: z.string(),
    reserved: z.boolean(),
    algorithms: z.array(z.string()),
    issuer: z.string().nullable(),
    rotationThreshold: z.string().describe('Go-style duration'),
    maxTokenTtl: z.int().describe('Seconds'),
    exportable: z.boolean(),
    createdAt: TimeField,
    jwksPath: z.string(),
  })
  .meta({ id: 'Ring' })

const time = () => TimeField.nullable()

export const KeyDocument = z
  .object({
    kid: z.string(),
    alg: z.string(),
    state: z.enum(['next', 'active', 'retired', 'revoked']),
    published: z.boolean().describe('In the JWK Set'),
    standby: z.boolean().describe('The one that the next rotation makes active'),
    rekeying: z.boolean().describe('What it sealed is being sealed anew'),
    createdAt: TimeField,
    publishedAt: TimeField,
    activatesAt: time().describe('Planned activation of a key that waits'),
    activatedAt: time(),
    retiredAt: time(),
    withdrawnAt: time(),
    safeToActivateAt: time().describe('From when on no verifier can hold a set without it'),
    inUseUntil: time().describe('When the last token promised under it has expired everywhere'),
    withheld: z.string().nullable().describe('Why it is not published although it should be'),
  })
  .meta({ id: 'Key' })

export const PlanStep = z
  .object({
    kid: z.string(),
    step: z.enum(['activate', 'withdraw', 'delete']),
    at: time().describe('At the earliest; null while something without a date is in the way'),
    why: z.string(),
  })
  .meta({ id: 'PlanStep' })

export const RingList = z.object({ rings: z.array(RingDocument) })
export const KeyList = z.object({ keys: z.array(KeyDocument) })
export const PlanDocument = z.object({ plan: z.array(PlanStep) })

export const RotateBody = z
  .strictObject({
    activateAt: z.iso
      .datetime({ offset: true })
      .optional()
      .describe('Publish a key now and activate it then'),
    full: z.boolean().optional().describe('Seal anew what older keys seal, and show it'),
    force: z.boolean().optional().describe('Promote before it is safe; needs a reason'),
    reason: ReasonField.optional(),
    dryRun: z.boolean().optional(),
    algorithm: AlgorithmField.optional().describe('Only the keys of this algorithm'),
  })
  .meta({ id: 'Rotate' })

export const Rotated = z
  .object({
    keys: z.array(KeyDocument).describe('The keys that became active, or were scheduled'),
    plan: z.array(PlanStep),
  })
  .meta({ id: 'Rotated' })

const Claims = z.record(z.string().max(256), z.unknown())

export const SignBody = z
  .strictObject({
    claims: Claims,
    ttl: SecondsField,
    profile: NameField.optional(),
    typ: z.string().min(1).max(100).optional().describe('Default `JWT`'),
    header: z.record(z.string().max(256), z.unknown()).optional(),
    algorithm: AlgorithmField.optional().describe('Default: the first of the ring'),
  })
  .meta({ id: 'Sign' })

const MAX_BATCH = 1000
export const SignRequestBody = z.union(
  [SignBody, z.strictObject({ batch: z.array(SignBody).min(1).max(MAX_BATCH) })],
  { error: 'Expected {"claims": {…}, "ttl": "15m"}, or a batch of them' },
)

export const SignedDocument = z
  .object({ token: z.string(), kid: z.string(), exp: z.int().describe('NumericDate') })
  .meta({ id: 'Signed' })
export const SignAnswer = z.union([SignedDocument, z.object({ batch: z.array(SignedDocument) })])

export const VerifyBody = z
  .strictObject({
    token: z.string().max(1_000_000),
    with: z.union(
      [
        z.strictObject({ ring: NameField }),
        z.strictObject({ jwks: z.object({ keys: z.array(z.unknown()).max(100) }) }),
        z.strictObject({
          identityId: z
            .string()
            .min(1)
            .max(64)
            .describe('As a login of this identity would; takes `identity:read` as well'),
        }),
        z.strictObject({
          externalSecurity: z
            .string()
            .min(1)
            .max(255)
            .describe('Name of a configuration; its own rules are followed'),
        }),
        z.strictObject({
          dataApi: z.literal(true).describe('The set of jwks_setup, and the rules of the settings'),
        }),
      ],
      {
        error:
          'Expected {"ring": NAME}, {"jwks": {"keys": […]}}, {"identityId": ID}, {"externalSecurity": NAME} or {"dataApi": true}',
      },
    ),
    audience: z.string().max(2000).optional().describe('The token must be for it; ring and jwks'),
    issuer: z
      .string()
      .max(2000)
      .optional()
      .describe("Default: the ring's own issuer; ring and jwks"),
  })
  .refine(
    ({ with: source, audience, issuer }) =>
      'ring' in source || 'jwks' in source || (audience === undefined && issuer === undefined),
    { error: 'audience and issuer go with a ring or jwks; the others have rules of their own' },
  )
  .meta({ id: 'Verify' })

export const VerdictDocument = z
  .object({
    valid: z.boolean(),
    header: z.record(z.string(), z.unknown()).optional(),
    claims: z.record(z.string(), z.unknown()).optional(),
    checks: z.array(z.object({ name: z.string(), ok: z.boolean(), reason: z.string().optional() })),
  })
  .meta({ id: 'Verdict' })

/** Strict: a misspelt `aud` would check no audience at all. */
export const AuthQuery = z.strictObject({ aud: z.string().max(2000).optional() })

export const ProfileBody = z
  .strictObject({
    iss: z.string().min(1).max(2000).optional().describe('Default: the issuer of the ring'),
    sub: z.string().min(1).max(1024).describe('Pattern that `sub` must match'),
    aud: z.array(z.string().min(1).max(1024)).max(100).default([]),
    claims: z
      .strictObject({
        fixed: Claims.default({}).describe('Always set, as they are'),
        default: Claims.default({}).describe('Set when the request does not'),
        allowed: z.array(z.string().min(1).max(256)).max(100).default([]),
      })
      .default({ fixed: {}, default: {}, allowed: [] }),
    header: z.array(z.string().min(1).max(256)).max(20).default([]),
    typ: z.string().min(1).max(100).optional(),
    maxTtl: SecondsField,
  })
  .meta({ id: 'ProfileWrite' })

export const ProfileDocument = z
  .object({
    name: z.string(),
    iss: z.string().optional(),
    sub: z.string(),
    aud: z.array(z.string()),
    claims: z.object({
      fixed: z.record(z.string(), z.unknown()),
      default: z.record(z.string(), z.unknown()),
      allowed: z.array(z.string()),
    }),
    header: z.array(z.string()),
    typ: z.string().optional(),
    maxTtl: z.int().describe('Seconds'),
    createdAt: TimeField,
    updatedAt: TimeField,
  })
  .meta({ id: 'Profile' })

export const ProfileList = z.object({ profiles: z.array(ProfileDocument) })

export const RemoteSetDocument = z
  .object({
    source: z.string().describe('`jwks_setup`, or the id of the configuration that names it'),
    host: z.string(),
    keys: z.int(),
    ignored: z.int().describe('Entries of the set that cannot be used'),
    fetchedAt: time(),
    lastError: z.string().nullable().describe('null: the last attempt went well'),
    nextAttemptAt: time().describe('From when on it may be fetched again'),
  })
  .meta({ id: 'RemoteSet' })

export const StatusDocument = z
  .object({
    ready: z.boolean(),
    waitingFor: z.array(z.string()),
    rotationMode: z.enum(['safe', 'nomad']),
    index: z.string().describe('X-Nomad-Index'),
    heldQueries: z.int(),
    clockJump: z
      .object({ seenAt: TimeField, byMs: z.int() })
      .nullable()
      .describe('What cannot be undone waits until `POST /v1/clock/confirm`'),
    quarantined: z.array(z.string()).describe('Root keys that no KEK opens'),
    damaged: z.array(z.string()).describe('Sealed rows that do not open'),
    rings: z.array(
      z.object({
        name: z.string(),
        keys: z.int(),
        published: z.int(),
        jwksBytes: z.int(),
        activeSince: time(),
        nextStep: PlanStep.nullable(),
        warnings: z.array(z.string()),
      }),
    ),
    remoteSets: z
      .array(RemoteSetDocument)
      .describe('JWK Sets of others that tokens are checked with; failing ones first, at most 100'),
  })
  .meta({ id: 'Status' })

// Types of the same names, for files that know no zod.
export type KeyDocument = z.input<typeof KeyDocument>
export type PlanStep = z.input<typeof PlanStep>
export type ProfileDocument = z.input<typeof ProfileDocument>
export type RemoteSetDocument = z.input<typeof RemoteSetDocument>
export type RingDocument = z.input<typeof RingDocument>
export type RotateBody = z.output<typeof RotateBody>
export type StatusDocument = z.input<typeof StatusDocument>

export const ClockConfirm = z.strictObject({ reason: ReasonField }).meta({ id: 'ClockConfirm' })

// The Nomad wire (keyring contract section 2), for the documentation: its answers are written by hand, byte for byte.

const NomadKey = z
  .object({
    Algorithm: z.literal('aes256-gcm').describe('Of the data key'),
    CreateIndex: Int64Field,
    CreateTime: Int64Field.describe('Unix nanoseconds'),
    KeyID: z.string(),
    ModifyIndex: Int64Field,
    PublishTime: Int64Field.describe('Unix nanoseconds; 0: never prepublished'),
    State: z.enum(['active', 'inactive', 'rekeying', 'prepublished', 'deprecated']),
  })
  .meta({ id: 'NomadKey' })
export const NomadError = z.string().describe('One line')
export const NomadKeys = z.array(NomadKey)
export const NomadRotated = z.object({ Index: Int64Field, Key: NomadKey })
export const NomadDeleted = z.object({ Index: Int64Field })
