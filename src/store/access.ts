import { type Direct, hot } from './hot.ts'

/** A grant as stored: a capability, optionally on one ring, one profile or one delivery service, by id. */
export interface GrantRow {
  capability: string
  ringId?: string
  profileId?: string
  deliveryServiceId?: string
  /** Of the delivery service, as it is read; nothing is written from it. */
  xmlId?: string
}

/** A delivery service that a grant may name. */
export interface ServiceTarget {
  id: string
  tenantId: string
}

type Owner = 'api_token_id' | 'user_id' | 'identity_id'

/**
 * Without a join and an order: with either, SQLite plans the statement anew for each value, which takes longer than to
 * find the rows.
 */
const grantsBy = (owner: Owner) =>
  hot<{ id: string }>((db, { id }) => db.selectFrom('grants').selectAll().where(owner, '=', id))

const serviceOf = hot<{ id: string }>((db, { id }) =>
  db.selectFrom('delivery_services').select('xml_id').where('id', '=', id),
)

const GRANTS = {
  api_token_id: grantsBy('api_token_id'),
  user_id: grantsBy('user_id'),
  identity_id: grantsBy('identity_id'),
}

/** Of one principal. A grant on something is never read as one on everything. */
export async function readGrants(direct: Direct, owner: Owner, id: string): Promise<GrantRow[]> {
  const rows = (await GRANTS[owner](direct, { id })).rows as (StoredGrant & { id: string })[]
  const inOrder = rows.sort((a, b) => (a.id < b.id ? -1 : 1))
  return Promise.all(
    inOrder.map(async (row) => {
      const { delivery_service_id: serviceId } = row
      if (serviceId === null) return toGrantRow(row)
      const [service] = (await serviceOf(direct, { id: serviceId })).rows as { xml_id: string }[]
      return toGrantRow({ ...row, xml_id: service?.xml_id ?? null })
    }),
  )
}

interface StoredGrant {
  capability: string
  ring_id: string | null
  profile_id: string | null
  delivery_service_id: string | null
  xml_id?: string | null
}

export const toGrantRow = (grant: StoredGrant): GrantRow => ({
  capability: grant.capability,
  ...(grant.ring_id && { ringId: grant.ring_id }),
  ...(grant.profile_id && { profileId: grant.profile_id }),
  ...(grant.delivery_service_id && { deliveryServiceId: grant.delivery_service_id }),
  ...(grant.xml_id && { xmlId: grant.xml_id }),
})

/** What of a grant is written, whoever has it. */
export const grantColumns = (grant: GrantRow) => ({
  capability: grant.capability,
  ring_id: grant.ringId ?? null,
  profile_id: grant.profileId ?? null,
  delivery_service_id: grant.deliveryServiceId ?? null,
})

/** An API token as stored. Times are Unix milliseconds. */
export interface ApiTokenRow {
  id: string
  name: string
  tokenHash: Uint8Array
  role: string | undefined
  tenantId: string | undefined
  createdAt: number
  createdBy: string
  expiresAt: number | undefined
  grants: GrantRow[]
}

/** The organisation, API tokens and their grants. */
export function accessQueries(direct: Direct, newId: () => string) {
  const { db } = direct
  const tokens = () => db.selectFrom('api_tokens').selectAll().orderBy('name')
  type Row = Awaited<ReturnType<ReturnType<typeof tokens>['execute']>>[number]

  async function withGrants(row: Row): Promise<ApiTokenRow> {
    return {
      id: row.id,
      name: row.name,
      tokenHash: row.token_hash,
      role: row.role ?? undefined,
      tenantId: row.tenant_id ?? undefined,
      createdAt: Number(row.created_at),
      createdBy: row.created_by,
      expiresAt: row.expires_at === null ? undefined : Number(row.expires_at),
      grants: await readGrants(direct, 'api_token_id', row.id),
    }
  }

  return {
    apiTokens: {
      async list(): Promise<ApiTokenRow[]> {
        return Promise.all((await tokens().execute()).map(withGrants))
      },

      async byHash(hash: Uint8Array): Promise<ApiTokenRow | undefined> {
        const row = await tokens().where('token_hash', '=', hash).executeTakeFirst()
        return row && withGrants(row)
      },

      async byName(name: string): Promise<ApiTokenRow | undefined> {
        const row = await tokens().where('name', '=', name).executeTakeFirst()
        return row && withGrants(row)
      },

      async insert(token: ApiTokenRow): Promise<void> {
        await db
          .insertInto('api_tokens')
          .values({
            id: token.id,
            name: token.name,
            token_hash: token.tokenHash,
            role: token.role ?? null,
            tenant_id: token.tenantId ?? null,
            created_at: token.createdAt,
            created_by: token.createdBy,
            expires_at: token.expiresAt ?? null,
          })
          .execute()
        for (const grant of token.grants) {
          await db
            .insertInto('grants')
            .values({
              id: newId(),
              api_token_id: token.id,
              user_id: null,
              identity_id: null,
              ...grantColumns(grant),
            })
            .execute()
        }
      },

      async setHash(id: string, hash: Uint8Array): Promise<void> {
        await db.updateTable('api_tokens').set({ token_hash: hash }).where('id', '=', id).execute()
      },

      async delete(id: string): Promise<boolean> {
        const result = await db.deleteFrom('api_tokens').where('id', '=', id).executeTakeFirst()
        return result.numDeletedRows === 1n
      },
    },

    grantTargets: {
      /** Those of these delivery services that there are, by xml_id. */
      async services(xmlIds: readonly string[]): Promise<Map<string, ServiceTarget>> {
        if (xmlIds.length === 0) return new Map()
        const rows = await db
          .selectFrom('delivery_services')
          .select(['id', 'xml_id', 'tenant_id'])
          .where('xml_id', 'in', xmlIds)
          .execute()
        return new Map(
          rows.map(({ id, xml_id, tenant_id }) => [xml_id, { id, tenantId: tenant_id }]),
        )
      },
    },

    organisations: {
      async get() {
        return db.selectFrom('organisations').selectAll().executeTakeFirst()
      },
      async insert(id: string, name: string, slug: string, createdAt: number) {
        await db
          .insertInto('organisations')
          .values({ id, name, slug, created_at: createdAt })
          .execute()
      },
    },
  }
}
