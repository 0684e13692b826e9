import type { Kysely, Selectable } from 'kysely'
import type { RoleGrantsTable, Tables } from './schema.ts'

/** What an external role means here. `createdAt` is in Unix milliseconds. */
export interface RoleGrantRow {
  id: string
  externalSecurityId: string
  /** As tokens name it. */
  externalName: string
  role: string
  /** Undefined: bound to no tenant. */
  tenantId: string | undefined
  createdAt: number
}

const toGrant = (row: Selectable<RoleGrantsTable>): RoleGrantRow => ({
  id: row.id,
  externalSecurityId: row.external_security_id,
  externalName: row.external_name,
  role: row.role,
  tenantId: row.tenant_id ?? undefined,
  createdAt: Number(row.created_at),
})

/** Roles of ours for the roles that tokens of an external-security configuration name. */
export function roleGrantQueries(db: Kysely<Tables>) {
  const all = () => db.selectFrom('role_grants').selectAll()
  return {
    async list(): Promise<RoleGrantRow[]> {
      return (await all().orderBy('created_at').orderBy('id').execute()).map(toGrant)
    },

    async ofConfiguration(externalSecurityId: string): Promise<RoleGrantRow[]> {
      const rows = await all()
        .where('external_security_id', '=', externalSecurityId)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toGrant)
    },

    async byId(id: string): Promise<RoleGrantRow | undefined> {
      const row = await all().where('id', '=', id).executeTakeFirst()
      return row && toGrant(row)
    },

    /** The one with this configuration, external name, role and tenant: there is one at most. */
    async find(wanted: Omit<RoleGrantRow, 'id' | 'createdAt'>): Promise<RoleGrantRow | undefined> {
      const row = await all()
        .where('external_security_id', '=', wanted.externalSecurityId)
        .where('external_name', '=', wanted.externalName)
        .where('role', '=', wanted.role)
        .where('tenant_id', 'is', wanted.tenantId ?? null)
        .executeTakeFirst()
      return row && toGrant(row)
    },

    async insert(row: RoleGrantRow): Promise<void> {
      await db
        .insertInto('role_grants')
        .values({
          ...{ id: row.id, external_security_id: row.externalSecurityId },
          ...{ external_name: row.externalName, role: row.role },
          ...{ tenant_id: row.tenantId ?? null, created_at: row.createdAt },
        })
        .execute()
    },

    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('role_grants').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
