import { sql } from 'kysely'
import { type Direct, hot } from './hot.ts'

/** A promise for a token that never expires. */
export const FOREVER = 2n ** 53n - 1n

const all = hot((db) => db.selectFrom('promises').selectAll())

/** The ledger of the latest `exp` (NumericDate, seconds) ever promised per kid. */
export function promiseQueries(direct: Direct) {
  const { db } = direct
  return {
    /** Every kid with a promise. */
    async list(): Promise<Map<string, bigint>> {
      const rows = (await all(direct, {})).rows as { kid: string; until: bigint }[]
      return new Map(rows.map(({ kid, until }) => [kid, until]))
    },

    async get(kid: string): Promise<bigint | undefined> {
      const row = await db
        .selectFrom('promises')
        .select('until')
        .where('kid', '=', kid)
        .executeTakeFirst()
      return row?.until
    },

    /** Raises the promise of an *active* key in one statement; false when the key does not sign any more. */
    async raise(kid: string, until: bigint): Promise<boolean> {
      const result = await sql`
        insert into promises (kid, until)
        select kid, ${until} from keys where kid = ${kid} and state = 'active'
        on conflict (kid) do update set until =
          case when excluded.until > promises.until then excluded.until else promises.until end`.execute(
        db,
      )
      return result.numAffectedRows === 1n
    },
  }
}
