import type { Selectable } from 'kysely'
import { type GrantRow, readGrants } from './access.ts'
import type { Direct } from './hot.ts'
import type { UsersTable } from './schema.ts'

/** A user as stored. Times are Unix milliseconds. */
export interface UserRow {
  id: string
  name: string
  /** A PHC string; undefined: no password opens this account. */
  passwordHash: string | undefined
  role: string
  /** Undefined: bound to no tenant, so that all of them count. */
  tenantId: string | undefined
  /** Whether JWTs of a set that is trusted may be of this user. */
  jwt: boolean
  /** HA1 of HTTP Digest, sealed; undefined: no login by Digest. Never of role `admin`. */
  digest: { sealed: Uint8Array; rootKid: string } | undefined
  createdAt: number
  updatedAt: number
}

const toUser = (row: Selectable<UsersTable>): UserRow => ({
  id: row.id,
  name: row.name,
  passwordHash: row.password_hash ?? undefined,
  role: row.role,
  tenantId: row.tenant_id ?? undefined,
  jwt: row.jwt === 1n,
  digest:
    row.digest_ha1_sealed && row.root_kid !== null
      ? { sealed: row.digest_ha1_sealed, rootKid: row.root_kid }
      : undefined,
  createdAt: Number(row.created_at),
  updatedAt: Number(row.updated_at),
})

const changeable = (user: UserRow) => ({
  password_hash: user.passwordHash ?? null,
  role: user.role,
  tenant_id: user.tenantId ?? null,
  jwt: user.jwt ? 1 : 0,
  digest_ha1_sealed: user.digest?.sealed ?? null,
  root_kid: user.digest?.rootKid ?? null,
  updated_at: user.updatedAt,
})

/** People who log in, and whom JWTs are of. */
export function userQueries(direct: Direct) {
  const { db } = direct
  const users = () => db.selectFrom('users').selectAll()

  return {
    /** By name; `tenantIds` leaves those of other tenants out, and those of none. */
    async list(tenantIds?: readonly string[]): Promise<UserRow[]> {
      // Not `in ()`, which is no SQL everywhere.
      if (tenantIds?.length === 0) return []
      const from = tenantIds === undefined ? users() : users().where('tenant_id', 'in', tenantIds)
      return (await from.orderBy('name').execute()).map(toUser)
    },

    async byId(id: string): Promise<UserRow | undefined> {
      const row = await users().where('id', '=', id).executeTakeFirst()
      return row && toUser(row)
    },

    async byName(name: string): Promise<UserRow | undefined> {
      const row = await users().where('name', '=', name).executeTakeFirst()
      return row && toUser(row)
    },

    grantsOf: (id: string): Promise<GrantRow[]> => readGrants(direct, 'user_id', id),

    async insert(user: UserRow): Promise<void> {
      await db
        .insertInto('users')
        .values({
          ...{ id: user.id, name: user.name, created_at: user.createdAt, ...changeable(user) },
        })
        .execute()
    },

    /** Writes what can be changed: all but the name and when it was made. False when the row is gone. */
    async update(user: UserRow): Promise<boolean> {
      const result = await db
        .updateTable('users')
        .set(changeable(user))
        .where('id', '=', user.id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    /** With the sessions and grants. */
    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('users').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
