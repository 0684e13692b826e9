import { type Insertable, type Kysely, type Selectable, sql } from 'kysely'
import { type Direct, hot } from './hot.ts'
import type { AccessTokensTable, Tables } from './schema.ts'

/** What is known of an access token that was issued; the token itself is not stored. */
export interface AccessTokenRow {
  id: string
  identityId: string
  /** The configuration it was issued under; that one may be gone. */
  configId: string
  /** Unix seconds. */
  creationEpoch: number
  /** Undefined: any number. */
  usesLeft: number | undefined
  /** Unix milliseconds. */
  revokedAt: number | undefined
  /** Unix seconds: nothing signed under this id is valid after it. */
  keepUntil: number
}

const optional = (value: bigint | null) => (value === null ? undefined : Number(value))

const toAccessToken = (row: Selectable<AccessTokensTable>): AccessTokenRow => ({
  id: row.id,
  identityId: row.identity_id,
  configId: row.config_id,
  creationEpoch: Number(row.creation_epoch),
  usesLeft: optional(row.uses_left),
  revokedAt: optional(row.revoked_at),
  keepUntil: Number(row.keep_until),
})

const insert = hot<Insertable<AccessTokensTable>>((db, token) =>
  db.insertInto('access_tokens').values({
    ...{ id: token.id, identity_id: token.identity_id, config_id: token.config_id },
    ...{ creation_epoch: token.creation_epoch, uses_left: token.uses_left },
    ...{ revoked_at: token.revoked_at, keep_until: token.keep_until },
  }),
)

const takeUse = hot<{ id: string }>((db, { id }) =>
  db
    .updateTable('access_tokens')
    .set({ uses_left: sql`uses_left - 1` })
    .where('id', '=', id)
    .where(sql<boolean>`uses_left > 0`),
)

/** Access tokens of identities, and the assertions of others that were used once. */
export function accessTokenQueries(direct: Direct) {
  return { accessTokens: accessTokens(direct), usedAssertions: usedAssertions(direct.db) }
}

function accessTokens(direct: Direct) {
  const { db } = direct
  return {
    async insert(token: AccessTokenRow): Promise<void> {
      await insert(direct, {
        ...{ id: token.id, identity_id: token.identityId, config_id: token.configId },
        ...{ creation_epoch: token.creationEpoch, uses_left: token.usesLeft ?? null },
        ...{ revoked_at: token.revokedAt ?? null, keep_until: token.keepUntil },
      })
    },

    async byId(id: string): Promise<AccessTokenRow | undefined> {
      const row = await db
        .selectFrom('access_tokens')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      return row && toAccessToken(row)
    },

    /**
     * Takes one use, in one statement: N uses pass N times however many ask at once. False when none is left, and for a
     * token whose uses are not counted.
     */
    async consumeUse(id: string): Promise<boolean> {
      const { numAffectedRows } = await takeUse(direct, { id })
      return numAffectedRows === 1n
    },

    /** Marks it revoked, at `at` in Unix milliseconds; the first time stays. False for a token that is not known. */
    async revoke(id: string, at: number): Promise<boolean> {
      const result = await db
        .updateTable('access_tokens')
        .set((row) => ({ revoked_at: row.fn.coalesce('revoked_at', row.val(at)) }))
        .where('id', '=', id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    /** Those that are revoked and must be remembered at `now` (Unix seconds). */
    async revoked(now: number): Promise<{ id: string; keepUntil: number }[]> {
      const rows = await db
        .selectFrom('access_tokens')
        .select(['id', 'keep_until'])
        .where('revoked_at', 'is not', null)
        .where('keep_until', '>=', BigInt(now))
        .execute()
      return rows.map(({ id, keep_until }) => ({ id, keepUntil: Number(keep_until) }))
    },

    /**
     * Keeps it until `keepUntil` (Unix seconds) at least, before a token that is valid so long is signed under its id.
     * False when it is revoked or not known: then nothing may be signed.
     */
    async extend(id: string, keepUntil: number): Promise<boolean> {
      const result = await db
        .updateTable('access_tokens')
        .set((row) => ({
          keep_until: row
            .case()
            .when('keep_until', '<', BigInt(keepUntil))
            .then(keepUntil)
            .else(row.ref('keep_until'))
            .end(),
        }))
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    /** Forgets at most `limit` rows that were to be kept until before `now` (Unix seconds); how many. */
    async prune(now: number, limit: number): Promise<number> {
      const over = db
        .selectFrom('access_tokens')
        .select('id')
        .where('keep_until', '<', BigInt(now))
        .orderBy('keep_until')
        .limit(limit)
      const result = await db.deleteFrom('access_tokens').where('id', 'in', over).executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}

function usedAssertions(db: Kysely<Tables>) {
  return {
    async has(iss: string, jti: string): Promise<boolean> {
      const row = await db
        .selectFrom('used_assertions')
        .select('jti')
        .where('iss', '=', iss)
        .where('jti', '=', jti)
        .executeTakeFirst()
      return row !== undefined
    },

    /** Notes that an assertion was used, until `keepUntil` (Unix seconds); false when it was before. */
    async use(iss: string, jti: string, keepUntil: number): Promise<boolean> {
      const result = await db
        .insertInto('used_assertions')
        .values({ iss, jti, keep_until: keepUntil })
        .onConflict((conflict) => conflict.columns(['iss', 'jti']).doNothing())
        .executeTakeFirst()
      return result.numInsertedOrUpdatedRows === 1n
    },

    /** Forgets at most `limit` that were to be kept until before `now` (Unix seconds); how many. */
    async prune(now: number, limit: number): Promise<number> {
      const over = db
        .selectFrom('used_assertions')
        .select(['iss', 'jti'])
        .where('keep_until', '<', BigInt(now))
        .orderBy('keep_until')
        .limit(limit)
        .$asTuple('iss', 'jti')
      const result = await db
        .deleteFrom('used_assertions')
        .where((row) => row(row.refTuple('iss', 'jti'), 'in', over))
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}
