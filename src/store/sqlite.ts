import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { Problem } from '../errors.ts'
import type { Instant } from '../time.ts'
import { type Migration, pending } from './migrations.ts'
import type { Tables } from './schema.ts'
import { createStore, type Store } from './store.ts'

/** `krdn`: tells our files from anybody else's. */
const APPLICATION_ID = 1802658926
// https://sqlite.org/fileformat2.html#the_database_header
const HEADER_BYTES = 100
const APPLICATION_ID_OFFSET = 68
const MAGIC = Buffer.from('SQLite format 3\0')

export interface SqliteOptions {
  /** A file, or `:memory:`. */
  file: string
  migrations: readonly Migration[]
  writer: string
  now(): Instant
  newId(): string
  onListenerError(error: unknown): void
}

/**
 * Opens the SQLite backend: one process owns the file, WAL, every commit on disk before it is answered.
 * @throws Problem `store_locked`, `store_unusable`, `migration_mismatch`
 */
export function openSqliteStore(options: SqliteOptions): Store {
  const { file } = options
  const onDisk = file !== ':memory:'
  let lock: Database.Database | undefined
  let opened: Database.Database | undefined
  try {
    if (onDisk) lock = takeLock(file)
    const isNew = !onDisk || !isOurs(file)
    const database = new Database(file)
    opened = database
    if (onDisk) chmodSync(file, 0o600)
    prepareDatabase(database, isNew)
    migrate(database, options.migrations)
    const db = new Kysely<Tables>({
      dialect: {
        createAdapter,
        createDriver: () => createDriver(database),
        createIntrospector: (kysely) => new SqliteIntrospector(kysely),
        createQueryCompiler: () => new SqliteQueryCompiler(),
      },
    })
    // The first use of a driver takes a detour in Kysely, on which later ones could overtake.
    const ready = db.connection().execute(async () => {})
    return createStore({
      ...options,
      db,
      // One process owns the file, so nothing else can make a transaction fail for a moment.
      isRetryable: () => false,
      explain,
      async close() {
        // Waits its turn like a query: what was begun before is answered.
        await ready
        await db.connection().execute(async () => void database.close())
        await db.destroy()
        lock?.close()
      },
    })
  } catch (error) {
    opened?.close()
    lock?.close()
    throw error instanceof Problem ? error : unusable(file, error)
  }
}

function unusable(file: string, error: unknown): Problem {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT')) return damaged(file, error)
  const why = code.startsWith('SQLITE_FULL')
    ? 'cannot grow: the disk is full'
    : `cannot be opened (${error instanceof Error ? error.message : String(error)})`
  return new Problem('store_unusable', `The database ${file} ${why}.`, { cause: error })
}

/** What a caller can be told of a failed write; all else is a fault of ours. */
function explain(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (!/^SQLITE_(?:FULL|IOERR)/.test(code)) return error
  const detail = 'The database cannot be written: its disk is full or fails. Nothing was changed.'
  return new Problem('store_unwritable', detail, { cause: error })
}

function damaged(file: string, cause?: unknown): Problem {
  const detail = `The database ${file} is damaged or is no SQLite database.`
  return new Problem('store_unusable', detail, { cause })
}

/** An exclusive lock on a side file: the kernel frees it when the process ends, by kill -9 too. */
function takeLock(file: string): Database.Database {
  const path = `${file}.lock`
  const owner = `${file}.pid`
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  // Two that start at once are in each other's way for a moment; one must get through.
  const lock = new Database(path, { timeout: 250 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
    chmodSync(path, 0o600)
    writeFileSync(owner, `${process.pid}\n`, { mode: 0o600 })
    return lock
  } catch (error) {
    lock.close()
    if (!(error instanceof Error && 'code' in error && error.code === 'SQLITE_BUSY')) {
      throw unusable(path, error)
    }
    throw new Problem(
      'store_locked',
      `Another keyringd (process ${readOwner(owner)}) already uses ${file}; stop it first, or give this one its own KEYRINGD_DATA_DIR.`,
      { cause: error },
    )
  }
}

function readOwner(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

/**
 * False for a file that is still to be written. Reads the header itself, because SQLite would already repair or
 * check-point a file that is not ours. Call it under the lock: closing a file frees this process's locks on it.
 */
function isOurs(file: string): boolean {
  if (!existsSync(file)) return false
  const header = Buffer.alloc(HEADER_BYTES)
  const descriptor = openSync(file, 'r')
  let length: number
  try {
    length = readSync(descriptor, header)
  } finally {
    closeSync(descriptor)
  }
  if (length === 0) return false
  if (length < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged(file)
  }
  if (header.readUInt32BE(APPLICATION_ID_OFFSET) === APPLICATION_ID) return true
  throw new Problem(
    'store_unusable',
    `The file ${file} is a database of another program; it was not touched.`,
  )
}

function prepareDatabase(database: Database.Database, isNew: boolean): void {
  database.defaultSafeIntegers(true)
  // Before WAL, so that it is in the file itself.
  if (isNew) database.pragma(`application_id = ${APPLICATION_ID}`)
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  // 16 MB: what many commits change in the same pages is written back once.
  database.pragma('wal_autocheckpoint = 4000')
  database.pragma('busy_timeout = 5000')
  database.pragma('foreign_keys = ON')
  // The sealed half of a retired key is not to be found in free pages.
  database.pragma('secure_delete = ON')
}

function migrate(database: Database.Database, known: readonly Migration[]): void {
  database.exec(
    'CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT',
  )
  const applied = database.prepare('SELECT name, hash FROM migrations ORDER BY name').all()
  const record = database.prepare('INSERT INTO migrations (name, hash) VALUES (?, ?)')
  for (const { name, hash, sql } of pending(known, applied as { name: string; hash: string }[])) {
    try {
      database.transaction(() => {
        database.exec(sql)
        record.run(name, hash)
      })()
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new Problem(
        'store_unusable',
        `Migration ${name} failed and changed nothing in ${database.name}: ${why}.`,
        { cause: error },
      )
    }
  }
}

/** The driver below hands its one connection over by itself; Kysely's lock wakes all who wait each time. */
function createAdapter(): SqliteAdapter {
  const adapter = new SqliteAdapter()
  return Object.defineProperty(adapter, 'supportsMultipleConnections', { value: true })
}

/** Kysely's own driver says `begin` and prepares anew for every query; this one does neither. */
function createDriver(database: Database.Database): Driver {
  const statements = new Map<string, Database.Statement>()

  function prepare(text: string): Database.Statement {
    const known = statements.get(text)
    if (known) return known
    const statement = database.prepare(text)
    if (statements.size < 500) statements.set(text, statement)
    return statement
  }

  // One connection, in the order of asking.
  let last = Promise.resolve()
  let handOver = () => {}
  let begun = false
  let isGivenUp = false

  const connection: DatabaseConnection = {
    async executeQuery<R>({ sql, parameters }: CompiledQuery) {
      // What came next would be committed each on its own.
      if (isGivenUp) throw new Error('The database has given the transaction up.')
      try {
        const statement = prepare(sql)
        if (statement.reader) return { rows: statement.all(parameters) as R[] }
        const { changes } = statement.run(parameters)
        return { numAffectedRows: BigInt(changes), rows: [] }
      } catch (error) {
        // On a full disk, say, SQLite rolls back by itself.
        isGivenUp = begun && !database.inTransaction
        throw error
      }
    },
    async *streamQuery() {
      yield await Promise.reject(new Error('streaming is not used'))
    },
  }

  return {
    init: async () => {},
    async acquireConnection() {
      const turn = Promise.withResolvers<void>()
      const before = last
      last = turn.promise
      await before
      handOver = turn.resolve
      return connection
    },
    async beginTransaction() {
      prepare('begin immediate').run()
      begun = true
    },
    async commitTransaction() {
      if (isGivenUp) throw new Error('The database has given the transaction up.')
      prepare('commit').run()
      begun = false
    },
    async rollbackTransaction() {
      begun = false
      isGivenUp = false
      if (database.inTransaction) prepare('rollback').run()
    },
    releaseConnection: async () => handOver(),
    destroy: async () => statements.clear(),
  }
}
