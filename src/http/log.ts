import { type DestinationStream, type Level, type Logger, pino } from 'pino'

// Two nets, because a secret in a log is found by somebody else: whole members by their name wherever they sit in a
// record, and our own tokens by their shape in the finished line, whatever text they got into.

const REDACTED = '[redacted]'
const MAX_DEPTH = 12

/** Compared in lower case. The one-letter names are the private members of a JWK (RFC 7518 section 6). */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  ...['authorization', 'proxy-authorization', 'x-nomad-token', 'cookie', 'set-cookie'],
  ...['password', 'token', 'secret', 'jwt', 'assertion', 'kek', 'passphrase'],
  ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth', 'priv'],
])

/** An API token, a login token, or a compact JWS, of which the claims stay hidden too. */
const SECRET_SHAPES = /kr[dl]_[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g

export interface LogOptions {
  level: Level | 'silent'
  /** Default: standard output, written synchronously so that the last line before an exit is not lost. */
  destination?: DestinationStream
}

/** JSON lines with secrets taken out. The only place that makes a logger. */
export function createLogger({ level, destination }: LogOptions): Logger {
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: redactMembers,
      },
      // Errors are plain by then, and pino's own serializer would drop the members of their causes.
      serializers: { err: (error: unknown) => error },
      hooks: { streamWrite: (line) => line.replace(SECRET_SHAPES, REDACTED) },
    },
    destination ?? pino.destination({ dest: 1, sync: true }),
  )
  // Formatters do not see what a child logger is bound to.
  const { child } = log
  log.child = function redactingChild(this: Logger, bindings, options) {
    return child.call(this, redactMembers(bindings), options)
  } as Logger['child']
  return log
}

/** A copy of a log record with every secret member replaced. */
export function redactMembers(record: Record<string, unknown>): Record<string, unknown> {
  return copyMembers(record, 0)
}

function copyMembers(value: object, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      SECRET_NAMES.has(name.toLowerCase()) && member != null ? REDACTED : copy(member, depth + 1),
    ]),
  )
}

function copy(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH) return '[too deep]'
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.map((item) => copy(item, depth + 1))
  if (value instanceof Error) return copyError(value, depth)
  if (value instanceof Map || value instanceof Set) return `[${value.size} entries]`
  return copyMembers(value, depth)
}

/** What pino's own serializer shows, and the chain of causes; the error's members pass the same net. */
function copyError(error: Error, depth: number): Record<string, unknown> {
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...copyMembers(error, depth),
    ...(error.cause === undefined ? {} : { cause: copy(error.cause, depth + 1) }),
  }
}
