//! Opaque access tokens.

use rusqlite::{Connection, OptionalExtension as _, params};
use tokenry_core::Timestamp;
use tokenry_core::family::FamilyId;
use tokenry_core::opaque::StoredToken;

use super::registry::missing_parent;
use super::{failed, from_millis, millis};
use crate::{StoreError, missing_realm};

pub(super) fn insert(
    conn: &Connection,
    realm: &str,
    id: FamilyId,
    token: &StoredToken,
) -> Result<(), StoreError> {
    let StoredToken { digest, claims, expires_at } = token;
    conn.prepare_cached(
        "INSERT INTO opaque_tokens (realm, id, digest, claims, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .and_then(|mut s| s.execute(params![realm, id.0, digest, claims, millis(*expires_at)]))
    .map_err(|e| missing_parent(e, || missing_realm(realm)))?;
    Ok(())
}

pub(super) fn token(
    conn: &Connection,
    realm: &str,
    id: FamilyId,
) -> Result<Option<StoredToken>, StoreError> {
    conn.prepare_cached(
        "SELECT digest, claims, expires_at FROM opaque_tokens WHERE realm = ? AND id = ?",
    )
    .and_then(|mut s| {
        s.query_row(params![realm, id.0], |row| {
            let expires_at = from_millis(row.get(2)?);
            Ok(StoredToken { digest: row.get(0)?, claims: row.get(1)?, expires_at })
        })
        .optional()
    })
    .map_err(failed)
}

/// Whether something has expired at `now`.
pub(super) fn any_expired(conn: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM opaque_tokens WHERE expires_at <= ?)")
        .and_then(|mut s| s.query_row([millis(now)], |row| row.get(0)))
        .map_err(failed)
}

/// Deletes up to `limit` of what has expired at `now`; gives how many.
pub(super) fn forget(conn: &Connection, now: Timestamp, limit: usize) -> Result<u64, StoreError> {
    conn.prepare_cached(
        "DELETE FROM opaque_tokens WHERE (realm, id) IN
         (SELECT realm, id FROM opaque_tokens WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
    )
    .and_then(|mut s| s.execute(params![millis(now), limit as i64]))
    .map(|deleted| deleted as u64)
    .map_err(failed)
}
