//! Families of refresh tokens: rotation, revocation, garbage.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use tokenry_core::Timestamp;
use tokenry_core::family::{Family, FamilyId, Rotated, Rotation};

use super::journal::bump;
use super::registry::missing_parent;
use super::revocations::{self, Stored};
use super::{failed, from_millis, millis};
use crate::revocations::{end_of_reused, of_family};
use crate::{StoreError, missing_realm};

/// [`Rotation::apply`] as one statement. Right-hand sides see the row as it was.
///
/// A row that comes back is what the family is now; it was alive before, since the `WHERE` passes over revoked ones.
/// So `revoked_at` in it means: revoked by this statement.
///
/// Realm, family (1, 2), the generation presented, the next one (3, 4), now, the earliest rotation that is still within
/// grace (5, 6), the end of the successor (7).
const ROTATE: &str = "
    INSERT INTO families (realm, id, generation, rotated_at, revoked_at, expires_at)
    VALUES (?1, ?2, iif(?3 = 0, 1, ?3), ?5, iif(?3 = 0, NULL, ?5), ?7)
    ON CONFLICT (realm, id) DO UPDATE SET
        generation = iif(generation = ?3, ?4, generation),
        rotated_at = iif(generation = ?3, ?5, rotated_at),
        revoked_at = CASE
            WHEN generation = ?3 THEN NULL
            WHEN generation = ?3 + 1 AND rotated_at >= ?6 THEN NULL
            ELSE ?5 END,
        expires_at = CASE
            WHEN generation = ?3 + 1 AND rotated_at >= ?6 THEN expires_at
            ELSE max(expires_at, ?7) END
    WHERE revoked_at IS NULL
    RETURNING generation, rotated_at, revoked_at, expires_at";

/// Gives a row where the family was alive before.
const REVOKE: &str = "
    INSERT INTO families (realm, id, generation, rotated_at, revoked_at, expires_at)
    VALUES (:realm, :id, 0, :now, :now, :expires_at)
    ON CONFLICT (realm, id) DO UPDATE SET
        revoked_at = :now,
        expires_at = max(expires_at, :expires_at)
    WHERE revoked_at IS NULL
    RETURNING expires_at";

const REMEMBER_LONGER: &str = "
    UPDATE families SET expires_at = :expires_at
    WHERE realm = :realm AND id = :id AND expires_at < :expires_at";

pub(super) fn rotate(conn: &Connection, rotation: &Rotation) -> Result<Rotated, StoreError> {
    let mut statement = conn.prepare_cached(ROTATE).map_err(failed)?;
    let after = statement
        .query_map(
            params![
                rotation.realm,
                rotation.family.0,
                rotation.presented,
                rotation.presented.saturating_add(1),
                millis(rotation.now),
                millis(rotation.repeatable_since()),
                millis(rotation.expires_at),
            ],
            |row| {
                let (rotated_at, expires_at) = (from_millis(row.get(1)?), from_millis(row.get(3)?));
                let revoked = row.get::<_, Option<i64>>(2)?.is_some();
                Ok((row.get(0)?, rotated_at, revoked.then_some(expires_at)))
            },
        )
        // To the end of the rows: only there does SQLite check the foreign key.
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(|e| missing_parent(e, || missing_realm(&rotation.realm)))?;
    match after.first() {
        None => Ok(Rotated::Revoked),
        Some((_, _, Some(expires_at))) => {
            let Rotation { realm, client, family, now, .. } = rotation;
            let end = end_of_reused(&Stored(conn), rotation, *expires_at)?;
            remember_longer(conn, realm, *family, end)?;
            let ending = of_family(&Stored(conn), (realm, client), *family, *now, end)?;
            revocations::write(conn, &ending, *now)?;
            bump(conn)?;
            Ok(Rotated::Reused)
        }
        Some(&(generation, rotated_at, None)) => Ok(Rotated::Successor { generation, rotated_at }),
    }
}

pub(super) fn revoke(
    conn: &Connection,
    realm: &str,
    client: &str,
    family: FamilyId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(REVOKE).map_err(failed)?;
    let was_alive = statement
        .query_map(
            named_params! {
                ":realm": realm, ":id": family.0, ":now": millis(now), ":expires_at": millis(expires_at),
            },
            |row| Ok(from_millis(row.get(0)?)),
        )
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(|e| missing_parent(e, || missing_realm(realm)))?;
    let until = match was_alive.first() {
        Some(until) => Some(*until),
        None => remember_longer(conn, realm, family, expires_at)?.then_some(expires_at),
    };
    if let Some(until) = until {
        let ending = of_family(&Stored(conn), (realm, client), family, now, until)?;
        revocations::write(conn, &ending, now)?;
        bump(conn)?;
    }
    Ok(!was_alive.is_empty())
}

/// Gives whether that is longer than before.
fn remember_longer(
    conn: &Connection,
    realm: &str,
    family: FamilyId,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let rows = conn
        .prepare_cached(REMEMBER_LONGER)
        .and_then(|mut s| {
            s.execute(
                named_params! { ":realm": realm, ":id": family.0, ":expires_at": millis(until) },
            )
        })
        .map_err(failed)?;
    Ok(rows > 0)
}

pub(super) fn family(
    conn: &Connection,
    realm: &str,
    family: FamilyId,
) -> Result<Option<Family>, StoreError> {
    conn.prepare_cached(
        "SELECT generation, rotated_at, revoked_at, expires_at FROM families
         WHERE realm = ? AND id = ?",
    )
    .and_then(|mut s| {
        s.query_row(params![realm, family.0], |row| {
            Ok(Family {
                generation: row.get(0)?,
                rotated_at: from_millis(row.get(1)?),
                revoked_at: row.get::<_, Option<i64>>(2)?.map(from_millis),
                expires_at: from_millis(row.get(3)?),
            })
        })
        .optional()
    })
    .map_err(failed)
}

/// The revoked families, by realm and identifier.
pub(super) fn revoked(conn: &Connection) -> Result<Vec<(String, FamilyId, Timestamp)>, StoreError> {
    conn.prepare_cached(
        "SELECT realm, id, expires_at FROM families WHERE revoked_at IS NOT NULL ORDER BY realm, id",
    )
    .and_then(|mut s| {
        s.query_map([], |row| {
            let Key { realm, id } = Key::read(row)?;
            Ok((realm, id, from_millis(row.get(2)?)))
        })?
        .collect()
    })
    .map_err(failed)
}

/// The key of a family row. `(String::new(), FamilyId([0; 16]))` stands before all rows.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) realm: String,
    pub(super) id: FamilyId,
}

impl Key {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { realm: row.get(0)?, id: FamilyId(row.get(1)?) })
    }
}

/// One stretch of the table, looked through for garbage.
pub(super) struct Stretch {
    /// What had expired in it.
    pub(super) expired: Vec<Key>,
    /// Its last row, after which the next stretch begins; `None`: there is no next one.
    pub(super) last: Option<Key>,
}

/// Looks through the `limit` rows that follow `after`, in the order of their keys, for those expired at `now`.
pub(super) fn scan(
    conn: &Connection,
    after: &Key,
    now: Timestamp,
    limit: u32,
) -> Result<Stretch, StoreError> {
    conn.prepare_cached(
        "SELECT realm, id, expires_at <= ?3 FROM families
         WHERE (realm, id) > (?1, ?2) ORDER BY realm, id LIMIT ?4",
    )
    .and_then(|mut s| {
        let mut rows = s.query(params![after.realm, after.id.0, millis(now), limit])?;
        let (mut expired, mut last, mut count) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            let key = Key::read(row)?;
            if row.get(2)? {
                expired.push(key.clone());
            }
            last = Some(key);
            count += 1;
        }
        Ok(Stretch { expired, last: last.filter(|_| count == limit) })
    })
    .map_err(failed)
}

/// Deletes those of the families that are (still) expired at `now`; gives how many.
pub(super) fn forget(conn: &Connection, keys: &[Key], now: Timestamp) -> Result<u64, StoreError> {
    let mut deleted = 0;
    let mut statement = conn
        .prepare_cached("DELETE FROM families WHERE realm = ? AND id = ? AND expires_at <= ?")
        .map_err(failed)?;
    for Key { realm, id } in keys {
        deleted += statement.execute(params![realm, id.0, millis(now)]).map_err(failed)? as u64;
    }
    Ok(deleted)
}
