import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { after, type TestContext, test } from 'node:test'
import Database from 'better-sqlite3'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import { type Migration, readMigrations } from '../../src/store/migrations.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { conformance } from './conformance.ts'
import { createWorld } from './fixtures.ts'

const migrations = await readMigrations(join(import.meta.dirname, '../../migrations/sqlite'))
const folder = mkdtempSync(join(tmpdir(), 'keyringd-store-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0
const freshFile = () => join(folder, `${++files}`, 'keyringd.db')
const openFile = (file: string, known: readonly Migration[] = migrations): Store =>
  openSqliteStore({ ...createWorld(), file, migrations: known })

conformance(
  'SQLite in memory',
  async (_t, world) => openSqliteStore({ ...world, file: ':memory:', migrations }),
  { keepsData: false },
)

conformance('SQLite on disk', async (_t, world) =>
  openSqliteStore({ ...world, file: join(folder, `${world.place}.db`), migrations }),
)

/** Opening must fail with this code, in one plain sentence that names the file, and leave no lock behind. */
function assertRefused(file: string, code: ProblemCode, says: RegExp, known = migrations): void {
  for (const attempt of ['first', 'second']) {
    assert.throws(
      () => openFile(file, known).close(),
      (error) => {
        assert.ok(isProblem(error, code), `${attempt}: ${String(error)}`)
        assert.match(error.detail, says)
        assert.doesNotMatch(error.detail, /\n|SqliteError|SQLITE_| at /)
        return true
      },
    )
  }
}

/** Commits one thing, so that the file has something in it, and closes. */
async function writeOne(file: string): Promise<void> {
  const store = openFile(file)
  await store.transaction((tx) => tx.settings.set('a', 1))
  await store.close()
}

// One process per file ---------------------------------------------------------------------------------

interface Child {
  process: ChildProcessByStdio<Writable, Readable, null>
  /** Everything it says, as it says it. */
  lines: AsyncIterableIterator<string>
}

function start(t: TestContext, mode: 'hold' | 'commit', file: string): Child {
  const script = join(import.meta.dirname, 'sqlite-child.ts')
  const child = spawn(process.execPath, [script, mode, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  return { process: child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() }
}

const firstLine = async (child: Child): Promise<string> => (await child.lines.next()).value

async function kill(child: Child): Promise<void> {
  const gone = once(child.process, 'exit')
  child.process.kill('SIGKILL')
  await gone
}

test('a second process on the same file is refused and told who has it', async (t) => {
  const file = freshFile()
  const owner = start(t, 'hold', file)
  assert.equal(await firstLine(owner), 'open')
  assertRefused(file, 'store_locked', RegExp(`process ${owner.process.pid}\\b.*${file}`))
  assert.match(await firstLine(start(t, 'hold', file)), /^refused store_locked /)
  owner.process.stdin.end()
  await once(owner.process, 'exit')
  await writeOne(file)
})

test('a process that was killed does not keep the file', async (t) => {
  const file = freshFile()
  const owner = start(t, 'hold', file)
  assert.equal(await firstLine(owner), 'open')
  await kill(owner)
  const store = openFile(file)
  t.after(() => store.close())
  const other = await firstLine(start(t, 'hold', file))
  assert.match(other, RegExp(`^refused store_locked .*process ${process.pid}\\b`))
})

test('a refused second opener in the same process does not free the file', async (t) => {
  const file = freshFile()
  const store = openFile(file)
  t.after(() => store.close())
  assertRefused(file, 'store_locked', RegExp(`process ${process.pid}\\b`))
  assert.match(await firstLine(start(t, 'hold', file)), /^refused store_locked /)
  await store.transaction((tx) => tx.settings.set('a', 1))
})

test('of processes that start at once one gets the file', async (t) => {
  const file = freshFile()
  const children = Array.from({ length: 4 }, () => start(t, 'hold', file))
  const lines = await Promise.all(children.map(firstLine))
  assert.equal(lines.filter((line) => line === 'open').length, 1, lines.join('\n'))
  assert.equal(lines.filter((line) => line.startsWith('refused store_locked')).length, 3)
})

test('what was acknowledged is there after kill -9, and nothing is half there', async (t) => {
  const file = freshFile()
  let expected = 0
  for (let round = 0; round < 20; round++) {
    const child = start(t, 'commit', file)
    assert.equal(await firstLine(child), 'open')
    const killAfter = expected + 1 + ((round * 7) % 40)
    const gone = once(child.process, 'exit')
    for await (const line of child.lines) {
      const value = Number(/^kept (\d+)$/.exec(line)?.[1])
      assert.equal(value, expected + 1)
      expected = value
      if (value === killAfter) child.process.kill('SIGKILL')
    }
    await gone

    const store = openFile(file)
    const count = Number(await store.read.counters.get('n'))
    assert.ok(count >= expected, `round ${round}: ${count} of ${expected}`)
    for (let value = 1; value <= count; value++) {
      assert.equal(await store.read.settings.get(`value-${value}`), value)
    }
    assert.equal(await store.read.settings.get(`value-${count + 1}`), undefined)
    assert.equal(Number((await store.read.audit.head())?.seq), count)
    await store.close()
    expected = count
  }
})

test('the database, its lock and its owner are for their user only', async () => {
  const file = freshFile()
  const store = openFile(file)
  for (const suffix of ['', '-wal', '-shm', '.lock', '.pid']) {
    assert.equal(statSync(file + suffix).mode & 0o777, 0o600, suffix)
  }
  assert.equal(statSync(join(file, '..')).mode & 0o777, 0o700)
  await store.close()
})

// Files that are not ours, or not whole ------------------------------------------------------------------

test('a database of another program is refused and not touched', (t) => {
  for (const [pragma, sql] of [
    ['application_id = 0', 'create table theirs (a); insert into theirs values (1)'],
    ['application_id = 252006673', 'create table theirs (a)'],
    ['application_id = 252006673', 'create table gone (a); drop table gone'],
    ['journal_mode = wal', 'create table theirs (a); insert into theirs values (1)'],
  ] as const) {
    const file = freshFile()
    mkdirSync(join(file, '..'))
    const theirs = new Database(`${file}.theirs`)
    t.after(() => theirs.close())
    theirs.pragma(pragma)
    theirs.exec(sql)
    // Copied while it is open, so that what is only in its log is part of the find.
    const parts = ['', '-wal'].filter((suffix) => existsSync(`${file}.theirs${suffix}`))
    for (const suffix of parts) copyFileSync(`${file}.theirs${suffix}`, file + suffix)
    chmodSync(file, 0o640)
    const before = parts.map((suffix) => readFileSync(file + suffix))
    assertRefused(file, 'store_unusable', /is a database of another program; it was not touched/)
    assert.deepEqual(
      parts.map((suffix) => readFileSync(file + suffix)),
      before,
    )
    assert.equal(statSync(file).mode & 0o777, 0o640)
    assert.equal(parts.length, pragma === 'journal_mode = wal' ? 2 : 1)
  }
})

test('a damaged file is refused with a plain sentence and not touched', async () => {
  const whole = freshFile()
  await writeOne(whole)
  const bytes = readFileSync(whole)
  const damages: Record<string, (file: string) => void> = {
    text: (file) => writeFileSync(file, 'this is a letter to my aunt\n'.repeat(500)),
    zeros: (file) => writeFileSync(file, new Uint8Array(8192)),
    'some bytes': (file) => writeFileSync(file, bytes.subarray(0, 50)),
    'header only': (file) => truncateSync(file, 100),
    'half of it': (file) => truncateSync(file, bytes.length / 2),
    'one page less': (file) => truncateSync(file, bytes.length - 4096),
    'overwritten first page': (file) => {
      writeFileSync(file, Buffer.concat([bytes.subarray(0, 100), bytes.subarray(100).fill(0xa5)]))
    },
  }
  for (const [name, damage] of Object.entries(damages)) {
    const file = freshFile()
    mkdirSync(join(file, '..'))
    writeFileSync(file, bytes)
    damage(file)
    const before = readFileSync(file)
    assertRefused(file, 'store_unusable', RegExp(`${file} is damaged or is no SQLite database`))
    assert.deepEqual(readFileSync(file), before, name)
  }
})

test('an empty file is a new database', async () => {
  const file = freshFile()
  mkdirSync(join(file, '..'))
  writeFileSync(file, '')
  await writeOne(file)
  const store = openFile(file)
  assert.equal(await store.read.settings.get('a'), 1)
  await store.close()
})

test('a place where no file can be is refused with a plain sentence', () => {
  const file = freshFile()
  mkdirSync(join(file, '..'))
  writeFileSync(file, 'a file where a folder should be')
  assertRefused(join(file, 'data', 'keyringd.db'), 'store_unusable', /cannot be opened \(.*ENOTDIR/)
  const directory = freshFile()
  mkdirSync(directory, { recursive: true })
  assertRefused(directory, 'store_unusable', /cannot be opened/)
})

// Root may write anywhere, so this one needs an ordinary user.
const asRoot = process.getuid?.() === 0 && 'root may write to any folder'
test('an unwritable folder is refused with a plain sentence', { skip: asRoot }, () => {
  const file = freshFile()
  mkdirSync(join(file, '..'), { mode: 0o500 })
  assertRefused(file, 'store_unusable', /cannot be opened/)
})

test('a transaction that SQLite gives up by itself keeps nothing', async (t) => {
  // What a full disk does, from a trigger: ROLLBACK ends the whole transaction behind our back.
  const sql = `CREATE TRIGGER full_disk BEFORE INSERT ON settings WHEN NEW.name = 'full'
    BEGIN SELECT RAISE(ROLLBACK, 'disk is full'); END`
  const file = freshFile()
  const store = openFile(file, [...migrations, { name: '0099-full-disk', sql, hash: 'h' }])
  t.after(() => store.close())
  const stubborn = store.transaction(async (tx) => {
    await tx.counters.next('n')
    await tx.settings.set('full', 1).catch(() => {})
    await tx.counters.next('n')
  })
  await assert.rejects(stubborn, /given the transaction up/)
  assert.equal(await store.read.counters.get('n'), 0n)

  const grouped = await Promise.allSettled([
    store.grouped((tx) => tx.counters.next('n')),
    store.grouped((tx) => tx.settings.set('full', 1)),
    store.grouped((tx) => tx.counters.next('n')),
  ])
  assert.deepEqual(
    grouped.map((each) => (each.status === 'fulfilled' ? each.value : each.reason.message)),
    [1n, 'disk is full', 2n],
  )
})

// Migrations ---------------------------------------------------------------------------------------------

const migration = (name: string, sql: string, hash = `hash of ${name}`): Migration => ({
  name,
  sql,
  hash,
})

test('a migration is applied once, to new and to old databases', async () => {
  const file = freshFile()
  await writeOne(file)
  const more = [...migrations, migration('0099-more', 'CREATE TABLE more (a TEXT) STRICT')]
  for (let i = 0; i < 2; i++) await openFile(file, more).close()
  const store = openFile(file, more)
  assert.equal(await store.read.settings.get('a'), 1)
  await store.close()
})

test('a changed migration and a newer database are refused', async () => {
  const file = freshFile()
  await writeOne(file)
  const changed = migrations.map((each) => ({ ...each, hash: 'another' }))
  assertRefused(file, 'migration_mismatch', /0001-init was changed after it was applied/, changed)
  await openFile(file, [...migrations, migration('0099-newer', 'SELECT 1')]).close()
  assertRefused(file, 'migration_mismatch', /has migration 0099-newer.*written by a newer keyringd/)
})

test('a migration that fails half-way leaves nothing', async () => {
  const file = freshFile()
  await writeOne(file)
  const good = migration('0099-good', 'CREATE TABLE good (a TEXT) STRICT')
  const bad = migration(
    '0100-bad',
    `CREATE TABLE fine (a TEXT) STRICT; UPDATE settings SET value = '2'; INSERT INTO absent VALUES (1);`,
  )
  const known = [...migrations, good, bad]
  assertRefused(file, 'store_unusable', /0100-bad failed and changed nothing.*no such table/, known)
  const raw = new Database(file, { readonly: true })
  const tables = raw.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all()
  assert.ok(tables.includes('good') && !tables.includes('fine'))
  const applied = raw.prepare('SELECT name FROM migrations ORDER BY name').pluck().all()
  assert.deepEqual(applied, [...migrations.map(({ name }) => name), '0099-good'])
  raw.close()
  const mended = [...migrations, good, migration('0100-bad', 'CREATE TABLE fine (a TEXT) STRICT')]
  const store = openFile(file, mended)
  assert.equal(await store.read.settings.get('a'), 1)
  await store.close()
})
