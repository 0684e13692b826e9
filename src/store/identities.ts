import type { Selectable } from 'kysely'
import { type GrantRow, grantColumns, readGrants } from './access.ts'
import { type Direct, hot } from './hot.ts'
import type { IdentitiesTable, JwtAuthConfigsTable } from './schema.ts'

/** An identity as stored. Times are Unix milliseconds. */
export interface IdentityRow {
  id: string
  organisationId: string
  /** Undefined: not in any tenant, so that only who is bound to none sees it. */
  tenantId: string | undefined
  name: string
  role: string
  deleteProtection: boolean
  metadata: readonly { key: string; value: string }[]
  lastLoginMethod: string | undefined
  lastLoginAt: number | undefined
  createdAt: number
  updatedAt: number
}

/** A configuration for logins with a JWT: an identity has one at most. Times are Unix milliseconds. */
export interface JwtAuthRow {
  /** Names this attachment: who detaches and attaches again gets another. */
  id: string
  identityId: string
  configurationType: 'jwks' | 'static'
  jwksUrl: string
  jwksCaCertSealed: Uint8Array | undefined
  publicKeysSealed: Uint8Array | undefined
  /** The root key of what is sealed here; there whenever something is. */
  rootKid: string | undefined
  boundIssuer: string
  boundAudiences: string
  boundClaims: Readonly<Record<string, string>>
  boundSubject: string
  /** Seconds, as is the next. */
  accessTokenTtl: number
  accessTokenMaxTtl: number
  accessTokenNumUsesLimit: number
  accessTokenTrustedIps: readonly { ipAddress: string; type: 'ipv4' | 'ipv6'; prefix?: number }[]
  createdAt: number
  updatedAt: number
}

const optional = (value: bigint | null) => (value === null ? undefined : Number(value))

const toIdentity = (row: Selectable<IdentitiesTable>): IdentityRow => ({
  id: row.id,
  organisationId: row.organisation_id,
  tenantId: row.tenant_id ?? undefined,
  name: row.name,
  role: row.role,
  deleteProtection: row.delete_protection === 1n,
  metadata: JSON.parse(row.metadata) as IdentityRow['metadata'],
  lastLoginMethod: row.last_login_method ?? undefined,
  lastLoginAt: optional(row.last_login_at),
  createdAt: Number(row.created_at),
  updatedAt: Number(row.updated_at),
})

const toJwtAuth = (row: Selectable<JwtAuthConfigsTable>): JwtAuthRow => ({
  id: row.id,
  identityId: row.identity_id,
  configurationType: row.configuration_type as JwtAuthRow['configurationType'],
  jwksUrl: row.jwks_url,
  jwksCaCertSealed: row.jwks_ca_cert_sealed ?? undefined,
  publicKeysSealed: row.public_keys_sealed ?? undefined,
  rootKid: row.root_kid ?? undefined,
  boundIssuer: row.bound_issuer,
  boundAudiences: row.bound_audiences,
  boundClaims: JSON.parse(row.bound_claims) as JwtAuthRow['boundClaims'],
  boundSubject: row.bound_subject,
  accessTokenTtl: Number(row.access_token_ttl),
  accessTokenMaxTtl: Number(row.access_token_max_ttl),
  accessTokenNumUsesLimit: Number(row.access_token_num_uses_limit),
  accessTokenTrustedIps: JSON.parse(
    row.access_token_trusted_ips,
  ) as JwtAuthRow['accessTokenTrustedIps'],
  createdAt: Number(row.created_at),
  updatedAt: Number(row.updated_at),
})

const fromJwtAuth = (config: JwtAuthRow) => ({
  id: config.id,
  identity_id: config.identityId,
  configuration_type: config.configurationType,
  jwks_url: config.jwksUrl,
  jwks_ca_cert_sealed: config.jwksCaCertSealed ?? null,
  public_keys_sealed: config.publicKeysSealed ?? null,
  root_kid: config.rootKid ?? null,
  bound_issuer: config.boundIssuer,
  bound_audiences: config.boundAudiences,
  bound_claims: JSON.stringify(config.boundClaims),
  bound_subject: config.boundSubject,
  access_token_ttl: config.accessTokenTtl,
  access_token_max_ttl: config.accessTokenMaxTtl,
  access_token_num_uses_limit: config.accessTokenNumUsesLimit,
  access_token_trusted_ips: JSON.stringify(config.accessTokenTrustedIps),
  created_at: config.createdAt,
  updated_at: config.updatedAt,
})

const setLastLogin = hot<{ id: string; method: string; at: number }>((db, { id, method, at }) =>
  db
    .updateTable('identities')
    .set({ last_login_method: method, last_login_at: at })
    .where('id', '=', id),
)

const version = hot<{ identityId: string }>((db, { identityId }) =>
  db
    .selectFrom('jwt_auth_configs')
    .select(['id', 'updated_at'])
    .where('identity_id', '=', identityId),
)

const identityOf = hot<{ id: string }>((db, { id }) =>
  db.selectFrom('identities').selectAll().where('id', '=', id),
)

const configOf = hot<{ identityId: string }>((db, { identityId }) =>
  db.selectFrom('jwt_auth_configs').selectAll().where('identity_id', '=', identityId),
)

/** Identities and how they log in. */
export function identityQueries(direct: Direct, newId: () => string) {
  return { identities: identities(direct, newId), jwtAuth: jwtAuth(direct) }
}

function identities(direct: Direct, newId: () => string) {
  const { db } = direct
  return {
    async insert(identity: IdentityRow): Promise<void> {
      await db
        .insertInto('identities')
        .values({
          id: identity.id,
          organisation_id: identity.organisationId,
          tenant_id: identity.tenantId ?? null,
          name: identity.name,
          role: identity.role,
          delete_protection: identity.deleteProtection ? 1 : 0,
          metadata: JSON.stringify(identity.metadata),
          last_login_method: identity.lastLoginMethod ?? null,
          last_login_at: identity.lastLoginAt ?? null,
          created_at: identity.createdAt,
          updated_at: identity.updatedAt,
        })
        .execute()
    },

    async byId(id: string): Promise<IdentityRow | undefined> {
      const [row] = (await identityOf(direct, { id })).rows as Selectable<IdentitiesTable>[]
      return row && toIdentity(row)
    },

    /**
     * A page of the identities, by name, and how many there are on all pages. `tenantIds` leaves those of other
     * tenants out, and those of none.
     */
    async list(page: { limit: number; offset: number; tenantIds?: readonly string[] | undefined }) {
      const { limit, offset, tenantIds } = page
      // Not `in ()`, which is no SQL everywhere.
      if (tenantIds?.length === 0) return { identities: [], total: 0 }
      const all = db.selectFrom('identities')
      const from = tenantIds === undefined ? all : all.where('tenant_id', 'in', tenantIds)
      const rows = await from
        .selectAll()
        .orderBy('name')
        .orderBy('id')
        .limit(limit)
        .offset(offset)
        .execute()
      const counted = await from
        .select((count) => count.fn.countAll<bigint>().as('total'))
        .executeTakeFirstOrThrow()
      return { identities: rows.map(toIdentity), total: Number(counted.total) }
    },

    /** Writes what can be changed: name, role, delete protection, metadata. False when the row is gone. */
    async update(identity: IdentityRow): Promise<boolean> {
      const result = await db
        .updateTable('identities')
        .set({
          name: identity.name,
          role: identity.role,
          delete_protection: identity.deleteProtection ? 1 : 0,
          metadata: JSON.stringify(identity.metadata),
          updated_at: identity.updatedAt,
        })
        .where('id', '=', identity.id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    /** With its configuration, tokens and grants. */
    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('identities').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },

    /** Does not count as a change of the identity. `at` in Unix milliseconds. */
    async setLastLogin(id: string, method: string, at: number): Promise<void> {
      await setLastLogin(direct, { id, method, at })
    },

    grantsOf: (id: string): Promise<GrantRow[]> => readGrants(direct, 'identity_id', id),

    /** Replaces all of its grants. */
    async setGrants(id: string, grants: readonly GrantRow[]): Promise<void> {
      await db.deleteFrom('grants').where('identity_id', '=', id).execute()
      for (const grant of grants) {
        await db
          .insertInto('grants')
          .values({
            id: newId(),
            api_token_id: null,
            user_id: null,
            identity_id: id,
            ...grantColumns(grant),
          })
          .execute()
      }
    },
  }
}

function jwtAuth(direct: Direct) {
  const { db } = direct
  return {
    /** False when the identity has a configuration already: of two at once, one wins. */
    async insert(config: JwtAuthRow): Promise<boolean> {
      const result = await db
        .insertInto('jwt_auth_configs')
        .values(fromJwtAuth(config))
        .onConflict((conflict) => conflict.column('identity_id').doNothing())
        .executeTakeFirst()
      return result.numInsertedOrUpdatedRows === 1n
    },

    async byIdentity(identityId: string): Promise<JwtAuthRow | undefined> {
      const { rows } = await configOf(direct, { identityId })
      const [row] = rows as Selectable<JwtAuthConfigsTable>[]
      return row && toJwtAuth(row)
    },

    /** Which configuration an identity has, and since when (Unix milliseconds); undefined when it has none. */
    async versionOf(identityId: string): Promise<{ id: string; updatedAt: number } | undefined> {
      const { rows } = await version(direct, { identityId })
      const [row] = rows as { id: string; updated_at: bigint }[]
      return row && { id: row.id, updatedAt: Number(row.updated_at) }
    },

    /** Which of these identities have a configuration. */
    async attached(identityIds: readonly string[]): Promise<Set<string>> {
      if (identityIds.length === 0) return new Set()
      const rows = await db
        .selectFrom('jwt_auth_configs')
        .select('identity_id')
        .where('identity_id', 'in', identityIds)
        .execute()
      return new Set(rows.map((row) => row.identity_id))
    },

    /** False when this very attachment is gone, also where another has taken its place. */
    async update(config: JwtAuthRow): Promise<boolean> {
      const { id, identity_id, created_at: _createdAt, ...changed } = fromJwtAuth(config)
      const result = await db
        .updateTable('jwt_auth_configs')
        .set(changed)
        .where('id', '=', id)
        .where('identity_id', '=', identity_id)
        .executeTakeFirst()
      return result.numUpdatedRows === 1n
    },

    async delete(id: string): Promise<boolean> {
      const result = await db.deleteFrom('jwt_auth_configs').where('id', '=', id).executeTakeFirst()
      return result.numDeletedRows === 1n
    },
  }
}
