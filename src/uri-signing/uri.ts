import { MAX_TOKEN_SIZE } from '../core/index.ts'

// URIs as RFC 9246 sees them: where a token is in one, what is left without it, and what two spellings of the same URI
// have in common. Every function is linear in its input.

/** Characters of a URI without its token; with one, MAX_TOKEN_SIZE more. Caches and clients stop near 8 KiB, too. */
export const MAX_URI = 8 * 1024
export const PARAMETER = 'URISigningPackage'

/** How a token travels (contract section 9). */
export type Placement = 'query' | 'path-parameter' | 'path-segment' | 'cookie'

const RESERVED = new Set(":/?#[]@!$&'()*+,;=")
const SUB_DELIMITERS = new Set("!$&'()*+,;=")
/** Cookies of the parameter's name that are looked at; more are ignored. */
const MAX_COOKIES = 8

export interface UriParts {
  /** `http` or `https`. */
  scheme: string
  /** Lower case, without a default port. */
  authority: string
  path: string
  /** With its `?`; empty where there is none. */
  query: string
}

const URI = /^(https?):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?$/i
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+,;=-]+)(?::([0-9]*))?$/
const PRINTABLE = /^[\x21-\x7e]*$/

/**
 * Takes an absolute http or https URI apart; undefined for what is none: no host, a user, a fragment (which no cache
 * ever sees), a percent sign without two hexadecimal digits, characters outside printable ASCII, or over 8 KiB.
 */
export function parseUri(uri: string): UriParts | undefined {
  if (uri.length > MAX_URI || !PRINTABLE.test(uri) || /%(?![0-9a-f]{2})/i.test(uri))
    return undefined
  const [, scheme, authority, path, query = ''] = URI.exec(uri) ?? []
  if (scheme === undefined || authority === undefined || path === undefined) return undefined
  const lower = scheme.toLowerCase()
  const host = hostOf(lower, authority)
  return host === undefined ? undefined : { scheme: lower, authority: host, path, query }
}

function hostOf(scheme: string, authority: string): string | undefined {
  const spelled = normaliseEscapes(authority).toLowerCase()
  const [, host, port = ''] = AUTHORITY.exec(spelled) ?? []
  if (host === undefined) return undefined
  const name = host.replace(/%../g, (octet) => octet.toUpperCase())
  const isDefault = port === '' || port === (scheme === 'http' ? '80' : '443')
  return isDefault ? name : `${name}:${port}`
}

/**
 * The one spelling that containers are made of and matched against (RFC 9246 section 2.1.15; RFC 3986 sections 6.2.2
 * and 6.2.3); undefined for a malformed URI. Percent-encodings are decoded for unreserved characters only, so that
 * normalising twice is normalising once.
 */
export function normaliseUri(uri: string): string | undefined {
  const parts = parseUri(uri)
  return parts && toText(normaliseParts(parts))
}

export const normaliseParts = ({ scheme, authority, path, query }: UriParts): UriParts => ({
  scheme,
  authority,
  path: withoutDots(normaliseEscapes(path)) || '/',
  query: normaliseEscapes(query),
})

export const toText = ({ scheme, authority, path, query }: UriParts): string =>
  `${scheme}://${authority}${path}${query}`

function normaliseEscapes(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%[0-9a-f]{2}/gi, (octet) => {
    const char = String.fromCharCode(Number.parseInt(octet.slice(1), 16))
    return /[A-Za-z0-9._~-]/.test(char) ? char : octet.toUpperCase()
  })
}

/** RFC 3986 section 5.2.4, for a path that is empty or begins with a slash. */
function withoutDots(path: string): string {
  if (!path.includes('/.')) return path
  const segments = path.split('/')
  const kept: string[] = []
  for (const [at, segment] of segments.entries()) {
    const isDot = segment === '.' || segment === '..'
    if (segment === '..' && kept.length > 1) kept.pop()
    if (!isDot) kept.push(segment)
    else if (at === segments.length - 1) kept.push('')
  }
  return kept.join('/')
}

export interface FoundToken {
  token: string
  /** The URI without it. */
  stripped: string
}

/**
 * The first token in a URI: after a reserved character, the parameter's name and `=`, up to the next reserved
 * character. Ended by a sub-delimiter, it goes with that one; else with the reserved character before its name.
 */
export function findToken(uri: string, parameter = PARAMETER): FoundToken | undefined {
  const name = `${parameter}=`
  for (let at = uri.indexOf(name); at >= 0; at = uri.indexOf(name, at + 1)) {
    if (!RESERVED.has(uri[at - 1] ?? '')) continue
    let end = at + name.length
    while (end < uri.length && !RESERVED.has(uri[end] ?? '')) end += 1
    const stripped = SUB_DELIMITERS.has(uri[end] ?? '')
      ? uri.slice(0, at) + uri.slice(end + 1)
      : uri.slice(0, at - 1) + uri.slice(end)
    return { token: uri.slice(at + name.length, end), stripped }
  }
  return undefined
}

/** A URI without a token, made to carry one. An empty path gets its slash where the token would touch the host. */
export function placeToken(
  uri: string,
  token: string,
  placement: Placement,
  parameter = PARAMETER,
): string {
  const package_ = `${parameter}=${token}`
  if (placement === 'cookie') return uri
  if (placement === 'query') return `${uri}${uri.includes('?') ? '&' : '?'}${package_}`
  const mark = uri.indexOf('?')
  const query = mark < 0 ? '' : uri.slice(mark)
  const beforeQuery = mark < 0 ? uri : uri.slice(0, mark)
  const slash = beforeQuery.indexOf('/', beforeQuery.indexOf('://') + 3)
  const origin = slash < 0 ? beforeQuery : beforeQuery.slice(0, slash)
  const path = slash < 0 ? '' : beforeQuery.slice(slash)
  if (placement === 'path-segment') return `${origin}/${package_}${path}${query}`
  return `${origin}${path || '/'};${package_}${query}`
}

/** The values of cookies with the parameter's name, left to right, of the values of Cookie header fields. */
export function cookieTokens(headers: readonly string[], parameter = PARAMETER): string[] {
  const tokens: string[] = []
  for (const header of headers) {
    for (const pair of header.slice(0, 2 * MAX_TOKEN_SIZE).split(';')) {
      const equals = pair.indexOf('=')
      if (equals < 0 || pair.slice(0, equals).trim() !== parameter) continue
      tokens.push(pair.slice(equals + 1).trim())
      if (tokens.length === MAX_COOKIES) return tokens
    }
  }
  return tokens
}

/** How many bytes a URI with its token may have. */
export const MAX_SIGNED_URI = MAX_URI + MAX_TOKEN_SIZE
