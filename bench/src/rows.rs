//! The bare log: a loop that commits the rows of rotations in groups, and does nothing else.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, named_params};

use crate::clock::now;
use crate::problem::{Problem, Result};

/// One row per caller, and all callers in one commit: the best that 64 connections can give a log.
const GROUP: i64 = 64;

/// How many families there are, as there are when each of [`GROUP`] connections carries one.
const FAMILIES: i64 = GROUP;

/// The table that rotations are remembered in, with its index and what it refers to.
const TABLES: &str = "
    CREATE TABLE realms (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    INSERT INTO realms VALUES ('rotate');
    CREATE TABLE families (
        realm      TEXT NOT NULL REFERENCES realms (name) ON DELETE CASCADE,
        id         BLOB NOT NULL CHECK (length(id) = 16),
        generation INTEGER NOT NULL CHECK (generation BETWEEN 0 AND 4294967295),
        rotated_at INTEGER NOT NULL CHECK (rotated_at >= 0),
        revoked_at INTEGER CHECK (revoked_at >= 0),
        expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
        PRIMARY KEY (realm, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX families_revoked ON families (realm, id, expires_at) WHERE revoked_at IS NOT NULL;";

const ROTATE: &str = "
    INSERT INTO families (realm, id, generation, rotated_at, revoked_at, expires_at)
    VALUES ('rotate', :id, :next, :now, NULL, :expires_at)
    ON CONFLICT (realm, id) DO UPDATE SET
        generation = :next, rotated_at = :now, expires_at = max(expires_at, :expires_at)
    WHERE revoked_at IS NULL AND generation = :next - 1
    RETURNING generation, rotated_at, revoked_at";

/// `rows FOLDER SECONDS`: prints how many rows a second were made durable.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [folder, seconds] = args else {
        return Err(Problem::new("usage: rows FOLDER SECONDS"));
    };
    let seconds: f64 = seconds.parse()?;
    let conn = open(&Path::new(folder).join("rows.db"))?;
    // The first commits make the file; they do not count.
    let warm = rotations(&conn, 0, Duration::from_millis(200))?;
    let began = now();
    let count = rotations(&conn, warm / FAMILIES, Duration::from_secs_f64(seconds))?;
    println!("{}", count as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// As Tokenry's writer opens its file.
fn open(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.pragma_update(None, "wal_autocheckpoint", 4096)?;
    conn.execute_batch(TABLES)?;
    Ok(conn)
}

/// Rotates all families again and again, each group of them in one commit; gives how many rows that were.
fn rotations(conn: &Connection, generation: i64, lasting: Duration) -> Result<i64> {
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut commit = conn.prepare("COMMIT")?;
    let mut rotate = conn.prepare(ROTATE)?;
    let began = now();
    let mut count = 0;
    while began.elapsed() < lasting {
        begin.execute([])?;
        for _ in 0..GROUP {
            let id = i128::from(count % FAMILIES).to_be_bytes();
            let next = generation + count / FAMILIES + 1;
            let at = 1_700_000_000_000 + count;
            let rows = rotate
                .query_map(
                    named_params! { ":id": id, ":next": next, ":now": at, ":expires_at": at + 86_400_000 },
                    |row| row.get::<_, i64>(0),
                )?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            if rows != [next] {
                return Err(Problem::new("a rotation of the bare log did not take"));
            }
            count += 1;
        }
        commit.execute([])?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rotation_takes() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open(&folder.path().join("rows.db")).ok().unwrap();
        let count = rotations(&conn, 0, Duration::from_millis(1)).ok().unwrap();
        let again = rotations(&conn, count / FAMILIES, Duration::from_millis(1)).ok().unwrap();
        let sum: i64 =
            conn.query_row("SELECT sum(generation) FROM families", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, count + again);
    }
}
