//! What is sent to upstreams and back: streams, never gathered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pool::Lease;
use crate::attempt::Attempt;

/// A request's body, of which the beginning is kept so that it can be sent again.
#[derive(Debug)]
pub(super) struct RequestBody<B = Incoming>(Option<Sending<B>>);

#[derive(Debug)]
struct Sending<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Which of those that share it this is; the last one has the stream.
    copy: usize,
    /// How many of the chunks that are kept it has given.
    given: usize,
    /// Whether it has given the trailers.
    is_through: bool,
    /// What the whole was from the start: a copy announces the same length.
    hint: SizeHint,
}

#[derive(Debug)]
struct Shared<B> {
    /// What the program still has to send.
    rest: Option<B>,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// How much more may be kept. `None` once it was too much, so that nothing is.
    room: Option<usize>,
    /// How many chunks were read.
    chunks: u64,
    copies: usize,
}

/// Why a body ends early: it is sent again elsewhere, or what the program sends ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError<E> {
    #[error("the request is sent again elsewhere")]
    Moved,
    #[error(transparent)]
    Broken(E),
}

impl<B: Body<Data = Bytes>> RequestBody<B> {
    /// Nothing is kept of a body that is known to be larger than the limit.
    pub(super) fn new(body: B, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self(None);
        }
        let hint = body.size_hint();
        let room = (hint.lower() <= limit as u64).then_some(limit);
        let shared = Shared {
            rest: Some(body),
            kept: Vec::new(),
            trailers: None,
            room,
            chunks: 0,
            copies: 0,
        };
        let shared = Arc::new(Mutex::new(shared));
        Self(Some(Sending { shared, copy: 0, given: 0, is_through: false, hint }))
    }

    /// The same body from the start; this one gives no more. `None` if too much of it is gone.
    pub(super) fn again(&self) -> Option<Self> {
        let Some(sending) = &self.0 else { return Some(Self(None)) };
        let mut shared = sending.shared();
        if !shared.is_whole() {
            return None;
        }
        shared.copies += 1;
        Some(Self(Some(Sending {
            shared: Arc::clone(&sending.shared),
            copy: shared.copies,
            given: 0,
            is_through: false,
            hint: sending.hint,
        })))
    }
}

impl<B> RequestBody<B> {
    /// Whether it can be had [again](Self::again).
    pub(super) fn is_repeatable(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| sending.shared().is_whole())
    }

    /// Grows while it is being sent.
    pub(super) fn progress(&self) -> u64 {
        self.0.as_ref().map_or(0, |sending| sending.shared().chunks)
    }
}

impl<B> Sending<B> {
    fn shared(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(Sending { shared, copy, given, is_through, .. }) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.copies != *copy {
            return Poll::Ready(Some(Err(BodyError::Moved)));
        }
        if let Some(chunk) = shared.kept.get(*given).cloned() {
            *given += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(rest) = &mut shared.rest {
            let frame = std::task::ready!(Pin::new(rest).poll_frame(context));
            match frame.transpose().map_err(BodyError::Broken)?.map(Frame::into_data) {
                Some(Ok(chunk)) => {
                    *given += shared.keep(&chunk);
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(last)) => {
                    shared.rest = None;
                    shared.trailers = last.into_trailers().ok();
                }
                None => shared.rest = None,
            }
        }
        if std::mem::replace(is_through, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(shared.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let Some(sending) = &self.0 else { return true };
        let shared = sending.shared();
        sending.given >= shared.kept.len()
            && shared.rest.as_ref().is_none_or(Body::is_end_stream)
            && (sending.is_through || shared.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |sending| sending.hint)
    }
}

impl<B> Shared<B> {
    fn is_whole(&self) -> bool {
        self.room.is_some() || self.chunks == 0
    }

    /// Keeps a chunk if there is room, and says how many were kept.
    fn keep(&mut self, chunk: &Bytes) -> usize {
        self.chunks += 1;
        self.room = self.room.and_then(|room| room.checked_sub(chunk.len()));
        if self.room.is_none() {
            self.kept = Vec::new();
            return 0;
        }
        self.kept.push(chunk.clone());
        1
    }
}

/// What a program gets.
pub(super) enum ResponseBody {
    /// From an upstream, as it comes, with the connection that it comes from; and with what wants to see the trailers.
    Upstream(Incoming, Option<Lease>, Option<Box<Attempt>>),
    /// Our own words.
    Own(Bytes),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Upstream(body, lease, attempt) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(context));
                match (&frame, attempt) {
                    (None, _) => drop(lease.take()),
                    (Some(Ok(frame)), Some(attempt)) => {
                        frame.trailers_ref().into_iter().for_each(|t| attempt.see_trailers(t));
                    }
                    _ => {}
                }
                Poll::Ready(frame)
            }
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body, ..) => body.is_end_stream(),
            Self::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body, ..) => body.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
