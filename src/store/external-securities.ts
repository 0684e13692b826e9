import type { Selectable } from 'kysely'
import { type Direct, hot } from './hot.ts'
import type { ExternalSecuritiesTable, JwtSecretsTable } from './schema.ts'

/** A sealed value and the root key that sealed it. */
export interface Sealed {
  sealed: Uint8Array
  rootKid: string
}

/** An external-security configuration as stored. Times are Unix milliseconds. */
export interface ExternalSecurityRow {
  /** An unsigned 64-bit integer in decimal, never reused. */
  id: string
  /** Never changes. */
  name: string
  /** All that is no secret. */
  properties: Record<string, unknown>
  /** JSON of all that is; undefined: there is none. The seal's owner is the name. */
  secrets: Sealed | undefined
  createdAt: number
  updatedAt: number
}

/** A key that tokens are checked with. Times are Unix milliseconds. */
export interface JwtSecretRow {
  /** Random, never reused; the internal id of the imitated API. */
  id: string
  externalSecurityId: string
  /** Unique in its configuration. */
  keyId: string
  /** Its owner: `external_security_id`, `key_id`. */
  value: Sealed
  createdAt: number
  updatedAt: number
}

const toConfiguration = (row: Selectable<ExternalSecuritiesTable>): ExternalSecurityRow => ({
  id: row.id,
  name: row.name,
  properties: JSON.parse(row.properties),
  secrets:
    row.secret_properties_sealed && row.root_kid !== null
      ? { sealed: row.secret_properties_sealed, rootKid: row.root_kid }
      : undefined,
  createdAt: Number(row.created_at),
  updatedAt: Number(row.updated_at),
})

const toSecret = (row: Selectable<JwtSecretsTable>): JwtSecretRow => ({
  id: row.id,
  externalSecurityId: row.external_security_id,
  keyId: row.key_id,
  value: { sealed: row.value_sealed, rootKid: row.root_kid },
  createdAt: Number(row.created_at),
  updatedAt: Number(row.updated_at),
})

const changeable = (row: Pick<ExternalSecurityRow, 'properties' | 'secrets' | 'updatedAt'>) => ({
  properties: JSON.stringify(row.properties),
  secret_properties_sealed: row.secrets?.sealed ?? null,
  root_kid: row.secrets?.rootKid ?? null,
  updated_at: row.updatedAt,
})

const byName = hot<{ name: string }>((db, { name }) =>
  db.selectFrom('external_securities').selectAll().where('name', '=', name),
)

/** External-security configurations. */
export function externalSecurityQueries(direct: Direct) {
  const { db } = direct
  const all = () => db.selectFrom('external_securities').selectAll()
  return {
    /** By name. */
    async list(): Promise<ExternalSecurityRow[]> {
      return (await all().orderBy('name').execute()).map(toConfiguration)
    },

    async byName(name: string): Promise<ExternalSecurityRow | undefined> {
      const { rows } = await byName(direct, { name })
      const [row] = rows as Selectable<ExternalSecuritiesTable>[]
      return row && toConfiguration(row)
    },

    async byId(id: string): Promise<ExternalSecurityRow | undefined> {
      const row = await all().where('id', '=', id).executeTakeFirst()
      return row && toConfiguration(row)
    },

    async insert(row: ExternalSecurityRow): Promise<void> {
      await db
        .insertInto('external_securities')
        .values({ id: row.id, name: row.name, created_at: row.createdAt, ...changeable(row) })
        .execute()
    },

    /** Writes what can be changed. False when the row is gone. */
    async update(row: ExternalSecurityRow): Promise<boolean> {
      const result = await db
        .updateTable('external_securities')
        .set(changeable(row))
        .where('id', '=', row.id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    /** With its secrets and role grants. */
    async delete(id: string): Promise<boolean> {
      const result = await db
        .deleteFrom('external_securities')
        .where('id', '=', id)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}

const byKeyId = hot<{ externalSecurityId: string; keyId: string }>(
  (db, { externalSecurityId, keyId }) =>
    db
      .selectFrom('jwt_secrets')
      .selectAll()
      .where('external_security_id', '=', externalSecurityId)
      .where('key_id', '=', keyId),
)

/** The keys of external-security configurations. */
export function jwtSecretQueries(direct: Direct) {
  const { db } = direct
  return {
    async byKeyId(externalSecurityId: string, keyId: string): Promise<JwtSecretRow | undefined> {
      const { rows } = await byKeyId(direct, { externalSecurityId, keyId })
      const [row] = rows as Selectable<JwtSecretsTable>[]
      return row && toSecret(row)
    },

    /** In the order in which they were added. */
    async keyIds(externalSecurityId: string): Promise<string[]> {
      const rows = await db
        .selectFrom('jwt_secrets')
        .select('key_id')
        .where('external_security_id', '=', externalSecurityId)
        .orderBy('created_at')
        .orderBy('key_id')
        .execute()
      return rows.map(({ key_id }) => key_id)
    },

    async list(externalSecurityId: string): Promise<JwtSecretRow[]> {
      const rows = await db
        .selectFrom('jwt_secrets')
        .selectAll()
        .where('external_security_id', '=', externalSecurityId)
        .orderBy('created_at')
        .orderBy('key_id')
        .execute()
      return rows.map(toSecret)
    },

    async insert({ id, externalSecurityId, keyId, value, ...times }: JwtSecretRow): Promise<void> {
      await db
        .insertInto('jwt_secrets')
        .values({
          ...{ id, external_security_id: externalSecurityId, key_id: keyId },
          ...{ value_sealed: value.sealed, root_kid: value.rootKid },
          ...{ created_at: times.createdAt, updated_at: times.updatedAt },
        })
        .execute()
    },

    /** Another value under the same row id. False when the row is gone. */
    async replace(id: string, value: Sealed, updatedAt: number): Promise<boolean> {
      const result = await db
        .updateTable('jwt_secrets')
        .set({ value_sealed: value.sealed, root_kid: value.rootKid, updated_at: updatedAt })
        .where('id', '=', id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('jwt_secrets').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
