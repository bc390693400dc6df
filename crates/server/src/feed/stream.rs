//! One follower: where it is, and what comes next.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Frame;
use tokenry_core::revocation::Event;
use tokenry_store::StoreError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::log::{Mark, Piece, Reads, Row};
use super::seats::Seat;
use super::{Feed, NotFollowing, Told};
use crate::life::UnderWay;

/// How long a stream lasts at most, before its client has to show again who it is; it goes on where it was.
const MAX_AGE: Duration = Duration::from_secs(600);

/// By how much some end sooner, so that those who came together do not come back together.
const SPREAD: Duration = Duration::from_secs(120);

/// How many rows that are not held are read at once: what is told in one piece.
const OLDER: usize = 100;

/// What a follower hears while it cannot be told that it knows everything: that the connection is alive.
const NOT_CURRENT: &str = ": the store does not answer\n\n";

/// The body of an answer to a follower.
pub(crate) struct FeedBody {
    seat: Arc<Seat>,
    told: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
}

impl FeedBody {
    /// The connection counts as busy for as long as this lasts.
    pub(crate) fn keep(&self, under_way: UnderWay) {
        self.seat.hold(Some(under_way));
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        self.seat.listens();
        let next = ready!(self.told.as_mut().poll_next(context));
        if next.is_none() {
            self.seat.hold(None);
        }
        Poll::Ready(next.map(Frame::data))
    }
}

impl std::fmt::Debug for FeedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FeedBody(..)")
    }
}

impl Feed {
    /// Tells a follower what has happened after `cursor`, or everything, and what happens.
    ///
    /// `random`: any byte, so that those who come together do not end together.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        reads: Reads,
        cursor: Option<&[u8]>,
        random: u8,
    ) -> Result<FeedBody, NotFollowing> {
        let place = self.place(&reads)?;
        self.asked.notify_one();
        // After this, whatever anybody was told elsewhere is known here.
        self.look().await.map_err(NotFollowing::Store)?;
        let told = self.told.subscribe();
        let now = *told.borrow();
        let mark = match cursor {
            None => None,
            Some(cursor) => self.known(cursor, &reads).await.map_err(NotFollowing::Store)?,
        };
        if mark.is_none() {
            self.metrics.replays.inc();
        }
        let seat = Arc::clone(&place.seat);
        let follower = Follower {
            place,
            reads,
            reset: cursor.is_some() && mark.is_none(),
            mark,
            epoch: now.epoch,
            beat: None,
            ends_at: Instant::now() + MAX_AGE - SPREAD * u32::from(random) / 256,
            told,
        };
        let told = futures_util::stream::unfold(follower, |mut follower| async move {
            let next = follower.next().await?;
            Some((next, follower))
        });
        Ok(FeedBody { seat, told: Box::pin(told) })
    }

    fn place(self: &Arc<Self>, reads: &Reads) -> Result<Place, NotFollowing> {
        if self.told.borrow().ended {
            return Err(NotFollowing::Full);
        }
        let (made_room, seat) = {
            let mut seats = self.seats();
            (seats.make_room(reads), seats.take(reads))
        };
        if made_room {
            // Whoever has lost a place is to see it.
            self.told.send_modify(|_| {});
        }
        let seat = seat.ok_or(NotFollowing::Full)?;
        self.count();
        Ok(Place { feed: Arc::clone(self), seat })
    }

    /// Counts who follows.
    pub(super) fn count(&self) {
        let count = self.seats().len();
        self.metrics.followers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The mark that a cursor names, if it is of this store.
    async fn known(&self, cursor: &[u8], reads: &Reads) -> Result<Option<Mark>, StoreError> {
        let Some(mark) = Mark::of_cursor(cursor, reads) else { return Ok(None) };
        let held = self.log().has(mark);
        let is_known = match held {
            Some(known) => known,
            None => {
                let row = self.page(Some(mark.number.saturating_sub(1)), 1).await?;
                row.first().is_some_and(|row| Mark::from(row) == mark)
            }
        };
        Ok(is_known.then_some(mark))
    }

    /// Rows of the store that are not held, for one follower.
    async fn page(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<tokenry_store::Logged>, StoreError> {
        let ended = |_| StoreError::Unavailable("the log is not read any more".into());
        let _turn = self.pages.acquire().await.map_err(ended)?;
        self.store.revocations(after, limit).await
    }
}

/// A place that is given back.
struct Place {
    feed: Arc<Feed>,
    seat: Arc<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.feed.seats().leave(self.seat.number);
        self.feed.count();
    }
}

/// Where a follower is.
struct Follower {
    place: Place,
    reads: Reads,
    /// It is to be told that what it knows is of no use.
    reset: bool,
    /// Up to where it has been told.
    mark: Option<Mark>,
    epoch: u64,
    /// When it was told that it knows everything; `None`: never.
    beat: Option<u64>,
    ends_at: Instant,
    told: watch::Receiver<Told>,
}

impl Follower {
    /// What comes next; `None`: nothing any more.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let told = *self.told.borrow_and_update();
            if told.ended || self.place.seat.is_lost() {
                return None;
            }
            if told.epoch != self.epoch {
                (self.epoch, self.mark, self.reset) = (told.epoch, None, true);
                self.place.feed.metrics.replays.inc();
            }
            if std::mem::take(&mut self.reset) {
                return Some(Event::Reset.encode().into());
            }
            let held = self.place.feed.log().after(self.mark, &self.reads);
            let piece = match held {
                Some(piece) => piece,
                // Where it cannot be read, the follower comes back, and goes on from where it is.
                None => self.older().await.ok().filter(|piece| piece.mark != self.mark)?,
            };
            let moved = piece.mark != self.mark;
            self.mark = piece.mark;
            if piece.events > 0 {
                self.place.feed.metrics.told.inc_by(piece.events);
                return Some(piece.text);
            }
            if moved {
                continue;
            }
            if self.place.seat.is_finishing() || self.ends_at <= Instant::now() {
                return None;
            }
            if self.beat != Some(told.beat) {
                self.beat = Some(told.beat);
                return Some(self.whereabouts(&told));
            }
            self.told.changed().await.ok()?;
        }
    }

    /// What follows and is no longer held.
    async fn older(&self) -> Result<Piece, StoreError> {
        let number = self.mark.map_or(0, |mark| mark.number);
        let rows = self.place.feed.page(Some(number), OLDER).await?;
        let rows: Vec<_> = rows.into_iter().map(Row::new).collect();
        Ok(Piece::of(rows.iter(), &self.reads, self.mark))
    }

    fn whereabouts(&self, told: &Told) -> Bytes {
        if !told.is_current() {
            return Bytes::from_static(NOT_CURRENT.as_bytes());
        }
        let cursor = self.mark.map(|mark| mark.cursor(&self.reads));
        Event::Current { cursor, everything: self.reads.everything }.encode().into()
    }
}
