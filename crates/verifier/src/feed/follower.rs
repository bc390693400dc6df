//! The task that follows a feed.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokenry_core::Timestamp;
use tokenry_core::revocation::{Ended, Event, EventError, EventReader, Outcome, Revocation, pause};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::settings::Randomness;
use super::standing::Standing;
use super::{FeedError, FeedMetrics, FeedSettings, FeedSource, WhenBehind};
use crate::fetch::HttpSettings;
use crate::issuer::{Epoch, Revocations};
use crate::keys::Refetch;
use crate::{BuildError, Clock, FetchError, Rejection, TooManyDenied};

/// How long it may take to open a feed: two requests for metadata and one for the feed.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first piece may take. A feed begins with what it has to say, or with saying that there is nothing.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// The upper end of every pause after a failure. A thousand followers that come back within it are no load.
const PAUSE_CAP: Duration = Duration::from_secs(5);

/// Follows a feed. The task ends with it.
pub(crate) struct Follower {
    standing: Arc<Standing>,
    when_behind: WhenBehind,
    task: AbortHandle,
}

/// What following a feed acts on.
pub(crate) struct Around<'a> {
    pub(crate) issuer: String,
    /// How much longer than it says a token may be good.
    pub(crate) leeway: Duration,
    pub(crate) http: &'a HttpSettings,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) keys: Refetch,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Follower {
    /// Starts to follow at once. Must be called within a Tokio runtime.
    pub(crate) fn start(settings: FeedSettings, around: Around<'_>) -> Result<Self, BuildError> {
        let Around { issuer, leeway, http, revocations, keys, epoch, clock } = around;
        let source = settings.open(http)?;
        let FeedSettings { when_behind, max_silence, randomness, .. } = settings;
        let standing = Arc::new(Standing::new(issuer.clone(), max_silence, epoch));
        let reader = Reader {
            source,
            issuer,
            leeway,
            // The rest is for another connection, before the policy applies.
            max_silence: max_silence * 2 / 3,
            revocations,
            keys,
            clock,
            standing: Arc::clone(&standing),
        };
        let task = tokio::spawn(run(Arc::new(reader), randomness)).abort_handle();
        Ok(Self { standing, when_behind, task })
    }

    /// Whether anything may be said about tokens.
    ///
    /// It changes together with the epoch, so that it need not be asked about a token that was looked at since.
    pub(crate) fn admit(&self) -> Result<(), Rejection> {
        match self.when_behind {
            WhenBehind::Refuse if self.standing.is_overdue() => {
                Err(Rejection::FeedBehind { retry_after: self.standing.retry_after() })
            }
            WhenBehind::Introspect | WhenBehind::Refuse | WhenBehind::Trust => Ok(()),
        }
    }

    /// Whether the issuer is to be asked about every token instead. It changes together with the epoch, too.
    pub(crate) fn must_introspect(&self) -> bool {
        self.when_behind == WhenBehind::Introspect && self.standing.is_overdue()
    }

    pub(crate) fn metrics(&self) -> FeedMetrics {
        self.standing.metrics()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("when_behind", &self.when_behind).finish_non_exhaustive()
    }
}

async fn run(reader: Arc<Reader>, randomness: Randomness) {
    let standing = Arc::clone(&reader.standing);
    tokio::select! {
        () = follow(reader, randomness) => {}
        () = standing.watch() => {}
    }
}

/// Opens the feed, again and again.
async fn follow(reader: Arc<Reader>, randomness: Randomness) {
    loop {
        // A task of its own, so that a source that panics is one that failed.
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&reader).follow());
        let left = match tasks.join_next().await {
            Some(Ok(left)) => left,
            _ => Left::Panicked,
        };
        let failures = reader.standing.left(&left);
        let next_try = Instant::now() + pause(left.outcome(), failures, PAUSE_CAP, randomness());
        reader.standing.wait_until(next_try);
        sleep_until(next_try).await;
    }
}

/// Reads a feed, and does what it says.
struct Reader {
    source: Arc<dyn FeedSource>,
    issuer: String,
    leeway: Duration,
    max_silence: Duration,
    revocations: Arc<Revocations>,
    keys: Refetch,
    clock: Arc<dyn Clock>,
    standing: Arc<Standing>,
}

impl Reader {
    async fn follow(self: Arc<Self>) -> Left {
        match self.read().await {
            Err(left) => left,
        }
    }

    /// Follows one connection to its end.
    async fn read(&self) -> Result<Infallible, Left> {
        let cursor = self.standing.dial();
        let open = self.source.open(&self.issuer, cursor.as_deref());
        let mut stream = timeout(OPEN_TIMEOUT, open)
            .await
            .map_err(|_| FeedError::Fetch(FetchError::Timeout))??;
        self.standing.opened();
        let mut reader = EventReader::default();
        let mut deadline = Instant::now() + FIRST_BYTE_TIMEOUT;
        let mut begun = false;
        let mut current = false;
        let mut lost = None;
        loop {
            let piece = timeout_at(deadline, stream.next()).await.map_err(|_| Left::Silent)??;
            let events = reader.read(&piece.ok_or(Left::Closed)?)?;
            let now = Instant::now();
            // A feed that never stops talking is silent as well, if it never says that it is current.
            if now >= deadline {
                return Err(Left::Silent);
            }
            if !begun {
                begun = true;
                deadline = now + self.max_silence;
            }
            for event in events {
                // Whatever comes before the first `current` is a part of what was missed, which may be a lot.
                if !current || matches!(event, Event::Current { .. }) {
                    deadline = now + self.max_silence;
                }
                current = match event {
                    Event::Current { .. } => true,
                    Event::Reset => false,
                    Event::Revoked { .. } => current,
                };
                self.take_up(event, &mut lost)?;
            }
        }
    }

    /// `lost`: that there was no room for something on this connection. What follows is heard all the same, since there may
    /// be room for it; and it is all told again once the connection is left, since the cursor stays before what was lost.
    fn take_up(&self, event: Event, lost: &mut Option<TooManyDenied>) -> Result<(), Left> {
        let now = self.clock.now();
        match (event, *lost) {
            (Event::Revoked { cursor, revocation }, _) => match self.revoke(revocation, now) {
                Ok(()) if lost.is_none() => self.standing.received(cursor),
                Ok(()) => {}
                Err(too_many) => {
                    *lost = Some(too_many);
                    self.standing.lost();
                }
            },
            (Event::Current { .. }, Some(too_many)) => return Err(too_many.into()),
            (Event::Current { cursor, everything: true }, None) => {
                self.standing.current(cursor, now);
            }
            (Event::Current { cursor, everything: false }, None) => self.standing.partial(cursor),
            (Event::Reset, _) => self.standing.reset(),
        }
        Ok(())
    }

    fn revoke(&self, revocation: Revocation, now: Timestamp) -> Result<(), TooManyDenied> {
        let Revocation { ended, until } = revocation;
        let withdrawn = matches!(ended, Ended::Key(_));
        self.revocations.add(&Revocation { ended, until: until + self.leeway }, now)?;
        if withdrawn {
            self.keys.at_once();
        }
        Ok(())
    }
}

/// Why a connection is over, or did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    #[error("the feed was closed")]
    Closed,
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Full(#[from] TooManyDenied),
    #[error("the source of the feed panicked")]
    Panicked,
    #[error("the feed fell silent")]
    Silent,
}

impl Left {
    /// Whether more has to be told than what comes after the cursor: what was read is in doubt, or who is let in again may
    /// be told more than before.
    pub(super) const fn forgets(&self) -> bool {
        match self {
            Self::Event(_) | Self::Feed(FeedError::NotAllowed(_)) => true,
            // The cursor is still before what there was no room for.
            Self::Full(_) => false,
            Self::Closed | Self::Feed(_) | Self::Panicked | Self::Silent => false,
        }
    }

    /// Whether an operator should know at once. All others happen with every restart of a server.
    pub(super) const fn is_serious(&self) -> bool {
        match self {
            Self::Feed(FeedError::Fetch(error)) => matches!(error, FetchError::Secret(_)),
            Self::Closed | Self::Feed(FeedError::Unavailable { .. }) => false,
            _ => true,
        }
    }

    const fn outcome(&self) -> Outcome {
        match self {
            Self::Feed(FeedError::NoFeed) => Outcome::NoFeed,
            Self::Feed(FeedError::NotAllowed(_)) => Outcome::Refused,
            Self::Feed(FeedError::Unavailable { retry_after, .. }) => {
                Outcome::Failed { retry_after: *retry_after }
            }
            _ => Outcome::Failed { retry_after: None },
        }
    }
}
