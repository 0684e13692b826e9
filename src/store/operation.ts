import type { Kysely } from 'kysely'
import { type Instant, toMillis } from '../time.ts'
import type { Tables } from './schema.ts'

/** Installation, run-time settings, counters and leases: what the server keeps about itself. */
export function operationQueries(db: Kysely<Tables>, now: () => Instant) {
  const millis = () => toMillis(now())

  return {
    installation: {
      async get(): Promise<string | undefined> {
        const row = await db.selectFrom('installation').select('id').executeTakeFirst()
        return row?.id
      },
      async create(id: string): Promise<void> {
        await db
          .insertInto('installation')
          .values({ singleton: 1, id, created_at: millis() })
          .execute()
      },
    },

    settings: {
      async get(name: string): Promise<unknown> {
        const row = await db
          .selectFrom('settings')
          .select('value')
          .where('name', '=', name)
          .executeTakeFirst()
        return row && JSON.parse(row.value)
      },
      async all(): Promise<Map<string, unknown>> {
        const rows = await db.selectFrom('settings').select(['name', 'value']).execute()
        return new Map(rows.map(({ name, value }) => [name, JSON.parse(value) as unknown]))
      },
      /** Back to its default. False: it had no value. */
      async delete(name: string): Promise<boolean> {
        const result = await db.deleteFrom('settings').where('name', '=', name).executeTakeFirst()
        return result.numDeletedRows === 1n
      },
      async set(name: string, value: unknown): Promise<void> {
        const row = { value: JSON.stringify(value), updated_at: millis() }
        await db
          .insertInto('settings')
          .values({ name, ...row })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
          .execute()
      },
    },

    counters: {
      async get(name: string): Promise<bigint> {
        const row = await db
          .selectFrom('counters')
          .select('value')
          .where('name', '=', name)
          .executeTakeFirst()
        return row?.value ?? 0n
      },
      /** Moves the counter by one and returns the new value. */
      async next(name: string): Promise<bigint> {
        const row = await db
          .insertInto('counters')
          .values({ name, value: 1 })
          .onConflict((conflict) =>
            conflict.column('name').doUpdateSet((set) => ({
              value: set('counters.value', '+', 1n),
            })),
          )
          .returning('value')
          .executeTakeFirstOrThrow()
        return row.value
      },
    },

    leases: {
      /** Takes or renews a lease for `ttl` ms; its epoch, or undefined while somebody else holds it. */
      async acquire(name: string, holder: string, ttl: number): Promise<bigint | undefined> {
        const at = millis()
        const held = await db
          .selectFrom('leases')
          .selectAll()
          .where('name', '=', name)
          .executeTakeFirst()
        if (held && held.holder !== holder && held.expires_at > BigInt(at)) return undefined
        const epoch = held?.holder === holder ? held.epoch : (held?.epoch ?? 0n) + 1n
        const row = { holder, epoch, expires_at: at + ttl }
        await db
          .insertInto('leases')
          .values({ name, ...row })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
          .execute()
        return epoch
      },
      async release(name: string, holder: string): Promise<void> {
        await db
          .updateTable('leases')
          .set({ expires_at: 0 })
          .where('name', '=', name)
          .where('holder', '=', holder)
          .execute()
      },
    },
  }
}
