//! How a follower stands with its feed: what it has heard, whether it is behind, and who was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenry_core::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::follower::Left;
use crate::issuer::Epoch;

/// A connection that lasted this long and was current was one. Shorter ones count as failures, so that a server that
/// hangs up at once is asked less and less.
const LASTED: Duration = Duration::from_secs(1);

/// The shortest and the longest time after which a client is told to come again. The feed may come back at any time.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// Why it is behind although it follows.
const PARTIAL: &str =
    "the issuer tells this client of its own tokens alone; one that may introspect is told of all";

/// How a verifier stands with an issuer's revocation feed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FeedMetrics {
    /// Whether everything that was revoked until a moment ago is known.
    pub following: bool,
    /// Where that is not so: how long ago it was so last.
    pub behind_for: Option<Duration>,
    /// Whether that is so long that [`WhenBehind`](crate::WhenBehind) applies.
    pub overdue: bool,
    /// Until when everything that was revoked is known.
    pub current_at: Option<Timestamp>,
    /// How often the feed was asked for again.
    pub reconnects: u64,
    /// How many revocations were received.
    pub received: u64,
    /// Why the feed was last lost.
    pub last_error: Option<String>,
}

/// How a follower stands.
#[derive(Debug)]
pub(super) struct Standing {
    issuer: String,
    /// How long ago it may have been told everything before the policy applies.
    grace: Duration,
    epoch: Arc<Epoch>,
    /// Whether it has been behind for longer. Changed under the lock; the epoch moves on after it.
    overdue: AtomicBool,
    /// Where it is behind: when it was told everything last. Changed under the lock.
    behind_since: watch::Sender<Option<Instant>>,
    known: Mutex<Known>,
}

/// Under one lock that is never held across an await.
#[derive(Debug)]
struct Known {
    /// When it was told everything last; at first, when it began.
    heard_at: Instant,
    /// From where to go on.
    cursor: Option<String>,
    tries: u64,
    /// The tries in a row that came to nothing.
    failures: u32,
    /// When the connection of now or the last one was opened.
    opened_at: Option<Instant>,
    /// Whether it was current at any time.
    reached: bool,
    next_try: Option<Instant>,
    current_at: Option<Timestamp>,
    received: u64,
    last_error: Option<String>,
    /// What the operator was told is wrong.
    told: Option<String>,
}

impl Known {
    const fn new(began: Instant) -> Self {
        Self {
            heard_at: began,
            cursor: None,
            tries: 0,
            failures: 0,
            opened_at: None,
            reached: false,
            next_try: None,
            current_at: None,
            received: 0,
            last_error: None,
            told: None,
        }
    }
}

impl Standing {
    /// Behind, and past all grace: nothing was heard yet.
    pub(super) fn new(issuer: String, grace: Duration, epoch: Arc<Epoch>) -> Self {
        let began = Instant::now();
        Self {
            issuer,
            grace,
            epoch,
            overdue: AtomicBool::new(true),
            behind_since: watch::Sender::new(Some(began)),
            known: Mutex::new(Known::new(began)),
        }
    }

    /// Asks for the feed from here on; gives the cursor.
    pub(super) fn dial(&self) -> Option<String> {
        let mut known = self.known();
        known.tries += 1;
        known.opened_at = None;
        known.reached = false;
        known.cursor.clone()
    }

    pub(super) fn opened(&self) {
        self.known().opened_at = Some(Instant::now());
    }

    /// A revocation is in the index.
    pub(super) fn received(&self, cursor: String) {
        let mut known = self.known();
        known.received += 1;
        known.cursor = Some(cursor);
    }

    /// Everything until now was told, and is in the index.
    pub(super) fn current(&self, cursor: Option<String>, now: Timestamp) {
        let mut known = self.known();
        if cursor.is_some() {
            known.cursor = cursor;
        }
        known.reached = true;
        let is_first = known.current_at.replace(now).is_none();
        known.heard_at = Instant::now();
        known.next_try = None;
        self.behind_since.send_if_modified(|since| since.take().is_some());
        if self.overdue.swap(false, Ordering::AcqRel) {
            self.epoch.move_on();
        }
        match (known.told.take(), is_first) {
            (_, true) => info!(issuer = self.issuer, "the revocation feed is followed"),
            (Some(_), false) => {
                info!(issuer = self.issuer, "the revocation feed is followed again")
            }
            (None, false) => {}
        }
    }

    /// Everything until now was told that this client may hear, which is not all that ends tokens. What was heard counts,
    /// and who has heard nothing else is behind.
    pub(super) fn partial(&self, cursor: Option<String>) {
        let mut known = self.known();
        if cursor.is_some() {
            known.cursor = cursor;
        }
        self.fall_behind(&known);
        if known.told.as_deref() != Some(PARTIAL) {
            warn!(issuer = self.issuer, error = PARTIAL, "behind the revocation feed");
            known.told = Some(PARTIAL.to_owned());
        }
        known.last_error = Some(PARTIAL.to_owned());
    }

    /// There is no room for what was told: it is missing from now on, however well the feed is heard.
    pub(super) fn lost(&self) {
        let known = self.known();
        self.fall_behind(&known);
        if !self.overdue.swap(true, Ordering::AcqRel) {
            self.epoch.move_on();
        }
    }

    /// What was heard so far stays good, but no place in the feed is known any more.
    pub(super) fn reset(&self) {
        let mut known = self.known();
        known.cursor = None;
        self.fall_behind(&known);
    }

    /// The connection is gone, or did not come about. Gives how many tries in a row have come to nothing.
    pub(super) fn left(&self, left: &Left) -> u32 {
        let mut known = self.known();
        self.fall_behind(&known);
        if left.forgets() {
            known.cursor = None;
        }
        let lasted = known.opened_at.is_some_and(|at| at.elapsed() >= LASTED);
        known.failures = if known.reached && lasted { 1 } else { known.failures.saturating_add(1) };
        let error = left.to_string();
        let tell = left.is_serious() || self.is_overdue() || known.told.is_some();
        if tell && known.told.as_ref() != Some(&error) {
            warn!(issuer = self.issuer, error, "behind the revocation feed");
            known.told = Some(error.clone());
        } else {
            debug!(issuer = self.issuer, error, failures = known.failures, "revocation feed lost");
        }
        known.last_error = Some(error);
        known.failures
    }

    pub(super) fn wait_until(&self, next_try: Instant) {
        self.known().next_try = Some(next_try);
    }

    fn fall_behind(&self, known: &Known) {
        self.behind_since.send_if_modified(|since| {
            let falls = since.is_none();
            since.get_or_insert(known.heard_at);
            falls
        });
    }

    /// Has the policy applied once it is behind for too long.
    pub(super) async fn watch(&self) {
        let mut behind = self.behind_since.subscribe();
        loop {
            let since = *behind.borrow_and_update();
            if let Some(since) = since {
                tokio::select! {
                    _ = behind.changed() => continue,
                    () = sleep_until(since + self.grace) => self.overdue(since),
                }
            }
            // No error: the sender is here.
            let _ = behind.changed().await;
        }
    }

    fn overdue(&self, since: Instant) {
        let mut known = self.known();
        if *self.behind_since.borrow() != Some(since) {
            return;
        }
        self.overdue.store(true, Ordering::Release);
        self.epoch.move_on();
        if known.told.is_none() {
            let error = known.last_error.clone().unwrap_or_else(|| Left::Silent.to_string());
            warn!(issuer = self.issuer, error, "behind the revocation feed");
            known.told = Some(error);
        }
    }

    /// Whether it has been behind for so long that the policy applies.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    /// How long until the next try, for clients that have to wait for it.
    pub(super) fn retry_after(&self) -> Duration {
        let [shortest, longest] = RETRY_AFTER;
        let wait = self.known().next_try.map(|at| at.saturating_duration_since(Instant::now()));
        wait.unwrap_or_default().clamp(shortest, longest)
    }

    pub(super) fn metrics(&self) -> FeedMetrics {
        let known = self.known();
        let behind_for = self.behind_since.borrow().map(|since| since.elapsed());
        FeedMetrics {
            following: behind_for.is_none(),
            behind_for,
            overdue: self.is_overdue(),
            current_at: known.current_at,
            reconnects: known.tries.saturating_sub(1),
            received: known.received,
            last_error: known.last_error.clone(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
