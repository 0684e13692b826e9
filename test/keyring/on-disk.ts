import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import Database from 'better-sqlite3'
import { randomId } from '../../src/context.ts'
import { type SealContext, seal, unseal } from '../../src/core/index.ts'
import { createAeadProvider } from '../../src/kek/aead.ts'
import { sealOwner } from '../../src/store/sealed.ts'
import {
  memoryStore,
  type TestServer,
  type TestServerOptions,
  testClock,
  testServer,
} from '../server.ts'

// A server on a database file that a test edits behind its back, stopped or running.

type Row = Record<string, string | bigint | Buffer | null>

export const KEK = new Uint8Array(32).fill(7)

/** ES256 where nothing else matters: RSA pairs take their time. */
const SETTINGS = { ROOT_KEY_ALGORITHM: 'ES256' }

export function onDisk(t: TestContext, settings: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-sealing-'))
  const file = join(folder, 'keyringd.db')
  const clock = testClock()
  let stopRunning = async () => {}
  t.after(async () => {
    await stopRunning()
    rmSync(folder, { recursive: true })
  })

  function sql(text: string, ...values: unknown[]): Row[] {
    const db = new Database(file)
    try {
      db.defaultSafeIntegers(true)
      db.pragma('foreign_keys = ON')
      const statement = db.prepare(text)
      if (statement.reader) return statement.all(...values) as Row[]
      statement.run(...values)
      return []
    } finally {
      db.close()
    }
  }

  let id: string | undefined
  function installation(): string {
    id ??= String(sql('select id from installation')[0]?.['id'])
    return id
  }

  async function dataKey(rootKid: string): Promise<Uint8Array> {
    const [row] = sql('select wrapped from root_key_wraps where root_kid = ?', rootKid)
    const context = { installation: installation(), rootKid }
    return createAeadProvider(KEK).unwrap(row?.['wrapped'] as Buffer, context)
  }

  const context = (table: string, row: string, column: string, rootKid: string, owner: string) => ({
    ...{ table, row, column, rootKid, owner: sealOwner(owner) },
    installation: installation(),
  })

  return {
    clock,
    sql,
    dataKey,

    async start(options: TestServerOptions = {}): Promise<TestServer> {
      const store = await memoryStore(clock, randomId, file)
      stopRunning = async () => {
        stopRunning = async () => {}
        await store.close()
      }
      const stopStore = stopRunning
      const all = { ...SETTINGS, ...settings, ...options.settings }
      const server = await testServer(t, { kek: KEK, clock, ...options, store, settings: all })
      stopRunning = async () => {
        await server.close()
        await stopStore()
      }
      return server
    },
    /** As SIGTERM does. */
    stop: () => stopRunning(),

    /** Keeps the database of a stopped server as it is … */
    save: () => copyFileSync(file, join(folder, 'saved')),
    /** … and takes it back to that. */
    reset(): void {
      for (const end of ['-wal', '-shm']) rmSync(file + end, { force: true })
      copyFileSync(join(folder, 'saved'), file)
    },

    row: (kid: string): Row => sql('select * from keys where kid = ?', kid)[0] ?? {},
    kids: (ring: string, where: string): string[] =>
      sql(`select kid from keys where ring_id = ? and ${where} order by kid`, ring).map(({ kid }) =>
        String(kid),
      ),

    /** The private half of a key as PKCS#8, for looking for it where it must not be. */
    async privateHalf(kid: string): Promise<Buffer> {
      const row = sql('select * from keys where kid = ?', kid)[0] ?? {}
      const rootKid = String(row['root_kid'])
      const place = context('keys', kid, 'private_sealed', rootKid, String(row['ring_id']))
      return Buffer.from(unseal(await dataKey(rootKid), row['private_sealed'] as Buffer, place))
    },

    /** Puts secrets into the table that nothing else writes yet, sealed under `rootKid` as a service would. */
    async addSecrets(rootKid: string, names: readonly string[]): Promise<void> {
      const key = await dataKey(rootKid)
      const rows = names.map((name) => {
        const id = randomId()
        const place: SealContext = context('server_secrets', id, 'value_sealed', rootKid, name)
        return [id, name, seal(key, Buffer.from(`value of ${name}`), place), rootKid]
      })
      sql(
        `insert into server_secrets (id, name, value_sealed, root_kid, updated_at)
         values ${rows.map(() => '(?, ?, ?, ?, 0)').join(', ')}`,
        ...rows.flat(),
      )
    },

    async secret(name: string): Promise<string> {
      const [row = {}] = sql('select * from server_secrets where name = ?', name)
      const rootKid = String(row['root_kid'])
      const place = context('server_secrets', String(row['id']), 'value_sealed', rootKid, name)
      const opened = unseal(await dataKey(rootKid), row['value_sealed'] as Buffer, place)
      return Buffer.from(opened).toString()
    },

    /** Every byte of the database, its write-ahead log included. */
    bytes: (): Buffer =>
      Buffer.concat(
        readdirSync(folder)
          .filter((name) => name.startsWith('keyringd.db'))
          .map((name) => readFileSync(join(folder, name))),
      ),
  }
}

export type OnDisk = ReturnType<typeof onDisk>
