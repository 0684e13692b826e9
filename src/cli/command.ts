import { COMMON, type Flags, parseFlags, type Values } from './flags.ts'
import { type Io, usage } from './io.ts'
import { table } from './table.ts'

/** One verb of one noun. */
export interface Command {
  /** Noun and verb, as they are typed. */
  name: string
  summary: string
  /** Runs it and returns the exit code. @throws Problem `wrong_usage`, `command_failed` */
  run(argv: readonly string[], io: Io): Promise<number>
}

export interface Spec<F extends Flags> {
  name: string
  /** What its arguments are; all of them are needed. At most one so far. */
  argument?: string
  summary: string
  notes?: readonly string[]
  flags: F
  run(call: Call<F>): Promise<number>
}

export interface Call<F extends Flags> {
  values: Values<F> & Values<typeof COMMON>
  /** The one argument; empty where there is none. */
  argument: string
  io: Io
}

/** Gives a command its flags, help and check of arguments. */
export function command<F extends Flags>(spec: Spec<F>): Command {
  const flags = { ...spec.flags, ...COMMON }
  return {
    name: spec.name,
    summary: spec.summary,
    async run(argv, io) {
      const { values, args } = parseFlags(argv, flags)
      if (values.help) {
        io.out(help(spec, flags))
        return 0
      }
      const [argument = '', ...more] = args
      if (spec.argument === undefined && args.length > 0) {
        throw usage('This command takes no arguments')
      }
      if (spec.argument !== undefined && (argument === '' || more.length > 0)) {
        throw usage(`This command requires one argument: <${spec.argument}>`)
      }
      return spec.run({ values, argument, io })
    },
  }
}

function help({ name, argument, summary, notes = [] }: Spec<Flags>, flags: Flags): string {
  const rows = Object.entries(flags).map(([flag, { help, ...rest }]) => {
    const value = 'value' in rest ? ` ${rest.value}` : ''
    return [`  -${flag}${value}`, rest.kind === 'list' ? `${help}; may be repeated` : help]
  })
  const [first = [], ...others] = rows
  const words = [`keyringd ${name}`, ...(argument ? [`<${argument}>`] : []), '[flags]']
  const paragraphs = [summary, ...notes].map((one) => `${one}.\n`)
  return [`Usage: ${words.join(' ')}\n`, ...paragraphs, `Flags:\n${table(first, others)}`].join(
    '\n',
  )
}

/** A name in a path: whatever it holds, it stays one segment. */
export const segment = encodeURIComponent
