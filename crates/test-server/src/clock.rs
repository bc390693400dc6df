//! The server's clock, which can be wound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenry_core::Timestamp;
use tokio::time::Instant;

/// The time that tokens age by: tokio's, so that a test that pauses it drives the server as well, and what it was
/// wound by. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock {
    beginning: Timestamp,
    origin: Instant,
    /// Milliseconds.
    wound: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn new(beginning: Timestamp) -> Self {
        Self { beginning, origin: Instant::now(), wound: Arc::default() }
    }

    /// Lets so much time pass at once. Tokens age; answers that are late stay as late, since those go by tokio's time.
    pub fn wind(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wound.fetch_add(millis, Ordering::Relaxed);
    }

    /// The time since the server was made.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed() + Duration::from_millis(self.wound.load(Ordering::Relaxed))
    }

    /// The wall clock: that of the client should be the same, or different on purpose.
    pub fn now(&self) -> Timestamp {
        self.beginning + self.elapsed()
    }
}

/// The clock of the operating system.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge, where a server that is told no time reads it"
)]
pub(crate) fn system() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since_epoch.unwrap_or_default().as_millis();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
