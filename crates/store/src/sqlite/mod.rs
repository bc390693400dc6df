//! A store in one SQLite file (WAL), which several processes may use at once.
//!
//! One thread writes, in groups (`writer`); a few connections read. A rotation is one conditional statement
//! (`families`).

mod clients;
mod families;
mod file;
mod journal;
mod migrations;
mod opaque_tokens;
mod registry;
mod revocations;
mod status_lists;
mod used_up;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode};
use tokenry_core::family::{Family, FamilyId, Rotated, Rotation};
use tokenry_core::opaque::StoredToken;
use tokenry_core::{Client, Timestamp};
use tokio::sync::Semaphore;

use self::families::Key;
use self::writer::Writer;
use crate::{Change, Logged, OpenError, Revision, Snapshot, Store, StoreError, Touched};

/// How many connections read at once: reading is a few point queries where the server does not hold a client, and whole
/// tables only at start, after changes and for administration.
const READERS: usize = 4;

/// How many family rows are looked through at once for garbage: a few milliseconds of one reader.
const SCAN: u32 = 10_000;

/// How many rows of garbage are deleted in one write: rotations wait for no more than this.
const FORGET: usize = 500;

/// How a database file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether a file that is not there is made.
    pub create: bool,
    /// How long to wait for another process that has the database locked, before that is an error.
    pub busy_timeout: Duration,
    /// How large the database may grow, in pages of 4096 bytes; `None`: as the disk allows.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    /// Makes the file; waits 5 s, which is less than the patience of a client; no limit of size.
    fn default() -> Self {
        Self { create: true, busy_timeout: Duration::from_secs(5), max_pages: None }
    }
}

/// A store in a SQLite file.
///
/// Dropping it waits until what was queued is committed.
pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Arc<Readers>,
}

struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens the file, and brings its tables up to date. A new file can be read by its owner alone (0600).
    ///
    /// Waits for locks and for the disk; call it where blocking is allowed.
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = std::path::absolute(path)
            .map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        let conn = file::open(&path, options)?;
        let readers =
            (0..READERS).map(|_| file::reader(&path, options)).collect::<Result<Vec<_>, _>>()?;
        let writer =
            Writer::start(conn).map_err(|error| OpenError::Io { path: path.clone(), error })?;
        let permits = Arc::new(Semaphore::new(readers.len()));
        let readers = Arc::new(Readers { free: Mutex::new(readers), permits });
        Ok(Self { path, writer, readers })
    }

    /// Runs `work` on a connection of its own, where it may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(unavailable)?;
        tokio::task::spawn_blocking(move || {
            let take = || readers.free.lock().unwrap_or_else(PoisonError::into_inner);
            let conn = take().pop().ok_or_else(|| {
                StoreError::Unavailable("a connection was lost in a panic".into())
            })?;
            let result = work(&conn);
            take().push(conn);
            drop(permit);
            result
        })
        .await
        .map_err(unavailable)?
    }

    /// Like [`read`](Self::read), in a transaction: all statements see the database as of the first.
    async fn read_at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |conn| {
            let tx = conn.unchecked_transaction().map_err(failed)?;
            let found = work(&tx);
            tx.finish().map_err(failed).and(found)
        })
        .await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.read_at_once(|tx| {
            let clients = clients::page(tx, None, usize::MAX)?;
            Ok(Snapshot { clients, ..registry::outline(tx)? })
        })
        .await
    }

    async fn outline(&self) -> Result<Snapshot, StoreError> {
        self.read_at_once(registry::outline).await
    }

    async fn client(&self, realm: &str, id: &str) -> Result<Option<Client>, StoreError> {
        let (realm, id) = (realm.to_owned(), id.to_owned());
        self.read(move |conn| clients::client(conn, &realm, &id)).await
    }

    async fn clients(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Client>, StoreError> {
        let after = after.map(|(realm, id)| (realm.to_owned(), id.to_owned()));
        self.read_at_once(move |tx| {
            clients::page(tx, after.as_ref().map(|(realm, id)| (&**realm, &**id)), limit)
        })
        .await
    }

    async fn client_ids(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let after = after.map(|(realm, id)| (realm.to_owned(), id.to_owned()));
        self.read(move |conn| {
            clients::ids(conn, after.as_ref().map(|(realm, id)| (&**realm, &**id)), limit)
        })
        .await
    }

    async fn touched(&self, since: Revision) -> Result<Touched, StoreError> {
        self.read_at_once(move |tx| journal::touched(tx, since)).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(registry::revision).await
    }

    async fn change(
        &self,
        changes: Vec<Change>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<Revision, StoreError> {
        self.writer.write(move |conn| registry::change(conn, &changes, expected, now)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        self.writer.write(move |conn| families::rotate(conn, &rotation)).await
    }

    async fn revoke_family(
        &self,
        realm: &str,
        client: &str,
        family: FamilyId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (realm, client) = (realm.to_owned(), client.to_owned());
        let work = move |conn: &Connection| {
            families::revoke(conn, &realm, &client, family, now, expires_at)
        };
        self.writer.write(work).await
    }

    async fn family(&self, realm: &str, family: FamilyId) -> Result<Option<Family>, StoreError> {
        let realm = realm.to_owned();
        self.read(move |conn| families::family(conn, &realm, family)).await
    }

    async fn use_up(
        &self,
        realm: &str,
        id: FamilyId,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let realm = realm.to_owned();
        self.writer.write(move |conn| used_up::insert(conn, &realm, id, expires_at)).await
    }

    async fn put_token(
        &self,
        realm: &str,
        id: FamilyId,
        token: StoredToken,
    ) -> Result<(), StoreError> {
        let realm = realm.to_owned();
        self.writer.write(move |conn| opaque_tokens::insert(conn, &realm, id, &token)).await
    }

    async fn token(&self, realm: &str, id: FamilyId) -> Result<Option<StoredToken>, StoreError> {
        let realm = realm.to_owned();
        self.read(move |conn| opaque_tokens::token(conn, &realm, id)).await
    }

    async fn revocations(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.read(move |conn| revocations::after(conn, after, limit)).await
    }

    async fn take_status_list(&self, realm: &str) -> Result<u32, StoreError> {
        let realm = realm.to_owned();
        self.writer.write(move |conn| status_lists::take(conn, &realm)).await
    }

    async fn status_lists(&self, realm: &str) -> Result<u32, StoreError> {
        let realm = realm.to_owned();
        self.read(move |conn| status_lists::taken(conn, &realm)).await
    }

    async fn collect_garbage(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut deleted = 0;
        while self.read(move |conn| revocations::any_expired(conn, now)).await? {
            self.writer.write(move |conn| revocations::forget(conn, now, FORGET)).await?;
        }
        while self.read(move |conn| opaque_tokens::any_expired(conn, now)).await? {
            deleted +=
                self.writer.write(move |conn| opaque_tokens::forget(conn, now, FORGET)).await?;
        }
        while self.read(move |conn| used_up::any_expired(conn, now)).await? {
            deleted += self.writer.write(move |conn| used_up::forget(conn, now, FORGET)).await?;
        }
        let mut after = Key { realm: String::new(), id: FamilyId([0; 16]) };
        loop {
            let stretch = self.read(move |conn| families::scan(conn, &after, now, SCAN)).await?;
            for keys in stretch.expired.chunks(FORGET) {
                let keys = keys.to_vec();
                deleted +=
                    self.writer.write(move |conn| families::forget(conn, &keys, now)).await?;
            }
            match stretch.last {
                Some(last) => after = last,
                None => return Ok(deleted),
            }
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite({})", self.path.display())
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// What a failed statement means to the caller.
fn failed(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match (&error, error.sqlite_error_code()) {
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        | (FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..), _) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => unavailable(error),
    }
}

/// A time as it is stored. What lies beyond 292 million years is stored as that.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A stored time; the tables hold none below zero.
fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}
