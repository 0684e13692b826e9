import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { isProblem } from '../../src/errors.ts'
import { readMigrations } from '../../src/store/migrations.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store, Tx } from '../../src/store/store.ts'
import { createWorld } from './fixtures.ts'

// Another process on a SQLite file, for sqlite.test.ts: `hold` keeps it until standard input ends, `commit` writes
// until it is killed. It says each thing in a line that is written before it goes on.

const [mode, file = ''] = process.argv.slice(2)
const say = (...words: (string | bigint | number)[]) => writeSync(1, `${words.join(' ')}\n`)

/** One more value, with its own row and its audit record, so that half a commit would show. */
async function nextValue(tx: Tx): Promise<bigint> {
  const value = await tx.counters.next('n')
  await tx.settings.set(`value-${value}`, Number(value))
  await tx.audit.append({ type: 'value.added', subject: `${value}`, principal: 'system' })
  return value
}

async function commitForEver(store: Store): Promise<never> {
  for (let round = 0; ; round++) {
    if (round % 2) say('kept', await store.transaction(nextValue))
    else {
      const callers = Array.from({ length: 3 }, () => store.grouped(nextValue))
      for (const value of await Promise.all(callers)) say('kept', value)
    }
  }
}

try {
  const migrations = await readMigrations(join(import.meta.dirname, '../../migrations/sqlite'))
  const store = openSqliteStore({ ...createWorld(), file, migrations })
  say('open')
  if (mode === 'commit') await commitForEver(store)
  process.stdin.resume()
  process.stdin.on('end', () => store.close())
} catch (error) {
  if (!isProblem(error)) throw error
  say('refused', error.code, error.detail)
}
