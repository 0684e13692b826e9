import { type CallOptions, createClient } from './client.ts'
import { type Call, type Command, command, segment } from './command.ts'
import { type Flags, json, type Values } from './flags.ts'
import { failure } from './io.ts'
import { table } from './table.ts'

// What `list`, `show` and `delete` are for every noun whose things have names and lie below one path.

export interface Collection<T, F extends Flags = Record<never, never>, Answer = T> {
  /** As it is typed, such as `api-token`. */
  noun: string
  /** As a sentence has it, such as `API token`. */
  kind: string
  /** What says which collection is meant, such as that of a ring. */
  flags: F
  path(values: Values<F>): string
  /** The member of the answer that is the list. */
  member: string
  /** What names one of them; default: name. */
  argument?: string
  /** The head of each column of the list, and its cell. */
  columns: Record<string, (one: T) => string>
  /** The answer about one of them, as people read it. */
  describe(answer: Answer): string
}

/** Asks, and prints the answer: with `-json` as it came, else as `show` has it. @throws Problem `command_failed` */
export async function ask<T>(
  { values, io }: Call<{ json: typeof json }>,
  request: readonly [method: string, path: string, body?: unknown, options?: CallOptions],
  show: (value: T) => string,
): Promise<number> {
  const { value, text } = await createClient(values, io).json<T>(...request)
  io.out(values.json ? text : show(value))
  return 0
}

/** Lists all of them. */
export const listCommand = <T, F extends Flags, A>(
  of: Collection<T, F, A>,
  summary: string,
): Command =>
  command({
    name: `${of.noun} list`,
    summary,
    flags: { ...of.flags, json },
    run: (call) =>
      ask(call, ['GET', of.path(call.values)], (answer: Record<string, T[]>) => {
        const all = answer[of.member]
        if (!all) throw failure(`error: The answer has no ${of.member}; is it from a keyringd?`)
        const cells = Object.values(of.columns)
        return table(
          Object.keys(of.columns),
          all.map((one) => cells.map((cell) => cell(one))),
        )
      }),
  })

/** Describes the one with this name. */
export const showCommand = <T, F extends Flags, A>(
  of: Collection<T, F, A>,
  summary: string,
): Command =>
  command({
    name: `${of.noun} show`,
    argument: of.argument ?? 'name',
    summary,
    flags: { ...of.flags, json },
    run: (call) =>
      ask(call, ['GET', `${of.path(call.values)}/${segment(call.argument)}`], of.describe),
  })

/** Deletes the one with this name. */
export const deleteCommand = <T, F extends Flags, A>(
  of: Collection<T, F, A>,
  summary: string,
): Command =>
  command({
    name: `${of.noun} delete`,
    argument: of.argument ?? 'name',
    summary,
    flags: of.flags,
    async run({ values, argument, io }) {
      const path = `${of.path(values)}/${segment(argument)}`
      await createClient(values, io).call('DELETE', path)
      io.out(`Deleted ${of.kind} ${argument}\n`)
      return 0
    },
  })
