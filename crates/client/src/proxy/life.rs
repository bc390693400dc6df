//! The life of a program's connection: one on which nothing is under way is closed after a while.
//!
//! It has one timer, which no request touches: requests are counted, and now and then somebody looks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};

/// How many requests began on a connection, and how many ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Life(Arc<[AtomicU64; 2]>);

/// A request that has begun; it ends with this value.
#[derive(Debug)]
pub(super) struct UnderWay(Life);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let [_, ended] = &*self.0.0;
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Life {
    pub(super) fn begin(&self) -> UnderWay {
        let [began, _] = &*self.0;
        began.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Is done once no request has begun or been under way for between half of this time and the whole.
    ///
    /// It catches who sends the head of a request slowly or not at all, in whatever protocol.
    pub(super) async fn idle(&self, limit: Duration) {
        let [began, ended] = &*self.0;
        let mut idle_at = None;
        loop {
            tokio::time::sleep(limit / 2).await;
            let now = began.load(Ordering::Relaxed);
            let is_idle = now == ended.load(Ordering::Relaxed);
            if is_idle && idle_at == Some(now) {
                return;
            }
            idle_at = is_idle.then_some(now);
        }
    }
}

/// A body whose request is under way until it is gone.
#[derive(Debug)]
pub(super) struct Counted<B> {
    pub(super) body: B,
    pub(super) _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
