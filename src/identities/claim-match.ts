import { type Budget, matches, type Pattern, parsePattern } from '../core/index.ts'

// Where a claim is in a claims set, and whether a configured entry allows its value (identity contract, section 6). Pure.

/** One entry of a list, compiled. */
export interface Entry {
  pattern: Pattern
  /** The exact decimal number that its text is; undefined when it is none. */
  number: string | undefined
}

/** Problem `invalid_request` for text that is no pattern. */
export const parseEntry = (text: string): Entry => ({
  pattern: parsePattern(text),
  number: toDecimal(text),
})

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A member of an object itself; never one that it inherits. */
export const ownMember = (object: Record<string, unknown>, key: string): unknown =>
  Object.hasOwn(object, key) ? object[key] : undefined

/**
 * The value at a dot path: at each level the longest own key that is the rest of the path, or the rest up to a dot.
 * Does not try a shorter key when the longest leads nowhere, does not index arrays, and no path through `__proto__`
 * leads anywhere, not even where JSON made it an own key.
 */
export function claimAt(claims: Record<string, unknown>, path: string): unknown {
  if (path.split('.').includes('__proto__')) return undefined
  let value: unknown = claims
  let rest: string | undefined = path
  while (rest !== undefined) {
    if (!isObject(value)) return undefined
    const key = longestKey(value, rest)
    if (key === undefined) return undefined
    value = value[key]
    rest = key === rest ? undefined : rest.slice(key.length + 1)
  }
  return value
}

/** Looks at each key once: trying each prefix of the rest would read a path of many dots again and again. */
function longestKey(object: Record<string, unknown>, rest: string): string | undefined {
  let longest: string | undefined
  for (const key of Object.keys(object)) {
    const leads = key === rest || (rest.startsWith(key) && rest[key.length] === '.')
    if (leads && (longest === undefined || key.length > longest.length)) longest = key
  }
  return longest
}

/** Absent, or there with nothing in it: the contract speaks of both as missing. */
export const isMissing = (value: unknown): boolean =>
  value === undefined || value === '' || (Array.isArray(value) && value.length === 0)

/** Whether any entry allows the value, or any element of it when it is an array. Arrays in arrays are no values. */
export function allows(entries: readonly Entry[], value: unknown, budget?: Budget): boolean {
  const values: unknown[] = Array.isArray(value) ? value : [value]
  return values.some((one) => entries.some((entry) => allowsOne(entry, one, budget)))
}

/** Patterns speak of strings alone: `*` is no number, no boolean, and not the absence of a text. */
function allowsOne(
  { pattern, number }: Entry,
  value: unknown,
  budget: Budget | undefined,
): boolean {
  if (typeof value === 'string') return value !== '' && matches(pattern, value, budget)
  if (typeof value === 'boolean') return pattern.text === String(value)
  if (typeof value === 'number') return number !== undefined && number === numberOf(value)
  return false
}

/**
 * JSON.parse has made integers from 2⁵³ on into a neighbour that it shares with others: which of them the issuer wrote
 * is lost, so none is any entry.
 */
const numberOf = (value: number): string | undefined =>
  Number.isInteger(value) && !Number.isSafeInteger(value) ? undefined : toDecimal(String(value))

/** The grammar of a JSON number (RFC 8259 section 6), whole: `42x`, `0x2a` and `042` are none. */
const DECIMAL = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/

/** The same text for the same decimal number (`42`, `42.0`, `4.2e1`), by its digits: nothing is rounded. */
function toDecimal(text: string): string | undefined {
  const [, sign, whole, fraction = '', exponent = '0'] = DECIMAL.exec(text) ?? []
  if (whole === undefined) return undefined
  const digits = whole + fraction
  let start = 0
  while (digits[start] === '0') start += 1
  if (start === digits.length) return '0'
  let end = digits.length
  while (digits[end - 1] === '0') end -= 1
  const scale = Number(exponent) - fraction.length + (digits.length - end)
  return `${sign}${digits.slice(start, end)}e${scale}`
}
