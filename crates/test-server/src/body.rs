//! Bodies that come whole, slowly, or not to their end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::Lost;

/// The body of an answer.
pub(crate) enum Answered {
    Whole(Bytes),
    Slow {
        left: Bytes,
        every: Duration,
        next: Pin<Box<Sleep>>,
    },
    /// What is left, and what is never sent.
    Broken {
        left: Bytes,
        missing: usize,
    },
}

impl Answered {
    pub(crate) fn slow(body: Bytes, every: Duration) -> Self {
        Self::Slow { left: body, every, next: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }

    pub(crate) fn broken(mut body: Bytes) -> Self {
        let all = body.len();
        body.truncate(all / 2);
        Self::Broken { missing: all - body.len(), left: body }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        let piece = match self.get_mut() {
            Self::Whole(body) => std::mem::take(body),
            Self::Slow { left, .. } if left.is_empty() => return Poll::Ready(None),
            Self::Slow { left, every, next } => {
                ready!(next.as_mut().poll(context));
                next.as_mut().reset(Instant::now() + *every);
                left.split_to(1)
            }
            Self::Broken { left, .. } if left.is_empty() => return Poll::Ready(Some(Err(Lost))),
            Self::Broken { left, .. } => std::mem::take(left),
        };
        Poll::Ready(if piece.is_empty() { None } else { Some(Ok(Frame::data(piece))) })
    }

    fn size_hint(&self) -> SizeHint {
        let size = match self {
            Self::Whole(left) | Self::Slow { left, .. } => left.len(),
            Self::Broken { left, missing } => left.len() + missing,
        };
        SizeHint::with_exact(size as u64)
    }
}
