-- URI signing: what a document's seal is bound to, promises of exp, rotations of keys that caches hold.

-- What a seal is bound to beside the id of the service: its name and tenant when it was sealed. A document is opened
-- with those that delivery_services has now, so a service that was renamed, or given to another tenant, behind the
-- server's back does not open. A tenant is changed by sealing the versions anew in the same transaction.
ALTER TABLE uri_signing_documents ADD COLUMN xml_id TEXT NOT NULL DEFAULT '';
ALTER TABLE uri_signing_documents ADD COLUMN tenant_id TEXT NOT NULL DEFAULT '';
-- How the version came to be.
ALTER TABLE uri_signing_documents ADD COLUMN origin TEXT NOT NULL DEFAULT 'stored'
  CHECK (origin IN ('stored', 'removed', 'generated', 'copied', 'rolled-back', 'rotated'));

CREATE TRIGGER delivery_services_keep_name BEFORE UPDATE ON delivery_services
WHEN NEW.xml_id <> OLD.xml_id OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'a delivery service keeps its name'); END;

-- Pages of one tenant's services; those of all tenants go by the unique index on xml_id.
CREATE INDEX delivery_services_tenant ON delivery_services (tenant_id, xml_id);

-- The latest exp (NumericDate, seconds) that any token under this key was promised, and the longest cdniets (seconds).
CREATE TABLE uri_signing_promises (
  delivery_service_id TEXT NOT NULL REFERENCES delivery_services (id) ON DELETE CASCADE,
  issuer TEXT NOT NULL,
  kid TEXT NOT NULL,
  until INTEGER NOT NULL,
  renewal_ttl INTEGER NOT NULL CHECK (renewal_ttl >= 0),
  PRIMARY KEY (delivery_service_id, issuer, kid)
) STRICT;

CREATE TRIGGER uri_signing_promises_never_lowered BEFORE UPDATE ON uri_signing_promises
WHEN NEW.until < OLD.until OR NEW.renewal_ttl < OLD.renewal_ttl
BEGIN SELECT RAISE(ABORT, 'a promise is never lowered'); END;

-- announced: caches learn the new key; signing: it signs; retiring: it renews as well, the old one only verifies.
CREATE TABLE uri_signing_rotations (
  id TEXT PRIMARY KEY,
  delivery_service_id TEXT NOT NULL REFERENCES delivery_services (id) ON DELETE CASCADE,
  issuer TEXT NOT NULL,
  old_kid TEXT NOT NULL,
  new_kid TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('announced', 'signing', 'retiring', 'done', 'cancelled')),
  automatic INTEGER NOT NULL CHECK (automatic IN (0, 1)),
  announce_ttl INTEGER NOT NULL CHECK (announce_ttl >= 0),
  started_by TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  signing_at INTEGER,
  retiring_at INTEGER,
  ended_at INTEGER,
  -- What an operator vouches for: when all caches had reloaded, and what others signed with the old key.
  reloaded_at INTEGER,
  others_until INTEGER,
  others_renewal_ttl INTEGER,
  attested_at INTEGER,
  attested_by TEXT,
  CHECK (old_kid <> new_kid),
  CHECK ((attested_at IS NULL) = (reloaded_at IS NULL)),
  CHECK ((attested_at IS NULL) = (attested_by IS NULL)),
  CHECK ((ended_at IS NULL) = (state NOT IN ('done', 'cancelled'))),
  CHECK (state NOT IN ('signing', 'retiring', 'done') OR signing_at IS NOT NULL),
  CHECK (state NOT IN ('retiring', 'done') OR retiring_at IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX uri_signing_rotations_one_open ON uri_signing_rotations (delivery_service_id, issuer)
  WHERE ended_at IS NULL;
CREATE INDEX uri_signing_rotations_service ON uri_signing_rotations (delivery_service_id, added_at);
CREATE INDEX uri_signing_rotations_open ON uri_signing_rotations (id) WHERE ended_at IS NULL;

CREATE TRIGGER uri_signing_rotations_go_forward BEFORE UPDATE ON uri_signing_rotations
WHEN OLD.ended_at IS NOT NULL
  OR NEW.state <> OLD.state
    AND NEW.state || ' after ' || OLD.state NOT IN (
      'signing after announced', 'cancelled after announced', 'retiring after announced',
      'retiring after signing', 'cancelled after signing', 'done after signing',
      'done after retiring', 'cancelled after retiring'
    )
BEGIN SELECT RAISE(ABORT, 'a rotation only goes forward'); END;
