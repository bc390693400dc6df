//! The numbers of status lists: each is for one taker, on whatever node.

use rusqlite::{Connection, OptionalExtension as _};

use super::failed;
use super::registry::missing_parent;
use crate::{StoreError, missing_realm};

/// Takes the next number of a realm.
pub(super) fn take(conn: &Connection, realm: &str) -> Result<u32, StoreError> {
    let mut statement = conn
        .prepare_cached(
            "INSERT INTO status_lists (realm, taken) VALUES (?, 1)
             ON CONFLICT (realm) DO UPDATE SET taken = taken + 1
             RETURNING taken - 1",
        )
        .map_err(failed)?;
    let taken = statement
        .query_map([realm], |row| row.get(0))
        // To the end of the rows: only there does SQLite check the foreign key.
        .and_then(Iterator::collect::<rusqlite::Result<Vec<u32>>>)
        .map_err(|e| missing_parent(e, || missing_realm(realm)))?;
    taken.first().copied().ok_or_else(|| missing_realm(realm))
}

/// How many were taken.
pub(super) fn taken(conn: &Connection, realm: &str) -> Result<u32, StoreError> {
    conn.prepare_cached("SELECT taken FROM status_lists WHERE realm = ?")
        .and_then(|mut s| s.query_row([realm], |row| row.get(0)).optional())
        .map(Option::unwrap_or_default)
        .map_err(failed)
}
