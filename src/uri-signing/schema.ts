import { z } from 'zod'
import { DurationField, NameField, TimeField } from '../http/fields.ts'
import { toSeconds } from '../time.ts'
import { MAX_URI } from './uri.ts'

// The wire shapes of our own delivery-service API (product.md section 6).

/** NumericDate: the end of the year 9999, the last that RFC 3339 can write. */
const LAST_DATE = 253_402_300_799

const SecondsField = DurationField.transform(toSeconds)
/** What is stored is compared exactly; what no service can be called is simply not found. */
const AnyXmlId = z.string().min(1).max(256).describe('Name of a delivery service')
/**
 * Traffic Ops takes 1 to 48 characters without space or period. These are also in file names, in remap rules and in
 * grants, so only what is harmless in all of them is taken.
 */
const NewXmlId = z
  .string()
  .regex(
    /^[A-Za-z0-9_:~+=,-]{1,48}$/,
    'Expected 1 to 48 letters, digits and _ : ~ + = , - without space or period',
  )
const IssuerField = z
  .string()
  .min(1)
  .max(1024)
  .describe('Name in the key document; `iss` of tokens')
const KidField = z.string().min(1).max(256)
const NewKidField = z
  .string()
  .regex(/^[A-Za-z0-9._~-]{1,64}$/, 'Expected 1 to 64 letters, digits and . _ ~ -')
  .describe('Default: a new random one')
const ALGORITHMS = ['HS256', 'HS384', 'HS512', 'ES256', 'RS256'] as const
const AlgorithmField = z.enum(ALGORITHMS)

export const ServiceParams = z.strictObject({ xml_id: AnyXmlId })
export const NewServiceParams = z.strictObject({ xml_id: NewXmlId })

export const ServiceWriteBody = z
  .strictObject({ tenant: NameField, cdn: z.string().min(1).max(128).optional() })
  .meta({ id: 'DeliveryServiceWrite' })

const KeysField = z.object({
  version: z.int(),
  etag: z.string().describe('Of the whole document; for If-Match'),
  updatedAt: TimeField,
  updatedBy: z.string(),
})

export const ServiceDocument = z
  .object({
    xmlId: z.string(),
    tenant: z.string(),
    cdn: z.string().nullable(),
    createdAt: TimeField,
    keys: KeysField.nullable().describe('Null: it has none'),
  })
  .meta({ id: 'DeliveryService' })

export const ServiceList = z.object({
  deliveryServices: z.array(ServiceDocument),
  next: z.string().nullable().describe('`after` of the next page; null on the last one'),
})

export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  after: z.string().max(256).optional().describe('Only those behind this xml_id'),
})

export const CacheConfigQuery = z.strictObject({
  public: z
    .enum(['true', 'false'])
    .default('false')
    .describe('`true`: without the private halves of RS, PS and ES keys, but for the renewal key'),
})

export const WrittenDocument = z
  .object({ version: z.int(), etag: z.string(), updatedAt: TimeField })
  .meta({ id: 'KeyDocumentWritten' })

export const VersionList = z.object({
  versions: z.array(
    z.object({
      version: z.int(),
      origin: z.enum(['stored', 'removed', 'generated', 'copied', 'rolled-back', 'rotated']),
      hasKeys: z.boolean(),
      createdAt: TimeField,
      createdBy: z.string(),
    }),
  ),
})

export const RollbackBody = z.strictObject({ version: z.int().min(1) })
export const CopyBody = z.strictObject({ from: AnyXmlId })
export const GenerateBody = z
  .strictObject({
    issuer: IssuerField,
    algorithm: AlgorithmField.default('HS256'),
    kid: NewKidField.optional(),
  })
  .meta({ id: 'GenerateKeys' })
export const GeneratedDocument = WrittenDocument.extend({
  issuer: z.string(),
  kid: z.string(),
  algorithm: z.string(),
}).meta({ id: 'KeysGenerated' })

export const Findings = z
  .object({
    ok: z.boolean().describe('No finding is an error'),
    findings: z.array(
      z.object({
        severity: z.enum(['error', 'warning']),
        rule: z.string(),
        issuer: z.string().optional(),
        kid: z.string().optional(),
        message: z.string(),
      }),
    ),
  })
  .meta({ id: 'KeyDocumentFindings' })

export const SignUriBody = z
  .strictObject({
    uri: z.string().min(1).max(MAX_URI),
    ttl: SecondsField,
    issuer: IssuerField.optional().describe('Default: the one with the renewal key'),
    kid: KidField.optional().describe('Default: the key that signs now'),
    container: z
      .enum(['exact', 'any-query', 'below', 'hash'])
      .optional()
      .describe(
        'What the token is good for; default `exact`. Caches of Traffic Server refuse `hash`',
      ),
    placement: z
      .enum(['query', 'path-parameter', 'path-segment', 'cookie'])
      .optional()
      .describe('Where the token goes; default `query`'),
    nbf: z.int().min(0).optional().describe('NumericDate'),
    renewable: z.boolean().optional().describe('Caches renew it by cookie'),
    renewalTtl: SecondsField.optional().describe('Lifetime of a renewed token; default: `ttl`'),
    renewalDepth: z.int().min(0).max(100).optional().describe('Segments of the path of the cookie'),
    audience: z
      .union([z.string().min(1).max(1024), z.array(z.string().min(1).max(1024)).min(1).max(20)])
      .optional(),
  })
  .meta({ id: 'SignUri' })

const MAX_BATCH = 1000
export const SignUriRequestBody = z.union([
  SignUriBody,
  z.strictObject({ batch: z.array(SignUriBody).min(1).max(MAX_BATCH) }),
])

export const SignedUriDocument = z
  .object({
    uri: z.string().describe('With its token, but for placement `cookie`'),
    token: z.string(),
    kid: z.string(),
    exp: z.int().describe('NumericDate'),
  })
  .meta({ id: 'SignedUri' })
export const SignUriAnswer = z.union([
  SignedUriDocument,
  z.object({ batch: z.array(SignedUriDocument) }),
])

export const VerifyUriBody = z
  .strictObject({
    uri: z
      .string()
      .min(1)
      .max(64 * 1024),
    cookies: z
      .union([z.string().max(32 * 1024), z.array(z.string().max(32 * 1024)).max(10)])
      .optional()
      .describe('Values of Cookie header fields'),
    renew: z
      .boolean()
      .optional()
      .describe(
        'Answer with the renewed token of a cache, too; who may verify and not sign may not ask for it',
      ),
  })
  .meta({ id: 'VerifyUri' })

export const UriVerdictDocument = z
  .object({
    code: z.int().describe('RFC 9246 section 6.4; 200: verified'),
    reason: z.string(),
    claims: z.record(z.string(), z.unknown()).optional(),
    checks: z.array(z.object({ name: z.string(), ok: z.boolean(), reason: z.string().optional() })),
    renewal: z
      .object({ token: z.string(), path: z.string(), setCookie: z.string() })
      .nullable()
      .optional()
      .describe(
        'If it was asked for: what a cache answers with (RFC 9246 section 3); null: nothing',
      ),
  })
  .meta({ id: 'UriVerdict' })

/** Seconds that caches have to load a new key when nobody says that they have: a day, as relying parties are given. */
const ANNOUNCE = 86_400

const Advance = z.strictObject({
  issuer: IssuerField.optional(),
  step: z.enum(['sign', 'renew', 'remove']).describe('Take this step now, if it is safe'),
})
const Cancel = z.strictObject({ issuer: IssuerField.optional(), cancel: z.literal(true) })
const Start = z.strictObject({
  issuer: IssuerField.optional().describe('Default: the one with the renewal key'),
  kid: KidField.optional().describe('The key to replace; default: the one that signs'),
  algorithm: AlgorithmField.optional().describe('Default: that of the key that is replaced'),
  newKid: NewKidField.optional(),
  announceFor: SecondsField.default(ANNOUNCE).describe(
    'How long caches are given to load the new key, unless it is attested that they have; default 24h',
  ),
  automatic: z.boolean().default(true).describe('Steps are taken when they are safe'),
})
/** What no body at all asks for. */
export const ROTATE_BY_DEFAULT = Start.parse({})
export const RotateUriBody = z.union([Advance, Cancel, Start]).meta({ id: 'RotateUriKeys' })

export const AttestBody = z
  .strictObject({
    issuer: IssuerField.optional(),
    cachesReloadedAt: z.iso
      .datetime({ offset: true })
      .describe('All caches had loaded the document of then, or a later one'),
    othersUntil: z
      .int()
      .min(0)
      .max(LAST_DATE)
      .optional()
      .describe(
        'NumericDate: the last `exp` that others signed with the old key; default: as attested before, else 0',
      ),
    othersRenewalTtl: SecondsField.optional().describe(
      'The longest `cdniets` others put into tokens; default: as attested before, else 0',
    ),
  })
  .meta({ id: 'AttestUriKeys' })

const time = () => TimeField.nullable()

export const UriPlan = z
  .object({
    rotations: z.array(
      z.object({
        issuer: z.string(),
        oldKid: z.string(),
        newKid: z.string(),
        state: z.enum(['announced', 'signing', 'retiring', 'done', 'cancelled']),
        automatic: z.boolean(),
        startedBy: z.string(),
        cachesReloadedAt: time().describe('As it was attested'),
        attestedBy: z.string().nullable(),
        steps: z.array(
          z.object({
            step: z.enum(['add', 'sign', 'renew', 'remove']),
            doneAt: time(),
            safeAt: time().describe(
              'From when on it can be taken; null: something else comes first',
            ),
            why: z.string(),
          }),
        ),
      }),
    ),
  })
  .meta({ id: 'UriKeysPlan' })

// The Traffic Ops surface, for the documentation only: its handlers take bytes and give bytes.

export const Alerts = z
  .object({
    alerts: z.array(
      z.object({ text: z.string(), level: z.enum(['success', 'info', 'warning', 'error']) }),
    ),
  })
  .meta({ id: 'TrafficOpsAlerts', description: 'What Traffic Ops says beside documents' })

export const TrafficOpsLogin = z
  .object({ u: z.string().describe('Name'), p: z.string().describe('Password') })
  .meta({ id: 'TrafficOpsLogin' })

export const TrafficOpsTokenLogin = z
  .object({ t: z.string().describe('Login token; it counts once') })
  .meta({ id: 'TrafficOpsTokenLogin' })

export const KeyDocumentText = z
  .record(z.string(), z.unknown())
  .meta({ id: 'UriKeyDocument', description: 'Issuer name → JWK Set; kept byte for byte' })

export const Pong = z.object({ ping: z.literal('pong') }).meta({ id: 'TrafficOpsPong' })
