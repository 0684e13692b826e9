import { isProblem } from '../errors.ts'
import { fitsKey, isUriAlgorithm, type UriAlgorithm } from './algorithms.ts'
import type { DocumentKey, IssuerSet, KeyDocument } from './document.ts'
import { compileEre } from './ere.ts'
import { childOf, type JsonNode, stringOf } from './json-tree.ts'
import { badlyEncoded, importKey, tooShort } from './key-material.ts'

// What a cache must be given (contract section 6.2): documents that Traffic Ops stores, and that take a cache down,
// are ignored by it, or weaken it. `strict` reports the first fault, lint all of them.

export interface Fault {
  rule: string
  issuer?: string
  kid?: string
  /** What the alert says after `invalid keyset: `. */
  reason: string
  /** What becomes of it, and what to do; for lint. */
  advice: string
}

export function firstFault(document: KeyDocument): string | undefined {
  for (const { reason } of faultsOf(document)) return reason
  return undefined
}

const TAKES_DOWN =
  'a cache that loads this keeps its old rules on reload and does not start at all on start'

/** Every fault, lazily and in the order of the document. */
export function* faultsOf({ issuers, json }: KeyDocument): Generator<Fault> {
  if (json.quirk !== undefined) {
    yield {
      rule: json.quirk.startsWith('duplicate') ? 'duplicate-member' : 'unportable-json',
      reason: json.quirk,
      advice: `JSON readers disagree about it or refuse it: ${TAKES_DOWN}, or reads another key than you see. Remove it.`,
    }
  }
  const excess = excessOf(issuers)
  if (excess) {
    yield excess
    return
  }
  for (const set of issuers.values()) {
    for (const fault of setFaults(set)) yield { issuer: set.issuer, ...fault }
    const seen = new Set<string>()
    for (const key of set.keys) {
      const found = keyFault(key, set, seen.has(key.kid))
      if (found) yield { issuer: set.issuer, kid: key.kid, ...found }
      seen.add(key.kid)
    }
  }
}

/** What is checked costs up to 2 ms each, on the thread that serves everybody. */
const MAX_PAIRS = 100
export const MAX_DIRECTIVES = 200

function excessOf(issuers: KeyDocument['issuers']): Fault | undefined {
  const sets = [...issuers.values()]
  const pairs = sets.flatMap(({ keys }) => keys.filter(({ kty }) => kty !== 'oct')).length
  const directives = sets.reduce((sum, { set }) => {
    const list = childOf(set, 'auth_directives')
    return sum + (list?.is === 'array' ? list.items.length : 0)
  }, 0)
  if (pairs <= MAX_PAIRS && directives <= MAX_DIRECTIVES) return undefined
  const what = pairs > MAX_PAIRS ? `${MAX_PAIRS} key pairs` : `${MAX_DIRECTIVES} auth_directives`
  return {
    rule: 'too-many',
    reason: `more than ${what}`,
    advice: 'Nothing more was checked. Split the document between delivery services.',
  }
}

function* setFaults({ set }: IssuerSet): Generator<Fault> {
  if (childOf(set, 'keys')?.is !== 'array') {
    yield {
      rule: 'keys-not-array',
      reason: 'keys must be an array',
      advice: `A cache wants {"keys": […]} for each issuer: ${TAKES_DOWN}.`,
    }
  }
  const strip = childOf(set, 'strip_token')
  if (strip && strip.is !== 'boolean') {
    yield {
      rule: 'strip-token-type',
      reason: 'strip_token must be boolean',
      advice:
        'A cache ignores it, and sends tokens upstream and into its cache keys. Write true or false.',
    }
  }
  const id = childOf(set, 'id')
  if (id && id.is !== 'string') {
    yield {
      rule: 'id-type',
      reason: 'id must be a string',
      advice: 'A cache ignores it, and then refuses every token that has an aud.',
    }
  }
  const directives = childOf(set, 'auth_directives')
  if (directives) yield* directiveFaults(directives)
}

function* directiveFaults(directives: JsonNode): Generator<Fault> {
  const rule = 'auth-directives'
  if (directives.is !== 'array') {
    const advice = 'A cache ignores it, and asks for a token everywhere. Write an array.'
    yield { rule, reason: 'auth_directives: not an array', advice }
    return
  }
  for (const [at, directive] of directives.items.entries()) {
    const wrong = directiveFault(directive)
    if (!wrong) continue
    yield {
      rule,
      reason: `auth_directives: entry ${at + 1} ${wrong}`,
      advice:
        'A cache ignores such an entry, denies by it or, without a uri, crashes on it. Write {"auth": "allow" or "deny", "uri": "regex:…"}.',
    }
  }
}

function directiveFault(directive: JsonNode): string | undefined {
  if (directive.is !== 'object') return 'is not an object'
  const auth = stringOf(directive, 'auth')
  if (auth !== 'allow' && auth !== 'deny') return 'has an auth that is neither allow nor deny'
  const uri = stringOf(directive, 'uri')
  if (!uri?.startsWith('regex:')) return 'has a uri that is not regex: and an expression'
  const compiled = compileEre(uri.slice('regex:'.length))
  if ('fault' in compiled) return `has a regex that does not compile: it ${compiled.fault}`
  return uri === 'regex:' ? 'has an empty regex' : undefined
}

function keyFault(
  key: DocumentKey,
  { renewalKid }: IssuerSet,
  isRepeated: boolean,
): Fault | undefined {
  const { kid, alg, kty, jwk } = key
  const crv = stringOf(jwk, 'crv')
  const isKnownType = ['oct', 'RSA'].includes(kty) || (kty === 'EC' && CURVES.has(crv ?? ''))
  if (!isKnownType) {
    return {
      rule: 'key-type',
      reason: `key type not supported by caches: ${kid}`,
      advice: `Caches know oct, RSA and EC with P-256, P-384 or P-521: ${TAKES_DOWN}. Use one of those.`,
    }
  }
  const member = badlyEncoded(jwk)
  if (member !== undefined) {
    return {
      rule: 'base64url',
      reason: `${member} must be unpadded base64url: ${kid}`,
      advice: `It is empty, missing, padded, or has + or /: ${TAKES_DOWN}. Encode it with - and _ and without =.`,
    }
  }
  if (isRepeated) {
    return {
      rule: 'duplicate-kid',
      reason: `duplicate kid: ${kid}`,
      advice: `A cache uses the first silently; for the renewal key, ${TAKES_DOWN}. Give each key its own kid.`,
    }
  }
  const fits = fitsKey(alg, kty, crv)
  if (kid === renewalKid && !(fits && key.hasPrivate)) {
    return {
      rule: 'renewal-key',
      reason: `renewal key cannot sign: ${kid}`,
      advice: 'Renewals stop silently. Name a key with its private half and an alg that fits it.',
    }
  }
  return fits ? materialFault(key, alg) : misfit(key)
}

const CURVES: ReadonlySet<string> = new Set(['P-256', 'P-384', 'P-521'])

const misfit = ({ kid, alg }: DocumentKey): Fault => ({
  rule: 'alg-mismatch',
  reason: `alg does not fit key: ${kid}`,
  advice: isUriAlgorithm(alg)
    ? `The key is of another type or curve than ${alg} needs, so nothing signed with it verifies.`
    : 'Caches know HS, RS, PS and ES with 256, 384 and 512 only.',
})

function materialFault({ kid, alg, jwk }: DocumentKey, fitting: UriAlgorithm): Fault | undefined {
  const short = tooShort(jwk, fitting)
  if (short !== undefined) {
    return {
      rule: 'key-too-short',
      reason: `${short} too short for ${alg}: ${kid}`,
      advice:
        short === 'k'
          ? 'A secret shorter than its hash can be found by trying (RFC 7518 section 3.2). Generate a new one.'
          : 'RSA keys need 2048 bits (RFC 7518 section 3.3). Generate a new one.',
    }
  }
  try {
    importKey(jwk, kid, fitting)
    return undefined
  } catch (error) {
    if (!isProblem(error, 'key_rejected')) throw error
    return {
      rule: 'key-unusable',
      reason: `key is not usable: ${kid}`,
      advice: `${error.detail}. ${TAKES_DOWN[0]?.toUpperCase()}${TAKES_DOWN.slice(1)}, or accepts nothing signed with it.`,
    }
  }
}
