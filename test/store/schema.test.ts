import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { readMigrations } from '../../src/store/migrations.ts'
import { SEALED_TABLES } from '../../src/store/sealed.ts'

// What the SQLite schema itself promises, where no query of ours could ask for it.

const migrations = await readMigrations(join(import.meta.dirname, '../../migrations/sqlite'))

function openSchema(): Database.Database {
  const database = new Database(':memory:')
  for (const { sql } of migrations) database.exec(sql)
  return database
}

interface Column {
  name: string
  notnull: number
}
interface ForeignKey {
  table: string
  from: string
  to: string
  on_delete: string
}

const database = openSchema()
const tables = database
  .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
  .all() as { name: string; sql: string }[]
const columnsOf = (table: string) => database.pragma(`table_info(${table})`) as Column[]
const keysOf = (table: string) => database.pragma(`foreign_key_list(${table})`) as ForeignKey[]

/** The first columns of the indexes of a table that hold for all of its rows. */
function indexedFirst(table: string): string[] {
  const indexes = database.pragma(`index_list(${table})`) as { name: string; partial: number }[]
  return indexes
    .filter(({ partial }) => partial === 0)
    .flatMap(({ name }) => (database.pragma(`index_info(${name})`) as Column[])[0]?.name ?? [])
}

test('every table is strict', () => {
  assert.ok(tables.length > 20)
  for (const { name, sql } of tables) assert.match(sql, /\)\s*STRICT$/, name)
})

test('the list of sealed tables has every sealed column there is', () => {
  const found = tables.flatMap(({ name }) => {
    const columns = columnsOf(name).flatMap((column) =>
      column.name.endsWith('_sealed') ? [column.name] : [],
    )
    return columns.length > 0 ? [{ table: name, columns: columns.sort() }] : []
  })
  const listed = SEALED_TABLES.map(({ table, columns }) => ({ table, columns: columns.toSorted() }))
  assert.deepEqual(
    listed.sort((a, b) => (a.table < b.table ? -1 : 1)),
    found,
  )
})

test('a sealed table names its key, its row and its owner in columns that it has', () => {
  for (const { table, id, owner } of SEALED_TABLES) {
    const columns = columnsOf(table)
    for (const name of [id, ...owner]) {
      const column = columns.find((each) => each.name === name)
      assert.ok(column, `${table}.${name}`)
      // A primary key of a STRICT table may still be null in SQLite's own words.
      assert.ok(column.notnull === 1 || name === id, `${table}.${name} may be null`)
    }
  }
})

test('what seals a row cannot be deleted and is found by index', () => {
  for (const { table } of SEALED_TABLES) {
    const key = keysOf(table).find(({ from }) => from === 'root_kid')
    assert.ok(key, table)
    assert.equal(key.table, 'root_keys')
    assert.equal(key.on_delete, 'RESTRICT', table)
    assert.ok(indexedFirst(table).includes('root_kid'), table)
  }
})

test('nothing is sealed without saying under which root key', () => {
  for (const { table, columns } of SEALED_TABLES) {
    const rootKid = columnsOf(table).find(({ name }) => name === 'root_kid')
    if (rootKid?.notnull === 1) continue
    const sql = tables.find(({ name }) => name === table)?.sql ?? ''
    for (const column of columns) {
      assert.match(sql, RegExp(`CHECK \\(.*\\b${column} IS NULL.*\\)`), `${table}.${column}`)
      assert.match(sql, /CHECK \(.*\broot_kid IS (NOT )?NULL.*\)/, table)
    }
  }
})

/** Rows to try refusals on. */
const SEED = `
  INSERT INTO rings VALUES ('audit', 'audit', 1, '[]', NULL, NULL, NULL, NULL, 0, 0);
  INSERT INTO counters VALUES ('n', 5);
  INSERT INTO kid_history VALUES ('k', 't', 'audit', 'ES256', 0);
  INSERT INTO audit_events VALUES ('w', 1, 0, 't', 's', 'p', '{}', x'00', x'01');
  INSERT INTO audit_events VALUES ('w', 2, 0, 't', 's', 'p', '{}', x'01', x'02');
  INSERT INTO audit_events VALUES ('v', 1, 0, 't', 's', 'p', '{}', x'00', x'03');
  PRAGMA foreign_keys = OFF;
  INSERT INTO promises VALUES ('k', 100);
  INSERT INTO uri_signing_promises VALUES ('s', 'i', 'k', 100, 5);
  INSERT INTO delivery_services VALUES ('s', 'demo', 't', NULL, 0);
  PRAGMA foreign_keys = ON;`

test('what must never happen is refused by the database itself', () => {
  const refusals: [sql: string, says: RegExp][] = [
    ['UPDATE counters SET value = 4', /never lowered/],
    ['UPDATE promises SET until = 99', /never lowered/],
    ['UPDATE uri_signing_promises SET until = 99', /never lowered/],
    ['UPDATE uri_signing_promises SET renewal_ttl = 4', /never lowered/],
    ["UPDATE delivery_services SET xml_id = 'x'", /keeps its name/],
    ["UPDATE kid_history SET thumbprint = 'x'", /append-only/],
    ['DELETE FROM kid_history', /append-only/],
    ["DELETE FROM rings WHERE id = 'audit'", /never deleted/],
    ["UPDATE rings SET issuer = 'https://x.example/'", /CHECK/],
    ["UPDATE rings SET reserved = 0, name = 'x'", /CHECK/],
    ["UPDATE audit_events SET type = 'x' WHERE seq = 1", /append-only/],
    ['DELETE FROM audit_events', /archived checkpoint/],
    ["INSERT INTO counters VALUES ('m', 'text')", /cannot store TEXT/],
    ["INSERT INTO counters VALUES ('m', -1)", /CHECK/],
  ]
  for (const [sql, says] of refusals) {
    const database = openSchema()
    database.exec(SEED)
    assert.throws(() => database.exec(sql), says, sql)
    database.close()
  }
})

test('audit events may go below an archived checkpoint of their writer, and only there', () => {
  const database = openSchema()
  database.exec(SEED)
  const remove = (writer: string, seq: number) =>
    database.exec(`DELETE FROM audit_events WHERE writer = '${writer}' AND seq = ${seq}`)
  database.exec("INSERT INTO audit_checkpoints VALUES ('w', 1, x'01', NULL, 0, NULL)")
  assert.throws(() => remove('w', 1), /archived checkpoint/)
  database.exec('UPDATE audit_checkpoints SET archived_at = 1')
  assert.throws(() => remove('w', 2), /archived checkpoint/)
  assert.throws(() => remove('v', 1), /archived checkpoint/)
  remove('w', 1)
  assert.equal(database.prepare('SELECT count(*) FROM audit_events').pluck().get(), 2)
  database.close()
})

test('counters and promises that stay or rise are accepted', () => {
  const database = openSchema()
  database.exec(SEED)
  database.exec('UPDATE counters SET value = 5; UPDATE counters SET value = 6')
  database.exec('UPDATE promises SET until = 100; UPDATE promises SET until = 101')
  database.close()
})
