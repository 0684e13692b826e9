import type { Selectable } from 'kysely'
import type { Algorithm } from '../core/algorithms.ts'
import type { PublicJwk } from '../core/key.ts'
import type { Instant } from '../time.ts'
import { type Direct, hot } from './hot.ts'
import type { KeysTable } from './schema.ts'

export type KeyState = 'next' | 'active' | 'retired' | 'revoked'

/** A signing key as it is stored. Times are Unix nanoseconds. */
export interface Key {
  kid: string
  ringId: string
  alg: Algorithm
  state: KeyState
  /** Published ahead of need and not scheduled by anybody: at most one per ring and algorithm. */
  standby: boolean
  /** In the JWK Set. Publication and existence are separate (product.md section 3). */
  published: boolean
  /** What it sealed is being sealed anew; the Nomad wire shows `rekeying`. */
  rekeying: boolean
  publicJwk: PublicJwk
  thumbprint: string
  origin: 'generated' | 'imported'
  handedOutAt: Instant | undefined
  attestedAt: Instant | undefined
  /** PKCS#8, sealed; removed when the key has stopped signing for good. */
  privateSealed: Uint8Array | undefined
  /** The root key that seals the private half and keys the MAC; a key of `default` names itself. */
  rootKid: string
  mac: Uint8Array
  createdAt: Instant
  /** The last moment a set without this key may have been served; 0 when none ever was. */
  absentUntil: Instant
  /** Planned activation (the wire's PublishTime); 0 when it was never planned. */
  plannedAt: Instant
  publishedAt: Instant
  activatedAt: Instant | undefined
  retiredAt: Instant | undefined
  withdrawnAt: Instant | undefined
  revokedAt: Instant | undefined
  createIndex: bigint
  modifyIndex: bigint
}

/** What a decision asks of the store: named rows, never a whole set, so that "nothing" changes nothing. */
export interface RingChange {
  insert: readonly Key[]
  update: readonly Key[]
  delete: readonly string[]
}

const flag = (value: boolean) => (value ? 1 : 0)

/** Text that is no JSON was edited outside: its MAC is wrong, and the row alone is withheld, not the whole start. */
function parsePublic(text: string): PublicJwk {
  try {
    return JSON.parse(text) as PublicJwk
  } catch {
    return {} as PublicJwk
  }
}

function toKey(row: Selectable<KeysTable>): Key {
  return {
    kid: row.kid,
    ringId: row.ring_id,
    alg: row.alg as Algorithm,
    state: row.state as KeyState,
    standby: row.standby === 1n,
    published: row.published === 1n,
    rekeying: row.rekeying === 1n,
    publicJwk: parsePublic(row.public_jwk),
    thumbprint: row.thumbprint,
    origin: row.origin as Key['origin'],
    handedOutAt: row.handed_out_at ?? undefined,
    attestedAt: row.attested_at ?? undefined,
    privateSealed: row.private_sealed ?? undefined,
    rootKid: row.root_kid,
    mac: row.mac,
    createdAt: row.created_at,
    absentUntil: row.absent_until,
    plannedAt: row.planned_at,
    publishedAt: row.published_at,
    activatedAt: row.activated_at ?? undefined,
    retiredAt: row.retired_at ?? undefined,
    withdrawnAt: row.withdrawn_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    createIndex: row.create_index,
    modifyIndex: row.modify_index,
  }
}

function toRow(key: Key) {
  return {
    kid: key.kid,
    ring_id: key.ringId,
    alg: key.alg,
    state: key.state,
    standby: flag(key.standby),
    published: flag(key.published),
    rekeying: flag(key.rekeying),
    public_jwk: JSON.stringify(key.publicJwk),
    thumbprint: key.thumbprint,
    origin: key.origin,
    handed_out_at: key.handedOutAt ?? null,
    attested_at: key.attestedAt ?? null,
    private_sealed: key.privateSealed ?? null,
    root_kid: key.rootKid,
    mac: key.mac,
    created_at: key.createdAt,
    absent_until: key.absentUntil,
    planned_at: key.plannedAt,
    published_at: key.publishedAt,
    activated_at: key.activatedAt ?? null,
    retired_at: key.retiredAt ?? null,
    withdrawn_at: key.withdrawnAt ?? null,
    revoked_at: key.revokedAt ?? null,
    create_index: key.createIndex,
    modify_index: key.modifyIndex,
  }
}

// What a rotation asks, with every other request waiting for it.

const ofRing = hot<{ ringId: string }>((db, { ringId }) =>
  db.selectFrom('keys').selectAll().where('ring_id', '=', ringId).orderBy('kid'),
)

const byKid = hot<{ kid: string }>((db, { kid }) =>
  db.selectFrom('keys').selectAll().where('kid', '=', kid),
)

const insertHistory = hot<{
  kid: string
  thumbprint: string
  ring_id: string
  alg: string
  created_at: bigint
}>((db, { kid, thumbprint, ring_id, alg, created_at }) =>
  db.insertInto('kid_history').values({ kid, thumbprint, ring_id, alg, created_at }),
)

type KeyColumns = ReturnType<typeof toRow>

const CHANGED = [
  ...(['ring_id', 'alg', 'state', 'standby', 'published', 'rekeying', 'public_jwk'] as const),
  ...(['thumbprint', 'origin', 'handed_out_at', 'attested_at', 'private_sealed'] as const),
  ...(['root_kid', 'mac', 'created_at', 'absent_until', 'planned_at', 'published_at'] as const),
  ...(['activated_at', 'retired_at', 'withdrawn_at', 'revoked_at'] as const),
  ...(['create_index', 'modify_index'] as const),
] satisfies readonly Exclude<keyof KeyColumns, 'kid'>[]

/** All columns but the kid. */
const changedOf = (row: KeyColumns): Omit<KeyColumns, 'kid'> =>
  Object.fromEntries(CHANGED.map((name) => [name, row[name]])) as Omit<KeyColumns, 'kid'>

const insertKey = hot<KeyColumns>((db, row) =>
  db.insertInto('keys').values({ kid: row.kid, ...changedOf(row) }),
)

const updateKey = hot<KeyColumns>((db, row) =>
  db.updateTable('keys').set(changedOf(row)).where('kid', '=', row.kid),
)

const keysOf = ({ rows }: { rows: unknown[] }): Key[] =>
  (rows as Selectable<KeysTable>[]).map(toKey)

/** Queries of the aggregate key + kid history. */
export function keyQueries(direct: Direct) {
  const { db } = direct

  async function insert(key: Key): Promise<void> {
    // The history row goes first: its primary key refuses a kid or a thumbprint that was ever used.
    const { kid, thumbprint, ringId, alg, createdAt } = key
    await insertHistory(direct, { kid, thumbprint, ring_id: ringId, alg, created_at: createdAt })
    await insertKey(direct, toRow(key))
  }

  async function remove(kid: string): Promise<void> {
    await db.deleteFrom('keys').where('kid', '=', kid).execute()
    // The data key goes with its key; ON DELETE RESTRICT refuses while anything is sealed under it.
    await db.deleteFrom('root_keys').where('kid', '=', kid).execute()
  }

  return {
    async list(): Promise<Key[]> {
      return (await db.selectFrom('keys').selectAll().orderBy('kid').execute()).map(toKey)
    },

    /** Keys of one ring, by kid ascending. */
    ofRing: async (ringId: string): Promise<Key[]> => keysOf(await ofRing(direct, { ringId })),

    /** The active key of a ring that has one in all. */
    async activeKid(ringId: string): Promise<string | undefined> {
      const row = await db
        .selectFrom('keys')
        .select('kid')
        .where('ring_id', '=', ringId)
        .where('state', '=', 'active')
        .executeTakeFirst()
      return row?.kid
    },

    get: async (kid: string): Promise<Key | undefined> => keysOf(await byKid(direct, { kid }))[0],

    /**
     * Writes a change, in an order in which the unique indexes hold at every statement: what leaves makes room for
     * the new active key, and that one, when it was the standby, for the new standby. A row that is gone stays gone.
     */
    async apply(change: RingChange): Promise<void> {
      for (const kid of change.delete) await remove(kid)
      const turn = (key: Key) => (key.standby ? 2 : key.state === 'active' ? 1 : 0)
      const updates = change.update.toSorted((a, b) => turn(a) - turn(b))
      for (const key of updates) await updateKey(direct, toRow(key))
      for (const key of change.insert) await insert(key)
    },

    /** True when this kid or thumbprint was ever used here. */
    async wasUsed(kid: string, thumbprint: string): Promise<boolean> {
      const row = await db
        .selectFrom('kid_history')
        .select('kid')
        .where((or) => or.or([or('kid', '=', kid), or('thumbprint', '=', thumbprint)]))
        .executeTakeFirst()
      return row !== undefined
    },
  }
}
