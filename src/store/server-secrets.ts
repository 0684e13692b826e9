import type { Kysely } from 'kysely'
import type { Tables } from './schema.ts'

/** A secret of the server itself, sealed; `updatedAt` in Unix milliseconds. */
export interface ServerSecretRow {
  id: string
  name: string
  valueSealed: Uint8Array
  rootKid: string
  updatedAt: number
}

export function serverSecretQueries(db: Kysely<Tables>) {
  return {
    async byName(name: string): Promise<ServerSecretRow | undefined> {
      const row = await db
        .selectFrom('server_secrets')
        .selectAll()
        .where('name', '=', name)
        .executeTakeFirst()
      return (
        row && {
          ...{ id: row.id, name: row.name, valueSealed: row.value_sealed, rootKid: row.root_kid },
          updatedAt: Number(row.updated_at),
        }
      )
    },

    async insert(row: ServerSecretRow): Promise<void> {
      await db
        .insertInto('server_secrets')
        .values({
          ...{ id: row.id, name: row.name, value_sealed: row.valueSealed, root_kid: row.rootKid },
          updated_at: row.updatedAt,
        })
        .execute()
    },
  }
}
