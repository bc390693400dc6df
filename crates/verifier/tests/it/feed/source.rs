//! An issuer's feed in memory: what was revoked, who listens, and how it misbehaves when it is told to.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokenry_core::Timestamp;
use tokenry_core::revocation::{CURRENT_EVERY, Ended, Event, Revocation};
use tokenry_verifier::{BoxFuture, FeedError, FeedSource, FeedStream, FetchError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::issuer::{ISSUER, START};

/// A feed, as the issuer holds it.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Answer,
    mute: bool,
    revoked: Vec<Revocation>,
    /// Another one is another store, in which cursors of the first mean nothing.
    store: u32,
    opened: Vec<(Instant, Option<String>)>,
    lines: Vec<UnboundedSender<Bytes>>,
}

#[derive(Clone, Copy, Default)]
pub(crate) enum Answer {
    #[default]
    Feed,
    Down,
    Hang,
    /// It opens, and says nothing at all.
    Empty,
    Panic,
    NoFeed,
    NotAllowed,
    Busy(u64),
}

impl Feed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Revokes something for a hundred days, and tells everybody who listens.
    pub(crate) fn revoke(&self, ended: Ended) {
        self.revoke_until(ended, Timestamp::from_secs(START + 8_640_000));
    }

    pub(crate) fn revoke_until(&self, ended: Ended, until: Timestamp) {
        let mut state = self.state();
        state.revoked.push(Revocation { ended, until });
        let event = state.event(state.revoked.len() - 1);
        // In two pieces, as the network likes it.
        let (one, two) = event.split_at(event.len() / 2);
        for line in &state.lines {
            let _ = line.send(one.to_owned().into());
            let _ = line.send(two.to_owned().into());
        }
    }

    /// Says something else to everybody who listens.
    pub(crate) fn say(&self, text: impl AsRef<[u8]>) {
        for line in &self.state().lines {
            let _ = line.send(Bytes::copy_from_slice(text.as_ref()));
        }
    }

    /// Hangs up on everybody.
    pub(crate) fn cut(&self) {
        self.state().lines.clear();
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// Whether it keeps from saying that it is current.
    pub(crate) fn mute(&self, mute: bool) {
        self.state().mute = mute;
    }

    /// Goes on with another store, which has the same revocations.
    pub(crate) fn restore(&self) {
        self.state().store += 1;
    }

    /// The cursors with which it was asked for.
    pub(crate) fn cursors(&self) -> Vec<Option<String>> {
        self.state().opened.iter().map(|(_, cursor)| cursor.clone()).collect()
    }

    pub(crate) fn tries(&self) -> usize {
        self.state().opened.len()
    }

    /// The times between tries.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        self.state().opened.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    /// How many hold on to it.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl State {
    fn cursor(&self, told: usize) -> String {
        format!("{told}-{}", self.store)
    }

    fn event(&self, i: usize) -> String {
        let revocation = self.revoked[i].clone();
        Event::Revoked { cursor: self.cursor(i + 1), revocation }.encode()
    }

    fn current(&self) -> Bytes {
        let told = self.revoked.len();
        let cursor = (told > 0).then(|| self.cursor(told));
        Event::Current { cursor, everything: true }.encode().into()
    }

    /// What somebody who comes with this cursor is told first.
    fn replay(&self, cursor: Option<&str>) -> String {
        let place = cursor.map(|cursor| {
            let (told, store) = cursor.split_once('-').unwrap();
            (store == self.store.to_string()).then(|| told.parse().unwrap())
        });
        let (from, mut text) = match place {
            None => (0, String::new()),
            Some(None) => (0, Event::Reset.encode()),
            Some(Some(told)) => (told, String::new()),
        };
        for i in from..self.revoked.len() {
            text.push_str(&self.event(i));
        }
        text
    }
}

impl FeedSource for Feed {
    fn open<'a>(
        &'a self,
        issuer: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn FeedStream>, FeedError>> {
        assert_eq!(issuer, ISSUER);
        Box::pin(async move {
            let answer = {
                let mut state = self.state();
                state.opened.push((Instant::now(), cursor.map(str::to_owned)));
                state.answer
            };
            match answer {
                Answer::Feed | Answer::Empty => {}
                Answer::Down => return Err(FetchError::Connection("refused".to_owned()).into()),
                Answer::Hang => std::future::pending().await,
                Answer::Panic => panic!("a source that panics"),
                Answer::NoFeed => return Err(FeedError::NoFeed),
                Answer::NotAllowed => return Err(FeedError::NotAllowed(401)),
                Answer::Busy(secs) => {
                    let retry_after = Some(Duration::from_secs(secs));
                    return Err(FeedError::Unavailable { status: 503, retry_after });
                }
            }
            let mut state = self.state();
            let (line, pieces) = unbounded_channel();
            let mut next_current = Instant::now();
            if matches!(answer, Answer::Empty) {
                next_current += Duration::from_secs(3600);
            } else {
                let _ = line.send(state.replay(cursor).into());
            }
            state.lines.push(line);
            let listener = Listener { feed: self.clone(), pieces, next_current };
            Ok(Box::new(listener) as Box<dyn FeedStream>)
        })
    }
}

struct Listener {
    feed: Feed,
    pieces: UnboundedReceiver<Bytes>,
    next_current: Instant,
}

impl FeedStream for Listener {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, FeedError>> {
        Box::pin(async {
            loop {
                tokio::select! {
                    biased;
                    piece = self.pieces.recv() => return Ok(piece),
                    () = sleep_until(self.next_current) => {
                        self.next_current += CURRENT_EVERY;
                        let state = self.feed.state();
                        if !state.mute {
                            return Ok(Some(state.current()));
                        }
                    }
                }
            }
        })
    }
}
