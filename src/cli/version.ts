import { readFileSync } from 'node:fs'
import { command } from './command.ts'

/** At the same place from src/ and from dist/. */
const PACKAGE = new URL('../../package.json', import.meta.url)

export const version = command({
  name: 'version',
  summary: 'Prints the version',
  flags: {},
  async run({ io }) {
    const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }
    io.out(`keyringd ${version}\n`)
    return 0
  },
})
