import { parseDuration, SECOND, toSeconds } from '../time.ts'
import { readText } from './files.ts'
import { type Io, usage } from './io.ts'

/** A file's text; `-` is standard input. */
export const readSource = async (file: string, flag: string, io: Io): Promise<string> =>
  file === '-' ? io.stdin() : readText(file, flag)

/** JSON as it is, or `@file` with it, or `@-`. @throws Problem `wrong_usage` when it is no JSON object */
export async function readObject(
  value: string,
  flag: string,
  io: Io,
): Promise<Record<string, unknown>> {
  const source = value.startsWith('@') ? await readSource(value.slice(1), flag, io) : value
  return parseObject(source, flag)
}

/** @throws Problem `wrong_usage`; it does not repeat the text */
export function parseObject(source: string, flag: string): Record<string, unknown> {
  const value = parsed(source)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw usage(`${flag} must be a JSON object`)
  }
  return { ...value }
}

function parsed(source: string): unknown {
  try {
    return JSON.parse(source)
  } catch {
    return undefined
  }
}

/** The API takes `15m` as text and whole seconds as a number. @throws Problem `wrong_usage` */
export function toDurationField(value: string, flag: string): string | number {
  if (/^\d{1,10}$/.test(value)) return Number(value)
  if (parseDuration(value) !== undefined) return value
  throw usage(`${flag} must be a duration, such as 15m or 720h, or whole seconds`)
}

/** The same as a number, for routes that take nothing else. @throws Problem `wrong_usage` */
export function toSecondsField(value: string, flag: string): number {
  const field = toDurationField(value, flag)
  if (typeof field === 'number') return field
  const span = parseDuration(field) ?? 0n
  if (span % SECOND !== 0n) throw usage(`${flag} must be whole seconds`)
  return toSeconds(span)
}
