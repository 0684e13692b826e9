import type { Selectable } from 'kysely'
import { type Direct, hot } from './hot.ts'
import type { SessionsTable } from './schema.ts'

/** A session as stored: its id only as SHA-256. Times are Unix milliseconds. */
export interface SessionRow {
  idHash: Uint8Array
  userId: string
  kind: SessionKind
  createdAt: number
  expiresAt: number
}

export type SessionKind = 'traffic-ops' | 'console'

const toSession = (row: Selectable<SessionsTable>): SessionRow => ({
  idHash: row.id_hash,
  userId: row.user_id,
  kind: row.kind as SessionKind,
  createdAt: Number(row.created_at),
  expiresAt: Number(row.expires_at),
})

const byHash = hot<{ idHash: Uint8Array; kind: string }>((db, { idHash, kind }) =>
  db.selectFrom('sessions').selectAll().where('id_hash', '=', idHash).where('kind', '=', kind),
)

/** Logins of users that go on. */
export function sessionQueries(direct: Direct) {
  const { db } = direct
  return {
    async insert(session: SessionRow): Promise<void> {
      await db
        .insertInto('sessions')
        .values({
          ...{ id_hash: session.idHash, user_id: session.userId, kind: session.kind },
          ...{ created_at: session.createdAt, expires_at: session.expiresAt },
        })
        .execute()
    },

    async byHash(idHash: Uint8Array, kind: SessionKind): Promise<SessionRow | undefined> {
      const { rows } = await byHash(direct, { idHash, kind })
      const [row] = rows as Selectable<SessionsTable>[]
      return row && toSession(row)
    },

    /** Lengthens a session that has not ended at `now`, and never shortens one. Both in Unix milliseconds. */
    async extend(idHash: Uint8Array, kind: SessionKind, expiresAt: number, now: number) {
      const result = await db
        .updateTable('sessions')
        .set({ expires_at: expiresAt })
        .where('id_hash', '=', idHash)
        .where('kind', '=', kind)
        .where('expires_at', '>', BigInt(now))
        .where('expires_at', '<', BigInt(expiresAt))
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    async delete(idHash: Uint8Array, kind: SessionKind): Promise<boolean> {
      const result = await db
        .deleteFrom('sessions')
        .where('id_hash', '=', idHash)
        .where('kind', '=', kind)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },

    /** Every session of a user, of every kind; how many. */
    async deleteOfUser(userId: string): Promise<number> {
      const result = await db
        .deleteFrom('sessions')
        .where('user_id', '=', userId)
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },

    /** Leaves a user no more than `keep` sessions of a kind, the newest. */
    async trim(userId: string, kind: SessionKind, keep: number): Promise<void> {
      const kept = db
        .selectFrom('sessions')
        .select('id_hash')
        .where('user_id', '=', userId)
        .where('kind', '=', kind)
        .orderBy('created_at', 'desc')
        .orderBy('expires_at', 'desc')
        .limit(keep)
      await db
        .deleteFrom('sessions')
        .where('user_id', '=', userId)
        .where('kind', '=', kind)
        .where('id_hash', 'not in', kept)
        .execute()
    },

    /** Forgets at most `limit` that ended before `now` (Unix milliseconds); how many. */
    async prune(now: number, limit: number): Promise<number> {
      const over = db
        .selectFrom('sessions')
        .select('id_hash')
        .where('expires_at', '<', BigInt(now))
        .orderBy('expires_at')
        .limit(limit)
      const result = await db.deleteFrom('sessions').where('id_hash', 'in', over).executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}
