//! Which revision has touched what.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::failed;
use super::registry::execute;
use crate::touched::{JOURNAL, Reach};
use crate::{Item, Revision, StoreError, Touched};

/// Ends, where it is used, at the first row that is not wanted.
pub(super) const NEWEST: &str = "SELECT revision, realm, client FROM journal ORDER BY number DESC";

/// Moves the revision on, so that every process sees that something other than a client has changed.
pub(super) fn bump(conn: &Connection) -> Result<(), StoreError> {
    execute(conn, "UPDATE meta SET revision = revision + 1, rest = revision + 1", [])
}

/// Moves the revision on, and notes what it has touched.
pub(super) fn note(conn: &Connection, reach: &Reach<'_>) -> Result<Revision, StoreError> {
    let rest = reach.rest || reach.everything;
    let revision: i64 = conn
        .prepare_cached(
            "UPDATE meta SET
                revision = revision + 1,
                rest = iif(?1, revision + 1, rest),
                journal_from = iif(?2, revision + 1, journal_from)
             RETURNING revision",
        )
        .and_then(|mut s| s.query_row(params![rest, reach.everything], |row| row.get(0)))
        .map_err(failed)?;
    if reach.everything {
        execute(conn, "DELETE FROM journal", [])?;
    }
    if !reach.clients.is_empty() {
        let mut insert = conn
            .prepare_cached("INSERT INTO journal (revision, realm, client) VALUES (?, ?, ?)")
            .map_err(failed)?;
        for (realm, id) in &reach.clients {
            insert.execute(params![revision, realm, id]).map_err(failed)?;
        }
        prune(conn)?;
    }
    Ok(Revision(revision.unsigned_abs()))
}

/// Forgets all but the newest rows, of which one was inserted just now.
fn prune(conn: &Connection) -> Result<(), StoreError> {
    let last = conn.last_insert_rowid() - JOURNAL as i64;
    let forgotten = conn
        .prepare_cached("SELECT revision FROM journal WHERE number = ?")
        .and_then(|mut s| s.query_row([last], |row| row.get::<_, i64>(0)).optional())
        .map_err(failed)?;
    if let Some(revision) = forgotten {
        execute(conn, "UPDATE meta SET journal_from = ?", [revision])?;
        execute(conn, "DELETE FROM journal WHERE number <= ?", [last])?;
    }
    Ok(())
}

/// What has changed after `since`. To be called in a transaction, since it takes two statements.
pub(super) fn touched(tx: &Connection, since: Revision) -> Result<Touched, StoreError> {
    let number = |number: i64| Revision(number.unsigned_abs());
    let (revision, rest, from) = tx
        .prepare_cached("SELECT revision, rest, journal_from FROM meta")
        .and_then(|mut s| {
            s.query_row([], |row| {
                Ok((number(row.get(0)?), number(row.get(1)?), number(row.get(2)?)))
            })
        })
        .map_err(failed)?;
    if !(from..=revision).contains(&since) {
        return Ok(Touched { revision, what: None });
    }
    let mut items = BTreeSet::new();
    if since < revision {
        let mut statement = tx.prepare_cached(NEWEST).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if number(row.get(0).map_err(failed)?) <= since {
                break;
            }
            let (realm, id) = (row.get(1).map_err(failed)?, row.get(2).map_err(failed)?);
            items.insert(Item::Client { realm, id });
        }
    }
    if rest > since {
        items.insert(Item::Rest);
    }
    Ok(Touched { revision, what: Some(items.into_iter().collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Options, file};

    #[test]
    fn the_journal_never_holds_more_than_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let conn = file::open(&directory.path().join("t.db"), &Options::default()).unwrap();
        let ids: Vec<_> = (0..1000).map(|i| i.to_string()).collect();
        let clients = ids.iter().map(|id| ("r", &**id)).collect();
        let thousand = Reach { clients, ..Reach::default() };
        let rows = || {
            let count = "SELECT count(*), coalesce(max(number), 0) FROM journal";
            conn.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let tx = conn.unchecked_transaction().unwrap();
        for revision in 1..=12 {
            note(&conn, &thousand).unwrap();
            assert_eq!(rows(), (revision.min(10) * 1000, revision * 1000));
        }
        note(&conn, &Reach { everything: true, ..Reach::default() }).unwrap();
        assert_eq!(rows(), (0, 0));
        tx.commit().unwrap();
    }
}
