//! Keeping lists up to date, out of the way of requests: a task for each list that is in use.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokenry_core::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::copy::Copy;
use super::followed::Followed;
use super::reader::{Reader, Trouble};
use super::table::{Adopted, Found, Landed, Outcome, Table};
use crate::issuer::Epoch;

/// How many lists are fetched at the same time: what is read of each may take some MiB until it is judged.
const CONCURRENT: usize = 8;

/// The lists of an issuer, and the fetching of them.
pub(super) struct Keeper {
    followed: Followed,
    reader: Arc<Reader>,
    table: Mutex<Table>,
    epoch: Arc<Epoch>,
    room: Semaphore,
    /// Where lists are fetched: they outlive the request that named them first, and perhaps its runtime.
    runtime: Handle,
    pub(super) fetches: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Keeper {
    /// Must be called within a Tokio runtime.
    pub(super) fn new(followed: Followed, reader: Reader, epoch: Arc<Epoch>) -> Self {
        Self {
            followed,
            reader: Arc::new(reader),
            table: Mutex::new(Table::new()),
            epoch,
            room: Semaphore::new(CONCURRENT),
            runtime: Handle::current(),
            fetches: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Looks for a list; one that nobody has named before is fetched from now on.
    pub(super) fn find(this: &Arc<Self>, uri: &str, now: Timestamp) -> Found {
        let mut table = this.table();
        // What is held is followed.
        match table.find(uri, now) {
            Found::New if !this.followed.has(uri) => return Found::Nowhere,
            Found::New => {}
            found => return found,
        }
        let uri: Arc<str> = uri.into();
        let admitted = table.admit(Arc::clone(&uri), |newcomer| {
            let keep = Arc::clone(this).keep(uri, newcomer.number, newcomer.wake);
            this.runtime.spawn(keep).abort_handle()
        });
        admitted.map_or_else(Found::Not, Found::Coming)
    }

    /// Fetches a list again and again, as long as tokens name it.
    async fn keep(self: Arc<Self>, uri: Arc<str>, number: u64, wake: Arc<Notify>) {
        loop {
            let fetched = {
                // No error: nobody closes it.
                let _room = self.room.acquire().await;
                Arc::clone(&self.reader).fetch(Arc::clone(&uri)).await
            };
            let Some(landed) = self.land((&uri, number), fetched) else { return };
            tokio::select! {
                () = sleep_until(landed.next_try) => {}
                () = wake.notified() => {}
            }
            if !self.table().goes_on((&uri, number)) {
                let (issuer, uri) = (&self.reader.policy.issuer, &*uri);
                debug!(issuer, uri, "status list no longer in use");
                return;
            }
            // A request may have asked in the moment in which the pause ended: the next fetch is the answer to that, too.
            pin!(wake.notified()).enable();
        }
    }

    /// Takes up what a fetch has brought. `None`: nobody holds the list any more.
    fn land(&self, own: (&str, u64), fetched: Result<Copy, Trouble>) -> Option<Landed> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table();
        let adopted = match fetched {
            Ok(copy) => Ok(table.adopt(own, copy, self.reader.clock.now())?),
            Err(trouble) => Err(trouble),
        };
        let adopted = match adopted {
            Ok(Adopted::NoRoom) => Err(Trouble::NoRoom),
            other => other,
        };
        let outcome = match &adopted {
            Ok(Adopted::New { .. }) => Outcome::New,
            Ok(_) => Outcome::Older,
            Err(trouble) => Outcome::Failed(trouble),
        };
        if let Ok(Adopted::New { has_changed: true }) = adopted {
            // Under the lock: whoever finds the new copy has read the epoch before, or finds it moved on.
            self.epoch.move_on();
        }
        let landed = table.land(own, &outcome);
        drop(table);
        self.tell(own.0, &adopted, landed);
        landed
    }

    fn tell(&self, uri: &str, adopted: &Result<Adopted, Trouble>, landed: Option<Landed>) {
        let issuer = &self.reader.policy.issuer;
        match adopted {
            Ok(Adopted::New { has_changed: true }) => info!(issuer, uri, "status list has changed"),
            Ok(adopted) => debug!(issuer, uri, ?adopted, "status list fetched"),
            Err(trouble) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if landed.is_some_and(|landed| landed.failures == 1) {
                    warn!(issuer, uri, %trouble, "fetching a status list failed");
                } else {
                    debug!(issuer, uri, %trouble, "fetching a status list failed again");
                }
            }
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // What is changed under this lock is changed as a whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
