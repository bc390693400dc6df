//! Identifiers that are good once, such as those of client assertions.

use rusqlite::{Connection, params};
use tokenry_core::Timestamp;
use tokenry_core::family::FamilyId;

use super::registry::missing_parent;
use super::{failed, millis};
use crate::{StoreError, missing_realm};

/// Remembers an identifier; gives whether it was new.
pub(super) fn insert(
    conn: &Connection,
    realm: &str,
    id: FamilyId,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = conn
        .prepare_cached(
            "INSERT INTO used_up (realm, id, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut s| s.execute(params![realm, id.0, millis(expires_at)]))
        .map_err(|e| missing_parent(e, || missing_realm(realm)))?;
    Ok(inserted == 1)
}

/// Whether something has expired at `now`.
pub(super) fn any_expired(conn: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM used_up WHERE expires_at <= ?)")
        .and_then(|mut s| s.query_row([millis(now)], |row| row.get(0)))
        .map_err(failed)
}

/// Deletes up to `limit` of what has expired at `now`; gives how many.
pub(super) fn forget(conn: &Connection, now: Timestamp, limit: usize) -> Result<u64, StoreError> {
    conn.prepare_cached(
        "DELETE FROM used_up WHERE (realm, id) IN
         (SELECT realm, id FROM used_up WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
    )
    .and_then(|mut s| s.execute(params![millis(now), limit as i64]))
    .map(|deleted| deleted as u64)
    .map_err(failed)
}
