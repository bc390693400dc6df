//! The body of which a copy is kept.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::Replay;

/// A body that goes out as it comes in, and of which a copy is kept up to a limit.
///
/// Its [`replay`](Replay::replay) begins with what was kept and goes on with the rest, trailers too. There is none once
/// more than the limit was sent, nor after the body failed; and nothing is kept while no replay is there to be sent, as
/// after the answer. Of all of them only the one that was begun last gets on; one before it fails, so that half of a
/// body never looks like the whole.
pub struct ReplayBody<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Which of all replays this is, counted from 1 in the order in which they began. 0 before that.
    turn: u64,
    /// How many bytes it has given.
    position: u64,
    /// Whether it has given the trailers.
    is_done: bool,
}

struct Shared<B> {
    body: Pin<Box<B>>,
    limit: usize,
    /// All that was read. `None` once that is too much, or the body has failed.
    kept: Option<Vec<u8>>,
    /// How many bytes were read.
    read: u64,
    end: Option<End>,
    /// The replay that began last.
    turn: u64,
    /// Who polled last.
    waker: Option<Waker>,
}

/// What came after the last byte.
struct End {
    trailers: Option<HeaderMap>,
}

/// Why a replay cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// Another has begun since.
    #[error("the body is being sent once more")]
    Superseded,
    /// More was sent than is kept.
    #[error("the body is too long to be sent once more")]
    NotKept,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl<B> ReplayBody<B> {
    /// Keeps up to so many bytes of this body.
    pub fn new(body: B, limit: usize) -> Self {
        let shared = Shared {
            body: Box::pin(body),
            limit,
            kept: Some(Vec::new()),
            read: 0,
            end: None,
            turn: 0,
            waker: None,
        };
        Self::of(Arc::new(Mutex::new(shared)))
    }

    fn of(shared: Arc<Mutex<Shared<B>>>) -> Self {
        Self { shared, turn: 0, position: 0, is_done: false }
    }

    fn shared(&self) -> MutexGuard<'_, Shared<B>> {
        lock(&self.shared)
    }
}

/// A body that panicked is the caller's trouble, not that of whoever looks at it next.
fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Replay for ReplayBody<B> {
    fn replay(&self) -> Option<Self> {
        self.shared().kept.is_some().then(|| Self::of(self.shared.clone()))
    }
}

impl<B> Shared<B> {
    /// Whose turn it is. One that begins takes over from the one before, and tells it.
    fn take_turn(&mut self, turn: &mut u64, waker: &Waker) -> Result<(), ReplayError> {
        if *turn == 0 {
            self.turn = self.turn.saturating_add(1);
            *turn = self.turn;
            if let Some(other) = self.waker.take() {
                other.wake();
            }
        }
        if *turn != self.turn {
            return Err(ReplayError::Superseded);
        }
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        Ok(())
    }

    /// What was read before, from there on.
    fn again(&self, position: u64) -> Result<Option<Bytes>, ReplayError> {
        if position == self.read {
            return Ok(None);
        }
        let kept = self.kept.as_ref().ok_or(ReplayError::NotKept)?;
        let rest = usize::try_from(position).ok().and_then(|position| kept.get(position..));
        rest.map(Bytes::copy_from_slice).map(Some).ok_or(ReplayError::NotKept)
    }

    /// Remembers a piece, if there is room and anybody to send it again.
    fn keep(&mut self, piece: &Bytes, is_wanted: bool) {
        self.read = self.read.saturating_add(piece.len() as u64);
        let limit = self.limit;
        let has_room = |kept: &Vec<u8>| piece.len() <= limit - kept.len().min(limit);
        self.kept = self.kept.take().filter(|kept| is_wanted && has_room(kept));
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(piece);
        }
    }
}

impl<B> Shared<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The next piece of the body, or that there is none.
    fn poll(
        &mut self,
        is_wanted: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BoxError>> {
        if self.end.is_some() {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(match ready!(self.body.as_mut().poll_frame(context)) {
            Some(Err(error)) => {
                self.kept = None;
                Err(error.into())
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    let piece = data.copy_to_bytes(data.remaining());
                    self.keep(&piece, is_wanted);
                    Ok(Some(piece))
                }
                Err(frame) => {
                    self.end = Some(End { trailers: frame.into_trailers().ok() });
                    Ok(None)
                }
            },
            None => {
                self.end = Some(End { trailers: None });
                Ok(None)
            }
        })
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // Whoever would send it again has a replay already; a stream of hours need not be remembered for nobody.
        let is_wanted = Arc::strong_count(&this.shared) > 1;
        let mut shared = lock(&this.shared);
        shared.take_turn(&mut this.turn, context.waker())?;
        let piece = match shared.again(this.position)? {
            Some(piece) => Some(piece),
            None => ready!(shared.poll(is_wanted, context))?,
        };
        if let Some(piece) = piece {
            this.position = this.position.saturating_add(piece.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let is_first = !std::mem::replace(&mut this.is_done, true);
        let trailers = shared.end.as_ref().and_then(|end| end.trailers.clone());
        Poll::Ready(trailers.filter(|_| is_first).map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared();
        self.position == shared.read
            && match &shared.end {
                Some(end) => self.is_done || end.trailers.is_none(),
                None => shared.body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared();
        let before = shared.read.saturating_sub(self.position);
        let rest = match &shared.end {
            // HTTP/1.1 has trailers only after a body whose length is not said beforehand (RFC 9112 §7.1.2).
            Some(End { trailers: Some(_) }) => SizeHint::default(),
            Some(End { trailers: None }) => SizeHint::with_exact(0),
            None => shared.body.size_hint(),
        };
        let mut hint = SizeHint::new();
        // In this order: an upper bound must not be below the lower.
        hint.set_lower(rest.lower().saturating_add(before));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(before));
        }
        hint
    }
}

impl<B> std::fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayBody").field("position", &self.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
