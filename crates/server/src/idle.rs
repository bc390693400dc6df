//! Connections on which nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many requests a connection has had.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    began: AtomicU64,
    ended: AtomicU64,
}

/// A request that has begun; it ends with this value, answered or given up.
pub(crate) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.began.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Returns once no request has begun or been under way for between half and the whole of `patience`.
    ///
    /// It catches a peer that sends the head of a request slowly or not at all, one that agreed on HTTP/2 and says
    /// nothing more, and one that asks and never reads the answers. A request that is under way has limits of its own.
    pub(crate) async fn idle_for(&self, patience: Duration) {
        let mut before = None;
        loop {
            tokio::time::sleep(patience / 2).await;
            let began = self.began.load(Ordering::Relaxed);
            let idle = (began == self.ended.load(Ordering::Relaxed)).then_some(began);
            if idle.is_some() && idle == before {
                return;
            }
            before = idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn ends_within(activity: &Activity, limit: Duration) -> bool {
        timeout(limit, activity.idle_for(PATIENCE)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_asks_is_idle() {
        let began = Instant::now();
        Activity::default().idle_for(PATIENCE).await;
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_under_way_is_not_idleness_however_long() {
        let activity = Arc::new(Activity::default());
        let under_way = activity.begin();
        assert!(!ends_within(&activity, PATIENCE * 100).await);
        drop(under_way);
        assert!(ends_within(&activity, PATIENCE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_now_and_then_is_not_idle() {
        let activity = Arc::new(Activity::default());
        let asking = async {
            for _ in 0..100 {
                drop(activity.begin());
                sleep(PATIENCE / 3).await;
            }
        };
        tokio::select! {
            () = asking => {}
            () = activity.idle_for(PATIENCE) => panic!("it was not idle"),
        }
        assert!(ends_within(&activity, PATIENCE + PATIENCE / 2).await);
    }
}
