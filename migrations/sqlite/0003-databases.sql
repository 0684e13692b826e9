-- The database surfaces: which Digest counters were used, and the key set that jwks_setup made active.

-- A (nonce, nc) counts once; forgotten when the nonce itself no longer counts.
CREATE TABLE digest_uses (
  nonce TEXT NOT NULL,
  nc INTEGER NOT NULL CHECK (nc > 0),
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (nonce, nc)
) STRICT;

CREATE INDEX digest_uses_end ON digest_uses (expires_at);

-- One row: the last good set, trusted until another one replaces it, over restarts and without an end.
CREATE TABLE data_api_keys (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  fetched_at INTEGER NOT NULL
) STRICT;

-- Made anew: one name may mean the same role in several tenants, which do not see each other. Nothing has written to it yet.
DROP TABLE role_grants;

CREATE TABLE role_grants (
  id TEXT PRIMARY KEY,
  external_security_id TEXT NOT NULL REFERENCES external_securities (id) ON DELETE CASCADE,
  external_name TEXT NOT NULL,
  role TEXT NOT NULL,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE RESTRICT,
  created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX role_grants_once
  ON role_grants (external_security_id, external_name, role, coalesce(tenant_id, ''));
