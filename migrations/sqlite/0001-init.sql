-- All tables of the domain model. What must never happen is refused here, not by a service that remembers to check.
--
-- Conventions: *_at is Unix milliseconds, but nanoseconds in keys; *_until and *_ttl are seconds.
-- *_sealed is sealed under the data key of the root key that root_kid of the same row names.

CREATE TABLE installation (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  id TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL CHECK (value >= 0)
) STRICT;

CREATE TRIGGER counters_never_lowered BEFORE UPDATE ON counters WHEN NEW.value < OLD.value
BEGIN SELECT RAISE(ABORT, 'a counter is never lowered'); END;

CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

-- Rings and keys ------------------------------------------------------------------------------------

CREATE TABLE rings (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  reserved INTEGER NOT NULL CHECK (reserved IN (0, 1)),
  algorithms TEXT NOT NULL,
  rotation_threshold INTEGER,
  max_token_ttl INTEGER,
  jwks_max_age INTEGER,
  issuer TEXT UNIQUE,
  exportable INTEGER NOT NULL DEFAULT 0 CHECK (exportable IN (0, 1)),
  created_at INTEGER NOT NULL,
  CHECK (reserved = (id IN ('default', 'access', 'audit'))),
  CHECK (reserved = 0 OR (name = id AND exportable = 0 AND issuer IS NULL))
) STRICT;

CREATE TRIGGER rings_reserved_stay BEFORE DELETE ON rings WHEN OLD.reserved = 1
BEGIN SELECT RAISE(ABORT, 'a reserved ring is never deleted'); END;

CREATE TABLE kid_history (
  kid TEXT PRIMARY KEY,
  thumbprint TEXT NOT NULL UNIQUE,
  ring_id TEXT NOT NULL,
  alg TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER kid_history_no_update BEFORE UPDATE ON kid_history
BEGIN SELECT RAISE(ABORT, 'kid_history is append-only'); END;
CREATE TRIGGER kid_history_no_delete BEFORE DELETE ON kid_history
BEGIN SELECT RAISE(ABORT, 'kid_history is append-only'); END;

-- A root key is the data key that belongs to a key of the default ring. The two are written and deleted together:
-- the key first, then its root key, which fails while anything is still sealed under it.
CREATE TABLE root_keys (
  kid TEXT PRIMARY KEY REFERENCES keys (kid) DEFERRABLE INITIALLY DEFERRED,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE root_key_wraps (
  root_kid TEXT NOT NULL REFERENCES root_keys (kid) ON DELETE CASCADE,
  provider_id TEXT NOT NULL,
  kek_id TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (root_kid, provider_id)
) STRICT;

CREATE TABLE keys (
  kid TEXT PRIMARY KEY REFERENCES kid_history (kid),
  ring_id TEXT NOT NULL REFERENCES rings (id) ON DELETE RESTRICT,
  alg TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired', 'revoked')),
  standby INTEGER NOT NULL CHECK (standby IN (0, 1)),
  published INTEGER NOT NULL CHECK (published IN (0, 1)),
  rekeying INTEGER NOT NULL CHECK (rekeying IN (0, 1)),
  public_jwk TEXT NOT NULL,
  thumbprint TEXT NOT NULL UNIQUE,
  origin TEXT NOT NULL DEFAULT 'generated' CHECK (origin IN ('generated', 'imported')),
  handed_out_at INTEGER,
  attested_at INTEGER,
  private_sealed BLOB,
  root_kid TEXT NOT NULL REFERENCES root_keys (kid) ON DELETE RESTRICT,
  mac BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  absent_until INTEGER NOT NULL,
  planned_at INTEGER NOT NULL,
  published_at INTEGER NOT NULL,
  activated_at INTEGER,
  retired_at INTEGER,
  withdrawn_at INTEGER,
  revoked_at INTEGER,
  create_index INTEGER NOT NULL,
  modify_index INTEGER NOT NULL,
  CHECK (standby = 0 OR state = 'next'),
  CHECK (rekeying = 0 OR state = 'retired'),
  CHECK (state NOT IN ('active', 'next') OR (published = 1 AND private_sealed IS NOT NULL)),
  CHECK (state <> 'revoked' OR published = 0),
  CHECK ((ring_id = 'default') = (root_kid = kid))
) STRICT;

CREATE UNIQUE INDEX keys_one_active ON keys (ring_id, alg) WHERE state = 'active';
CREATE UNIQUE INDEX keys_one_active_reserved ON keys (ring_id)
  WHERE state = 'active' AND ring_id IN ('default', 'access', 'audit');
CREATE UNIQUE INDEX keys_one_standby ON keys (ring_id, alg) WHERE standby = 1;
CREATE INDEX keys_root ON keys (root_kid);

-- The latest exp (NumericDate, seconds) that any token under this kid was promised.
CREATE TABLE promises (
  kid TEXT PRIMARY KEY REFERENCES keys (kid) ON DELETE CASCADE,
  until INTEGER NOT NULL
) STRICT;

CREATE TRIGGER promises_never_lowered BEFORE UPDATE ON promises WHEN NEW.until < OLD.until
BEGIN SELECT RAISE(ABORT, 'a promise is never lowered'); END;

CREATE TABLE profiles (
  id TEXT PRIMARY KEY,
  ring_id TEXT NOT NULL REFERENCES rings (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  policy TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (ring_id, name)
) STRICT;

-- Secrets of the server itself (cookie secret, CA certificates of settings) ---------------------------

CREATE TABLE server_secrets (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  value_sealed BLOB NOT NULL,
  root_kid TEXT NOT NULL REFERENCES root_keys (kid) ON DELETE RESTRICT,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX server_secrets_root ON server_secrets (root_kid);

-- Access -----------------------------------------------------------------------------------------------

CREATE TABLE organisations (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  slug TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  parent_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  CHECK ((parent_id IS NULL) = (name = 'root'))
) STRICT;

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  password_hash TEXT,
  digest_ha1_sealed BLOB,
  root_kid TEXT REFERENCES root_keys (kid) ON DELETE RESTRICT,
  role TEXT NOT NULL,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  jwt INTEGER NOT NULL DEFAULT 0 CHECK (jwt IN (0, 1)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((digest_ha1_sealed IS NULL) = (root_kid IS NULL)),
  CHECK (digest_ha1_sealed IS NULL OR role <> 'admin')
) STRICT;

CREATE INDEX users_root ON users (root_kid);

CREATE TABLE sessions (
  id_hash BLOB PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('traffic-ops', 'console')),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  role TEXT,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER
) STRICT;

CREATE TABLE identities (
  id TEXT PRIMARY KEY,
  organisation_id TEXT NOT NULL REFERENCES organisations (id) ON DELETE RESTRICT,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  delete_protection INTEGER NOT NULL DEFAULT 0 CHECK (delete_protection IN (0, 1)),
  metadata TEXT NOT NULL DEFAULT '[]',
  last_login_method TEXT,
  last_login_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE jwt_auth_configs (
  id TEXT PRIMARY KEY,
  identity_id TEXT NOT NULL UNIQUE REFERENCES identities (id) ON DELETE CASCADE,
  configuration_type TEXT NOT NULL CHECK (configuration_type IN ('jwks', 'static')),
  jwks_url TEXT NOT NULL,
  jwks_ca_cert_sealed BLOB,
  public_keys_sealed BLOB,
  root_kid TEXT REFERENCES root_keys (kid) ON DELETE RESTRICT,
  bound_issuer TEXT NOT NULL,
  bound_audiences TEXT NOT NULL,
  bound_claims TEXT NOT NULL,
  bound_subject TEXT NOT NULL,
  access_token_ttl INTEGER NOT NULL,
  access_token_max_ttl INTEGER NOT NULL,
  access_token_num_uses_limit INTEGER NOT NULL,
  access_token_trusted_ips TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (root_kid IS NOT NULL OR (jwks_ca_cert_sealed IS NULL AND public_keys_sealed IS NULL))
) STRICT;

CREATE INDEX jwt_auth_configs_root ON jwt_auth_configs (root_kid);

CREATE TABLE access_tokens (
  id TEXT PRIMARY KEY,
  identity_id TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  config_id TEXT NOT NULL,
  creation_epoch INTEGER NOT NULL,
  uses_left INTEGER CHECK (uses_left >= 0),
  revoked_at INTEGER,
  keep_until INTEGER NOT NULL
) STRICT;

CREATE INDEX access_tokens_identity ON access_tokens (identity_id);
CREATE INDEX access_tokens_expiry ON access_tokens (keep_until);

CREATE TABLE used_assertions (
  iss TEXT NOT NULL,
  jti TEXT NOT NULL,
  keep_until INTEGER NOT NULL,
  PRIMARY KEY (iss, jti)
) STRICT;

CREATE INDEX used_assertions_expiry ON used_assertions (keep_until);

-- Delivery services --------------------------------------------------------------------------------------

CREATE TABLE delivery_services (
  id TEXT PRIMARY KEY,
  xml_id TEXT NOT NULL UNIQUE,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE RESTRICT,
  cdn TEXT,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE uri_signing_documents (
  id TEXT PRIMARY KEY,
  delivery_service_id TEXT NOT NULL REFERENCES delivery_services (id) ON DELETE CASCADE,
  version INTEGER NOT NULL,
  document_sealed BLOB,
  root_kid TEXT REFERENCES root_keys (kid) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  UNIQUE (delivery_service_id, version),
  CHECK ((document_sealed IS NULL) = (root_kid IS NULL))
) STRICT;

CREATE INDEX uri_signing_documents_root ON uri_signing_documents (root_kid);

-- External security ----------------------------------------------------------------------------------------

CREATE TABLE external_securities (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  properties TEXT NOT NULL,
  secret_properties_sealed BLOB,
  root_kid TEXT REFERENCES root_keys (kid) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((secret_properties_sealed IS NULL) = (root_kid IS NULL))
) STRICT;

CREATE INDEX external_securities_root ON external_securities (root_kid);

CREATE TABLE jwt_secrets (
  id TEXT PRIMARY KEY,
  external_security_id TEXT NOT NULL REFERENCES external_securities (id) ON DELETE CASCADE,
  key_id TEXT NOT NULL,
  value_sealed BLOB NOT NULL,
  root_kid TEXT NOT NULL REFERENCES root_keys (kid) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (external_security_id, key_id)
) STRICT;

CREATE INDEX jwt_secrets_root ON jwt_secrets (root_kid);

CREATE TABLE role_grants (
  id TEXT PRIMARY KEY,
  external_security_id TEXT NOT NULL REFERENCES external_securities (id) ON DELETE CASCADE,
  external_name TEXT NOT NULL,
  role TEXT NOT NULL,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL,
  UNIQUE (external_security_id, external_name, role)
) STRICT;

CREATE TABLE remote_jwks (
  source TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  fetched_at INTEGER NOT NULL
) STRICT;

-- Grants: a capability of one principal, optionally on one resource; gone with either ------------------------

CREATE TABLE grants (
  id TEXT PRIMARY KEY,
  api_token_id TEXT REFERENCES api_tokens (id) ON DELETE CASCADE,
  user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
  identity_id TEXT REFERENCES identities (id) ON DELETE CASCADE,
  capability TEXT NOT NULL,
  ring_id TEXT REFERENCES rings (id) ON DELETE CASCADE,
  profile_id TEXT REFERENCES profiles (id) ON DELETE CASCADE,
  delivery_service_id TEXT REFERENCES delivery_services (id) ON DELETE CASCADE,
  CHECK ((api_token_id IS NOT NULL) + (user_id IS NOT NULL) + (identity_id IS NOT NULL) = 1),
  CHECK ((ring_id IS NOT NULL) + (profile_id IS NOT NULL) + (delivery_service_id IS NOT NULL) <= 1)
) STRICT;

CREATE UNIQUE INDEX grants_once ON grants (
  coalesce(api_token_id, user_id, identity_id), capability,
  coalesce(ring_id, profile_id, delivery_service_id, '')
);

-- Audit: one hash chain per writer -----------------------------------------------------------------------------

CREATE TABLE audit_events (
  writer TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  type TEXT NOT NULL,
  subject TEXT NOT NULL,
  principal TEXT NOT NULL,
  detail TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (writer, seq)
) STRICT;

CREATE TABLE audit_checkpoints (
  writer TEXT NOT NULL,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  signature TEXT,
  created_at INTEGER NOT NULL,
  archived_at INTEGER,
  PRIMARY KEY (writer, seq)
) STRICT;

CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;

CREATE TRIGGER audit_events_delete_archived_only BEFORE DELETE ON audit_events
WHEN NOT EXISTS (
  SELECT 1 FROM audit_checkpoints c
  WHERE c.writer = OLD.writer AND c.seq >= OLD.seq AND c.archived_at IS NOT NULL
)
BEGIN SELECT RAISE(ABORT, 'audit_events are deleted below an archived checkpoint only'); END;
