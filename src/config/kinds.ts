// The kinds of value a setting can have: each reads text and says what it wanted when it cannot.
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { inspect } from 'node:util'
import { z } from 'zod'
import { type Duration, formatDuration, HOUR, parseDuration, SECOND } from '../time.ts'

/** A value that must not be printed: JSON, string conversion and `util.inspect` show `[secret]`. */
export interface Secret {
  reveal(): string
  toJSON(): string
}

export const conceal = (value: string): Secret =>
  Object.freeze({
    reveal: () => value,
    toJSON: () => '[secret]',
    toString: () => '[secret]',
    [inspect.custom]: () => '[secret]',
  })

export type Kind<T> = z.ZodType<T, string>

/** `expected` completes the sentence "KEYRINGD_X must be …"; `read` answers undefined for a bad value. */
export function kind<T>(expected: string, read: (text: string) => T | undefined): Kind<T> {
  return z.string().transform((text, context) => {
    const value = read(text)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: `must be ${expected}` })
    return z.NEVER
  })
}

export const matching = (pattern: RegExp, expected: string): Kind<string> =>
  kind(expected, (text) => (pattern.test(text) ? text : undefined))

/** Always absolute; relative ones count from the working directory. */
export const path: Kind<string> = kind('a path', (text) =>
  text.includes('\0') ? undefined : resolve(text),
)

const WORDS: Record<string, boolean> = { true: true, '1': true, false: false, '0': false }
export const flag: Kind<boolean> = kind('true or false', (text) => WORDS[text.toLowerCase()])

export const integer = (min: number, max: number): Kind<number> =>
  kind(`a whole number from ${min} to ${max}`, (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : undefined
    return value !== undefined && value >= min && value <= max ? value : undefined
  })

/** So many in a time. */
export interface Rate {
  count: number
  /** Nanoseconds. */
  per: Duration
}

const UNITS: Record<string, Duration> = { s: SECOND, m: 60n * SECOND, h: HOUR }

export const rate: Kind<Rate> = kind('a rate such as 200/m, up to 1000000/h', (text) => {
  const [, count, unit = ''] = /^([1-9]\d{0,6})\/([smh])$/.exec(text) ?? []
  const per = UNITS[unit]
  return per === undefined || Number(count) > 1_000_000 ? undefined : { count: Number(count), per }
})

export const oneOf = <const T extends string>(words: readonly T[]): Kind<T> =>
  kind(`one of ${words.join(', ')}`, (text) => words.find((word) => word === text))

const DECADE = 87_600n * HOUR
/** A century: rotation settings can mean "never", and sums with today's date still fit int64. */
export const CENTURY = 10n * DECADE

/** The duration grammar of the keyring contract, section 3, or bare whole seconds; in nanoseconds. */
export function duration(min: Duration = 0n, max: Duration = DECADE, step: Duration = 1n) {
  const unit = step === SECOND ? ' in whole seconds' : ''
  const expected = `a duration${unit} such as 90s or 1h30m, from ${formatDuration(min)} to ${formatDuration(max)}`
  return kind(expected, (text) => {
    const span = parseDuration(/^\d+$/.test(text) ? `${text}s` : text)
    return span !== undefined && span >= min && span <= max && span % step === 0n ? span : undefined
  })
}

/** What a `Cache-Control` directive can carry: whole seconds (RFC 9111 section 1.2.2). */
export const deltaSeconds = duration(0n, DECADE, SECOND)

export const durationOr = <const W extends string>(word: W): Kind<Duration | W> =>
  kind(`${word}, or a duration in whole seconds such as 300s or 5m`, (text) =>
    text === word ? word : deltaSeconds.safeParse(text).data,
  )

/** Comma-separated words, each read by `read`; spaces around them do not count. */
export const list = <T>(expected: string, read: (word: string) => T | undefined) =>
  kind<readonly T[]>(expected, (text) => {
    const words = text.split(',').map((word) => read(word.trim()))
    return words.some((word) => word === undefined) ? undefined : (words as T[])
  })

/** What an `aud` can be: a StringOrURI (RFC 7519 section 2) of printable ASCII. */
export const audiences = list('audiences without spaces, separated by commas', (word) =>
  /^[\x21-\x7e]{1,255}$/.test(word) ? word : undefined,
)

/** As the run-time setting of the same name has it, which checks it again. */
export const oneLine = matching(/^[^\p{Cc}\p{Cs}]{1,2048}$/u, 'text on one line')
export const remoteUrl = matching(
  /^https?:\/\/[^\s@]{1,2040}$/i,
  'an http or https URL without a credential',
)
export const certificates = matching(
  /^(?=[\s\S]{1,65536}$)[\s\S]*-----BEGIN CERTIFICATE-----/,
  'PEM certificates',
)
export const configurationNames = list('names, separated by commas', (word) =>
  /^[^\p{Cc}\p{Cs}]{1,255}$/u.test(word) ? word : undefined,
)

function network(text: string): string | undefined {
  const [address = '', prefix, ...rest] = text.split('/')
  const bits = { 4: 32, 6: 128 }[isIP(address)]
  if (bits === undefined || rest.length > 0) return undefined
  if (prefix === undefined) return text
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits ? text : undefined
}

export const networks = list('IP addresses or CIDR ranges, separated by commas', network)

/** Refused by every outgoing request whatever is listed, so that listing them would only seem to help. */
const NEVER_INTERNAL = ['localhost', 'host.docker.internal']
const HOST_NAME =
  /^(?=.{1,253}$)(?:[a-z\d_](?:[a-z\d_-]{0,61}[a-z\d_])?\.)*[a-z](?:[a-z\d-]{0,61}[a-z\d])?$/

/** A host name in lower case without its final dot, or an address or CIDR range as it was written. */
function internalHost(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '')
  return HOST_NAME.test(name) && !NEVER_INTERNAL.includes(name) ? name : network(text)
}

/** Host names and networks; names every word that is neither. */
export const internalHosts: Kind<readonly string[]> = z.string().transform((text, context) => {
  const words = text.split(',').map((word) => word.trim())
  const bad = words.filter((word) => internalHost(word) === undefined)
  if (bad.length === 0) return words.flatMap((word) => internalHost(word) ?? [])
  const shown = bad.map((word) => JSON.stringify(word.slice(0, 80))).join(', ')
  const message = `must be host names (but ${NEVER_INTERNAL.join(' and ')}), IP addresses or CIDR ranges, separated by commas; these are none: ${shown}`
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

const jsonObject = <T extends z.ZodType>(expected: string, members: T) =>
  kind<z.output<T>>(expected, (text) => {
    try {
      return members.safeParse(JSON.parse(text)).data as z.output<T> | undefined
    } catch {
      return undefined
    }
  })

// Not stricter than a parsable URL (keyring contract section 2.5) but for what no issuer can be:
// the string is used byte for byte, so what URL parsing would quietly trim or drop is refused.
export const issuer = kind('an absolute URL without spaces, credentials or fragment', (text) => {
  const url = URL.parse(text)
  if (!url?.host || /\s|#/.test(text) || url.username || url.password) return undefined
  return text
})

/** Members that the server writes itself; an extra one of that name would contradict it. */
const OWN_MEMBERS = ['issuer', 'jwks_uri', 'id_token_signing_alg_values_supported']
export const discoveryExtra = jsonObject(
  `a JSON object without ${OWN_MEMBERS.join(', ')}`,
  z.record(
    z.string().refine((name) => !OWN_MEMBERS.includes(name)),
    z.json(),
  ),
)

export const extraHeaders = jsonObject(
  'a JSON object of header names and text values',
  z.record(z.string().regex(/^[!#$%&'*+.^_`|~\w-]+$/), z.string().regex(/^[\t\x20-\x7e]*$/)),
)
