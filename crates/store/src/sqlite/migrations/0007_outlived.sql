-- When the last access token has expired that was issued before a lifetime was made shorter, of the realm or of one of its
-- clients. Milliseconds since 1970; 0: none was.
ALTER TABLE realms ADD COLUMN outlived INTEGER NOT NULL DEFAULT 0 CHECK (outlived >= 0);
