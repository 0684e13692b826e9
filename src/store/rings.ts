import type { Kysely, Selectable } from 'kysely'
import type { Algorithm } from '../core/algorithms.ts'
import type { Duration } from '../time.ts'
import type { RingsTable, Tables } from './schema.ts'

/** The three rings that exist from bootstrap; their id is their name. */
export const RESERVED_RINGS = ['default', 'access', 'audit'] as const

/** A named set of keys, an issuer of its own. What is undefined comes from the settings. */
export interface Ring {
  id: string
  name: string
  reserved: boolean
  /** The first is what `sign` uses when no algorithm is asked for. */
  algorithms: readonly [Algorithm, ...Algorithm[]]
  rotationThreshold: Duration | undefined
  /** Seconds. */
  maxTokenTtl: number | undefined
  /** Seconds. */
  jwksMaxAge: number | undefined
  issuer: string | undefined
  exportable: boolean
  /** Unix milliseconds. */
  createdAt: number
}

const optionalNumber = (value: bigint | null) => (value === null ? undefined : Number(value))

function toRing(row: Selectable<RingsTable>): Ring {
  return {
    id: row.id,
    name: row.name,
    reserved: row.reserved === 1n,
    algorithms: JSON.parse(row.algorithms) as Ring['algorithms'],
    rotationThreshold: row.rotation_threshold ?? undefined,
    maxTokenTtl: optionalNumber(row.max_token_ttl),
    jwksMaxAge: optionalNumber(row.jwks_max_age),
    issuer: row.issuer ?? undefined,
    exportable: row.exportable === 1n,
    createdAt: Number(row.created_at),
  }
}

export function ringQueries(db: Kysely<Tables>) {
  return {
    async list(): Promise<Ring[]> {
      return (await db.selectFrom('rings').selectAll().orderBy('name').execute()).map(toRing)
    },

    async byName(name: string): Promise<Ring | undefined> {
      const row = await db
        .selectFrom('rings')
        .selectAll()
        .where('name', '=', name)
        .executeTakeFirst()
      return row && toRing(row)
    },

    async insert(ring: Ring): Promise<void> {
      await db
        .insertInto('rings')
        .values({
          id: ring.id,
          name: ring.name,
          reserved: ring.reserved ? 1 : 0,
          algorithms: JSON.stringify(ring.algorithms),
          rotation_threshold: ring.rotationThreshold ?? null,
          max_token_ttl: ring.maxTokenTtl ?? null,
          jwks_max_age: ring.jwksMaxAge ?? null,
          issuer: ring.issuer ?? null,
          exportable: ring.exportable ? 1 : 0,
          created_at: ring.createdAt,
        })
        .execute()
    },

    /** Reserved rings take their algorithm from the settings; a new one applies from the next key on. */
    async setAlgorithms(id: string, algorithms: Ring['algorithms']): Promise<void> {
      await db
        .updateTable('rings')
        .set({ algorithms: JSON.stringify(algorithms) })
        .where('id', '=', id)
        .execute()
    },

    /** With its profiles and every grant on it; refused while the ring has keys, and for a reserved ring. */
    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('rings').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
