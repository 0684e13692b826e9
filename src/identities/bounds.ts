import { type Budget, splitList } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { allows, claimAt, type Entry, isMissing, ownMember, parseEntry } from './claim-match.ts'

// The bounds of a configuration: which tokens it lets in (identity contract, sections 6 and 7, steps 6 to 9). Pure.
// Compiled when a configuration is written, and at the first login of an identity that is not in memory.

/** The bounds as they are configured; an empty text bounds nothing. */
export interface BoundsConfig {
  boundIssuer: string
  /** One pattern, never split at commas. */
  boundSubject: string
  /** A list of patterns. */
  boundAudiences: string
  /** Path → a list of patterns, which has an entry at least. */
  boundClaims: Readonly<Record<string, string>>
}

export type SomeBounds = { [Member in keyof BoundsConfig]?: BoundsConfig[Member] | undefined }

interface ListBound {
  rule: string
  entries: readonly Entry[]
}

export interface Bounds {
  issuer: string | undefined
  subject: ListBound | undefined
  audience: ListBound | undefined
  claims: readonly (ListBound & { path: string })[]
}

/** What is wrong with a configuration, and where: shaped like an issue of zod. */
export interface Fault {
  code: 'custom'
  path: string[]
  message: string
}

export type Denial =
  | 'issuer_mismatch'
  | 'missing_subject'
  | 'subject_not_allowed'
  | 'missing_audience'
  | 'audience_not_allowed'
  | 'missing_claim'
  | 'claim_mismatch'

export interface BoundCheck {
  name: 'issuer' | 'subject' | 'audience' | 'claim'
  /** Of a claim. */
  path?: string
  /** The bound as it is configured. */
  rule: string
  ok: boolean
  /** There when not `ok`. */
  denial?: Denial
}

/** Of one configuration: all entries of all lists, and the characters of all bounds with their paths. */
export const MAX_ENTRIES = 256
export const MAX_SIZE = 16 * 1024
/** Of all matches of one token together: one of the longest pattern with the longest value, under 100 ms. */
const MAX_STEPS = 5_000_000

type Claims = Record<string, unknown>

/** The normal form of a list: its entries, trimmed, joined with a comma and a space. Idempotent. */
export const normaliseList = (text: string): string => splitList(text).join(', ')

/** Everything for which a configuration must be refused, in the order of its fields; what is left out bounds nothing. */
export const boundsFaults = (config: SomeBounds): Fault[] => compile(config).faults

/** Compiles bounds. Problem `invalid_request` with the `errors` that `boundsFaults` gives, where it gives any. */
export function parseBounds(config: BoundsConfig): Bounds {
  const { bounds, faults } = compile(config)
  const [first] = faults
  if (first === undefined) return bounds
  const detail = `${first.path.join('.')}: ${first.message}`
  throw new Problem('invalid_request', detail, { extra: { errors: faults } })
}

function compile(config: SomeBounds): { bounds: Bounds; faults: Fault[] } {
  const { boundIssuer = '', boundSubject = '', boundAudiences = '', boundClaims = {} } = config
  const faults: Fault[] = []
  const fault = (path: string[], message: string) => faults.push({ code: 'custom', path, message })
  let entriesLeft = MAX_ENTRIES
  let sizeLeft = MAX_SIZE

  /** Says at most once that there is too much, at the field that made it so. */
  function spend(path: string[], size: number, entries: number): void {
    if (entriesLeft >= 0 && entries > entriesLeft) {
      fault(path, `At most ${MAX_ENTRIES} entries in all bounds together`)
    }
    if (sizeLeft >= 0 && size > sizeLeft) {
      fault(path, `At most ${MAX_SIZE} characters in all bounds together`)
    }
    entriesLeft -= entries
    sizeLeft -= size
  }

  function listBound(path: string[], rule: string, texts: readonly string[]): ListBound {
    spend(path, rule.length, texts.length)
    const entries: Entry[] = []
    for (const text of texts) {
      try {
        entries.push(parseEntry(text))
      } catch (error) {
        if (!isProblem(error, 'invalid_request')) throw error
        fault(path, error.detail)
      }
    }
    return { rule, entries }
  }

  function claimBound([path, rule]: [path: string, rule: string]) {
    const at = ['boundClaims', path]
    const texts = splitList(rule)
    if (path === '__proto__') fault(at, 'No claim of this name is ever read')
    if (texts.length === 0) fault(at, 'Expected an entry at least')
    spend(at, path.length, 0)
    return { path, ...listBound(at, rule, texts) }
  }

  spend(['boundIssuer'], boundIssuer.length, 0)
  const audiences = splitList(boundAudiences)
  const bounds: Bounds = {
    issuer: boundIssuer === '' ? undefined : boundIssuer,
    subject:
      boundSubject === '' ? undefined : listBound(['boundSubject'], boundSubject, [boundSubject]),
    audience:
      audiences.length === 0 ? undefined : listBound(['boundAudiences'], boundAudiences, audiences),
    claims: Object.entries(boundClaims).map(claimBound),
  }
  return { bounds, faults }
}

const OWN = /[{},]|[^\0-\x7f]/

/** Bytes that a text of patterns takes at most when it is compiled; measured, rounded up. */
function patternWeight(text: string): number {
  // What is no ordinary character is a state of its own, and so may be each character of a class.
  const own = OWN.test(text) ? text.split(OWN).length : 0
  return 512 + (text.includes('[') ? 120 : 16) * text.length + 256 * own
}

/** Bytes that `parseBounds` makes of it, at most. */
export const boundsWeight = ({ boundSubject, boundAudiences, boundClaims }: BoundsConfig): number =>
  [boundSubject, boundAudiences, ...Object.entries(boundClaims).flat()].reduce(
    (sum, text) => sum + patternWeight(text),
    0,
  )

/** Whether every token that verifies passes, from whichever issuer of the keys: no bound on subject, audience or claims. */
export const isUnbounded = ({ subject, audience, claims }: Bounds): boolean =>
  subject === undefined && audience === undefined && claims.length === 0

/**
 * Every check of the claims of a verified token, in the order of the contract: issuer, subject, audience, claims as
 * they are listed. All are made; a login is decided by the first that is not `ok`, and passes when there is none.
 */
export function checkBounds(bounds: Bounds, claims: Record<string, unknown>): BoundCheck[] {
  const { issuer, subject, audience } = bounds
  const checks: BoundCheck[] = []
  const budget: Budget = { steps: MAX_STEPS }
  const add = (about: Pick<BoundCheck, 'name' | 'path' | 'rule'>, denial: Denial | undefined) => {
    checks.push(denial === undefined ? { ...about, ok: true } : { ...about, ok: false, denial })
  }
  if (issuer !== undefined) {
    const same = ownMember(claims, 'iss') === issuer
    add({ name: 'issuer', rule: issuer }, same ? undefined : 'issuer_mismatch')
  }
  if (subject) add({ name: 'subject', rule: subject.rule }, subjectDenial(subject, claims, budget))
  if (audience)
    add({ name: 'audience', rule: audience.rule }, audienceDenial(audience, claims, budget))
  for (const bound of bounds.claims) {
    add({ name: 'claim', path: bound.path, rule: bound.rule }, claimDenial(bound, claims, budget))
  }
  return checks
}

/** `sub` is a string (RFC 7519 section 4.1.2): a number or an array is nobody's name. */
function subjectDenial({ entries }: ListBound, claims: Claims, budget: Budget) {
  const sub = ownMember(claims, 'sub')
  if (isMissing(sub)) return 'missing_subject'
  return typeof sub === 'string' && allows(entries, sub, budget) ? undefined : 'subject_not_allowed'
}

/** `aud` is a string or an array of strings (RFC 7519 section 4.1.3); one odd member spoils it. */
function audienceDenial({ entries }: ListBound, claims: Claims, budget: Budget) {
  const aud = ownMember(claims, 'aud')
  if (isMissing(aud)) return 'missing_audience'
  const members: unknown[] = Array.isArray(aud) ? aud : [aud]
  const isWellFormed = members.every((member) => typeof member === 'string')
  return isWellFormed && allows(entries, members, budget) ? undefined : 'audience_not_allowed'
}

function claimDenial({ path, entries }: Bounds['claims'][number], claims: Claims, budget: Budget) {
  const value = claimAt(claims, path)
  if (isMissing(value)) return 'missing_claim'
  return allows(entries, value, budget) ? undefined : 'claim_mismatch'
}
