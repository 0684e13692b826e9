// Instants and durations. Keys live in Unix nanoseconds (the Nomad wire shows them); all else in milliseconds.

/** Unix time in nanoseconds. */
export type Instant = bigint
/** A span of time in nanoseconds; may be negative. */
export type Duration = bigint

const NANOS = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
} as const

export const SECOND = NANOS.s
export const MINUTE = NANOS.m
export const HOUR = NANOS.h

const INT64_MAX = 2n ** 63n - 1n
const DURATION =
  /^[+-]?(?:0|(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))*)$/
const TERM = /(\d*)\.?(\d*)(ns|us|µs|μs|ms|s|m|h)/g

/** Reads a duration such as `1h30m` or `0` (keyring contract section 3); undefined when it is none or passes int64. */
export function parseDuration(text: string): Duration | undefined {
  if (text.length > 64 || !DURATION.test(text)) return undefined
  let total = 0n
  for (const [, whole, fraction, unit] of text.matchAll(TERM)) {
    const scale = NANOS[unit as keyof typeof NANOS]
    total += BigInt(whole || '0') * scale
    if (fraction) total += (BigInt(fraction) * scale) / 10n ** BigInt(fraction.length)
  }
  if (total > INT64_MAX) return undefined
  return text.startsWith('-') ? -total : total
}

/** Writes a duration in the same grammar, largest units first: `720h`, `1h30m`, `100ms`. */
export function formatDuration(span: Duration): string {
  if (span === 0n) return '0s'
  let rest = span < 0n ? -span : span
  let text = span < 0n ? '-' : ''
  for (const unit of ['h', 'm', 's', 'ms', 'us', 'ns'] as const) {
    const count = rest / NANOS[unit]
    if (count > 0n) text += `${count}${unit}`
    rest -= count * NANOS[unit]
  }
  return text
}

export const fromMillis = (millis: number): Instant => BigInt(Math.round(millis)) * NANOS.ms
/** Whole milliseconds, truncated. */
export const toMillis = (nanos: bigint): number => Number(nanos / NANOS.ms)
/** Whole seconds, truncated: a NumericDate (RFC 7519 section 2). */
export const toSeconds = (nanos: bigint): number => Number(nanos / NANOS.s)
export const fromSeconds = (seconds: number): bigint => BigInt(Math.floor(seconds)) * NANOS.s
/** RFC 3339 in UTC with milliseconds. */
export const toIso = (instant: Instant): string => new Date(toMillis(instant)).toISOString()
