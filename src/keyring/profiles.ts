import { isDeepStrictEqual } from 'node:util'
import { literalOf, matches, type Pattern, parsePattern, RESERVED_HEADERS } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// May this holder mint these claims? Pure. Names are looked up as own properties only, in copies made once.

/** What the holders of a profile may sign. Patterns are those of `core/pattern.ts`. */
export interface Profile {
  /** The `iss` of the tokens; without it, the ring's. */
  iss?: string | undefined
  /** One pattern, never split at commas. Every request names a `sub` that matches. */
  sub: string
  /** Patterns. Each audience of a request matches one of them; with an empty list a request may name none. */
  aud: readonly string[]
  claims: {
    /** In every token; a request may repeat them, not change them. */
    fixed: Readonly<Record<string, unknown>>
    /** In the token unless the request says otherwise. */
    default: Readonly<Record<string, unknown>>
    /** Further names that a request may use, with any value. */
    allowed: readonly string[]
  }
  /** Names of the header parameters that a request may set. */
  header: readonly string[]
  /** The `typ` of every token. Without it a request may not set one. */
  typ?: string | undefined
  /** Whole seconds. */
  maxTtl: number
}

/** What a caller asks to have signed. */
export interface Minting {
  claims: Record<string, unknown>
  /** Seconds. */
  ttl: number
  typ?: string | undefined
  header?: Record<string, unknown> | undefined
}

export interface Minted {
  claims: Record<string, unknown>
  header: Record<string, unknown>
  typ?: string
  iss?: string
}

interface Bounds {
  sub: Pattern
  aud: readonly Pattern[]
}

const RESERVED_CLAIMS = ['iss', 'iat', 'nbf', 'exp', 'jti']

/** Some readers match member names without case and with Unicode folding: to them `Exp` and `iſs` are exp and iss. */
const fold = (name: string): string => name.normalize('NFKC').toLowerCase()
const isOneOf = (names: readonly string[]): ((name: string) => boolean) => {
  const folded = new Set(names.map(fold))
  return (name) => folded.has(fold(name))
}
const isReservedClaim = isOneOf(RESERVED_CLAIMS)
const isBoundedClaim = isOneOf(['sub', 'aud'])
const isReservedHeader = isOneOf([...RESERVED_HEADERS, 'typ', '__proto__'])

const invalid = (reason: string) => new Problem('invalid_request', reason)
const violation = (reason: string) => new Problem('profile_violation', reason)
const shown = (name: string): string => (name.length > 64 ? `${name.slice(0, 64)}…` : name)

/**
 * What holds for every request, with a profile or without. Problem `claim_reserved` with `claim` for a claim that the
 * server sets, in any spelling; `invalid_request` for a header parameter that no caller may set and for a ttl that is
 * no positive number.
 */
export function checkUnprofiled({ claims, ttl, typ, header = {} }: Minting): void {
  for (const claim of Object.keys(claims)) {
    if (claim === '__proto__') throw invalid('A claim cannot be named __proto__')
    if (!isReservedClaim(claim)) continue
    throw new Problem('claim_reserved', `The claim ${claim} is set by the server`, {
      extra: { claim },
    })
  }
  const name = Object.keys(header).find(isReservedHeader)
  if (name !== undefined) throw invalid(`The header cannot set ${name}`)
  if (typ !== undefined && typeof typ !== 'string') throw invalid('The typ of a token is text')
  if (!Number.isFinite(ttl) || ttl <= 0) throw invalid('The ttl is not a positive time')
}

/**
 * What to sign for a request under a profile; `checkUnprofiled` is part of it. Problem `profile_violation` for whatever
 * the profile does not allow, `ttl_too_long` with `maxTtl` in seconds, `invalid_request` for a profile that is not valid.
 */
export function applyProfile(profile: Profile, asked: Minting): Minted {
  checkUnprofiled(asked)
  const bounds = boundsOf(profile)
  const { iss, maxTtl } = profile
  if (asked.ttl > maxTtl) {
    throw new Problem('ttl_too_long', `The profile allows ${maxTtl} seconds`, { extra: { maxTtl } })
  }
  const typ = typOf(profile, asked)
  const given = entriesOf(asked.claims)
  const sub = subjectOf(given.get('sub'), bounds)
  const aud = audienceOf(given.get('aud'), bounds)
  return {
    claims: {
      sub,
      ...(aud !== undefined && { aud }),
      ...profile.claims.default,
      ...Object.fromEntries(othersOf(given, profile)),
      ...profile.claims.fixed,
    },
    header: Object.fromEntries(headerOf(asked, profile)),
    ...(typ !== undefined && { typ }),
    ...(iss !== undefined && { iss }),
  }
}

/** An undefined value is an absent member, as in JSON. */
const entriesOf = (record: Record<string, unknown>): Map<string, unknown> =>
  new Map(Object.entries(record).filter(([, value]) => value !== undefined))

function typOf({ typ }: Profile, asked: Minting): string | undefined {
  if (asked.typ === undefined || asked.typ === typ) return typ
  throw violation(typ === undefined ? 'The profile sets no typ' : `The profile sets typ ${typ}`)
}

function subjectOf(sub: unknown, bounds: Bounds): string {
  if (typeof sub !== 'string' || sub === '') throw violation('The profile needs a sub, as text')
  if (!matches(bounds.sub, sub)) throw violation('The profile does not allow this sub')
  return sub
}

/** Characters × states to visit: about 50 ms, in which nobody else is served. */
const MAX_COST = 2_000_000

function costOf(asked: unknown, patterns: readonly Pattern[]): number {
  const texts = [asked].flat().filter((each) => typeof each === 'string')
  const characters = texts.reduce((sum, { length }) => sum + length, 0)
  return characters * patterns.reduce((sum, { states }) => sum + states.length, 0)
}

/** One audience stays text and a list stays a list. A request that names none gets the profile's, if it is one text. */
function audienceOf(asked: unknown, { aud }: Bounds): string | string[] | undefined {
  const allowed = (each: unknown): each is string =>
    typeof each === 'string' && each !== '' && aud.some((pattern) => matches(pattern, each))
  if (asked === undefined) return soleAudience(aud)
  if (costOf(asked, aud) > MAX_COST) throw violation('The aud is too long for this profile')
  if (allowed(asked)) return asked
  if (!Array.isArray(asked) || asked.length === 0) throw violation('The profile does not allow aud')
  return Array.from(asked, (each: unknown) => {
    if (!allowed(each)) throw violation('The profile does not allow every aud')
    return each
  })
}

function soleAudience([first, ...others]: readonly Pattern[]): string | undefined {
  if (first === undefined) return undefined
  const literal = others.length === 0 ? literalOf(first) : undefined
  if (literal === undefined) throw violation('The profile has several audiences; name one in aud')
  return literal
}

function othersOf(given: Map<string, unknown>, { claims }: Profile): [string, unknown][] {
  const others = [...given].filter(([name]) => name !== 'sub' && name !== 'aud')
  for (const [name, value] of others) {
    if (Object.hasOwn(claims.fixed, name)) {
      if (isDeepStrictEqual(value, claims.fixed[name])) continue
      throw violation(`The profile fixes the claim ${shown(name)} to another value`)
    }
    if (Object.hasOwn(claims.default, name) || claims.allowed.includes(name)) continue
    throw violation(`The profile does not allow the claim ${shown(name)}`)
  }
  return others
}

function headerOf({ header = {} }: Minting, profile: Profile): Map<string, unknown> {
  const given = entriesOf(header)
  for (const name of given.keys()) {
    if (profile.header.includes(name)) continue
    throw violation(`The profile does not allow the header parameter ${shown(name)}`)
  }
  return given
}

/** By profile object: whoever keeps a profile keeps its automata. A profile is not changed after its first use. */
const known = new WeakMap<Profile, Bounds>()

function boundsOf(profile: Profile): Bounds {
  const bounds = known.get(profile) ?? compile(profile)
  known.set(profile, bounds)
  return bounds
}

/** Problem `invalid_request` with `errors`, each a path and a message, for a profile that is not valid. */
export function validateProfile(profile: Profile): void {
  compile(profile)
}

function compile(profile: Profile): Bounds {
  const errors: { path: string; message: string }[] = []
  const fault = (path: string, message: string) => errors.push({ path: `body/${path}`, message })
  const pattern = (path: string, text: string): Pattern[] => {
    if (text === '') fault(path, 'must not be empty')
    try {
      return [parsePattern(text)]
    } catch (error) {
      if (!isProblem(error, 'invalid_request')) throw error
      fault(path, error.detail)
      return []
    }
  }

  const [sub] = pattern('sub', profile.sub)
  const aud = profile.aud.flatMap((text, at) => pattern(`aud/${at}`, text))
  const { fixed, default: defaults, allowed } = profile.claims
  for (const name of Object.keys(fixed)) {
    if (Object.hasOwn(defaults, name) || allowed.includes(name)) {
      fault('claims/fixed', `${shown(name)} cannot be fixed and free`)
    }
  }
  const names = { fixed: Object.keys(fixed), default: Object.keys(defaults), allowed }
  for (const [member, list] of Object.entries(names)) {
    for (const name of list) {
      const message = claimFault(name)
      if (message) fault(`claims/${member}`, message)
    }
  }
  for (const name of profile.header) {
    if (isReservedHeader(name)) fault('header', `${name} cannot be set by a request`)
  }
  if (profile.iss === '') fault('iss', 'must not be empty')
  if (profile.typ === '') fault('typ', 'must not be empty')
  if (!Number.isSafeInteger(profile.maxTtl) || profile.maxTtl <= 0) {
    fault('maxTtl', 'must be a whole number of seconds above 0')
  }

  const [first] = errors
  if (first === undefined && sub !== undefined) return { sub, aud }
  throw new Problem('invalid_request', first && `${first.path}: ${first.message}`, {
    extra: { errors },
  })
}

function claimFault(name: string): string | undefined {
  if (name === '__proto__') return 'a claim cannot be named __proto__'
  if (isReservedClaim(name)) return `${name} is set by the server`
  return isBoundedClaim(name) ? `${name} is a member of the profile itself` : undefined
}
