import { type Kysely, type Selectable, sql } from 'kysely'
import { type Direct, hot } from './hot.ts'
import type { Tables, UriSigningDocumentsTable } from './schema.ts'

/** A delivery service as stored, with the name of its tenant. Times are Unix milliseconds. */
export interface ServiceRow {
  id: string
  /** Never changes. */
  xmlId: string
  tenantId: string
  tenant: string
  cdn: string | undefined
  createdAt: number
}

export type DocumentOrigin =
  | 'stored'
  | 'removed'
  | 'generated'
  | 'copied'
  | 'rolled-back'
  | 'rotated'

/** A version of a key document; `sealed` and `rootKid` are undefined where it says that there are no keys. */
export interface DocumentRow {
  /** Random, never reused: names the version for good. */
  id: string
  serviceId: string
  /** From 1, without gaps while they are kept. */
  version: number
  /** The service's, when this was sealed: the seal is bound to them. */
  xmlId: string
  tenantId: string
  sealed: Uint8Array | undefined
  rootKid: string | undefined
  origin: DocumentOrigin
  createdAt: number
  createdBy: string
}

export interface ServicePage {
  limit: number
  /** Only those behind this xml_id. */
  after?: string | undefined
  /** Only those of these tenants; undefined: of all. */
  tenantIds?: readonly string[] | undefined
}

/** A service in a list: with what is known of its keys. */
export interface ListedService extends ServiceRow {
  keys: Omit<DocumentRow, 'sealed' | 'rootKid'> | undefined
}

const byXmlId = hot<{ xmlId: string }>((db, { xmlId }) =>
  services(db).where('delivery_services.xml_id', '=', xmlId),
)

const services = (db: Kysely<Tables>) =>
  db
    .selectFrom('delivery_services')
    .innerJoin('tenants', 'tenants.id', 'delivery_services.tenant_id')
    .select([
      ...(['delivery_services.id', 'delivery_services.xml_id'] as const),
      ...(['delivery_services.tenant_id', 'delivery_services.cdn'] as const),
      ...(['delivery_services.created_at', 'tenants.name as tenant'] as const),
    ])

interface RawService {
  id: string
  xml_id: string
  tenant_id: string
  tenant: string
  cdn: string | null
  created_at: bigint
}

const toService = (row: RawService): ServiceRow => ({
  id: row.id,
  xmlId: row.xml_id,
  tenantId: row.tenant_id,
  tenant: row.tenant,
  cdn: row.cdn ?? undefined,
  createdAt: Number(row.created_at),
})

const toDocument = (row: Selectable<UriSigningDocumentsTable>): DocumentRow => ({
  id: row.id,
  serviceId: row.delivery_service_id,
  version: Number(row.version),
  xmlId: row.xml_id,
  tenantId: row.tenant_id,
  sealed: row.document_sealed ?? undefined,
  rootKid: row.root_kid ?? undefined,
  origin: row.origin as DocumentOrigin,
  createdAt: Number(row.created_at),
  createdBy: row.created_by,
})

const currentDocument = hot<{ serviceId: string }>((db, { serviceId }) =>
  db
    .selectFrom('uri_signing_documents')
    .selectAll()
    .where('delivery_service_id', '=', serviceId)
    .orderBy('version', 'desc')
    .limit(sql.lit(1)),
)

/** Delivery services, and the versions of their key documents. */
export function deliveryServiceQueries(direct: Direct) {
  return {
    deliveryServices: deliveryServices(direct),
    uriDocuments: uriDocuments(direct),
  }
}

function deliveryServices(direct: Direct) {
  const { db } = direct

  async function page(rows: ReturnType<typeof services>, { limit, after }: ServicePage) {
    const from = after === undefined ? rows : rows.where('delivery_services.xml_id', '>', after)
    return from.orderBy('delivery_services.xml_id').limit(limit).execute()
  }

  async function withKeys(row: RawService): Promise<ListedService> {
    const found = await db
      .selectFrom('uri_signing_documents')
      .select(['id', 'delivery_service_id', 'version', 'xml_id', 'tenant_id', 'root_kid'])
      .select(['origin', 'created_at', 'created_by'])
      .where('delivery_service_id', '=', row.id)
      .orderBy('version', 'desc')
      .limit(1)
      .executeTakeFirst()
    const keys = found?.root_kid ? toDocument({ ...found, document_sealed: null }) : undefined
    return { ...toService(row), keys }
  }

  return {
    async byXmlId(xmlId: string): Promise<ServiceRow | undefined> {
      const { rows } = await byXmlId(direct, { xmlId })
      const [row] = rows as RawService[]
      return row && toService(row)
    },

    /** As `list` shows it. */
    async listed(xmlId: string): Promise<ListedService | undefined> {
      const row = await services(db)
        .where('delivery_services.xml_id', '=', xmlId)
        .executeTakeFirst()
      return row && withKeys(row)
    },

    async byId(id: string): Promise<ServiceRow | undefined> {
      const row = await services(db).where('delivery_services.id', '=', id).executeTakeFirst()
      return row && toService(row)
    },

    /** A page of them, by xml_id. Each tenant's are found by index, however many others have. */
    async list({ limit, after, tenantIds }: ServicePage): Promise<ListedService[]> {
      const found: RawService[] = []
      if (tenantIds === undefined) {
        found.push(...(await page(services(db), { limit, after })))
      } else {
        for (const id of tenantIds) {
          const own = services(db).where('delivery_services.tenant_id', '=', id)
          found.push(...(await page(own, { limit, after })))
        }
        // As the database orders text: by code points.
        found.sort((a, b) => Buffer.compare(Buffer.from(a.xml_id), Buffer.from(b.xml_id)))
      }
      return Promise.all(found.slice(0, limit).map(withKeys))
    },

    async insert(row: Omit<ServiceRow, 'tenant'>): Promise<void> {
      const { id, xmlId, tenantId, cdn, createdAt } = row
      await db
        .insertInto('delivery_services')
        .values({
          ...{ id, xml_id: xmlId, tenant_id: tenantId, cdn: cdn ?? null, created_at: createdAt },
        })
        .execute()
    },

    /** The tenant may change only together with the seals of the versions. */
    async update(id: string, set: { tenantId: string; cdn: string | undefined }): Promise<void> {
      await db
        .updateTable('delivery_services')
        .set({ tenant_id: set.tenantId, cdn: set.cdn ?? null })
        .where('id', '=', id)
        .execute()
    },

    /** With its keys, all their versions, promises, rotations, and the grants on it. */
    async delete(id: string): Promise<boolean> {
      const result = await db
        .deleteFrom('delivery_services')
        .where('id', '=', id)
        .executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}

function uriDocuments(direct: Direct) {
  const { db } = direct
  return {
    /** The latest version; undefined: there never was one. */
    async current(serviceId: string): Promise<DocumentRow | undefined> {
      const { rows } = await currentDocument(direct, { serviceId })
      const [row] = rows as Selectable<UriSigningDocumentsTable>[]
      return row && toDocument(row)
    },

    async get(serviceId: string, version: number): Promise<DocumentRow | undefined> {
      const row = await db
        .selectFrom('uri_signing_documents')
        .selectAll()
        .where('delivery_service_id', '=', serviceId)
        .where('version', '=', BigInt(version))
        .executeTakeFirst()
      return row && toDocument(row)
    },

    /** Every version that is kept, the latest first. */
    async list(serviceId: string): Promise<DocumentRow[]> {
      const rows = await db
        .selectFrom('uri_signing_documents')
        .selectAll()
        .where('delivery_service_id', '=', serviceId)
        .orderBy('version', 'desc')
        .execute()
      return rows.map(toDocument)
    },

    async insert(row: DocumentRow): Promise<void> {
      await db
        .insertInto('uri_signing_documents')
        .values({
          id: row.id,
          delivery_service_id: row.serviceId,
          version: row.version,
          xml_id: row.xmlId,
          tenant_id: row.tenantId,
          document_sealed: row.sealed ?? null,
          root_kid: row.rootKid ?? null,
          origin: row.origin,
          created_at: row.createdAt,
          created_by: row.createdBy,
        })
        .execute()
    },

    /** Writes the seal of a version anew, for another tenant. */
    async reseal(row: Pick<DocumentRow, 'id' | 'tenantId' | 'sealed' | 'rootKid'>): Promise<void> {
      await db
        .updateTable('uri_signing_documents')
        .set({
          ...{ tenant_id: row.tenantId, document_sealed: row.sealed ?? null },
          root_kid: row.rootKid ?? null,
        })
        .where('id', '=', row.id)
        .execute()
    },

    /** Forgets versions up to this one. */
    async deleteThrough(serviceId: string, version: number): Promise<void> {
      await db
        .deleteFrom('uri_signing_documents')
        .where('delivery_service_id', '=', serviceId)
        .where('version', '<=', BigInt(version))
        .execute()
    },
  }
}
