import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import {
  type Applied,
  type Migration,
  pending,
  readMigrations,
} from '../../src/store/migrations.ts'

const name = (n: number) => `${String(n).padStart(4, '0')}-step`
const known = (count: number): Migration[] =>
  Array.from({ length: count }, (_, i) => ({
    name: name(i + 1),
    sql: `SELECT ${i}`,
    hash: `hash-${i}`,
  }))
const applied = (migrations: readonly Migration[]): Applied[] =>
  migrations.map(({ name, hash }) => ({ name, hash }))

const mismatch = (says: RegExp) => (error: unknown) =>
  isProblem(error, 'migration_mismatch') && says.test(error.detail)

test('what is pending is what comes after the applied ones', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.nat(8), (a, b) => {
      const all = known(Math.max(a, b))
      const done = all.slice(0, Math.min(a, b))
      assert.deepEqual(pending(all, applied(done)), all.slice(done.length))
    }),
  )
})

test('whatever was applied differently is a mismatch', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(7), fc.boolean(), (count, at, renamed) => {
      const all = known(count)
      const done = applied(all).map((each, i) =>
        i !== at % count ? each : renamed ? { ...each, name: 'x' } : { ...each, hash: 'x' },
      )
      assert.throws(() => pending(all, done), mismatch(/./))
    }),
  )
})

test('a newer database is told from a changed file', () => {
  const all = known(3)
  const newer = [...applied(all), { name: '0004-newer', hash: 'h' }]
  assert.throws(() => pending(all, newer), mismatch(/0004-newer.*newer keyringd/))
  const changed = applied(all).map((each, i) => (i === 1 ? { ...each, hash: 'other' } : each))
  assert.throws(() => pending(all, changed), mismatch(/0002-step was changed.*original file/))
})

test('a migration that was skipped is not called a newer database', () => {
  const all = known(3)
  const skipped = applied(all).filter((_, i) => i !== 1)
  assert.throws(() => pending(all, skipped), mismatch(/0002-step.*before 0003-step/))
})

test('a folder of migrations is read in order, with the hash of each file', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-migrations-'))
  t.after(() => rm(folder, { recursive: true }))
  const files = {
    '0010-ten.sql': 'SELECT 10',
    '0002-two.sql': 'SELECT 2',
    '0001-init.sql': "SELECT 'ß'\n",
    '0003-backup.sql~': 'no',
    'notes.md': 'no',
    '3-short.sql': 'no',
  }
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text)
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
  assert.deepEqual(
    await readMigrations(folder),
    (['0001-init', '0002-two', '0010-ten'] as const).map((each) => {
      const sql = files[`${each}.sql`]
      return { name: each, sql, hash: sha256(sql) }
    }),
  )
})

test('the migrations that ship are found', async () => {
  const folder = join(import.meta.dirname, '../../migrations/sqlite')
  const [first] = await readMigrations(folder)
  assert.equal(first?.name, '0001-init')
  assert.equal(first.sql, await readFile(join(folder, '0001-init.sql'), 'utf8'))
})
