import { type Duration, parseDuration } from '../time.ts'

// Query parameters of reads that may block (keyring contract sections 1.3 and 3). Two slices answer such reads.

export interface ReadQuery {
  /** Hold until the index is past this; 0 answers at once. */
  index: bigint
  wait: Duration | undefined
  pretty: boolean
}

export interface QueryFault {
  status: number
  text: string
}

const BOOL_WORDS = /^(?:1|t|T|true|TRUE|True|0|f|F|false|FALSE|False)$/
const TRUE_WORDS = /^(?:1|t|T|true|TRUE|True)$/
const INT32 = /^[+-]?\d+$/
const UINT64 = /^\d{1,32}$/
const UINT64_MAX = 2n ** 64n - 1n
const INT32_MAX = 2n ** 31n - 1n

/** `true` or `false` in any of Go's words; undefined for anything else, the empty string included. */
export const parseBool = (text: string): boolean | undefined =>
  BOOL_WORDS.test(text) ? TRUE_WORDS.test(text) : undefined

/** The parameters of a URL; where one repeats, `get` gives the first. */
export function queryOf(url: string): URLSearchParams {
  const at = url.indexOf('?')
  return new URLSearchParams(at === -1 ? '' : url.slice(at + 1))
}

export const isPretty = (query: URLSearchParams): boolean =>
  query.has('pretty') && query.get('pretty') !== '0'

/** A foreign region is nobody's to answer for. */
export function regionFault(query: URLSearchParams, region: string): QueryFault | undefined {
  const asked = query.get('region')
  return asked && asked !== region ? { status: 500, text: 'No path to region' } : undefined
}

function fits32(text: string): boolean {
  if (!INT32.test(text) || text.length > 32) return false
  const value = BigInt(text.replace(/^\+/, ''))
  return value <= INT32_MAX && value >= -INT32_MAX - 1n
}

/** Checked in this order; the first fault is the answer. */
export function parseReadQuery(query: URLSearchParams, region: string): ReadQuery | QueryFault {
  const stale = query.get('stale')
  if (stale && parseBool(stale) === undefined) {
    return { status: 400, text: 'Expect `true` or `false` for `stale` query string parameter' }
  }
  const perPage = query.get('per_page')
  if (perPage && !fits32(perPage)) {
    return { status: 400, text: 'Expect a number for `per_page` query string parameter' }
  }
  const waitText = query.get('wait')
  const wait = waitText ? parseDuration(waitText) : undefined
  if (waitText && wait === undefined) return { status: 400, text: 'Invalid wait time' }
  const indexText = query.get('index') || '0'
  const index = UINT64.test(indexText) ? BigInt(indexText) : undefined
  if (index === undefined || index > UINT64_MAX) return { status: 400, text: 'Invalid index' }
  return regionFault(query, region) ?? { index, wait, pretty: isPretty(query) }
}

export const isFault = (value: ReadQuery | QueryFault): value is QueryFault => 'text' in value

/** Whether a client takes gzip (RFC 9110 sections 8.4.1 and 12.5.3); a weight of zero is a no. */
export function acceptsGzip(acceptEncoding: string | string[] | undefined): boolean {
  if (typeof acceptEncoding !== 'string') return false
  return acceptEncoding
    .split(',')
    .some((part) => /^\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*$)[\d.]+\s*)?$/i.test(part))
}
