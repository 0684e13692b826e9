import { isProblem } from '../errors.ts'
import { faultsOf, MAX_DIRECTIVES } from './cache-rules.ts'
import { checkDocument, type DocumentKey, type IssuerSet, type KeyDocument } from './document.ts'
import { compileEre } from './ere.ts'
import { childOf, type JsonNode, stringOf } from './json-tree.ts'

// What a person should know about a key document before a cache gets it: the faults that `strict` refuses, and what
// loads and is dangerous all the same.

export interface Finding {
  /** `error`: `strict` refuses the document for it. */
  severity: 'error' | 'warning'
  /** Stable, kebab-case. */
  rule: string
  issuer?: string
  kid?: string
  /** What is wrong, what comes of it, what to do: sentences for a person. No key material. */
  message: string
}

export interface LintOptions {
  /** Seconds; without it nothing is said about time. */
  now?: number | undefined
  /** Until when a key is promised to verify, as far as we know: NumericDate; undefined: nothing is. */
  promisedUntil?(issuer: string, kid: string): number | undefined
  /** How near an end is near, in seconds; default 14 days. */
  soon?: number | undefined
}

const DAY = 86_400
/** So that a document with ten thousand bad keys has an answer that can be read. */
const MAX_FINDINGS = 200

/** Everything that is wrong or dangerous about a key document, at most 200 findings; an empty list for a good one. */
export function lintDocument(bytes: Uint8Array, options: LintOptions = {}): Finding[] {
  const findings: Finding[] = []
  for (const finding of allOf(bytes, options)) {
    if (findings.push(finding) === MAX_FINDINGS) break
  }
  return findings
}

function* allOf(bytes: Uint8Array, options: LintOptions): Generator<Finding> {
  const document = readForLint(bytes)
  if ('message' in document) {
    yield document
    return
  }
  for (const { rule, issuer, kid, reason, advice } of faultsOf(document)) {
    const message = `${sentence(reason)}. ${advice}`
    yield { severity: 'error', rule, ...where(issuer, kid), message }
  }
  yield* acrossSets(document)
  for (const set of document.issuers.values()) {
    yield* directiveWarnings(set)
    for (const key of set.keys) yield* keyWarnings(set, key, options)
  }
}

const sentence = (text: string): string => `${text[0]?.toUpperCase()}${text.slice(1)}`

const where = (issuer: string | undefined, kid?: string) => ({
  ...(issuer !== undefined && { issuer }),
  ...(kid !== undefined && { kid }),
})

const warning = (rule: string, message: string, issuer?: string, kid?: string): Finding => ({
  severity: 'warning',
  rule,
  ...where(issuer, kid),
  message,
})

const REFUSALS: Readonly<Record<string, string>> = {
  'malformed JSON':
    'The document is no JSON object of JWK sets, or a key in it lacks kty, a member that its kty needs, or readable base64.',
  'JSON Keyset has no issuer': 'An issuer has an empty name; tokens name it in iss. Give it one.',
  'A Key has no algorithm, alg, specified': 'Each key needs an alg, such as HS256.',
  'A Key has no key id, kid, specified': 'Each key needs a kid, by which tokens name it.',
  'No renewal_kid was found in any keyset':
    'One issuer needs renewal_kid, the kid of the key that signs renewals: without it no cache loads the document.',
  'More than one renewal_kid was found in the keysets':
    'Only one issuer may have renewal_kid: with two, no cache loads the document. Remove the others.',
  'No key was found with a kid that matches the renewal kid':
    'The renewal_kid names no key of its own issuer: no cache loads the document. Name one, or move the key.',
}

function readForLint(bytes: Uint8Array): KeyDocument | Finding {
  try {
    const checked = checkDocument(bytes, 'compat')
    if (!('refusal' in checked)) return checked.document
    const reason = checked.refusal.replace(/^invalid keyset: /, '')
    const message = `${sentence(checked.refusal)}. ${REFUSALS[reason] ?? ''}`.trim()
    return { severity: 'error', rule: RULES[reason] ?? 'invalid-keyset', message }
  } catch (error) {
    if (!isProblem(error, 'body_too_large')) throw error
    return { severity: 'error', rule: 'document-too-large', message: `${error.detail}.` }
  }
}

const RULES: Readonly<Record<string, string>> = {
  'malformed JSON': 'malformed-json',
  'JSON Keyset has no issuer': 'issuer-missing',
  'A Key has no algorithm, alg, specified': 'alg-missing',
  'A Key has no key id, kid, specified': 'kid-missing',
  'No renewal_kid was found in any keyset': 'renewal-kid-missing',
  'More than one renewal_kid was found in the keysets': 'renewal-kid-repeated',
  'No key was found with a kid that matches the renewal kid': 'renewal-kid-unknown',
}

function* acrossSets({ issuers, renewal }: KeyDocument): Generator<Finding> {
  const sets = [...issuers.values()]
  const ids = new Set(sets.flatMap(({ id }) => (id === undefined ? [] : [id])))
  if (ids.size > 1) {
    yield warning(
      'ids-differ',
      'Issuers give this cache different ids; the last one counts for all, so tokens for the others are refused. Set one id.',
    )
  }
  const strips = new Set(
    sets.flatMap((set) => (set.stripToken === undefined ? [] : [set.stripToken])),
  )
  if (strips.size > 1) {
    yield warning(
      'strip-token-differs',
      'Issuers disagree about strip_token; the last one counts for all. Set it once.',
    )
  }
  for (const { issuer, keys, renewalKid, set } of sets) {
    if (keys.length === 0) {
      yield warning('no-keys', 'The issuer has no keys: every token of it is refused.', issuer)
    }
    const written = childOf(set, 'renewal_kid')
    if (written && renewalKid === undefined) {
      yield warning(
        'renewal-kid-ignored',
        'The renewal_kid is no string and is ignored. Remove it.',
        issuer,
      )
    } else if (!written && issuer !== renewal.issuer) {
      yield warning(
        'renewal-by-other-issuer',
        `The issuer has no renewal key: what a cache renews for it is signed by ${renewal.issuer}. If the two should not vouch for each other, serve them in documents of their own.`,
        issuer,
      )
    }
  }
}

/** How much of a URL an allow directive decides about: its query can say anything. */
function* directiveWarnings({ issuer, set }: IssuerSet): Generator<Finding> {
  const directives = childOf(set, 'auth_directives')
  if (directives?.is !== 'array' || directives.items.length > MAX_DIRECTIVES) return
  for (const [at, directive] of directives.items.entries()) {
    const uri = stringOf(directive, 'uri')
    if (stringOf(directive, 'auth') !== 'allow' || !uri?.startsWith('regex:')) continue
    const found = bypassOf(uri.slice('regex:'.length))
    if (found === undefined) continue
    yield warning(
      'auth-directive-bypass',
      `Entry ${at + 1} of auth_directives lets ${found} through without a token: the first match decides, on the whole URL with its query, from its first character on and open at its end. Write [^?]* instead of .* before the ending, and end the expression with $ or (\\?.*)?$.`,
      issuer,
    )
  }
}

/**
 * Looks for a URL that an expression was hardly meant for. The host is taken from the expression's own beginning, as
 * far as it is literal.
 */
function bypassOf(expression: string): string | undefined {
  const compiled = compileEre(expression)
  if ('fault' in compiled) return undefined
  const [, scheme = 'http', host = 'cdn.example', path = '/'] =
    /^\^?(https?):\/\/((?:[a-z0-9-]|\\?\.)+)(\/(?:[A-Za-z0-9_/-]|\\\.)*)?/.exec(expression) ?? []
  const start = `${scheme}://${host}${path}`.replaceAll('\\', '')
  const folder = start.slice(0, start.lastIndexOf('/') + 1)
  const ending = /((?:[A-Za-z0-9_/-]|\\\.)+)(?:\(\\\?\.\*\)\?)?\$?$/.exec(expression)?.[1] ?? ''
  const wanted = ending.replaceAll('\\', '')
  const anything = `${folder}anything-at-all`
  if (compiled.matchesStart(anything)) return `every URL such as ${anything}`
  const hidden = `${folder}secret?x=${wanted}`
  if (wanted !== '' && compiled.matchesStart(hidden)) return `URLs such as ${hidden}`
  const longer = `${folder}a${wanted}/secret`
  return wanted !== '' && compiled.matchesStart(longer) ? `URLs such as ${longer}` : undefined
}

function* keyWarnings(
  set: IssuerSet,
  { kid, alg, jwk }: DocumentKey,
  { now, promisedUntil, soon = 14 * DAY }: LintOptions,
): Generator<Finding> {
  const { issuer, renewalKid } = set
  const use = stringOf(jwk, 'use')
  if (use !== undefined && use !== 'sig') {
    yield warning(
      'use-not-sig',
      `The key is marked use ${use}, and signs all the same.`,
      issuer,
      kid,
    )
  }
  const operations = operationsOf(childOf(jwk, 'key_ops'))
  const needed = kid === renewalKid ? 'sign' : 'verify'
  if (operations && !operations.includes(needed)) {
    yield warning(
      'key-ops',
      `The key_ops do not contain ${needed}; caches ignore that.`,
      issuer,
      kid,
    )
  }
  if (now === undefined) return
  const end = numberOf(childOf(jwk, 'exp'))
  const begin = numberOf(childOf(jwk, 'nbf'))
  const isSigning = kid === renewalKid ? ' It is the renewal key.' : ''
  if (end !== undefined && end <= now) {
    yield warning(
      'key-expired',
      `The exp of the key has passed; caches go on using it. Replace it.${isSigning}`,
      issuer,
      kid,
    )
  } else if (end !== undefined && end <= now + soon) {
    yield warning(
      'key-expires-soon',
      `The key expires ${inDays(end - now)}. Add its successor now, so that caches know it in time.${isSigning}`,
      issuer,
      kid,
    )
  }
  if (begin !== undefined && begin > now) {
    yield warning(
      'key-not-yet',
      `The nbf of the key is ${inDays(begin - now)} away; caches use it all the same.`,
      issuer,
      kid,
    )
  }
  const promised = promisedUntil?.(issuer, kid)
  if (promised !== undefined && promised > now && promised <= now + soon && kid !== renewalKid) {
    yield warning(
      'promise-ends-soon',
      `The last token signed with this ${alg} key expires ${inDays(promised - now)}; after that it can go.`,
      issuer,
      kid,
    )
  }
}

const inDays = (seconds: number): string => {
  const days = Math.ceil(seconds / DAY)
  return `in ${days} day${days === 1 ? '' : 's'}`
}

const numberOf = (node: JsonNode | undefined): number | undefined =>
  node?.is === 'number' ? Number(node.value) : undefined

const operationsOf = (node: JsonNode | undefined): unknown[] | undefined =>
  node?.is === 'array'
    ? node.items.map((each) => (each.is === 'string' ? each.value : undefined))
    : undefined
