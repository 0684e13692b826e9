import type { SettingAnswer } from './answers.ts'
import { ask, type Collection, listCommand } from './collection.ts'
import { command, segment } from './command.ts'
import { json, text } from './flags.ts'
import { readSource } from './input.ts'
import { usage } from './io.ts'
import { record } from './table.ts'

const PATH = '/v1/settings'

/** On one line, as JSON where it is no plain text. */
const shown = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value)

const MAX_CELL = 60
const cell = (value: unknown): string => {
  const line = shown(value).replace(/\s+/g, ' ')
  return line.length > MAX_CELL ? `${line.slice(0, MAX_CELL)}…` : line
}

const settings: Collection<SettingAnswer> = {
  ...{ noun: 'settings', kind: 'setting', flags: {}, member: 'settings' },
  path: () => PATH,
  columns: {
    Name: ({ name }) => name,
    Value: ({ value }) => cell(value),
    From: ({ source }) => source,
  },
  describe: ({ value, defaultValue, ...rest }) =>
    record({ ...rest, value: shown(value), default: shown(defaultValue) }),
}

const get = command({
  name: 'settings get',
  argument: 'name',
  summary: 'Prints the value of a run-time setting',
  flags: { json },
  run: (call) =>
    ask(
      call,
      ['GET', `${PATH}/${segment(call.argument)}`],
      ({ value }: SettingAnswer) => `${shown(value)}\n`,
    ),
})

/** Words of JSON are values of its kinds, all else is text: names and URLs need no quotes. */
function readValue(given: string): unknown {
  try {
    return JSON.parse(given)
  } catch {
    return given
  }
}

const set = command({
  name: 'settings set',
  argument: 'name',
  summary: 'Changes a run-time setting; it counts at once',
  notes: [
    'A value that is JSON is taken as such, such as 600, false or ["name"]; any other is text',
    'Another jwks_endpoint changes which keys are trusted only with the next POST /api/v2/jwks_setup',
  ],
  flags: {
    value: text('VALUE', 'the new value; this or -file is needed'),
    file: text(
      'FILE',
      'file with the value as text, such as a PEM certificate; - is standard input',
    ),
    json,
  },
  async run(call) {
    const { value, file } = call.values
    if ((value === undefined) === (file === undefined)) {
      throw usage('One of -value and -file is needed')
    }
    const given =
      file === undefined ? readValue(value ?? '') : await readSource(file, '-file', call.io)
    const path = `${PATH}/${segment(call.argument)}`
    return ask(call, ['PUT', path, { value: given }], settings.describe)
  },
})

const reset = command({
  name: 'settings reset',
  argument: 'name',
  summary: 'Takes a run-time setting back to its default',
  flags: { json },
  run: (call) => ask(call, ['DELETE', `${PATH}/${segment(call.argument)}`], settings.describe),
})

export const setting = {
  list: listCommand(settings, 'Lists the run-time settings'),
  get,
  set,
  reset,
}
