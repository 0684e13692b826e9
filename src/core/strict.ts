import { Problem } from '../errors.ts'
import { type Algorithm, isAlgorithm } from './algorithms.ts'

// What must hold of a compact JWS before jose sees it (RFC 8725 and its successor). Libraries
// forgive spaces, padding, duplicate members and more; each of those makes two readers see two
// tokens, so here none passes.

export interface JoseHeader {
  alg: Algorithm
  kid?: string
  typ?: string
  /**
   * Whatever else the token says. Embedded keys (`jwk jku x5u x5c x5t`) are among it and never
   * used.
   */
  [name: string]: unknown
}

/** A protected header whose `alg` was not looked up yet: it may be symmetric, or nothing at all. */
export interface UnscreenedHeader extends Omit<JoseHeader, 'alg'> {
  alg: string
}

export interface Screened<Header = JoseHeader> {
  header: Header
  payload: Uint8Array
  signature: Uint8Array
  /** The two segments that are signed, with their dot. */
  signingInput: string
  token: string
}

export interface ScreenLimits {
  /** Of the whole token, in characters; default 16 KiB. */
  maxTokenSize?: number
  /** Of the decoded header, in bytes; default 8 KiB. */
  maxHeaderSize?: number
}

export interface JsonLimits {
  /** Nested objects and arrays; default 32. */
  maxDepth?: number
  /** UTF-8 bytes; default 64 KiB. */
  maxBytes?: number
}

export const MAX_TOKEN_SIZE = 16 * 1024
const MAX_HEADER_SIZE = 8 * 1024
const MAX_HEADER_DEPTH = 8
const MAX_KID_LENGTH = 512
/**
 * Extensions that change what is signed or how it is read; none is supported (RFC 7515 section
 * 4.1.11, RFC 7797).
 */
const REFUSED_HEADERS = ['crit', 'b64', 'zip']

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const malformed = (reason: string, cause?: unknown) =>
  new Problem('token_malformed', reason, { cause })

/**
 * Takes a compact JWS apart, or throws Problem `token_malformed` with the first reason. Checks no
 * signature.
 */
export function screenCompact(token: string, limits: ScreenLimits = {}): Screened {
  const screened = screenAnyAlgorithm(token, limits)
  const { header } = screened
  if (!isKnown(header)) throw malformed('The alg is not supported')
  return { ...screened, header }
}

const isKnown = (header: UnscreenedHeader): header is JoseHeader & UnscreenedHeader =>
  isAlgorithm(header.alg)

/**
 * The same for those who have algorithms of their own, such as HMAC: the caller holds `alg` against what the key is
 * for.
 */
export function screenAnyAlgorithm(
  token: string,
  limits: ScreenLimits = {},
): Screened<UnscreenedHeader> {
  const { maxTokenSize = MAX_TOKEN_SIZE, maxHeaderSize = MAX_HEADER_SIZE } = limits
  if (typeof token !== 'string') throw malformed('The token is not text')
  if (token.length > maxTokenSize) throw malformed('The token is too large')
  const [first, second, third, ...more] = token.split('.', 4)
  if (first === undefined || second === undefined || third === undefined || more.length > 0) {
    throw malformed('The token does not have exactly three segments')
  }
  const headerBytes = decodeExact(first, 'header')
  if (headerBytes.length > maxHeaderSize) throw malformed('The header is too large')
  return {
    header: screenHeader(parseJsonStrict(headerBytes, { maxDepth: MAX_HEADER_DEPTH })),
    payload: decodeExact(second, 'payload'),
    signature: decodeExact(third, 'signature'),
    signingInput: token.slice(0, first.length + 1 + second.length),
    token,
  }
}

/**
 * Whether text is base64url as RFC 7515 has it: no padding, no other character, no bits left over.
 */
export const isBase64url = (text: string): boolean =>
  Buffer.from(text, 'base64url').toString('base64url') === text

function decodeExact(segment: string, name: string): Uint8Array {
  const bytes = Buffer.from(segment, 'base64url')
  if (bytes.toString('base64url') !== segment) {
    throw malformed(`The ${name} is not exact base64url`)
  }
  return bytes
}

function screenHeader(header: unknown): UnscreenedHeader {
  if (!isObject(header)) throw malformed('The header is not a JSON object')
  const { alg, kid, typ } = header
  for (const name of REFUSED_HEADERS) {
    if (Object.hasOwn(header, name)) throw malformed(`The header has ${name}`)
  }
  if (typeof alg !== 'string') throw malformed('The header has no alg')
  if (kid !== undefined && typeof kid !== 'string') throw malformed('The kid is not a string')
  if (kid !== undefined && kid.length > MAX_KID_LENGTH) throw malformed('The kid is too long')
  if (typ !== undefined && typeof typ !== 'string') throw malformed('The typ is not a string')
  return header as UnscreenedHeader
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * JSON.parse, and no duplicate members, bounded size and depth, valid UTF-8. Throws Problem
 * `token_malformed`.
 */
export function parseJsonStrict(input: string | Uint8Array, limits: JsonLimits = {}): unknown {
  const { maxDepth = 32, maxBytes = 64 * 1024 } = limits
  if ((typeof input === 'string' ? Buffer.byteLength(input) : input.length) > maxBytes) {
    throw malformed('The JSON text is too large')
  }
  const text = toText(input)
  const value = parse(text)
  scan(text, maxDepth)
  return value
}

function toText(input: string | Uint8Array): string {
  if (typeof input === 'string') {
    if (!input.isWellFormed()) throw malformed('The JSON text is not valid Unicode')
    return input
  }
  try {
    return utf8.decode(input)
  } catch (cause) {
    throw malformed('The JSON text is not valid UTF-8', cause)
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw malformed('The JSON text is not valid') // no cause: its message would quote the input
  }
}

/**
 * One pass over text that JSON.parse accepted, without recursion: refuses duplicate members and too
 * deep nesting.
 */
function scan(text: string, maxDepth: number): void {
  const open: (Set<string> | undefined)[] = [] // per level: the names seen, or undefined in an array
  let names: Set<string> | undefined // of the object in which a name comes next
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at]
    if (char === '{' || char === '[') {
      if (open.length === maxDepth) throw malformed('The JSON text is nested too deeply')
      names = char === '{' ? new Set() : undefined
      open.push(names)
    } else if (char === '}' || char === ']') {
      open.pop()
    } else if (char === ',') {
      names = open.at(-1)
    } else if (char === '"') {
      const end = endOfString(text, at)
      if (names) noteName(names, JSON.parse(text.slice(at, end + 1)))
      names = undefined
      at = end
    }
  }
}

function endOfString(text: string, at: number): number {
  do at += text[at] === '\\' ? 2 : 1
  while (text[at] !== '"')
  return at
}

function noteName(names: Set<string>, name: string): void {
  if (names.has(name)) throw malformed('The JSON text has a duplicate member')
  names.add(name)
}
