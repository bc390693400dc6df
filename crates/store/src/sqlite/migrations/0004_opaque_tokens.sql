-- Opaque access tokens, where a realm or client wants them. Their identifiers are ordered by time, so that new ones come
-- last in the table.
CREATE TABLE opaque_tokens (
    realm      TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    id         BLOB NOT NULL CHECK (length(id) = 16),
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    claims     TEXT NOT NULL,
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX opaque_tokens_expired ON opaque_tokens (expires_at);
