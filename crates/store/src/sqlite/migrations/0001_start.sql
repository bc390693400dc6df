-- One row. The revision grows with everything that a server holds in memory and has to read again.
CREATE TABLE meta (
    one              INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    revision         INTEGER NOT NULL CHECK (revision >= 0),
    master_key_check BLOB CHECK (length(master_key_check) = 32)
) STRICT;

INSERT INTO meta (one, revision) VALUES (1, 0);

-- Documents are JSON, so that a new field needs no migration. The key columns decide, not the document.
CREATE TABLE realms (
    name     TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    realm    TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    id       TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
    realm    TEXT NOT NULL,
    client   TEXT NOT NULL,
    id       TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (realm, client, id),
    FOREIGN KEY (realm, client) REFERENCES clients (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    realm    TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (realm, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    realm    TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    kid      TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (realm, kid)
) STRICT, WITHOUT ROWID;

-- Times are milliseconds since 1970. There is no index on expires_at: it would be written anew by every rotation,
-- and only the garbage collector would read it.
CREATE TABLE families (
    realm      TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
    id         BLOB NOT NULL CHECK (length(id) = 16),
    generation INTEGER NOT NULL CHECK (generation BETWEEN 0 AND 4294967295),
    rotated_at INTEGER NOT NULL CHECK (rotated_at >= 0),
    revoked_at INTEGER CHECK (revoked_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX families_revoked ON families (realm, id, expires_at) WHERE revoked_at IS NOT NULL;
