import { parseBool, type QueryFault, queryOf, regionFault } from '../http/blocking-query.ts'

// What a request below /v1/operator/keyring/ asks for, and the faults that are reported before permission
// (contract sections 1.1, 1.3, 1.5, 2.2, 2.3). Pure.

export type Operation =
  | { do: 'list' }
  | { do: 'rotate'; full: boolean; publishTime: bigint }
  | { do: 'delete'; kid: string; force: boolean }

const PREFIX = '/v1/operator/keyring/'
const INT64_MAX = 2n ** 63n - 1n
const METHOD: QueryFault = { status: 405, text: 'Invalid method' }

export const isFault = (value: Operation | QueryFault): value is QueryFault => 'text' in value

/** Matching is by prefix, tried in the order keys, key, rotate. The list's own parameters come with its handler. */
export function parseOperation(
  method: string,
  url: string,
  region: string,
): Operation | QueryFault {
  const rest = pathOf(url).slice(PREFIX.length)
  const query = queryOf(url)
  if (rest.startsWith('keys')) return method === 'GET' ? { do: 'list' } : METHOD
  if (rest.startsWith('key')) return parseDelete(method, rest, query, region)
  if (rest.startsWith('rotate')) return parseRotate(method, query, region)
  return METHOD
}

/** The decoded path; a proxy may send the target in absolute form (RFC 9112 section 3.2.2). */
function pathOf(url: string): string {
  const path = (url.split('?', 1)[0] ?? '').replace(/^[a-z]+:\/\/[^/]*/i, '')
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function parseDelete(
  method: string,
  rest: string,
  query: URLSearchParams,
  region: string,
): Operation | QueryFault {
  const text = query.get('force')
  const force = text === null ? false : parseBool(text)
  if (force === undefined) return { status: 422, text: 'invalid force parameter' }
  if (method !== 'DELETE') return METHOD
  const fault = regionFault(query, region)
  if (fault) return fault
  // Without its slash the original takes the whole path for the id, which no key has.
  const kid = rest.startsWith('key/') ? rest.slice('key/'.length) : PREFIX + rest
  return { do: 'delete', kid: kid.toLowerCase(), force }
}

function parseRotate(
  method: string,
  query: URLSearchParams,
  region: string,
): Operation | QueryFault {
  if (method !== 'PUT' && method !== 'POST') return METHOD
  const publishTime = parseInt64(query.get('publish_time') || '0')
  if (typeof publishTime === 'string') {
    return { status: 500, text: `invalid publish_time: ${publishTime}` }
  }
  return regionFault(query, region) ?? { do: 'rotate', full: query.has('full'), publishTime }
}

/** The number, or Go's words for why it is none. */
function parseInt64(text: string): bigint | string {
  if (!/^[+-]?\d+$/.test(text)) return `strconv.ParseInt: parsing ${quote(text)}: invalid syntax`
  const digits = text.replace(/^[+-]/, '').replace(/^0+(?=\d)/, '')
  const value = digits.length > 19 ? INT64_MAX + 2n : BigInt(digits)
  const signed = text.startsWith('-') ? -value : value
  if (signed > INT64_MAX || signed < -INT64_MAX - 1n) {
    return `strconv.ParseInt: parsing ${quote(text)}: value out of range`
  }
  return signed
}

const NAMED: Record<string, string> = {
  ...{ '"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' },
  ...{ '\b': '\\b', '\f': '\\f', '\v': '\\v', '\u0007': '\\a' },
}
const PRINTABLE = /[\p{L}\p{M}\p{N}\p{P}\p{S} ]/u

function escaped(char: string): string {
  const hex = (char.codePointAt(0) ?? 0).toString(16)
  if (hex.length <= 2 && char < '\u0080') return `\\x${hex.padStart(2, '0')}`
  return hex.length <= 4 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}

/** In quotes, with what is not printable escaped as Go does. */
const quote = (text: string): string =>
  `"${[...text].map((char) => NAMED[char] ?? (PRINTABLE.test(char) ? char : escaped(char))).join('')}"`
