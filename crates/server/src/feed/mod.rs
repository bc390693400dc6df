//! The revocation feed: what has ended tokens, told to those who check them.
//!
//! Each node reads the store's log once for all its followers, and holds the newest part. A follower is a position in it
//! and nothing more: it is told when it takes, so who is slow costs no memory. See [`tokenry_core::revocation`] for what
//! is told.

mod log;
mod seats;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenry_core::revocation::CURRENT_EVERY;
use tokenry_store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::log::{Log, Mark};
use self::seats::Seats;
use crate::limits::Limits;
use crate::metrics::FeedMetrics;

pub(crate) use self::log::Reads;
pub(crate) use self::stream::FeedBody;

/// How often the log of the store is looked at, for what other processes have written. What this one has written is
/// looked at as soon as it is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often followers are told that they have been told everything: a second sooner than they are promised, for what
/// lies between.
const BEAT_EVERY: Duration = CURRENT_EVERY.saturating_sub(Duration::from_secs(1));

/// How many rows are read at once: some 100 KiB.
const PAGE: usize = 512;

/// How many followers may read what is no longer held at the same time: as many as there are connections that read, less
/// those that others need.
const PAGES_AT_ONCE: usize = 2;

/// What a node knows of the log, and its followers.
#[derive(Debug)]
pub(crate) struct Feed {
    store: Arc<dyn Store>,
    log: Mutex<Log>,
    told: watch::Sender<Told>,
    /// Somebody knows of a new row, or is the first to follow.
    asked: Notify,
    /// Held while the store is read.
    looking: tokio::sync::Mutex<()>,
    /// How many looks have begun, and the last one that succeeded.
    begun: AtomicU64,
    done: AtomicU64,
    seats: Mutex<Seats>,
    pages: Semaphore,
    metrics: FeedMetrics,
}

/// What followers wake up for.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The newest row.
    head: Option<Mark>,
    /// Counts the stores: another one has another log.
    epoch: u64,
    /// Counts the times that followers are told where they are.
    beat: u64,
    /// When the store was looked at last; `None`: it did not answer then.
    looked_at: Option<Instant>,
    ended: bool,
}

impl Told {
    /// Whether it can be said that there is nothing more to tell.
    fn is_current(&self) -> bool {
        self.looked_at.is_some_and(|at| at.elapsed() < CURRENT_EVERY)
    }
}

/// Why nobody is told.
#[derive(Debug)]
pub(crate) enum NotFollowing {
    /// There are as many followers as there may be, of this client or at all; or the server is ending.
    Full,
    /// The store did not say where they are.
    Store(StoreError),
}

impl Feed {
    pub(crate) fn new(store: Arc<dyn Store>, limits: &Limits, metrics: FeedMetrics) -> Self {
        let told = Told { head: None, epoch: 0, beat: 0, looked_at: None, ended: false };
        Self {
            store,
            log: Mutex::default(),
            told: watch::Sender::new(told),
            asked: Notify::new(),
            looking: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            seats: Mutex::new(Seats::new(limits.max_followers, limits.max_followers_per_client)),
            pages: Semaphore::new(PAGES_AT_ONCE),
            metrics,
        }
    }

    /// Has what this process has just written told at once.
    pub(crate) fn tell(&self) {
        self.asked.notify_one();
    }

    /// Follows the store for as long as it is polled. While nobody follows, nothing is read.
    pub(crate) async fn run(&self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat_at = Instant::now();
        loop {
            if self.seats().is_empty() {
                self.asked.notified().await;
                continue;
            }
            tokio::select! {
                _ = looks.tick() => {}
                () = self.asked.notified() => {}
            }
            // The upkeep says it as well, and knows when it is over.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the log of revocations was not read");
            }
            if beat_at.elapsed() >= BEAT_EVERY {
                beat_at = Instant::now();
                self.beat();
            }
        }
    }

    /// Reads what was written until now. Of many who ask at the same time, one reads.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let before = self.begun.load(Ordering::Acquire);
        let _alone = self.looking.lock().await;
        if self.done.load(Ordering::Acquire) > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let began = Instant::now();
        let read = self.read().await;
        let looked_at = read.is_ok().then_some(began);
        // Nobody wakes up for this alone.
        self.told.send_if_modified(|told| {
            told.looked_at = looked_at;
            false
        });
        read?;
        self.done.store(number, Ordering::Release);
        Ok(())
    }

    async fn read(&self) -> Result<(), StoreError> {
        loop {
            let head = self.log().head();
            // From the newest row on: it is always there, so where it is not, this is another store's log.
            let after = head.map(|head| head.number.saturating_sub(1));
            let rows = self.store.revocations(after, PAGE).await?;
            let is_last = rows.len() < PAGE;
            if !self.log().take(rows) {
                tracing::warn!(
                    "the log of revocations is another one; followers are told everything anew"
                );
                *self.log() = Log::default();
                self.told.send_modify(|told| {
                    told.epoch += 1;
                    told.head = None;
                });
                continue;
            }
            let head = self.log().head();
            self.told.send_if_modified(|told| std::mem::replace(&mut told.head, head) != head);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Has all followers told where they are, and gives up on those who do not take it.
    fn beat(&self) {
        self.seats().beat();
        self.count();
        self.told.send_modify(|told| told.beat += 1);
    }

    /// Ends the streams of followers for whom something has changed, once they have been told everything: they come back
    /// if they may.
    pub(crate) async fn finish(&self, changed: impl Fn(&str, &str) -> bool) {
        let found = self.seats().find(changed);
        if found.is_empty() {
            return;
        }
        // What ended them is told first, if it can be.
        let _ = self.look().await;
        found.iter().for_each(|seat| seat.finish());
        self.told.send_modify(|_| {});
    }

    /// Ends all streams at once, for good.
    pub(crate) fn end(&self) {
        self.told.send_modify(|told| told.ended = true);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
