import { parseArgs } from 'node:util'
import { ROLE_NAMES } from '../access/capabilities.ts'
import { usage } from './io.ts'

// Flags as Go's package has them, which is what clients of the imitated command line know: one dash or two, `-flag value`
// or `-flag=value`. Unlike there, flags may also follow arguments.

export type Flag =
  | { kind: 'text'; value: string; help: string }
  | { kind: 'list'; value: string; help: string }
  | { kind: 'switch'; help: string }
export type Flags = Record<string, Flag>

export type Values<F extends Flags> = {
  [K in keyof F]: F[K]['kind'] extends 'switch'
    ? boolean
    : F[K]['kind'] extends 'list'
      ? readonly string[]
      : string | undefined
}

/** A flag with a value; `value` is how the help calls it. */
export const text = (value: string, help: string) => ({ kind: 'text', value, help }) as const
/** A flag that may be given more than once. */
export const list = (value: string, help: string) => ({ kind: 'list', value, help }) as const
export const toggle = (help: string) => ({ kind: 'switch', help }) as const

/** What every command that prints an answer has. */
export const json = toggle("the API's answer as it is")

/** What somebody may. */
export const roleFlag = (more: string) => text('ROLE', `${ROLE_NAMES.join(', ')}; ${more}`)

/** What every command has. */
export const COMMON = {
  address: text(
    'URL',
    'server; else KEYRINGD_ADDR, KEYRINGD_PORT on this machine, NOMAD_ADDR, http://127.0.0.1:4650',
  ),
  token: text('TOKEN', 'credential; better in KEYRINGD_TOKEN (then NOMAD_TOKEN)'),
  'ca-cert': text('FILE', 'PEM certificates to trust for the server, instead of the usual ones'),
  'ca-path': text('FOLDER', 'the same, of all files in a folder; -ca-cert wins'),
  'client-cert': text('FILE', 'PEM certificate to show to a server that asks for one'),
  'client-key': text('FILE', 'PEM private key of -client-cert'),
  'tls-server-name': text(
    'NAME',
    "name in the server's certificate, instead of the host in its address",
  ),
  help: toggle('this text'),
}

/** Words of Go's `strconv.ParseBool`. */
const BOOLEANS = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
])

/** What no secret looks like: only this much of a word that was not understood is repeated. */
export const HARMLESS = /^[a-z][a-z-]{0,30}$/

/** The form `parseArgs` reads without guessing: `--name`, `--no-name`, `--name=value`. */
function normalise(argv: readonly string[], flags: Flags): string[] {
  const words: string[] = []
  const rest = argv.values()
  for (const word of rest) {
    if (word === '--') return [...words, word, ...rest]
    const [, name = '', inline] = /^--?([^=-][^=]*)(?:=(.*))?$/s.exec(word) ?? []
    const known = name === 'h' ? 'help' : name
    const flag = Object.hasOwn(flags, known) ? flags[known] : undefined
    if (!word.startsWith('-') || word === '-') words.push(word)
    else if (!flag) throw usage(HARMLESS.test(name) ? `Unknown flag: -${name}` : 'Unknown flag')
    else if (flag.kind === 'switch') {
      const on = inline === undefined ? true : BOOLEANS.get(inline)
      if (on === undefined) throw usage(`-${known} is either there or not, or =true, or =false`)
      words.push(on ? `--${known}` : `--no-${known}`)
    } else {
      const value = inline ?? rest.next().value
      if (value === undefined) throw usage(`-${known} needs a value: ${flag.value}`)
      words.push(`--${known}=${value}`)
    }
  }
  return words
}

/** Reads flags and arguments. @throws Problem `wrong_usage` */
export function parseFlags<F extends Flags>(
  argv: readonly string[],
  flags: F,
): { values: Values<F>; args: string[] } {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { kind }]) => [
      name,
      kind === 'switch'
        ? { type: 'boolean' as const, default: false }
        : { type: 'string' as const, ...(kind === 'list' && { multiple: true, default: [] }) },
    ]),
  )
  const { values, positionals } = parseArgs({
    ...{ args: normalise(argv, flags), options, allowPositionals: true, allowNegative: true },
  })
  return { values: { ...values } as Values<F>, args: positionals }
}
