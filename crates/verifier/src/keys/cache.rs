//! Keeping the keys up to date, out of the way of requests.
//!
//! One task fetches; nobody else does. Requests read the newest snapshot without a lock, may ask the task for a
//! fetch, and wait for it only when they bring a key that nobody knows.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokenry_core::jose::{Algorithm, JwkSet};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::{FetchError, Fetched, KeySource, Snapshot};
use crate::issuer::Epoch;

/// The times by which keys are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// From one fetch to the next, at most.
    pub(crate) refresh_every: Duration,
    /// From one fetch that requests asked for to the next.
    pub(crate) cooldown: Duration,
    /// How long keys are used after they were last fetched.
    pub(crate) max_stale: Duration,
    /// How long a fetch may take.
    pub(crate) fetch_timeout: Duration,
    /// How long a request waits for a fetch it asked for.
    pub(crate) wait: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            // New keys are announced for longer than this before they sign, and revoked ones stop within it.
            refresh_every: Duration::from_mins(5),
            // Two fetches a minute are the most that a flood of made-up `kid`s costs the issuer.
            cooldown: Duration::from_secs(30),
            // A weekend's outage is noticed within a day; a stolen key should not be good for longer than that.
            max_stale: Duration::from_hours(24),
            // A key set comes from memory or a cache. What takes longer does not come.
            fetch_timeout: Duration::from_secs(5),
            // Less than a caller's patience, enough for a fetch across the world.
            wait: Duration::from_secs(3),
        }
    }
}

/// The shortest `max-age` obeyed, so that `max-age=0` does not make a flood.
const MIN_REFRESH: Duration = Duration::from_secs(30);
/// The wait after the first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between tries: a recovered issuer is noticed within a minute.
const MAX_RETRY: Duration = Duration::from_mins(1);

/// The keys, and the task that fetches them. The task ends with the last owner.
#[derive(Debug)]
pub(crate) struct KeyCache {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// `None` before the first fetch, and once the last one is too long ago.
    snapshot: ArcSwapOption<Snapshot>,
    schedule: Schedule,
    flight: Mutex<Flight>,
    /// Wakes the task for a fetch out of turn.
    wake: Notify,
    /// Wakes it because a key was withdrawn.
    withdrawn: Notify,
    /// Counts the fetches that have ended, either way.
    landed: watch::Sender<u64>,
    failed: AtomicU64,
    /// Moves on when keys leave.
    epoch: Arc<Epoch>,
}

/// What is known about fetches, under one lock that is never held across an await.
#[derive(Debug, Default)]
struct Flight {
    in_flight: bool,
    /// When a request last asked for a fetch. The first fetch of all does not count.
    asked_at: Option<Instant>,
    failing: bool,
    /// When the task tries next by itself.
    next_try: Option<Instant>,
}

/// What came of asking for newer keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refreshed {
    /// A fetch has ended well: look again.
    Fetched,
    /// A fetch was made only just now, or by another's asking: there is nothing newer.
    JustFetched,
    /// The source does not answer, or not in time.
    Failed,
}

impl KeyCache {
    /// Starts to fetch at once. Must be called within a Tokio runtime.
    pub(crate) fn start(
        source: Arc<dyn KeySource>,
        issuer: String,
        algorithms: Vec<Algorithm>,
        schedule: Schedule,
        epoch: Arc<Epoch>,
    ) -> Self {
        let shared = Arc::new(Shared {
            snapshot: ArcSwapOption::empty(),
            schedule,
            flight: Mutex::new(Flight { in_flight: true, ..Flight::default() }),
            wake: Notify::new(),
            withdrawn: Notify::new(),
            landed: watch::Sender::new(0),
            failed: AtomicU64::new(0),
            epoch,
        });
        let keeper =
            Keeper { shared: shared.clone(), source, issuer, algorithms, fetched_at: None };
        let task = tokio::spawn(keeper.run()).abort_handle();
        Self { shared, task }
    }

    /// The keys to verify with; `None` before the first fetch, and when the last one is too long ago.
    pub(crate) fn current(&self) -> Option<Arc<Snapshot>> {
        self.shared.snapshot.load_full()
    }

    /// How many fetches have ended, and how many of them brought nothing.
    pub(crate) fn fetches(&self) -> (u64, u64) {
        (*self.shared.landed.borrow(), self.shared.failed.load(Ordering::Relaxed))
    }

    /// Asks for newer keys and waits for them, but not long.
    ///
    /// However many ask: while a fetch is under way all wait for that one, and within the cooldown none is made.
    pub(crate) async fn refresh(&self) -> Refreshed {
        let landed = {
            let mut flight = self.shared.flight();
            let landed = self.shared.landed.subscribe();
            if !flight.in_flight {
                let now = Instant::now();
                let cooling = flight.asked_at.is_some_and(|asked_at| {
                    now.saturating_duration_since(asked_at) < self.shared.schedule.cooldown
                });
                if cooling {
                    return if flight.failing { Refreshed::Failed } else { Refreshed::JustFetched };
                }
                flight.asked_at = Some(now);
                flight.in_flight = true;
                self.shared.wake.notify_one();
            }
            landed
        };
        match timeout(self.shared.schedule.wait, changed(landed)).await {
            Ok(()) if !self.shared.flight().failing => Refreshed::Fetched,
            _ => Refreshed::Failed,
        }
    }

    /// Has the keys fetched without asking for them as requests do.
    pub(crate) fn refetch(&self) -> Refetch {
        Refetch(Arc::clone(&self.shared))
    }

    /// How long until the next try, for clients that have to wait for it.
    pub(crate) fn retry_after(&self) -> Duration {
        let flight = self.shared.flight();
        let wait = flight.next_try.filter(|_| !flight.in_flight);
        wait.map_or(FIRST_RETRY, |at| at.saturating_duration_since(Instant::now()).max(FIRST_RETRY))
    }
}

/// Has the keys fetched because something is known to have changed.
#[derive(Clone, Debug)]
pub(crate) struct Refetch(Arc<Shared>);

impl Refetch {
    /// Has them fetched at once, whenever that was last done; if a fetch is under way, once more after it, which may have
    /// begun too early. However many ask meanwhile, it is one fetch for all of them.
    pub(crate) fn at_once(&self) {
        self.0.withdrawn.notify_one();
    }
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn flight(&self) -> MutexGuard<'_, Flight> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn changed(mut landed: watch::Receiver<u64>) {
    // An error says that the cache is gone, and its verifier with it: nobody waits here any more.
    let _ = landed.changed().await;
}

struct Keeper {
    shared: Arc<Shared>,
    source: Arc<dyn KeySource>,
    issuer: String,
    algorithms: Vec<Algorithm>,
    /// When the keys that are in use were fetched.
    fetched_at: Option<Instant>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.take_off();
            let fetched = self.before_too_old(Self::fetch).await;
            let failed = fetched.is_err();
            let pause = match fetched {
                Ok((set, max_age)) => {
                    failures = 0;
                    self.adopt(&set);
                    let most = self.shared.schedule.refresh_every;
                    max_age.map_or(most, |age| age.max(MIN_REFRESH).min(most))
                }
                Err(error) => {
                    failures += 1;
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    warn!(issuer = self.issuer, failures, %error, "fetching keys failed");
                    retry_pause(failures).min(self.shared.schedule.refresh_every)
                }
            };
            let landed = Instant::now();
            self.land(failed, landed + pause);
            self.before_too_old(async |keeper: &Self| {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = keeper.shared.wake.notified() => {}
                    () = keeper.withdrawn(landed + FIRST_RETRY) => {}
                }
            })
            .await;
        }
    }

    /// Waits until a key is withdrawn, and then until the issuer may be asked again.
    async fn withdrawn(&self, not_before: Instant) {
        self.shared.withdrawn.notified().await;
        sleep_until(not_before).await;
    }

    /// Does something, and takes the keys away should they become too old meanwhile.
    async fn before_too_old<T>(&mut self, doing: impl AsyncFnOnce(&Self) -> T) -> T {
        let Some(fetched_at) = self.fetched_at else { return doing(self).await };
        let too_old = fetched_at + self.shared.schedule.max_stale;
        let (done, forgotten) = {
            let mut doing = pin!(doing(self));
            tokio::select! {
                done = &mut doing => (done, false),
                () = sleep_until(too_old) => {
                    self.forget();
                    (doing.await, true)
                }
            }
        };
        if forgotten {
            self.fetched_at = None;
        }
        done
    }

    /// Nothing can be said about tokens any more, nor about those that were found good.
    fn forget(&self) {
        error!(issuer = self.issuer, "the keys are too old to be used any longer");
        self.shared.snapshot.store(None);
        self.shared.epoch.move_on();
    }

    /// Whoever asks from here on waits for this fetch.
    fn take_off(&self) {
        let mut flight = self.shared.flight();
        flight.in_flight = true;
        // A request may have asked in the moment in which the pause ended: this fetch is the answer to that, too.
        let asked = pin!(self.shared.wake.notified());
        asked.enable();
    }

    fn land(&self, failed: bool, next_try: Instant) {
        let mut flight = self.shared.flight();
        flight.next_try = Some(next_try);
        flight.in_flight = false;
        flight.failing = failed;
        self.shared.landed.send_modify(|count| *count += 1);
    }

    /// Fetches once, and gives how long the keys may be used without asking again, if their source says so.
    async fn fetch(&self) -> Result<(JwkSet, Option<Duration>), Failure> {
        let fetched = self.ask().await?;
        Ok((JwkSet::parse(&fetched.body)?, fetched.max_age))
    }

    /// Verifies with these keys from now on.
    fn adopt(&mut self, set: &JwkSet) {
        let snapshot = Snapshot::new(set, &self.algorithms);
        self.fetched_at = Some(Instant::now());
        let (keys, skipped) = (snapshot.len(), set.skipped().len());
        if keys == 0 {
            // Taken at its word: an issuer that withdraws all its keys has a reason.
            warn!(issuer = self.issuer, skipped, "the issuer publishes no usable key");
        }
        let before = self.shared.snapshot.load_full();
        let left = before.as_ref().is_some_and(|before| !snapshot.has_all_of(before));
        if before.is_some_and(|before| !left && before.has_all_of(&snapshot)) {
            debug!(issuer = self.issuer, "keys fetched, none has changed");
            return;
        }
        info!(issuer = self.issuer, keys, skipped, "keys fetched");
        self.shared.snapshot.store(Some(Arc::new(snapshot)));
        if left {
            self.shared.epoch.move_on();
        }
    }

    /// Asks the source in a task of its own, so that a source that panics is one that failed.
    async fn ask(&self) -> Result<Fetched, Failure> {
        let (source, issuer) = (self.source.clone(), self.issuer.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { source.fetch(&issuer).await });
        match timeout(self.shared.schedule.fetch_timeout, tasks.join_next()).await {
            Err(_) => Err(Failure::Fetch(FetchError::Timeout)),
            Ok(Some(Ok(fetched))) => Ok(fetched?),
            Ok(_) => Err(Failure::Panicked),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the key source panicked")]
    Panicked,
    #[error(transparent)]
    Set(#[from] tokenry_core::jose::JwkSetError),
}

fn retry_pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MAX_RETRY)
}
