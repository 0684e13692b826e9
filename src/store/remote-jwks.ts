import type { Kysely } from 'kysely'
import type { Tables } from './schema.ts'

/** The set that tokens of the data API are checked with. */
export interface DataApiKeysRow {
  /** Where it came from. */
  url: string
  /** A JWK Set. */
  body: string
  /** Unix milliseconds. */
  fetchedAt: number
}

/** One row, which replaces the one before. */
export function dataApiKeysQueries(db: Kysely<Tables>) {
  return {
    async get(): Promise<DataApiKeysRow | undefined> {
      const row = await db.selectFrom('data_api_keys').selectAll().executeTakeFirst()
      return row && { url: row.url, body: row.body, fetchedAt: Number(row.fetched_at) }
    },

    async put({ url, body, fetchedAt }: DataApiKeysRow): Promise<void> {
      const row = { url, body, fetched_at: fetchedAt }
      await db
        .insertInto('data_api_keys')
        .values({ singleton: 1, ...row })
        .onConflict((conflict) => conflict.column('singleton').doUpdateSet(row))
        .execute()
    },

    async delete(): Promise<void> {
      await db.deleteFrom('data_api_keys').execute()
    },
  }
}

/** The last good JWK Set of a remote source. */
export interface RemoteJwksRow {
  /** Whose set it is: the id of a configuration. */
  source: string
  /** Where the set came from, and what vouched for it: of no use to anything else. */
  url: string
  body: string
  /** Unix milliseconds. */
  fetchedAt: number
}

export function remoteJwksQueries(db: Kysely<Tables>) {
  return {
    async get(source: string): Promise<RemoteJwksRow | undefined> {
      const row = await db
        .selectFrom('remote_jwks')
        .selectAll()
        .where('source', '=', source)
        .executeTakeFirst()
      if (!row) return undefined
      const { url, body, fetched_at: fetchedAt } = row
      return { source, url, body, fetchedAt: Number(fetchedAt) }
    },

    /** Creates the row or replaces all of it. */
    async put({ source, url, body, fetchedAt }: RemoteJwksRow): Promise<void> {
      const changed = { url, body, fetched_at: fetchedAt }
      await db
        .insertInto('remote_jwks')
        .values({ source, ...changed })
        .onConflict((conflict) => conflict.column('source').doUpdateSet(changed))
        .execute()
    },

    async delete(source: string): Promise<boolean> {
      const result = await db
        .deleteFrom('remote_jwks')
        .where('source', '=', source)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },

    /** Drops what was fetched before `time` (Unix milliseconds); how many rows that were. */
    async pruneBefore(time: number): Promise<number> {
      const result = await db
        .deleteFrom('remote_jwks')
        .where('fetched_at', '<', BigInt(time))
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}
