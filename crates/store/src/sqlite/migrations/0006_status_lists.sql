-- How many status lists of a realm were taken: the number of the next one.
CREATE TABLE status_lists (
    realm TEXT NOT NULL PRIMARY KEY REFERENCES realms (name) ON DELETE CASCADE,
    taken INTEGER NOT NULL CHECK (taken BETWEEN 1 AND 4294967295)
) STRICT, WITHOUT ROWID;
