//! Migrations: numbered, checksummed, forward only, all in one transaction.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, params};

use super::file::cannot_open;
use crate::OpenError;

/// All there are, in order; the first is number 1. A released one never changes: databases remember its SHA-256.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_start.sql"),
    include_str!("migrations/0002_clients_as_needed.sql"),
    include_str!("migrations/0003_used_up.sql"),
    include_str!("migrations/0004_opaque_tokens.sql"),
    include_str!("migrations/0005_revocations.sql"),
    include_str!("migrations/0006_status_lists.sql"),
    include_str!("migrations/0007_outlived.sql"),
];

/// "tkry" in the file's header says whose tables these are.
const APPLICATION_ID: i32 = 0x746b_7279;

/// How many of the migrations the database has had, all of them unchanged. Writes nothing.
pub(super) fn version(conn: &Connection, path: &Path) -> Result<usize, OpenError> {
    // One moment: another process may be making the tables right now.
    let tx = conn.unchecked_transaction().map_err(|e| cannot_open(path, e))?;
    version_of(&tx, path, MIGRATIONS)
}

/// Applies the migrations that the database has not had. Where one fails, none was applied.
pub(super) fn migrate(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    apply(conn, path, MIGRATIONS)
}

fn version_of(conn: &Connection, path: &Path, known: &[&str]) -> Result<usize, OpenError> {
    let failed = |e| cannot_open(path, e);
    let owner: i32 = conn
        .query_row("SELECT application_id FROM pragma_application_id", [], |r| r.get(0))
        .map_err(failed)?;
    let is_empty: bool = conn
        .query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |r| r.get(0))
        .map_err(failed)?;
    match (owner, is_empty) {
        (0, true) => return Ok(0),
        (APPLICATION_ID, _) => {}
        _ => return Err(OpenError::NotOurs { path: path.to_owned() }),
    }
    let mut statement =
        conn.prepare("SELECT version, sha256 FROM migrations ORDER BY version").map_err(failed)?;
    let had = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>)
        .map_err(failed)?;
    // Newer before changed: a newer Tokenry knows better what the older migrations were.
    if had.len() > known.len() {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: had.len(),
            known: known.len(),
        });
    }
    for (i, (version, sha256)) in had.iter().enumerate() {
        if *version != i as i64 + 1 || sha256 != digest(&SHA256, known[i].as_bytes()).as_ref() {
            return Err(OpenError::ChangedMigration { path: path.to_owned(), version: i + 1 });
        }
    }
    Ok(had.len())
}

fn apply(conn: &Connection, path: &Path, known: &[&str]) -> Result<(), OpenError> {
    let failed = |e| cannot_open(path, e);
    let tx = rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Asked again: another process may have done it in the meantime.
    let done = version_of(&tx, path, known)?;
    if done == 0 {
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        tx.execute_batch(
            "CREATE TABLE migrations (version INTEGER NOT NULL PRIMARY KEY, sha256 BLOB NOT NULL) STRICT",
        )
        .map_err(failed)?;
    }
    for (i, sql) in known.iter().enumerate().skip(done) {
        tx.execute_batch(sql).map_err(failed)?;
        let sha256 = digest(&SHA256, sql.as_bytes());
        tx.execute("INSERT INTO migrations VALUES (?, ?)", params![i as i64 + 1, sha256.as_ref()])
            .map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokenry_core::Timestamp;
    use tokenry_core::family::FamilyId;
    use tokenry_core::jose::Algorithm;
    use tokenry_core::revocation::{Ended, Revocation};

    use super::*;
    use crate::sqlite::Options;
    use crate::{Change, Revision, Sqlite, Store as _, Usage};

    const OLD: &[&str] = &["CREATE TABLE a (x)"];
    const NEW: &[&str] = &["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO b VALUES (1)"];

    fn tables(conn: &Connection) -> Vec<String> {
        let mut statement = conn.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_database_gets_the_migrations_that_it_has_not_had() {
        let conn = Connection::open_in_memory().unwrap();
        let path = Path::new("t.db");
        for (known, version) in [(OLD, 1), (OLD, 1), (NEW, 2), (NEW, 2)] {
            apply(&conn, path, known).unwrap();
            assert_eq!(version_of(&conn, path, known).unwrap(), version);
        }
        assert_eq!(tables(&conn), ["a", "b", "migrations"]);
        let newer = apply(&conn, path, OLD).unwrap_err();
        assert!(matches!(newer, OpenError::Newer { found: 2, known: 1, .. }), "{newer}");
    }

    #[test]
    fn where_one_migration_fails_none_was_applied() {
        let conn = Connection::open_in_memory().unwrap();
        let path = Path::new("t.db");
        apply(&conn, path, OLD).unwrap();
        let broken = [OLD[0], "CREATE TABLE b (x)", "CREATE TABLE c (x); nonsense"];
        apply(&conn, path, &broken).unwrap_err();
        assert_eq!(version_of(&conn, path, &broken).unwrap(), 1);
        assert_eq!(tables(&conn), ["a", "migrations"]);
    }

    #[test]
    fn a_migration_that_changed_is_refused() {
        let conn = Connection::open_in_memory().unwrap();
        let path = Path::new("t.db");
        apply(&conn, path, OLD).unwrap();
        let changed = apply(&conn, path, &["CREATE TABLE a (y)", NEW[1]]).unwrap_err();
        assert!(matches!(changed, OpenError::ChangedMigration { version: 1, .. }), "{changed}");
        assert_eq!(tables(&conn), ["a", "migrations"]);
    }

    /// As the first version wrote them.
    const WRITTEN_BY_1: &str = r#"
        UPDATE meta SET revision = 41, master_key_check = x'0707070707070707070707070707070707070707070707070707070707070707';
        INSERT INTO realms VALUES ('r', '{"name":"r","issuer":"https://r.example","tokens":{"access":{"secs":300,"nanos":0}}}');
        INSERT INTO clients VALUES ('r', 'own', '{"realm":"r","id":"own","enabled":true,"grants":["client_credentials"],"scope":"a","access":{"secs":3600,"nanos":500000},"signing":"RS256","not_before":0}');
        INSERT INTO clients VALUES ('r', 'plain', '{"realm":"r","id":"plain","grants":["client_credentials"],"access":null,"signing":null}');
        INSERT INTO credentials VALUES ('r', 'own', 'k', '{"id":"k","label":"","kind":{"kind":"secret","digest":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7]},"created_at":1}');
        INSERT INTO users VALUES ('r', 'u', '{"realm":"r","name":"u","subject":"s","password":"p","enabled":true,"created_at":1}');
        INSERT INTO keys VALUES ('r', 'k', '{"realm":"r","kid":"k","algorithm":"ES256","sealed":[1],"announced_at":1,"signs_at":2,"retired_at":null,"gone_at":null}');
        INSERT INTO families VALUES ('r', x'00000000000000000000000000000001', 3, 100, NULL, 900);
        INSERT INTO families VALUES ('r', x'00000000000000000000000000000002', 3, 100, 100, 900);
    "#;

    #[tokio::test]
    async fn a_database_of_version_1_keeps_everything() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.db");
        let conn = Connection::open(&path).unwrap();
        apply(&conn, &path, &MIGRATIONS[..1]).unwrap();
        conn.execute_batch(WRITTEN_BY_1).unwrap();
        drop(conn);
        let store = Sqlite::open(&path, &Options::default()).unwrap();
        let found = store.load().await.unwrap();
        assert_eq!((found.revision, found.master_key_check), (Revision(41), Some([7; 32])));
        let names = (&*found.realms[0].name, &*found.users[0].name, &*found.keys[0].kid);
        assert_eq!(names, ("r", "u", "k"));
        let ids: Vec<_> = found.clients.iter().map(|c| (&*c.id, c.credentials.len())).collect();
        assert_eq!(ids, [("own", 1), ("plain", 0)]);
        assert_eq!(found.revoked.len(), 1);
        let family = store.family("r", FamilyId(1_u128.to_be_bytes())).await.unwrap().unwrap();
        assert_eq!((family.generation, family.revoked_at), (3, None));
        let algorithms = vec![Algorithm::Rs256];
        let longest_access = Some(Duration::from_millis(3_600_001));
        let usage = Usage { realm: "r".to_owned(), algorithms, longest_access };
        assert_eq!(found.usage, [usage]);
        // Of what came before, nothing is known.
        assert_eq!(store.touched(Revision(40)).await.unwrap().what, None);
        assert_eq!(store.touched(Revision(41)).await.unwrap().what, Some(vec![]));
        let told = store.revocations(None, 9).await.unwrap();
        let ended: Vec<_> = told.iter().map(|row| (row.number, &row.revocation)).collect();
        let id = FamilyId(2_u128.to_be_bytes());
        let until = Timestamp::from_secs(1);
        assert_eq!(ended, [(1, &Revocation { ended: Ended::Token(id), until })]);
        let removal = Change::RemoveClient { realm: "r".to_owned(), client: "own".to_owned() };
        store.change(vec![removal], Some(Revision(41)), Timestamp::EPOCH).await.unwrap();
        assert_eq!(store.outline().await.unwrap().usage, []);
        assert_eq!(store.touched(Revision(41)).await.unwrap().what.unwrap().len(), 1);
    }
}
