-- What ended tokens before their time, in the order in which it happened. It outlives the realm: somebody may still hold
-- tokens of it. Times are milliseconds since 1970.
CREATE TABLE revocations (
    -- Never given twice, not even the highest one: others remember how far they have read.
    number     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL CHECK (at >= 0),
    realm      TEXT NOT NULL,
    client     TEXT,
    kind       TEXT NOT NULL CHECK (kind IN ('token', 'client', 'subject', 'all', 'key')),
    what       TEXT NOT NULL,
    not_before INTEGER CHECK (not_before >= 0),
    until      INTEGER NOT NULL CHECK (until >= 0),
    UNIQUE (realm, kind, what)
) STRICT;

CREATE INDEX revocations_until ON revocations (until);

-- Whose they were is not known.
INSERT INTO revocations (at, realm, kind, what, until)
SELECT revoked_at, realm, 'token',
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
    (min(expires_at, 9000000000000000000) + 999) / 1000 * 1000
FROM (SELECT *, lower(hex(id)) AS h FROM families WHERE revoked_at IS NOT NULL)
ORDER BY revoked_at;
