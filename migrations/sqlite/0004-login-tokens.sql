-- Tokens with which a user logs in once, instead of a password; what is kept of one is its SHA-256.

-- At most one of a user: a new one takes the place of the one before.
CREATE TABLE login_tokens (
  token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
  user_id TEXT NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL CHECK (expires_at > created_at)
) STRICT;

CREATE INDEX login_tokens_end ON login_tokens (expires_at);
