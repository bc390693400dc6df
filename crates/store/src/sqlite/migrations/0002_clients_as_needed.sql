-- A server that holds a part of the clients has to know this of all of them, without reading them.
ALTER TABLE clients ADD COLUMN signing TEXT
    GENERATED ALWAYS AS (json_extract(document, '$.signing')) VIRTUAL;

-- Rounded up. As many seconds as can be told in milliseconds.
ALTER TABLE clients ADD COLUMN access_ms INTEGER
    GENERATED ALWAYS AS (
        min(json_extract(document, '$.access.secs'), 9223372036854774) * 1000
        + (json_extract(document, '$.access.nanos') + 999999) / 1000000
    ) VIRTUAL;

CREATE INDEX clients_signing ON clients (realm, signing) WHERE signing IS NOT NULL;
CREATE INDEX clients_access ON clients (realm, access_ms) WHERE access_ms IS NOT NULL;

-- Which clients were touched by which revision. The newest has the highest number; there are no gaps between numbers.
CREATE TABLE journal (
    number   INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    realm    TEXT NOT NULL,
    client   TEXT NOT NULL
) STRICT;

-- The last revision that has touched something other than clients, and the one up to which the journal is incomplete.
ALTER TABLE meta ADD COLUMN rest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN journal_from INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET rest = revision, journal_from = revision;
