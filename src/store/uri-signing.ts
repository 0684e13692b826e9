import { type Kysely, type Selectable, sql } from 'kysely'
import { type Direct, hot } from './hot.ts'
import type { Tables, UriSigningPromisesTable, UriSigningRotationsTable } from './schema.ts'

/** What tokens under a key were promised: NumericDate of the last `exp`, and the longest `cdniets` in seconds. */
export interface PromiseRow {
  issuer: string
  kid: string
  until: number
  renewalTtl: number
}

export type RotationState = 'announced' | 'signing' | 'retiring' | 'done' | 'cancelled'

/** A key of caches that is being replaced. Times are Unix milliseconds; `…Ttl` and `…Until` are seconds. */
export interface RotationRow {
  id: string
  serviceId: string
  issuer: string
  oldKid: string
  newKid: string
  state: RotationState
  /** The timer takes the steps; else only an operator does. */
  automatic: boolean
  /** How long caches are given to load the new key when nobody says that they have. */
  announceTtl: number
  startedBy: string
  addedAt: number
  signingAt: number | undefined
  retiringAt: number | undefined
  endedAt: number | undefined
  reloadedAt: number | undefined
  /** The last `exp` that others signed with the old key. */
  othersUntil: number | undefined
  /** The longest `cdniets` that others put into tokens. */
  othersRenewalTtl: number | undefined
  attestedAt: number | undefined
  attestedBy: string | undefined
}

const optional = (value: bigint | null): number | undefined =>
  value === null ? undefined : Number(value)

const toRotation = (row: Selectable<UriSigningRotationsTable>): RotationRow => ({
  id: row.id,
  serviceId: row.delivery_service_id,
  issuer: row.issuer,
  oldKid: row.old_kid,
  newKid: row.new_kid,
  state: row.state as RotationState,
  automatic: row.automatic === 1n,
  announceTtl: Number(row.announce_ttl),
  startedBy: row.started_by,
  addedAt: Number(row.added_at),
  signingAt: optional(row.signing_at),
  retiringAt: optional(row.retiring_at),
  endedAt: optional(row.ended_at),
  reloadedAt: optional(row.reloaded_at),
  othersUntil: optional(row.others_until),
  othersRenewalTtl: optional(row.others_renewal_ttl),
  attestedAt: optional(row.attested_at),
  attestedBy: row.attested_by ?? undefined,
})

const fromRotation = (row: RotationRow) => ({
  id: row.id,
  delivery_service_id: row.serviceId,
  issuer: row.issuer,
  old_kid: row.oldKid,
  new_kid: row.newKid,
  state: row.state,
  automatic: row.automatic ? 1 : 0,
  announce_ttl: row.announceTtl,
  started_by: row.startedBy,
  added_at: row.addedAt,
  signing_at: row.signingAt ?? null,
  retiring_at: row.retiringAt ?? null,
  ended_at: row.endedAt ?? null,
  reloaded_at: row.reloadedAt ?? null,
  others_until: row.othersUntil ?? null,
  others_renewal_ttl: row.othersRenewalTtl ?? null,
  attested_at: row.attestedAt ?? null,
  attested_by: row.attestedBy ?? null,
})

const toPromise = (row: Selectable<UriSigningPromisesTable>): PromiseRow => ({
  issuer: row.issuer,
  kid: row.kid,
  until: Number(row.until),
  renewalTtl: Number(row.renewal_ttl),
})

const rotationsOf = hot<{ serviceId: string }>((db, { serviceId }) =>
  db
    .selectFrom('uri_signing_rotations')
    .selectAll()
    .where('delivery_service_id', '=', serviceId)
    .orderBy('added_at')
    .orderBy('id'),
)

/** What was promised under the keys of caches, and how they are replaced. */
export function uriSigningQueries(direct: Direct) {
  return { uriPromises: uriPromises(direct.db), uriRotations: uriRotations(direct) }
}

function uriPromises(db: Kysely<Tables>) {
  return {
    /** Those of one service. */
    async list(serviceId: string): Promise<PromiseRow[]> {
      const rows = await db
        .selectFrom('uri_signing_promises')
        .selectAll()
        .where('delivery_service_id', '=', serviceId)
        .orderBy('issuer')
        .orderBy('kid')
        .execute()
      return rows.map(toPromise)
    },

    /** That of one key. */
    async get(serviceId: string, issuer: string, kid: string): Promise<PromiseRow | undefined> {
      const row = await db
        .selectFrom('uri_signing_promises')
        .selectAll()
        .where('delivery_service_id', '=', serviceId)
        .where('issuer', '=', issuer)
        .where('kid', '=', kid)
        .executeTakeFirst()
      return row && toPromise(row)
    },

    /** The longest that a token of the service may be renewed for, in seconds. */
    async longestRenewal(serviceId: string): Promise<number> {
      const row = await db
        .selectFrom('uri_signing_promises')
        .select(({ fn }) => fn.max('renewal_ttl').as('longest'))
        .where('delivery_service_id', '=', serviceId)
        .executeTakeFirst()
      return Number(row?.longest ?? 0)
    },

    /**
     * Forgets promises of a service that ended before `before` (NumericDate), but for one with the longest renewal:
     * what caches renew goes on without us.
     */
    async prune(serviceId: string, before: number): Promise<void> {
      await sql`
        delete from uri_signing_promises
        where delivery_service_id = ${serviceId} and until < ${before} and (issuer, kid) <> (
          select issuer, kid from uri_signing_promises where delivery_service_id = ${serviceId}
          order by renewal_ttl desc, issuer, kid limit 1
        )`.execute(db)
    },

    /**
     * Raises what is promised under a key while this version is the service's latest, in one statement; false when it
     * is not any more, so that the key may be gone.
     */
    async raise(serviceId: string, documentId: string, row: PromiseRow): Promise<boolean> {
      const result = await sql`
        insert into uri_signing_promises (delivery_service_id, issuer, kid, until, renewal_ttl)
        select d.delivery_service_id, ${row.issuer}, ${row.kid}, ${row.until}, ${row.renewalTtl}
        from uri_signing_documents d
        where d.id = ${documentId} and d.delivery_service_id = ${serviceId} and d.version = (
          select max(version) from uri_signing_documents where delivery_service_id = ${serviceId}
        )
        on conflict (delivery_service_id, issuer, kid) do update set
          until = case when excluded.until > uri_signing_promises.until
            then excluded.until else uri_signing_promises.until end,
          renewal_ttl = case when excluded.renewal_ttl > uri_signing_promises.renewal_ttl
            then excluded.renewal_ttl else uri_signing_promises.renewal_ttl end`.execute(db)
      return result.numAffectedRows === 1n
    },
  }
}

function uriRotations(direct: Direct) {
  const { db } = direct
  return {
    /** Every rotation of a service that is remembered, the oldest first. */
    async ofService(serviceId: string): Promise<RotationRow[]> {
      const { rows } = await rotationsOf(direct, { serviceId })
      return (rows as Selectable<UriSigningRotationsTable>[]).map(toRotation)
    },

    /** Open ones of all services, by id, behind `after`. */
    async open(limit: number, after = ''): Promise<RotationRow[]> {
      const rows = await db
        .selectFrom('uri_signing_rotations')
        .selectAll()
        .where('ended_at', 'is', null)
        .where('id', '>', after)
        .orderBy('id')
        .limit(limit)
        .execute()
      return rows.map(toRotation)
    },

    async get(id: string): Promise<RotationRow | undefined> {
      const row = await db
        .selectFrom('uri_signing_rotations')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      return row && toRotation(row)
    },

    async insert(row: RotationRow): Promise<void> {
      await db.insertInto('uri_signing_rotations').values(fromRotation(row)).execute()
    },

    async update(row: RotationRow): Promise<void> {
      const { id, ...set } = fromRotation(row)
      await db.updateTable('uri_signing_rotations').set(set).where('id', '=', id).execute()
    },

    /** Forgets one that has ended. */
    async delete(id: string): Promise<void> {
      await db
        .deleteFrom('uri_signing_rotations')
        .where('id', '=', id)
        .where('ended_at', 'is not', null)
        .execute()
    },
  }
}
