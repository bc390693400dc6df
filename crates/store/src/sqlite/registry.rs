//! Realms, clients, users and keys: JSON documents beside their key columns.

use rusqlite::{Connection, ErrorCode, Params, Row, ffi, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokenry_core::revocation::Ended;
use tokenry_core::{Realm, Timestamp};

use super::revocations::{self, Stored};
use super::{clients, failed, families, from_millis, journal, millis};
use crate::lifetimes::outlived;
use crate::revocations::{endings, knowing};
use crate::touched::Reach;
use crate::{Change, Revision, Snapshot, StoreError, missing_client, missing_realm};

/// Everything but the clients. To be called in a transaction, so that all is of one moment.
pub(super) fn outline(tx: &Connection) -> Result<Snapshot, StoreError> {
    let realms: Vec<Realm> =
        documents(tx, "SELECT name, document FROM realms ORDER BY name", "realm")?;
    let mut usage = Vec::new();
    for realm in &realms {
        usage.extend(clients::usage(tx, &realm.name)?);
    }
    Ok(Snapshot {
        revision: revision(tx)?,
        master_key_check: master_key_check(tx)?,
        realms,
        clients: Vec::new(),
        usage,
        users: documents(tx, "SELECT name, document FROM users ORDER BY realm, name", "user")?,
        keys: documents(tx, "SELECT kid, document FROM keys ORDER BY realm, kid", "key")?,
        revoked: families::revoked(tx)?,
        outlived: outlived_realms(tx)?,
    })
}

fn outlived_realms(tx: &Connection) -> Result<Vec<(String, Timestamp)>, StoreError> {
    tx.prepare_cached("SELECT name, outlived FROM realms WHERE outlived > 0 ORDER BY name")
        .and_then(|mut s| {
            s.query_map([], |row| Ok((row.get(0)?, from_millis(row.get(1)?))))?.collect()
        })
        .map_err(failed)
}

pub(super) fn revision(conn: &Connection) -> Result<Revision, StoreError> {
    conn.prepare_cached("SELECT revision FROM meta")
        .and_then(|mut s| s.query_row([], |row| row.get::<_, i64>(0)))
        .map(|number| Revision(number.unsigned_abs()))
        .map_err(failed)
}

fn master_key_check(conn: &Connection) -> Result<Option<[u8; 32]>, StoreError> {
    conn.query_row("SELECT master_key_check FROM meta", [], |row| row.get(0)).map_err(failed)
}

/// The documents that `sql` gives as name, document and realm.
fn documents<T: DeserializeOwned>(
    conn: &Connection,
    sql: &str,
    what: &str,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(document(row, 0, what)?);
    }
    Ok(found)
}

/// The document in the column after `name`.
pub(super) fn document<T: DeserializeOwned>(
    row: &Row<'_>,
    name: usize,
    what: &str,
) -> Result<T, StoreError> {
    let text = row.get_ref(name + 1).and_then(|v| Ok(v.as_str()?)).map_err(failed)?;
    serde_json::from_str(text).map_err(|error| {
        let name: String = row.get(name).unwrap_or_default();
        // Where, and not what: serde's own text may quote the document, and documents hold digests.
        StoreError::Corrupt(format!(
            "{what} {name:?}: its document makes no sense at column {}",
            error.column()
        ))
    })
}

/// Makes all changes or, where one cannot be made, none.
pub(super) fn change(
    conn: &Connection,
    changes: &[Change],
    expected: Option<Revision>,
    now: Timestamp,
) -> Result<Revision, StoreError> {
    let current = revision(conn)?;
    if expected.is_some_and(|e| e != current) {
        return Err(StoreError::Conflict);
    }
    if changes.is_empty() {
        return Ok(current);
    }
    // Other requests have written in the same transaction, and stay. What is no refusal of ours spoils all of it, and
    // SQLite may have rolled it back already.
    execute(conn, "SAVEPOINT change", [])?;
    match changes.iter().try_for_each(|change| end_and_make(conn, change, now)) {
        Ok(()) => {
            let revision = journal::note(conn, &Reach::of(changes))?;
            execute(conn, "RELEASE change", [])?;
            Ok(revision)
        }
        Err(missing @ StoreError::Missing(_)) => {
            execute(conn, "ROLLBACK TO change", [])?;
            execute(conn, "RELEASE change", [])?;
            Err(missing)
        }
        Err(error) => Err(error),
    }
}

/// Writes down what a change ends and which lifetimes it makes shorter, and makes it.
fn end_and_make(conn: &Connection, change: &Change, now: Timestamp) -> Result<(), StoreError> {
    for ending in endings(&Stored(conn), change, now)? {
        revocations::write(conn, &ending, now)?;
    }
    if let Some((realm, at)) = outlived(&Stored(conn), change, now)? {
        let sql = "UPDATE realms SET outlived = max(outlived, ?) WHERE name = ?";
        execute(conn, sql, params![millis(at), realm])?;
    }
    let told = |realm: &str, ended: &Ended| revocations::told(conn, realm, ended);
    make(conn, &*knowing(change, told)?)
}

fn make(conn: &Connection, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::PutMasterKeyCheck(check) => {
            execute(conn, "UPDATE meta SET master_key_check = ?", params![check])
        }
        Change::PutRealm(realm) => execute(
            conn,
            "INSERT INTO realms (name, document) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![realm.name, json(realm)?],
        ),
        // Clients, credentials, users, keys and families go with it, by their foreign keys.
        Change::RemoveRealm { realm } => {
            execute(conn, "DELETE FROM realms WHERE name = ?", params![realm])
        }
        Change::PutClient(client) => put(
            conn,
            "INSERT INTO clients (realm, id, document) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![client.realm, client.id, json(client)?],
            || missing_realm(&client.realm),
        ),
        Change::RemoveClient { realm, client } => {
            execute(conn, "DELETE FROM clients WHERE realm = ? AND id = ?", params![realm, client])
        }
        Change::PutCredential { realm, client, credential } => put(
            conn,
            "INSERT INTO credentials (realm, client, id, document) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![realm, client, credential.id, json(credential)?],
            || missing_client(realm, client),
        ),
        Change::RemoveCredential { realm, client, credential } => execute(
            conn,
            "DELETE FROM credentials WHERE realm = ? AND client = ? AND id = ?",
            params![realm, client, credential],
        ),
        Change::PutUser(user) => put(
            conn,
            "INSERT INTO users (realm, name, document) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![user.realm, user.name, json(user)?],
            || missing_realm(&user.realm),
        ),
        Change::RemoveUser { realm, user } => {
            execute(conn, "DELETE FROM users WHERE realm = ? AND name = ?", params![realm, user])
        }
        Change::PutKey(key) => put(
            conn,
            "INSERT INTO keys (realm, kid, document) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![key.realm, key.kid, json(key)?],
            || missing_realm(&key.realm),
        ),
        Change::RemoveKey { realm, kid } => {
            execute(conn, "DELETE FROM keys WHERE realm = ? AND kid = ?", params![realm, kid])
        }
    }
}

pub(super) fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<(), StoreError> {
    conn.prepare_cached(sql).and_then(|mut s| s.execute(params)).map(|_| ()).map_err(failed)
}

/// Inserts or replaces a row that belongs to another one.
fn put(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    missing: impl FnOnce() -> StoreError,
) -> Result<(), StoreError> {
    let done = conn.prepare_cached(sql).and_then(|mut s| s.execute(params));
    done.map(|_| ()).map_err(|e| missing_parent(e, missing))
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Unavailable(e.into()))
}

/// What a failed statement means, where its row belongs to another that may not be there.
pub(super) fn missing_parent(
    error: rusqlite::Error,
    missing: impl FnOnce() -> StoreError,
) -> StoreError {
    match error.sqlite_error() {
        Some(e)
            if e.code == ErrorCode::ConstraintViolation
                && e.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY =>
        {
            missing()
        }
        _ => failed(error),
    }
}
