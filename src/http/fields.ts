import { z } from 'zod'
import { type Duration, fromSeconds, parseDuration, SECOND } from '../time.ts'

// Fields that the schemas of more than one slice have, and how they look on the wire.

/** Seconds: the greatest span that fits 64-bit nanoseconds. */
const MAX_SECONDS = 9_223_372_036

/** `15m`, or integer seconds; nanoseconds after parsing. Positive. */
export const DurationField = z
  .union([z.string().max(64), z.int().min(1).max(MAX_SECONDS)], {
    error: 'Expected a duration such as `15m`, or integer seconds',
  })
  .transform((value, context): Duration => {
    const span = typeof value === 'number' ? fromSeconds(value) : parseDuration(value)
    if (span !== undefined && span >= SECOND) return span
    context.addIssue({
      code: 'custom',
      message: 'Expected a duration of a second or more, such as 15m',
    })
    return z.NEVER
  })
  .describe('A duration such as `15m` or `1h30m`, or integer seconds')

/** How a ring, profile, token or tenant may be called. */
export const NameField = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'Expected 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit',
  )

/** RFC 3339 in UTC with milliseconds; written by `toIso`. */
export const TimeField = z.string().meta({ format: 'date-time' })

/** A BigInt that is a bare JSON integer on the wire, beyond 2^53 too. */
export const Int64Field = z.bigint().meta({ type: 'integer', format: 'int64' })

/** The answer to what has nothing to say: 204. */
export const NoContent = z.undefined().describe('Done')
