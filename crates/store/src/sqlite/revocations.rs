//! What ends tokens before their time: the log, and what is stored before a change.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use serde::de::DeserializeOwned;
use tokenry_core::key::KeyRecord;
use tokenry_core::revocation::{Ended, Revocation};
use tokenry_core::{Client, Realm, Timestamp, User};

use super::registry::{document, execute};
use super::{clients, failed, from_millis, millis};
use crate::revocations::{Before, Ending, Was, not_before, of_place, place};
use crate::{Logged, StoreError};

/// Takes the place of the row before it, and says at least as much.
///
/// Time, realm, client, kind, what (1 to 5), not before, until (6, 7).
const WRITE: &str = "
    INSERT OR REPLACE INTO revocations (at, realm, client, kind, what, not_before, until)
    SELECT ?1, ?2, ?3, ?4, ?5, max(?6, coalesce(old.not_before, ?6)), max(?7, coalesce(old.until, ?7))
    FROM (SELECT 1) LEFT JOIN revocations AS old
        ON old.realm = ?2 AND old.kind = ?4 AND old.what = ?5";

pub(super) const AFTER: &str = "
    SELECT number, at, realm, client, kind, what, not_before, until FROM revocations
    WHERE number > ?1 ORDER BY number LIMIT ?2";

pub(super) const TOLD: &str = "
    SELECT not_before FROM revocations WHERE realm = ?1 AND kind = ?2 AND what = ?3";

/// All but the newest, which says up to where others have read.
const FORGET: &str = "
    DELETE FROM revocations WHERE number IN (
        SELECT number FROM revocations
        WHERE until <= ?1 AND number < (SELECT max(number) FROM revocations)
        ORDER BY until LIMIT ?2)";

pub(super) fn write(conn: &Connection, ending: &Ending, at: Timestamp) -> Result<(), StoreError> {
    let Ending { realm, client, revocation: Revocation { ended, until } } = ending;
    let (kind, what) = place(ended);
    let not_before = not_before(ended).map(millis);
    execute(conn, WRITE, params![millis(at), realm, client, kind, what, not_before, millis(*until)])
}

/// The point before which these have ended, where it is held.
pub(super) fn told(
    conn: &Connection,
    realm: &str,
    ended: &Ended,
) -> Result<Option<Timestamp>, StoreError> {
    let (kind, what) = place(ended);
    let told = conn.prepare_cached(TOLD).and_then(|mut statement| {
        statement
            .query_row(params![realm, kind, what], |row| row.get::<_, Option<i64>>(0))
            .optional()
    });
    Ok(told.map_err(failed)?.flatten().map(from_millis))
}

pub(super) fn after(
    conn: &Connection,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Logged>, StoreError> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(AFTER).map_err(failed)?;
    let mut rows = statement.query(params![number(after.unwrap_or(0)), limit]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let Columns { number, at, realm, client, kind, what, not_before, until } =
            Columns::read(row).map_err(failed)?;
        let ended = of_place(&kind, what, not_before).ok_or_else(|| {
            StoreError::Corrupt(format!("revocation {number} is of no known kind"))
        })?;
        found.push(Logged { number, at, realm, client, revocation: Revocation { ended, until } });
    }
    Ok(found)
}

/// The columns of a row.
struct Columns {
    number: u64,
    at: Timestamp,
    realm: String,
    client: Option<String>,
    kind: String,
    what: String,
    not_before: Option<Timestamp>,
    until: Timestamp,
}

impl Columns {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get::<_, i64>(0)?.unsigned_abs(),
            at: from_millis(row.get(1)?),
            realm: row.get(2)?,
            client: row.get(3)?,
            kind: row.get(4)?,
            what: row.get(5)?,
            not_before: row.get::<_, Option<i64>>(6)?.map(from_millis),
            until: from_millis(row.get(7)?),
        })
    }
}

/// Whether something has expired at `now` that is not the newest.
pub(super) fn any_expired(conn: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM revocations
         WHERE until <= ?1 AND number < (SELECT max(number) FROM revocations))",
    )
    .and_then(|mut s| s.query_row([millis(now)], |row| row.get(0)))
    .map_err(failed)
}

/// Deletes up to `limit` of what has expired at `now`.
pub(super) fn forget(conn: &Connection, now: Timestamp, limit: usize) -> Result<(), StoreError> {
    execute(conn, FORGET, params![millis(now), limit as i64])
}

/// What is stored as long as the change is not made.
pub(super) struct Stored<'c>(pub(super) &'c Connection);

impl Stored<'_> {
    /// The document that `sql` gives, after the name of what it is.
    fn one<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: impl Params,
        what: &str,
    ) -> Result<Was<T>, StoreError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row(params, |row| Ok(document(row, 0, what)));
        match found.optional().map_err(failed)?.transpose() {
            // It can still be replaced.
            Err(StoreError::Corrupt(_)) => Ok(Was::Unreadable),
            found => Ok(found?.into()),
        }
    }
}

impl Before for Stored<'_> {
    fn realm(&self, name: &str) -> Result<Was<Realm>, StoreError> {
        self.one("SELECT name, document FROM realms WHERE name = ?", [name], "realm")
    }

    fn client(&self, realm: &str, id: &str) -> Result<Was<Client>, StoreError> {
        let sql = "SELECT id, document FROM clients WHERE realm = ? AND id = ?";
        self.one(sql, [realm, id], "client")
    }

    fn user(&self, realm: &str, name: &str) -> Result<Was<User>, StoreError> {
        let sql = "SELECT name, document FROM users WHERE realm = ? AND name = ?";
        self.one(sql, [realm, name], "user")
    }

    fn key(&self, realm: &str, kid: &str) -> Result<Was<KeyRecord>, StoreError> {
        let sql = "SELECT kid, document FROM keys WHERE realm = ? AND kid = ?";
        self.one(sql, [realm, kid], "key")
    }

    fn longest_access(&self, realm: &str) -> Result<Option<Duration>, StoreError> {
        clients::longest_access(self.0, realm)
    }

    fn outlived(&self, realm: &str) -> Result<Timestamp, StoreError> {
        self.0
            .prepare_cached("SELECT outlived FROM realms WHERE name = ?")
            .and_then(|mut s| s.query_row([realm], |row| row.get(0).map(from_millis)).optional())
            .map(|found| found.unwrap_or(Timestamp::EPOCH))
            .map_err(failed)
    }
}
