// Writes the table of settings into docs/settings.md, between its two markers; `--check` only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { settingsTable } from '../src/config.ts'

const file = join(import.meta.dirname, '..', 'docs', 'settings.md')
const before = readFileSync(file, 'utf8')
const after = before.replace(
  /(<!-- settings -->\n)[\s\S]*?(\n<!-- \/settings -->)/,
  (_, start, end) => `${start}\n${settingsTable()}\n${end}`,
)
if (!/<!-- settings -->\n[\s\S]*\n<!-- \/settings -->/.test(before)) {
  console.error('docs/settings.md lacks the lines <!-- settings --> and <!-- /settings -->')
  process.exitCode = 1
} else if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('docs/settings.md is out of date: npm run settings')
    process.exitCode = 1
  }
} else if (after !== before) {
  writeFileSync(file, after)
}
