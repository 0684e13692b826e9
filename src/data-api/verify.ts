import {
  type CheckSignature,
  fits,
  isAlgorithm,
  isHmacAlgorithm,
  parseJsonStrict,
  screenAnyAlgorithm,
  type Verdict,
  type VerificationKey,
  verifyHmacToken,
  verifyToken,
} from '../core/index.ts'
import { isProblem } from '../errors.ts'
import type { DataApiKey } from './key-set.ts'
import type { StaticKeys } from './static-file.ts'

// Whether a token counts on the data API, and whose it is (contract section 7).

/** Seconds. */
const SKEW = 60

export interface TokenRules {
  /** The active set; undefined: none was ever loaded. */
  keys: readonly DataApiKey[] | undefined
  fixed: StaticKeys
  /** `jwks_username_field`, `jwks_require_audience`. */
  usernameField: string
  audience: string
  /** NumericDate. */
  now: number
  check?: CheckSignature | undefined
}

export interface NamedVerdict {
  valid: boolean
  header?: Record<string, unknown>
  claims?: Record<string, unknown>
  checks: { name: string; ok: boolean; reason?: string }[]
  /** Only where all else is right. */
  user?: string
  /** Whether it came from the set, and not from the static file. */
  fromSet?: boolean
}

/**
 * Checks a token with the set, and with the static file only where no key of the set is meant. Never throws for what
 * the token contains.
 */
export async function verifyDataToken(token: string, rules: TokenRules): Promise<NamedVerdict> {
  const peeked = peek(token)
  const inSet = peeked ? candidates(rules.keys ?? [], peeked) : []
  const isOfSet = rules.fixed.methods.length === 0 || inSet.some((key) => isMeant(key, peeked))
  const verdict = isOfSet
    ? await withSet(token, inSet, peeked, rules)
    : await withFile(token, rules)
  const field = isOfSet ? rules.usernameField : (rules.fixed.usernameClaim ?? rules.usernameField)
  return { ...named(verdict, field), fromSet: isOfSet }
}

interface Peeked {
  kid: string | undefined
  alg: string
  /** Unverified: it only leaves keys out, and after the check it is what it was. */
  iss: unknown
}

function peek(token: string): Peeked | undefined {
  try {
    const { header, payload } = screenAnyAlgorithm(token)
    const claims: unknown = parseJsonStrict(payload)
    const iss =
      typeof claims === 'object' && claims !== null && 'iss' in claims ? claims.iss : undefined
    return { kid: typeof header.kid === 'string' ? header.kid : undefined, alg: header.alg, iss }
  } catch (error) {
    if (isProblem(error)) return undefined
    throw error
  }
}

const candidates = (keys: readonly DataApiKey[], { kid }: Peeked): DataApiKey[] =>
  kid === undefined ? [...keys] : keys.filter((key) => key.kid === kid)

/** Whether a candidate keeps a token from the file: by its name, or without one, by what its algorithm fits. */
const isMeant = ({ key, alg: bound }: DataApiKey, peeked: Peeked | undefined): boolean => {
  const { kid, alg = '' } = peeked ?? {}
  if (kid !== undefined) return true
  return isAlgorithm(alg) && (bound === undefined || bound === alg) && fits(key, alg)
}

async function withSet(
  token: string,
  inSet: readonly DataApiKey[],
  peeked: Peeked | undefined,
  rules: TokenRules,
): Promise<Verdict> {
  const meant = inSet.filter(({ issuer }) => issuer === undefined || issuer === peeked?.iss)
  if (inSet.length > 0 && meant.length === 0) {
    return {
      valid: false,
      checks: [
        { name: 'format', ok: true },
        { name: 'iss', ok: false, reason: 'The key is for tokens of another issuer' },
      ],
    }
  }
  return verifyToken(token, { ...common(rules), keys: () => meant })
}

/** Keys of the file have no names: the algorithm chooses them. */
async function withFile(token: string, rules: TokenRules): Promise<Verdict> {
  const alg = peek(token)?.alg ?? ''
  const keys = rules.fixed.methods.filter(({ algorithms }) => algorithms.has(alg))
  if (isHmacAlgorithm(alg)) {
    const secrets = keys.flatMap(({ key }) => (key instanceof Uint8Array ? [key] : []))
    return verifyHmacToken(token, { ...common(rules), algorithms: [alg], secrets: () => secrets })
  }
  const pairs = keys.flatMap(({ key }) => (key instanceof Uint8Array ? [] : [key]))
  // Without a kid of their own: that of the token chooses nothing here.
  const nameless = pairs.map(({ key }): VerificationKey => ({ key }))
  return verifyToken(token, { ...common(rules), keys: () => nameless })
}

const common = ({ now, audience, check }: TokenRules) => ({
  ...{ now, skew: SKEW, requireExp: true, check },
  audience: audience === '' ? undefined : audience,
})

function named(verdict: Verdict, field: string): NamedVerdict {
  const { valid, header, claims, checks } = verdict
  const base: NamedVerdict = {
    valid,
    ...(header && { header }),
    ...(claims && { claims }),
    checks: [...checks],
  }
  if (!valid || !claims) return base
  const user = Object.hasOwn(claims, field) ? claims[field] : undefined
  if (typeof user === 'string' && user !== '') {
    return { ...base, user, checks: [...checks, { name: 'username', ok: true }] }
  }
  const reason = `The claim ${field} is not a user's name`
  return { ...base, valid: false, checks: [...checks, { name: 'username', ok: false, reason }] }
}
