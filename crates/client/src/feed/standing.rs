//! How a keeper stands with the feed: what it has heard, and when it asks again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use tokenry_core::Timestamp;
use tokenry_core::revocation::{CURRENT_EVERY, Ended, pause};
use tokio::time::Instant;

use super::recent::Recent;
use super::{FeedError, Marked};

/// Three times what a feed needs to say that it is current: two of them may get lost. One that is silent for longer is lost.
pub(crate) const MAX_SILENCE: Duration = CURRENT_EVERY.saturating_mul(3);

/// The longest pause after a failure. There are many more callers than there are APIs, and what they miss costs a 401.
const PAUSE_CAP: Duration = Duration::from_secs(30);

/// Who watches is told of a loss that lasts for longer: most are over with the next connection.
const LASTING: Duration = Duration::from_secs(30);

/// A connection that lasted this long and was current was one. Shorter ones count as failures, so that a server that
/// hangs up at once is asked less and less.
const LASTED: Duration = Duration::from_secs(1);

/// Where a keeper stands with the revocation feed that it is to follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FeedState {
    /// It has no token that anybody uses, so it does not follow.
    Idle,
    /// It knows everything that was revoked until a moment ago.
    Following,
    /// It may not know everything: the feed was lost, or was not reached yet.
    Behind,
    /// There is no feed.
    NoFeed,
    /// The issuer does not let it follow.
    NotAllowed,
}

/// How a keeper stands with the revocation feed that it is to follow, and what it has heard so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FeedMetrics {
    /// Where it stands.
    pub state: FeedState,
    /// Where it may have missed something, while it has a token that is used: how long ago it knew everything.
    pub behind_for: Option<Duration>,
    /// Until when it knew everything that was revoked.
    pub current_at: Option<Timestamp>,
    /// How often the feed was asked for again.
    pub reconnects: u64,
    /// How many revocations were received.
    pub received: u64,
    /// How many tokens of the keeper were ended by them.
    pub revoked: u64,
}

/// How a keeper stands. Times are since the keeper began.
#[derive(Debug)]
pub(crate) struct Feed(Mutex<Known>);

/// Under one lock that is never held across an await.
#[derive(Debug, Default)]
struct Known {
    /// Where the feed was found.
    place: Option<Uri>,
    /// From where to go on.
    cursor: Option<String>,
    tries: u64,
    /// The tries in a row that came to nothing.
    failures: u32,
    /// When the connection of now or the last one was opened.
    opened_at: Option<Duration>,
    /// Whether it was current at any time.
    reached: bool,
    /// Not asked again before this, not by another task either.
    next_try: Option<Instant>,
    /// When it was told everything last; at first, when somebody began to use a token.
    heard_at: Duration,
    /// Where it may have missed something: the same. `None`: it has not, or is idle.
    behind_since: Option<Duration>,
    is_active: bool,
    current_at: Option<Timestamp>,
    received: u64,
    revoked: u64,
    error: Option<FeedError>,
    /// What who watches was told last: why it does not follow, or that it does.
    told: Option<Result<(), FeedError>>,
    recent: Recent,
}

impl Feed {
    /// Idle, with what is known of the feed's place.
    pub(crate) fn new(place: Option<Uri>) -> Self {
        Self(Mutex::new(Known { place, ..Known::default() }))
    }

    /// Somebody uses a token.
    pub(crate) fn wake(&self, now: Duration) {
        let mut known = self.known();
        known.is_active = true;
        known.heard_at = now;
        known.behind_since = Some(now);
    }

    /// Nobody does.
    pub(crate) fn rest(&self) {
        let mut known = self.known();
        known.is_active = false;
        known.behind_since = None;
    }

    /// When the feed may be asked for.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.known().next_try
    }

    /// Asks for the feed from here on. Gives where it was found, if it was, and the cursor.
    pub(crate) fn dial(&self) -> (Option<Uri>, Option<String>) {
        let mut known = self.known();
        known.tries += 1;
        known.opened_at = None;
        known.reached = false;
        (known.place.clone(), known.cursor.clone())
    }

    pub(crate) fn found(&self, place: &Uri) {
        self.known().place = Some(place.clone());
    }

    pub(crate) fn opened(&self, now: Duration) {
        self.known().opened_at = Some(now);
    }

    /// Something was revoked. A token that comes from now on is held against it as well.
    pub(crate) fn remember(&self, ended: Ended) {
        let mut known = self.known();
        known.received += 1;
        known.recent.add(ended);
    }

    /// What has ended a token that just came, if anything has.
    pub(crate) fn ended(&self, token: &Marked) -> Option<Ended> {
        self.known().recent.covering(&token.marks()).cloned()
    }

    /// A token was ended.
    pub(crate) fn count_revoked(&self) {
        self.known().revoked += 1;
    }

    /// All that comes before this has been acted on.
    pub(crate) fn go_on_from(&self, cursor: String) {
        self.known().cursor = Some(cursor);
    }

    /// Everything until now was told. Says whether who watches is to be told.
    pub(crate) fn current(
        &self,
        cursor: Option<String>,
        (now, wall): (Duration, Timestamp),
    ) -> bool {
        let mut known = self.known();
        if cursor.is_some() {
            known.cursor = cursor;
        }
        known.reached = true;
        known.current_at = Some(wall);
        known.heard_at = now;
        known.behind_since = None;
        known.next_try = None;
        known.error = None;
        known.told.replace(Ok(())) != Some(Ok(()))
    }

    /// No place in the feed is known any more, and everything is told anew.
    pub(crate) fn reset(&self) {
        let mut known = self.known();
        known.cursor = None;
        known.behind_since = Some(known.heard_at);
    }

    /// The connection is gone, or did not come about. Gives the pause before the next try, and whether who watches is to be
    /// told.
    pub(crate) fn left(&self, error: &FeedError, now: Duration, roll: f64) -> (Duration, bool) {
        let mut known = self.known();
        known.behind_since = Some(known.heard_at);
        if error.forgets_cursor() {
            known.cursor = None;
        }
        if error.forgets_place() {
            known.place = None;
        }
        let lasted = known.opened_at.is_some_and(|at| now.saturating_sub(at) >= LASTED);
        known.failures = if known.reached && lasted { 1 } else { known.failures.saturating_add(1) };
        let pause = pause(error.outcome(), known.failures, PAUSE_CAP, roll);
        known.next_try = Some(Instant::now() + pause);
        known.error = Some(error.clone());
        let is_lasting = now.saturating_sub(known.heard_at) >= LASTING;
        let tell = match &known.told {
            Some(Err(told)) => error.is_serious() && told != error,
            Some(Ok(())) | None => error.is_serious() || is_lasting,
        };
        if tell {
            known.told = Some(Err(error.clone()));
        }
        (pause, tell)
    }

    pub(crate) fn metrics(&self, now: Duration) -> FeedMetrics {
        let known = self.known();
        let state = match (known.is_active, known.behind_since, &known.error) {
            (_, _, Some(FeedError::NoFeed)) => FeedState::NoFeed,
            (_, _, Some(FeedError::NotAllowed { .. })) => FeedState::NotAllowed,
            (false, _, _) => FeedState::Idle,
            (true, None, _) => FeedState::Following,
            (true, Some(_), _) => FeedState::Behind,
        };
        FeedMetrics {
            state,
            behind_for: known.behind_since.map(|since| now.saturating_sub(since)),
            current_at: known.current_at,
            reconnects: known.tries.saturating_sub(1),
            received: known.received,
            revoked: known.revoked,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
