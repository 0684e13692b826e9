import { type Kysely, sql } from 'kysely'
import type { Tables } from './schema.ts'
import type { Tx } from './store.ts'

/** Where sealed values are: the re-seal job and the in-use check walk this list, and nothing else knows it. */
export interface SealedTable {
  table: string
  id: string
  columns: readonly string[]
  /** What the values belong to, bound as the owner: a row moved to another owner no longer opens. */
  owner: readonly string[]
}

export const SEALED_TABLES: readonly SealedTable[] = [
  { table: 'keys', id: 'kid', columns: ['private_sealed'], owner: ['ring_id'] },
  { table: 'server_secrets', id: 'id', columns: ['value_sealed'], owner: ['name'] },
  { table: 'users', id: 'id', columns: ['digest_ha1_sealed'], owner: ['name'] },
  {
    table: 'jwt_auth_configs',
    id: 'id',
    columns: ['jwks_ca_cert_sealed', 'public_keys_sealed'],
    owner: ['identity_id'],
  },
  {
    table: 'uri_signing_documents',
    id: 'id',
    columns: ['document_sealed'],
    // Opened with the name and the tenant that the service has: a row that was given to another one does not open.
    owner: ['delivery_service_id', 'version', 'xml_id', 'tenant_id'],
  },
  {
    table: 'external_securities',
    id: 'id',
    columns: ['secret_properties_sealed'],
    owner: ['name'],
  },
  {
    table: 'jwt_secrets',
    id: 'id',
    columns: ['value_sealed'],
    owner: ['external_security_id', 'key_id'],
  },
]

/** The owner as it is bound into a seal: a JSON array, so that two fields never run together. */
export const sealOwner = (...fields: readonly string[]): string => JSON.stringify(fields)

/** A sealed column of a row: what its seal is bound to, besides the root key. */
export interface Place {
  table: string
  id: string
  column: string
  /** As `sealOwner` makes it, of the columns that the list above names. */
  owner: string
}

/** The keyring as a keeper of secrets. */
export interface Seals {
  /** Under the root key that is active in this transaction; the row must name it. @throws Problem `not_ready` */
  seal(tx: Tx, place: Place, value: Uint8Array): Promise<{ rootKid: string; sealed: Uint8Array }>
  /** @throws Problem `seal_broken`, `key_unusable` */
  unseal(rootKid: string, place: Place, sealed: Uint8Array): Uint8Array
}

export interface SealedRow {
  table: string
  id: string
  owner: string
  rootKid: string
  values: Record<string, Uint8Array>
}

// A key of `default` is sealed under its own data key, and that does not count as use.
const isForeign = (table: string) => (table === 'keys' ? sql`root_kid <> keys.kid` : sql`1 = 1`)

export function sealedQueries(db: Kysely<Tables>) {
  async function rowsOf(entry: SealedTable, rootKid: string, limit: number): Promise<SealedRow[]> {
    const columns = [entry.id, ...entry.columns, ...entry.owner].map((name) => sql.ref(name))
    const { rows } = await sql<Record<string, unknown>>`
      select ${sql.join(columns)} from ${sql.table(entry.table)}
      where root_kid = ${rootKid} and ${isForeign(entry.table)}
      order by ${sql.ref(entry.id)} limit ${limit}`.execute(db)
    return rows.map((row) => ({
      table: entry.table,
      id: String(row[entry.id]),
      owner: sealOwner(...entry.owner.map((name) => String(row[name]))),
      rootKid,
      values: Object.fromEntries(
        entry.columns.flatMap((name) => {
          const value = row[name]
          return value instanceof Uint8Array ? [[name, value]] : []
        }),
      ),
    }))
  }

  return {
    /** Rows that a root key seals, its own key apart; at most `limit`. */
    async under(rootKid: string, limit: number): Promise<SealedRow[]> {
      const found: SealedRow[] = []
      for (const entry of SEALED_TABLES) {
        if (found.length >= limit) break
        found.push(...(await rowsOf(entry, rootKid, limit - found.length)))
      }
      return found
    },

    /** How many rows each root key seals, its own key apart; of all root keys but `except`, which may seal millions. */
    async counts(except: string | undefined): Promise<Map<string, number>> {
      const each = SEALED_TABLES.map(
        ({ table }) =>
          sql`(select count(*) from ${sql.table(table)} where root_kid = root_keys.kid and ${isForeign(table)})`,
      )
      const { rows } = await sql<{ kid: string; n: bigint | number }>`
        select root_keys.kid as kid, ${sql.join(each, sql` + `)} as n
        from root_keys where root_keys.kid <> ${except ?? ''}`.execute(db)
      return new Map(rows.map(({ kid, n }) => [kid, Number(n)]))
    },

    /** Replaces the seals of one row if it still is as it was read; false when it changed meanwhile. */
    async replace(row: SealedRow, rootKid: string, values: Record<string, Uint8Array>) {
      const entry = SEALED_TABLES.find(({ table }) => table === row.table)
      if (!entry) throw new Error(`no sealed table ${row.table}`)
      const set = Object.entries(values).map(([name, value]) => sql`${sql.ref(name)} = ${value}`)
      // A column that was empty must still be empty, or its seal would be left under the old root key.
      const same = entry.columns.map((name) => {
        const value = row.values[name]
        return value ? sql`and ${sql.ref(name)} = ${value}` : sql`and ${sql.ref(name)} is null`
      })
      const result = await sql`
        update ${sql.table(row.table)} set ${sql.join([...set, sql`root_kid = ${rootKid}`])}
        where ${sql.ref(entry.id)} = ${row.id} and root_kid = ${row.rootKid} ${sql.join(same, sql` `)}`.execute(
        db,
      )
      return result.numAffectedRows === 1n
    },
  }
}
