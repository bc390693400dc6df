//! Clients as they are needed: one, a page of them, and what is to be known of all.

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokenry_core::Client;
use tokenry_core::client::Credential;
use tokenry_core::jose::Algorithm;

use super::failed;
use super::registry::document;
use crate::{StoreError, Usage};

/// One statement, since a client has to be seen with the credentials of the same moment.
const ONE: &str = "
    SELECT c.id, c.document, k.client, k.document
    FROM clients AS c LEFT JOIN credentials AS k ON k.realm = c.realm AND k.client = c.id
    WHERE c.realm = ?1 AND c.id = ?2
    ORDER BY k.id";

const PAGE: &str = "
    SELECT id, document FROM clients
    WHERE (realm, id) > (?1, ?2) ORDER BY realm, id LIMIT ?3";

const CREDENTIALS: &str = "
    SELECT client, document, realm FROM credentials
    WHERE (realm, client) > (?1, ?2) AND (realm, client) <= (?3, ?4)
    ORDER BY realm, client, id";

const IDS: &str = "
    SELECT realm, id FROM clients
    WHERE (realm, id) > (?1, ?2) ORDER BY realm, id LIMIT ?3";

/// The next algorithm of a realm's clients, so that all are found without reading each client.
const NEXT_SIGNING: &str = "
    SELECT signing FROM clients WHERE realm = ?1 AND signing > ?2 ORDER BY signing LIMIT 1";

const LONGEST_ACCESS: &str = "
    SELECT access_ms FROM clients WHERE realm = ?1 AND access_ms IS NOT NULL
    ORDER BY access_ms DESC LIMIT 1";

pub(super) fn client(
    conn: &Connection,
    realm: &str,
    id: &str,
) -> Result<Option<Client>, StoreError> {
    let mut statement = conn.prepare_cached(ONE).map_err(failed)?;
    let mut rows = statement.query([realm, id]).map_err(failed)?;
    let mut found: Option<Client> = None;
    while let Some(row) = rows.next().map_err(failed)? {
        let client = match &mut found {
            Some(client) => client,
            none => none.insert(document(row, 0, "client")?),
        };
        if !matches!(row.get_ref(2).map_err(failed)?, ValueRef::Null) {
            client.credentials.push(document(row, 2, "a credential of client")?);
        }
    }
    Ok(found)
}

/// Up to `limit` clients after the one named. To be called in a transaction, since it takes two statements.
pub(super) fn page(
    conn: &Connection,
    after: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<Client>, StoreError> {
    let (realm, id) = after.unwrap_or(FIRST);
    let mut statement = conn.prepare_cached(PAGE).map_err(failed)?;
    let mut rows = statement.query(params![realm, id, rows_of(limit)]).map_err(failed)?;
    let mut clients: Vec<Client> = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        clients.push(document(row, 0, "client")?);
    }
    if let Some(last) = clients.last() {
        let last = (last.realm.clone(), last.id.clone());
        let mut statement = conn.prepare_cached(CREDENTIALS).map_err(failed)?;
        let rows = statement.query(params![realm, id, last.0, last.1]).map_err(failed)?;
        give_back(&mut clients, rows)?;
    }
    Ok(clients)
}

/// Gives the clients their credentials. Both lists have the same order, so one pass over each is enough.
fn give_back(clients: &mut [Client], mut rows: rusqlite::Rows<'_>) -> Result<(), StoreError> {
    let mut owners = clients.iter_mut().peekable();
    while let Some(row) = rows.next().map_err(failed)? {
        let credential: Credential = document(row, 0, "a credential of client")?;
        let (id, realm): (String, String) =
            row.get(0).and_then(|id| Ok((id, row.get(2)?))).map_err(failed)?;
        while owners.next_if(|c| (&c.realm, &c.id) != (&realm, &id)).is_some() {}
        match owners.peek_mut() {
            Some(owner) => owner.credentials.push(credential),
            None => {
                return Err(StoreError::Corrupt(format!(
                    "a credential of client {id:?} has no client"
                )));
            }
        }
    }
    Ok(())
}

pub(super) fn ids(
    conn: &Connection,
    after: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<(String, String)>, StoreError> {
    let (realm, id) = after.unwrap_or(FIRST);
    conn.prepare_cached(IDS)
        .and_then(|mut s| {
            s.query_map(params![realm, id, rows_of(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .map_err(failed)
}

/// What the clients of a realm have of their own, if anything.
pub(super) fn usage(conn: &Connection, realm: &str) -> Result<Option<Usage>, StoreError> {
    let mut algorithms = Vec::new();
    let mut statement = conn.prepare_cached(NEXT_SIGNING).map_err(failed)?;
    let mut last = String::new();
    while let Some(name) = statement
        .query_row([realm, &last], |row| row.get::<_, String>(0))
        .optional()
        .map_err(failed)?
    {
        algorithms.push(name.parse::<Algorithm>().map_err(|_| {
            StoreError::Corrupt(format!("a client of realm {realm:?} signs with {name:?}"))
        })?);
        last = name;
    }
    algorithms.sort_unstable();
    let longest_access = longest_access(conn, realm)?;
    let has_any = !algorithms.is_empty() || longest_access.is_some();
    Ok(has_any.then(|| Usage { realm: realm.to_owned(), algorithms, longest_access }))
}

/// The longest lifetime of an access token that a client of the realm has of its own.
pub(super) fn longest_access(
    conn: &Connection,
    realm: &str,
) -> Result<Option<Duration>, StoreError> {
    let longest = conn
        .prepare_cached(LONGEST_ACCESS)
        .and_then(|mut s| s.query_row([realm], |row| row.get::<_, i64>(0)).optional());
    Ok(longest.map_err(failed)?.map(|millis| Duration::from_millis(millis.unsigned_abs())))
}

/// Stands before every client: none has an empty realm or identifier.
const FIRST: (&str, &str) = ("", "");

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Options, file, journal, revocations};

    /// How SQLite goes about a statement.
    fn plan(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
        let rows = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn no_statement_that_a_server_waits_for_scans_or_sorts() {
        let directory = tempfile::tempdir().unwrap();
        let conn = file::open(&directory.path().join("t.db"), &Options::default()).unwrap();
        let of_log = [revocations::AFTER, revocations::TOLD];
        let of_clients = [ONE, PAGE, CREDENTIALS, IDS, NEXT_SIGNING, LONGEST_ACCESS];
        for sql in of_clients.into_iter().chain(of_log) {
            let plan = plan(&conn, sql);
            let is_search = |step: &String| step.starts_with("SEARCH ");
            assert!(!plan.is_empty() && plan.iter().all(is_search), "{sql}: {plan:?}");
        }
        let signing = "SEARCH clients USING INDEX clients_signing (realm=? AND signing>?)";
        assert_eq!(plan(&conn, NEXT_SIGNING), [signing]);
        assert_eq!(
            plan(&conn, LONGEST_ACCESS),
            ["SEARCH clients USING INDEX clients_access (realm=? AND access_ms>?)"]
        );
        // From its end, in the order of its numbers, as far as it is read.
        assert_eq!(plan(&conn, journal::NEWEST), ["SCAN journal"]);
    }
}
