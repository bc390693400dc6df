//! Following the issuer's revocation feed, for as long as the keeper's task is there: while it has a token that is used.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokenry_core::revocation::{CURRENT_EVERY, Ended, Event as FeedEvent, EventReader, Revocation};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::{Shared, State};
use crate::Event;
use crate::clock::Clock;
use crate::feed::{Feed, FeedError, MAX_SILENCE, Marked};
use crate::machine::{Action, Input, Revoked};
use crate::transport::{Pieces, TransportError};

/// How long it may take to open a feed: two requests for metadata and one for the feed.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first piece may take. A feed begins with what it has to say, or with saying that there is nothing.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// A keeper that follows. Dropped, the connection is closed.
pub(super) struct Following {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Following {
    /// Begins to follow, if the keeper is to.
    pub(super) fn begin(shared: &Arc<Shared>) -> Option<Self> {
        shared.feed.as_ref()?.wake(shared.clock.now());
        let task = tokio::spawn(follow(Arc::clone(shared))).abort_handle();
        Some(Self { shared: Arc::clone(shared), task })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(feed) = &self.shared.feed {
            feed.rest();
        }
    }
}

/// Opens the feed, again and again.
async fn follow(shared: Arc<Shared>) {
    let Some(feed) = &shared.feed else { return };
    loop {
        if let Some(at) = feed.next_try() {
            sleep_until(at).await;
        }
        // A task of its own, so that a transport that panics is one that failed.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection(Arc::clone(&shared)));
        let error = match tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            _ => FeedError::Panicked,
        };
        let (retry_in, tell) = feed.left(&error, shared.clock.now(), (shared.randomness)());
        if tell {
            shared.tell(Event::FeedLost { error, retry_in });
        }
    }
}

/// Follows one connection to its end.
async fn connection(shared: Arc<Shared>) -> Result<(), FeedError> {
    let (Some(feed), clock) = (&shared.feed, &shared.clock) else { return Ok(()) };
    let mut stream = timeout(OPEN_TIMEOUT, open(&shared, feed))
        .await
        .map_err(|_| TransportError::Timeout { after: OPEN_TIMEOUT })??;
    feed.opened(clock.now());
    let mut reader = EventReader::default();
    let mut deadline = clock.now() + FIRST_BYTE_TIMEOUT;
    let (mut begun, mut current) = (false, false);
    loop {
        let bytes = piece(&mut *stream, deadline, clock).await?.ok_or(FeedError::Closed)?;
        let now = clock.now();
        // A feed that never stops talking is silent as well, if it never says that it is current. What was on its way
        // while the machine was suspended says nothing of now.
        if now >= deadline {
            return Err(FeedError::Silent);
        }
        if !begun {
            begun = true;
            deadline = now + MAX_SILENCE;
        }
        for event in reader.read(&bytes)? {
            // Whatever comes before the first `current` is a part of what was missed, which may be a lot.
            if !current || matches!(event, FeedEvent::Current { .. }) {
                deadline = now + MAX_SILENCE;
            }
            current = match event {
                FeedEvent::Current { .. } => true,
                FeedEvent::Reset => false,
                FeedEvent::Revoked { .. } => current,
            };
            shared.heard(feed, event);
        }
    }
}

async fn open(shared: &Shared, feed: &Feed) -> Result<Box<dyn Pieces>, FeedError> {
    let (place, cursor) = feed.dial();
    let place = match place {
        Some(place) => place,
        None => {
            let place = shared.exchange.feed_place().await?;
            feed.found(&place);
            place
        }
    };
    shared.exchange.open_feed(&place, cursor.as_deref()).await
}

/// The next piece, by the keeper's clock: a machine that was suspended notices soon after.
async fn piece(
    stream: &mut dyn Pieces,
    deadline: Duration,
    clock: &Clock,
) -> Result<Option<Bytes>, FeedError> {
    let mut next = stream.next();
    loop {
        let left = deadline.saturating_sub(clock.now());
        if left.is_zero() {
            return Err(FeedError::Silent);
        }
        if let Ok(piece) = timeout(left.min(CURRENT_EVERY), &mut next).await {
            return Ok(piece?);
        }
    }
}

impl Shared {
    fn heard(&self, feed: &Feed, event: FeedEvent) {
        match event {
            FeedEvent::Revoked { cursor, revocation: Revocation { ended, .. } } => {
                let mut state = self.state();
                feed.remember(ended.clone());
                let actions = self.revoke(&mut state, &ended, Duration::ZERO);
                self.carry_out(&mut state, &actions);
                drop(state);
                // The task may wait for the renewal of a token that is no more.
                self.changed.notify_one();
                feed.go_on_from(cursor);
            }
            // What it is told is what concerns its own tokens: that is all it needs.
            FeedEvent::Current { cursor, .. } => {
                if feed.current(cursor, (self.clock.now(), self.clock.wall())) {
                    self.tell(Event::FeedFollowed);
                }
            }
            FeedEvent::Reset => feed.reset(),
        }
    }

    /// A token has just come: what is it, and was it revoked while it was on its way? Gives what is to be done then.
    pub(super) fn watch(&self, state: &mut State) -> Vec<Action> {
        let (Some(feed), Some(token)) = (&self.feed, &state.token) else { return Vec::new() };
        let client = self.exchange.credentials.client.as_ref();
        let marked = Marked::read(
            token.access_token(),
            token.generation(),
            client.map(|client| client.id.as_str()),
            (self.clock.wall(), self.clock.now()),
        );
        let ended = feed.ended(&marked);
        // Who has heard of it dates what it issues after the point before which all has ended. Whoever issued this had not:
        // what it issues is dead until that point is past.
        let wait =
            ended.as_ref().map(|ended| marked.wait(ended, (marked.obtained_at, self.clock.wall())));
        state.marked = Some(Box::new(marked));
        match (ended, wait) {
            (Some(ended), Some(wait)) => self.revoke(state, &ended, wait),
            _ => Vec::new(),
        }
    }

    /// Something was revoked: the token that is held, perhaps. Another is asked for after this time. Gives what is to be done.
    fn revoke(&self, state: &mut State, ended: &Ended, wait: Duration) -> Vec<Action> {
        let (Some(feed), Some(marked)) = (&self.feed, &state.marked) else { return Vec::new() };
        if !ended.covers(&marked.marks()) || state.machine.is_revoked(marked.generation) {
            return Vec::new();
        }
        let generation = marked.generation;
        let now = self.clock.now();
        let revoked = Revoked {
            generation,
            not_before: now + wait,
            with_refresh_token: marked.ends_refresh_token(ended),
            roll: match ended {
                // Of nobody else.
                Ended::Token(_) => 0.0,
                _ => (self.randomness)(),
            },
        };
        let actions = state.machine.step(Input::Revoked(revoked), now);
        if state.machine.is_revoked(generation) {
            feed.count_revoked();
            self.tell(Event::Revoked { generation });
            state.refresh_token_is_dead |= actions.contains(&Action::ForgetRefreshToken);
        }
        actions
    }
}
