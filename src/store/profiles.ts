import type { Kysely } from 'kysely'
import type { Tables } from './schema.ts'

/** A signing profile as stored; `policy` is the profile's own JSON. Times are Unix milliseconds. */
export interface ProfileRow {
  id: string
  ringId: string
  name: string
  policy: unknown
  createdAt: number
  updatedAt: number
}

export function profileQueries(db: Kysely<Tables>) {
  const select = (ringId: string) =>
    db.selectFrom('profiles').selectAll().where('ring_id', '=', ringId).orderBy('name')
  type Row = Awaited<ReturnType<ReturnType<typeof select>['execute']>>[number]
  const toProfile = (row: Row): ProfileRow => ({
    id: row.id,
    ringId: row.ring_id,
    name: row.name,
    policy: JSON.parse(row.policy) as unknown,
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
  })

  return {
    async ofRing(ringId: string): Promise<ProfileRow[]> {
      return (await select(ringId).execute()).map(toProfile)
    },

    async get(ringId: string, name: string): Promise<ProfileRow | undefined> {
      const row = await select(ringId).where('name', '=', name).executeTakeFirst()
      return row && toProfile(row)
    },

    /** Creates the profile or replaces its policy; the id, and with it the grants, stay. */
    async put(profile: ProfileRow): Promise<void> {
      const changed = { policy: JSON.stringify(profile.policy), updated_at: profile.updatedAt }
      await db
        .insertInto('profiles')
        .values({
          id: profile.id,
          ring_id: profile.ringId,
          name: profile.name,
          created_at: profile.createdAt,
          ...changed,
        })
        .onConflict((conflict) => conflict.columns(['ring_id', 'name']).doUpdateSet(changed))
        .execute()
    },

    async delete(ringId: string, name: string): Promise<boolean> {
      const result = await db
        .deleteFrom('profiles')
        .where('ring_id', '=', ringId)
        .where('name', '=', name)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
