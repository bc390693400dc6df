-- Identifiers that are good once, such as those of client assertions, for as long as they could be presented again.
CREATE TABLE used_up (
    realm      TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    id         BLOB NOT NULL CHECK (length(id) = 16),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX used_up_expired ON used_up (expires_at);
