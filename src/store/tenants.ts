import type { Kysely } from 'kysely'
import { type GrantRow, toGrantRow } from './access.ts'
import type { Tables } from './schema.ts'

/** What hangs on a tenant, by kind; a tenant that holds anything cannot be deleted. */
export interface TenantContents {
  tenants: number
  users: number
  apiTokens: number
  identities: number
  deliveryServices: number
  roleGrants: number
}

/** Whoever may be bound to a tenant, and how grants name him. */
const BOUND = [
  ['users', 'user_id'],
  ['api_tokens', 'api_token_id'],
  ['identities', 'identity_id'],
] as const

/** The tree of tenants; `root` is its only one without a parent. */
export function tenantQueries(db: Kysely<Tables>) {
  async function count(
    table: 'users' | 'api_tokens' | 'identities' | 'delivery_services' | 'role_grants',
    id: string,
  ): Promise<number> {
    const row = await db
      .selectFrom(table)
      .select((counted) => counted.fn.countAll<bigint>().as('found'))
      .where('tenant_id', '=', id)
      .executeTakeFirstOrThrow()
    return Number(row.found)
  }

  async function countChildren(id: string): Promise<number> {
    const row = await db
      .selectFrom('tenants')
      .select((counted) => counted.fn.countAll<bigint>().as('found'))
      .where('parent_id', '=', id)
      .executeTakeFirstOrThrow()
    return Number(row.found)
  }

  return {
    async byId(id: string) {
      return db.selectFrom('tenants').selectAll().where('id', '=', id).executeTakeFirst()
    },

    async byName(name: string) {
      return db.selectFrom('tenants').selectAll().where('name', '=', name).executeTakeFirst()
    },

    async list() {
      return db.selectFrom('tenants').selectAll().orderBy('name').execute()
    },

    async insert(id: string, name: string, parentId: string | null, createdAt: number) {
      await db
        .insertInto('tenants')
        .values({ id, name, parent_id: parentId, created_at: createdAt })
        .execute()
    },

    /** The caller looks for cycles. */
    async setParent(id: string, parentId: string): Promise<void> {
      await db.updateTable('tenants').set({ parent_id: parentId }).where('id', '=', id).execute()
    },

    /** What is directly in a tenant. */
    async contents(id: string): Promise<TenantContents> {
      return {
        tenants: await countChildren(id),
        users: await count('users', id),
        apiTokens: await count('api_tokens', id),
        identities: await count('identities', id),
        deliveryServices: await count('delivery_services', id),
        roleGrants: await count('role_grants', id),
      }
    },

    /** The roles and grants of everybody who is, or by a role grant can be, bound to one of these tenants, each once. */
    async heldIn(ids: readonly string[]): Promise<{ roles: string[]; grants: GrantRow[] }> {
      if (ids.length === 0) return { roles: [], grants: [] }
      const roles = new Set<string>()
      const grants = new Map<string, GrantRow>()
      for (const [table, owner] of BOUND) {
        const inThem = db.selectFrom(table).where('tenant_id', 'in', ids)
        for (const { role } of await inThem.select('role').distinct().execute()) {
          if (role !== null) roles.add(role)
        }
        const rows = await db
          .selectFrom('grants')
          .leftJoin('delivery_services', 'delivery_services.id', 'grants.delivery_service_id')
          .select(['capability', 'ring_id', 'profile_id', 'delivery_service_id'])
          .select('delivery_services.xml_id as xml_id')
          .where(`grants.${owner}`, 'in', inThem.select('id'))
          .distinct()
          .execute()
        for (const row of rows) grants.set(JSON.stringify(row), toGrantRow(row))
      }
      const granted = db.selectFrom('role_grants').where('tenant_id', 'in', ids)
      for (const { role } of await granted.select('role').distinct().execute()) roles.add(role)
      return { roles: [...roles], grants: [...grants.values()] }
    },

    /** Fails while anything is in it. */
    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('tenants').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
