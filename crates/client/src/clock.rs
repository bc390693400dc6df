//! The time that tokens age by.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokenry_core::Timestamp;

use crate::rt::Instant;

/// The wall clock, as an argument.
pub(crate) type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Time since the keeper began: the faster of a steady clock and the wall clock.
///
/// The steady one stands still while a machine is suspended, and the wall clock can be set back. A token that is
/// good by both is good; one that either calls old is renewed, which costs one request.
pub(crate) struct Clock {
    origin: Instant,
    wall: Wall,
    /// The largest lead of the wall clock over the steady one so far, in milliseconds.
    offset: AtomicI64,
    /// By how much it has run ahead in all.
    ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn new(wall: Wall) -> Self {
        let clock = Self {
            origin: Instant::now(),
            wall,
            offset: AtomicI64::new(0),
            ahead: AtomicU64::new(0),
        };
        clock.settle();
        clock
    }

    /// The time since the keeper began. Never goes back.
    pub(crate) fn now(&self) -> Duration {
        let (steady, offset) = self.read();
        let before = self.offset.fetch_max(offset, Ordering::Relaxed);
        let gained = u64::try_from(offset.saturating_sub(before)).unwrap_or(0);
        let ahead = self.ahead.fetch_add(gained, Ordering::Relaxed).saturating_add(gained);
        steady + Duration::from_millis(ahead)
    }

    /// Takes the wall clock as right, wherever it was set to, and goes on from there.
    pub(crate) fn settle(&self) {
        let (_, offset) = self.read();
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The time since the keeper began of something that happened lately, at this time by the wall clock.
    pub(crate) fn at(&self, wall: Timestamp) -> Duration {
        let ago = self.wall().as_millis().saturating_sub(wall.as_millis());
        self.now().saturating_sub(Duration::from_millis(ago))
    }

    pub(crate) fn wall(&self) -> Timestamp {
        (self.wall)()
    }

    fn read(&self) -> (Duration, i64) {
        let steady = self.origin.elapsed();
        let wall = i64::try_from(self.wall().as_millis()).unwrap_or(i64::MAX);
        (steady, wall.saturating_sub(i64::try_from(steady.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The clock of the operating system: on Linux the one that is right to 4 ms, since it costs a fifth of the other.
#[cfg(target_os = "linux")]
pub(crate) fn system() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let millis = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The clock of the operating system.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the edge, where the keeper's default clock is read")]
pub(crate) fn system() -> Timestamp {
    let now = std::time::SystemTime::now();
    let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> (Clock, Arc<AtomicU64>) {
        let wall = Arc::new(AtomicU64::new(1_000_000));
        let read = wall.clone();
        (Clock::new(Arc::new(move || Timestamp::from_millis(read.load(Ordering::Relaxed)))), wall)
    }

    #[tokio::test(start_paused = true)]
    async fn row_276_time_passes_while_only_the_steady_clock_runs() {
        let (clock, _wall) = clock();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn row_276_a_suspended_machine_has_aged() {
        let (clock, wall) = clock();
        wall.fetch_add(3_600_000, Ordering::Relaxed);
        assert_eq!(clock.now(), Duration::from_secs(3600));
        // Asking again does not age it again.
        assert_eq!(clock.now(), Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn row_276_a_wall_clock_that_was_set_back_does_not_make_time_go_back() {
        let (clock, wall) = clock();
        tokio::time::advance(Duration::from_secs(60)).await;
        wall.fetch_sub(900_000, Ordering::Relaxed);
        assert_eq!(clock.now(), Duration::from_secs(60));
        // Settled there, a suspension is noticed again.
        clock.settle();
        wall.fetch_add(120_000, Ordering::Relaxed);
        assert_eq!(clock.now(), Duration::from_secs(180));
    }
}
