import type { Kysely, Selectable } from 'kysely'
import type { LoginTokensTable, Tables } from './schema.ts'

/** A login token as stored: itself only as SHA-256. Times are Unix milliseconds. */
export interface LoginTokenRow {
  tokenHash: Uint8Array
  userId: string
  createdAt: number
  expiresAt: number
}

const toLoginToken = (row: Selectable<LoginTokensTable>): LoginTokenRow => ({
  tokenHash: row.token_hash,
  userId: row.user_id,
  createdAt: Number(row.created_at),
  expiresAt: Number(row.expires_at),
})

/** Tokens that log a user in once; at most one of each user. */
export function loginTokenQueries(db: Kysely<Tables>) {
  return {
    /** Takes the place of the one that its user had. */
    async put(token: LoginTokenRow): Promise<void> {
      await db.deleteFrom('login_tokens').where('user_id', '=', token.userId).execute()
      await db
        .insertInto('login_tokens')
        .values({
          ...{ token_hash: token.tokenHash, user_id: token.userId },
          ...{ created_at: token.createdAt, expires_at: token.expiresAt },
        })
        .execute()
    },

    async byHash(tokenHash: Uint8Array): Promise<LoginTokenRow | undefined> {
      const row = await db
        .selectFrom('login_tokens')
        .selectAll()
        .where('token_hash', '=', tokenHash)
        .executeTakeFirst()
      return row && toLoginToken(row)
    },

    /** Uses it up where it has not ended at `now` (Unix milliseconds); the id of its user, to one of many. */
    async claim(tokenHash: Uint8Array, now: number): Promise<string | undefined> {
      const row = await db
        .deleteFrom('login_tokens')
        .where('token_hash', '=', tokenHash)
        .where('expires_at', '>', BigInt(now))
        .returning('user_id')
        .executeTakeFirst()
      return row?.user_id
    },

    /** True where there was one. */
    async deleteOfUser(userId: string): Promise<boolean> {
      const result = await db
        .deleteFrom('login_tokens')
        .where('user_id', '=', userId)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },

    /** Forgets those that ended before `now` (Unix milliseconds); how many. */
    async prune(now: number): Promise<number> {
      const result = await db
        .deleteFrom('login_tokens')
        .where('expires_at', '<', BigInt(now))
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}
