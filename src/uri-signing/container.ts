import { createHash } from 'node:crypto'
import { Problem } from '../errors.ts'
import { compileEre } from './ere.ts'
import { normaliseParts, parseUri, toText } from './uri.ts'

// URI containers (RFC 9246 section 2.1.15; contract section 9): which URIs a token is for.
//
// How a `regex:` is matched: from the first character of the normalised URI on, and open at its end unless the
// expression ends in `$`. That is what caches do, and a verdict that said otherwise would be wrong about them; POSIX
// would also search further in, which would let `http://other/?http://cdn.example/` pass. What is made here is always
// `^…$`, so the two readings, and that of a whole match, come to the same.

/**
 * `exact`: this URI. `any-query`: this path with any query or none. `below`: this path and everything under it; end it
 * with `/` for a folder. `hash`: this URI, as a digest that Apache Traffic Server refuses.
 */
export type ContainerForm = 'exact' | 'any-query' | 'below' | 'hash'

/** RFC 6920 section 5, the segment form, of a normalised URI. */
export const hashOf = (normalised: string): string =>
  `sha-256;${createHash('sha256').update(normalised).digest('base64url')}`

/** The claim for a URI. Problem `uri_invalid` for a URI that is malformed or that no cache could match. */
export function buildContainer(uri: string, form: ContainerForm): string {
  const parts = parseUri(uri)
  if (!parts && uri.includes('#')) {
    throw new Problem(
      'uri_invalid',
      'The URI has a fragment, which no cache sees: leave out the # and what follows',
    )
  }
  if (!parts) throw new Problem('uri_invalid', 'The URI is not an absolute http or https URI')
  const normal = normaliseParts(parts)
  if (form === 'hash') return `hash:${hashOf(toText(normal))}`
  const path = escapeLiteral(toText({ ...normal, query: '' }))
  if (form === 'any-query') return `regex:^${path}(\\?.*)?$`
  if (form === 'exact') return `regex:^${path}${escapeLiteral(normal.query)}$`
  return `regex:^${path}${normal.path.endsWith('/') ? BELOW : ITSELF_AND_BELOW}$`
}

const BELOW = '.*'
const ITSELF_AND_BELOW = '([/?].*)?'

/**
 * A text as POSIX spells it. Caches decode every percent-encoding but those of reserved characters before they match,
 * where RFC 3986 decodes those of unreserved ones only; what is between the two may stand for itself either way.
 */
function escapeLiteral(text: string): string {
  const special = text.replace(SPECIAL, '\\$&')
  if (!special.includes('%')) return special
  return special.replace(/(?:%[0-9A-F]{2})+/g, (run) => encodedRun(run))
}

const SPECIAL = /[.\\+*?^$()[\]{}|]/g
const RESERVED_ESCAPES = /^(?:%(?:3A|2F|3F|23|5B|5D|40|21|24|26|27|28|29|2A|2B|2C|3B|3D))/
const ESCAPED_CHARACTER =
  /%(?:[0-7][0-9A-F]|[CD][0-9A-F]%[89AB][0-9A-F]|E[0-9A-F](?:%[89AB][0-9A-F]){2}|F[0-7](?:%[89AB][0-9A-F]){3})|%../g

function encodedRun(run: string): string {
  return run.replace(ESCAPED_CHARACTER, (octets) => {
    const spelled = RESERVED_ESCAPES.test(octets) ? octets : bothSpellings(octets)
    if (spelled !== undefined) return spelled
    throw new Problem('uri_invalid', `A cache cannot match a URI that contains ${octets}`)
  })
}

/** Undefined for what has only one, or none. */
function bothSpellings(octets: string): string | undefined {
  const char = decodeCharacter(octets)
  if (char === undefined || /^[A-Za-z0-9._~-]/.test(char)) return undefined
  return `(${octets}|${char.replace(SPECIAL, '\\$&')})`
}

/** The character that escapes stand for; undefined for control characters and for what is no UTF-8. */
function decodeCharacter(octets: string): string | undefined {
  try {
    const char = decodeURIComponent(octets)
    return /^\p{Cc}/u.test(char) ? undefined : char
  } catch {
    return undefined
  }
}

/** Steps of one match: a URI and its cookies may bring several tokens, and all of them are looked at. */
const MAX_WORK = 500_000

/** Why a container does not hold a normalised URI; undefined where it does. */
export function containerFault(container: string, normalised: string): string | undefined {
  const colon = container.indexOf(':')
  const kind = container.slice(0, Math.max(colon, 0))
  const body = container.slice(colon + 1)
  if (kind === 'hash') {
    return body === hashOf(normalised) ? undefined : 'The URI has another hash'
  }
  if (kind !== 'regex') return 'The URI container is neither regex: nor hash:'
  if (body === '') return 'The URI container is empty'
  const simple = readSimple(body)
  if (simple) return holds(simple, normalised) ? undefined : 'The URI is not in the container'
  const compiled = compileEre(body)
  if ('fault' in compiled) return `The expression ${compiled.fault}`
  if (compiled.size * normalised.length > MAX_WORK) {
    return 'The expression is too large for a URI of this length'
  }
  const spellings = new Set([normalised, asCachesSpell(normalised)])
  return [...spellings].some((spelling) => compiled.matchesStart(spelling))
    ? undefined
    : 'The URI is not in the container'
}

/** What caches make of a normalised URI: all but reserved and control characters decoded. */
function asCachesSpell(normalised: string): string {
  if (!normalised.includes('%')) return normalised
  return normalised.replace(ESCAPED_CHARACTER, (octets) =>
    RESERVED_ESCAPES.test(octets) ? octets : (decodeCharacter(octets) ?? octets),
  )
}

interface Simple {
  literal: string
  tail: string
}

const TAILS: Readonly<Record<string, (rest: string) => boolean>> = {
  $: (rest) => rest === '',
  '': () => true,
  '.*$': () => true,
  '.*': () => true,
  '(\\?.*)?$': (rest) => rest === '' || rest[0] === '?',
  [`${ITSELF_AND_BELOW}$`]: (rest) => rest === '' || rest[0] === '/' || rest[0] === '?',
}

const holds = ({ literal, tail }: Simple, normalised: string): boolean =>
  normalised.startsWith(literal) && TAILS[tail]?.(normalised.slice(literal.length)) === true

/**
 * A prefix and one of our own endings: what nearly every token has. No engine is needed, and no limit on the length.
 * Undefined for anything that is more than that.
 */
function readSimple(body: string): Simple | undefined {
  let at = body[0] === '^' ? 1 : 0
  let literal = ''
  for (; at < body.length; at += 1) {
    const char = body[at] ?? ''
    if (char === '\\') {
      const next = body[at + 1] ?? ''
      if (!/[.\\+*?^$()[\]{}|/:-]/.test(next)) return undefined
      literal += next
      at += 1
    } else if (char === '(') {
      const spelled = /^\((%[0-9A-F%]+)\|(\\.|[^\\()|])\)/u.exec(body.slice(at, at + 20))
      const octets = spelled?.[1] ?? ''
      if (!spelled || RESERVED_ESCAPES.test(octets) || bothSpellings(octets) !== spelled[0]) break
      literal += octets
      at += spelled[0].length - 1
    } else if ('.+*?^$[]{}|)'.includes(char)) {
      break
    } else {
      literal += char
    }
  }
  // No tail begins with an operator, which would speak of the last character of the literal.
  const tail = body.slice(at)
  return Object.hasOwn(TAILS, tail) ? { literal, tail } : undefined
}
