import type { Kysely } from 'kysely'
import type { Tables } from './schema.ts'

/** One provider's wrap of a root key's 32-byte data key. */
export interface Wrap {
  providerId: string
  kekId: string
  wrapped: Uint8Array
}

export interface RootKey {
  kid: string
  wraps: Wrap[]
}

export function rootKeyQueries(db: Kysely<Tables>) {
  return {
    /** Goes before its key row: the foreign key back to the key is deferred to the commit. */
    async insert(kid: string, wraps: readonly Wrap[], createdAt: number): Promise<void> {
      await db.insertInto('root_keys').values({ kid, created_at: createdAt }).execute()
      for (const wrap of wraps) {
        await db
          .insertInto('root_key_wraps')
          .values({
            root_kid: kid,
            provider_id: wrap.providerId,
            kek_id: wrap.kekId,
            wrapped: wrap.wrapped,
            created_at: createdAt,
          })
          .execute()
      }
    },

    async list(): Promise<RootKey[]> {
      const keys = await db.selectFrom('root_keys').select('kid').orderBy('kid').execute()
      const wraps = await db.selectFrom('root_key_wraps').selectAll().execute()
      return keys.map(({ kid }) => ({
        kid,
        wraps: wraps
          .filter((wrap) => wrap.root_kid === kid)
          .map((wrap) => ({
            providerId: wrap.provider_id,
            kekId: wrap.kek_id,
            wrapped: wrap.wrapped,
          })),
      }))
    },
  }
}
