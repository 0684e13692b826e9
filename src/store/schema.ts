import type { ColumnType } from 'kysely'

// The tables as Kysely types. Column meanings and constraints: migrations/*/0001-init.sql.
// Integers are read as bigint on every backend, so that nanoseconds survive.

type Int = ColumnType<bigint, bigint | number, bigint | number>
type NullableInt = ColumnType<bigint | null, bigint | number | null, bigint | number | null>
type Bytes = ColumnType<Uint8Array, Uint8Array, Uint8Array>
type NullableBytes = ColumnType<Uint8Array | null, Uint8Array | null, Uint8Array | null>

export interface InstallationTable {
  singleton: Int
  id: string
  created_at: Int
}

export interface SettingsTable {
  name: string
  value: string
  updated_at: Int
}

export interface CountersTable {
  name: string
  value: Int
}

export interface LeasesTable {
  name: string
  holder: string
  epoch: Int
  expires_at: Int
}

export interface RingsTable {
  id: string
  name: string
  reserved: Int
  algorithms: string
  rotation_threshold: NullableInt
  max_token_ttl: NullableInt
  jwks_max_age: NullableInt
  issuer: string | null
  exportable: Int
  created_at: Int
}

export interface KidHistoryTable {
  kid: string
  thumbprint: string
  ring_id: string
  alg: string
  created_at: Int
}

export interface RootKeysTable {
  kid: string
  created_at: Int
}

export interface RootKeyWrapsTable {
  root_kid: string
  provider_id: string
  kek_id: string
  wrapped: Bytes
  created_at: Int
}

export interface KeysTable {
  kid: string
  ring_id: string
  alg: string
  state: string
  standby: Int
  published: Int
  rekeying: Int
  public_jwk: string
  thumbprint: string
  origin: string
  handed_out_at: NullableInt
  attested_at: NullableInt
  private_sealed: NullableBytes
  root_kid: string
  mac: Bytes
  created_at: Int
  absent_until: Int
  planned_at: Int
  published_at: Int
  activated_at: NullableInt
  retired_at: NullableInt
  withdrawn_at: NullableInt
  revoked_at: NullableInt
  create_index: Int
  modify_index: Int
}

export interface PromisesTable {
  kid: string
  until: Int
}

export interface ProfilesTable {
  id: string
  ring_id: string
  name: string
  policy: string
  created_at: Int
  updated_at: Int
}

export interface ServerSecretsTable {
  id: string
  name: string
  value_sealed: Bytes
  root_kid: string
  updated_at: Int
}

export interface OrganisationsTable {
  id: string
  name: string
  slug: string
  created_at: Int
}

export interface TenantsTable {
  id: string
  name: string
  parent_id: string | null
  created_at: Int
}

export interface ApiTokensTable {
  id: string
  name: string
  token_hash: Bytes
  role: string | null
  tenant_id: string | null
  created_at: Int
  created_by: string
  expires_at: NullableInt
}

export interface UsersTable {
  id: string
  name: string
  password_hash: string | null
  digest_ha1_sealed: NullableBytes
  root_kid: string | null
  role: string
  tenant_id: string | null
  jwt: Int
  created_at: Int
  updated_at: Int
}

export interface SessionsTable {
  id_hash: Bytes
  user_id: string
  kind: string
  created_at: Int
  expires_at: Int
}

export interface LoginTokensTable {
  token_hash: Bytes
  user_id: string
  created_at: Int
  expires_at: Int
}

export interface RoleGrantsTable {
  id: string
  external_security_id: string
  external_name: string
  role: string
  tenant_id: string | null
  created_at: Int
}

export interface IdentitiesTable {
  id: string
  organisation_id: string
  tenant_id: string | null
  name: string
  role: string
  delete_protection: Int
  metadata: string
  last_login_method: string | null
  last_login_at: NullableInt
  created_at: Int
  updated_at: Int
}

export interface JwtAuthConfigsTable {
  id: string
  identity_id: string
  configuration_type: string
  jwks_url: string
  jwks_ca_cert_sealed: NullableBytes
  public_keys_sealed: NullableBytes
  root_kid: string | null
  bound_issuer: string
  bound_audiences: string
  bound_claims: string
  bound_subject: string
  access_token_ttl: Int
  access_token_max_ttl: Int
  access_token_num_uses_limit: Int
  access_token_trusted_ips: string
  created_at: Int
  updated_at: Int
}

export interface AccessTokensTable {
  id: string
  identity_id: string
  config_id: string
  creation_epoch: Int
  uses_left: NullableInt
  revoked_at: NullableInt
  keep_until: Int
}

export interface UsedAssertionsTable {
  iss: string
  jti: string
  keep_until: Int
}

export interface DeliveryServicesTable {
  id: string
  xml_id: string
  tenant_id: string
  cdn: string | null
  created_at: Int
}

export interface GrantsTable {
  id: string
  api_token_id: string | null
  user_id: string | null
  identity_id: string | null
  capability: string
  ring_id: string | null
  profile_id: string | null
  delivery_service_id: string | null
}

export interface UriSigningDocumentsTable {
  id: string
  delivery_service_id: string
  version: Int
  xml_id: string
  tenant_id: string
  document_sealed: NullableBytes
  root_kid: string | null
  origin: string
  created_at: Int
  created_by: string
}

export interface UriSigningPromisesTable {
  delivery_service_id: string
  issuer: string
  kid: string
  until: Int
  renewal_ttl: Int
}

export interface UriSigningRotationsTable {
  id: string
  delivery_service_id: string
  issuer: string
  old_kid: string
  new_kid: string
  state: string
  automatic: Int
  announce_ttl: Int
  started_by: string
  added_at: Int
  signing_at: NullableInt
  retiring_at: NullableInt
  ended_at: NullableInt
  reloaded_at: NullableInt
  others_until: NullableInt
  others_renewal_ttl: NullableInt
  attested_at: NullableInt
  attested_by: string | null
}

export interface RemoteJwksTable {
  source: string
  url: string
  body: string
  fetched_at: Int
}

export interface ExternalSecuritiesTable {
  id: string
  name: string
  properties: string
  secret_properties_sealed: Bytes | null
  root_kid: string | null
  created_at: Int
  updated_at: Int
}

export interface JwtSecretsTable {
  id: string
  external_security_id: string
  key_id: string
  value_sealed: Bytes
  root_kid: string
  created_at: Int
  updated_at: Int
}

export interface DigestUsesTable {
  nonce: string
  nc: Int
  expires_at: Int
}

export interface DataApiKeysTable {
  singleton: Int
  url: string
  body: string
  fetched_at: Int
}

export interface AuditEventsTable {
  writer: string
  seq: Int
  at: Int
  type: string
  subject: string
  principal: string
  detail: string
  previous_hash: Bytes
  hash: Bytes
}

export interface Tables {
  installation: InstallationTable
  settings: SettingsTable
  counters: CountersTable
  leases: LeasesTable
  rings: RingsTable
  kid_history: KidHistoryTable
  root_keys: RootKeysTable
  root_key_wraps: RootKeyWrapsTable
  keys: KeysTable
  promises: PromisesTable
  profiles: ProfilesTable
  server_secrets: ServerSecretsTable
  organisations: OrganisationsTable
  tenants: TenantsTable
  api_tokens: ApiTokensTable
  users: UsersTable
  sessions: SessionsTable
  login_tokens: LoginTokensTable
  role_grants: RoleGrantsTable
  identities: IdentitiesTable
  jwt_auth_configs: JwtAuthConfigsTable
  access_tokens: AccessTokensTable
  used_assertions: UsedAssertionsTable
  delivery_services: DeliveryServicesTable
  grants: GrantsTable
  uri_signing_documents: UriSigningDocumentsTable
  uri_signing_promises: UriSigningPromisesTable
  uri_signing_rotations: UriSigningRotationsTable
  external_securities: ExternalSecuritiesTable
  jwt_secrets: JwtSecretsTable
  digest_uses: DigestUsesTable
  data_api_keys: DataApiKeysTable
  remote_jwks: RemoteJwksTable
  audit_events: AuditEventsTable
}
