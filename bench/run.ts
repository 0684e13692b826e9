// `npm run bench [-- NAME… --write --bin FILE]`: every line of "Speed and memory", each against something that the same
// run starts. With `--write` the table in README.md is replaced. With `--bin` that program is measured as it is, and
// nothing is built.
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { startServer } from '../scripts/server-process.ts'
import { databases } from './databases.ts'
import { fullDatabase } from './full-database.ts'
import { held } from './held.ts'
import { identities } from './identities.ts'
import { install } from './install.ts'
import { startClient } from './load.ts'
import type { Bench, Line } from './measure.ts'
import { publication } from './publication.ts'
import { rotation } from './rotation.ts'
import { signing } from './signing.ts'
import { startup } from './startup.ts'
import { uriSigning } from './uri-signing.ts'

const BENCHES: Record<string, (bench: Bench) => Promise<Line[]>> = {
  ...{ publication, signing, rotation, held, startup, identities },
  ...{ 'full-database': fullDatabase, 'uri-signing': uriSigning, databases },
}
const README = join(import.meta.dirname, '..', 'README.md')
const MARKED = /(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { write: { type: 'boolean', default: false }, bin: { type: 'string' } },
})
const unknown = positionals.filter((name) => !(name in BENCHES))
if (unknown.length > 0 || (values.write && positionals.length > 0)) {
  console.error(`Names are ${Object.keys(BENCHES).join(', ')}; --write takes none.`)
  process.exit(2)
}

function tableOf(lines: readonly Line[]): string {
  const rows = lines.map(({ what, measured, target, holds }) => [
    ...[what, measured, target, holds ? 'holds' : 'MISSES'],
  ])
  const table = [['What', 'Measured', 'Target', ''], ['---', '---', '---', '---'], ...rows]
  return table.map((row) => `| ${row.join(' | ')} |\n`).join('')
}

async function write(table: string): Promise<void> {
  const readme = await readFile(README, 'utf8')
  if (!MARKED.test(readme)) throw new Error('README.md has no <!-- bench --> markers')
  const machine = `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Node ${process.version}`
  await writeFile(
    README,
    readme.replace(MARKED, (_, open, close) => `${open}On ${machine}:\n\n${table}${close}`),
  )
}

const { bin, remove } = values.bin
  ? { bin: resolve(values.bin), remove: async () => {} }
  : await install()
const client = startClient()
const bench: Bench = {
  ...{ client, bin, say: console.log },
  start: (options) => startServer({ bin, ...options }),
}
try {
  const lines: Line[] = []
  for (const [name, run] of Object.entries(BENCHES)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    console.log(`${name} …`)
    const found = await run(bench)
    for (const { what, measured, target, holds } of found) {
      console.log(`  ${holds ? 'holds ' : 'MISSES'} ${what}: ${measured}, target ${target}`)
    }
    lines.push(...found)
  }
  console.log(`\n${tableOf(lines)}`)
  if (values.write) await write(tableOf(lines))
  if (lines.some(({ holds }) => !holds)) process.exitCode = 1
} finally {
  await client.stop()
  await remove()
}
