//! Fairness under overload: who asks for more than their share is turned away first.
//!
//! As long as requests are answered at once, everybody is answered. When they queue up, there is a level: so many
//! requests of one client are answered per window, and the rest is refused with 503 before a secret is compared or a
//! token signed. The level falls by a fifth per window while requests still queue, down to twice an equal share, and
//! rises by a quarter when they do not. Where nobody asks for much more than the others nobody is refused: that
//! would cost work and help no one.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How long a moment is. Short enough to react, long enough to have seen what clients do.
const WINDOW: Duration = Duration::from_millis(100);

/// How late a task may run before the server counts as overloaded. Far more than any single answer takes.
const LATE: Duration = Duration::from_millis(20);

/// In how many cells clients are counted. Two clients in one cell share its level for the life of the process; with
/// a thousand cells and a keyed hash nobody can aim for another's.
const CELLS: usize = 1024;

/// A level that nobody reaches.
const NO_LEVEL: u32 = u32::MAX;

/// Counts requests per client, and refuses those above the level.
pub(crate) struct Admission {
    asked: Box<[AtomicU32]>,
    level: AtomicU32,
    /// By how many microseconds tasks ran late in this window, where they ran latest.
    late: AtomicU64,
    keys: RandomState,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            asked: (0..CELLS).map(|_| AtomicU32::new(0)).collect(),
            level: AtomicU32::new(NO_LEVEL),
            late: AtomicU64::new(0),
            keys: RandomState::new(),
        }
    }
}

impl Admission {
    /// Counts a request of a client; whether it is answered.
    pub(crate) fn admits(&self, realm: &str, client: &str) -> bool {
        let cell = self.keys.hash_one((realm, client)) as usize % CELLS;
        let before = self.asked[cell].fetch_add(1, Ordering::Relaxed);
        before < self.level.load(Ordering::Relaxed)
    }

    /// Ends a window; `late` is by how much tasks run late.
    fn turn(&self, late: Duration) {
        let asked: Vec<u32> =
            self.asked.iter().map(|cell| cell.swap(0, Ordering::Relaxed)).collect();
        let before = self.level.load(Ordering::Relaxed);
        let after = level(&asked, before, late >= LATE);
        self.level.store(after, Ordering::Relaxed);
        if before == NO_LEVEL && after != NO_LEVEL {
            tracing::warn!(level = after, "overload: clients above their share are turned away");
        }
    }

    /// Sets the level from window to window, for ever.
    pub(crate) async fn watch(&self) {
        let mut windows = windows();
        loop {
            windows.tick().await;
            self.turn(Duration::from_micros(self.late.swap(0, Ordering::Relaxed)));
        }
    }

    /// Feels how late tasks run where this one runs, for ever.
    pub(crate) async fn feel(&self) {
        let mut windows = windows();
        loop {
            let due = windows.tick().await;
            let late = Instant::now().saturating_duration_since(due).as_micros();
            self.late.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

fn windows() -> Interval {
    let mut windows = interval(WINDOW);
    windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    windows
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("level", &self.level).finish_non_exhaustive()
    }
}

/// The next level, from what each cell asked for in a window whose level was `before`.
fn level(asked: &[u32], before: u32, late: bool) -> u32 {
    let answered = || asked.iter().map(|n| *n.min(&before)).filter(|n| *n > 0);
    let active = answered().count() as u64;
    let greatest = answered().max().unwrap_or_default();
    if !late {
        let higher = before.saturating_add(before / 4 + 1);
        return if asked.iter().any(|n| *n > higher) { higher } else { NO_LEVEL };
    }
    let share = answered().map(u64::from).sum::<u64>() / active.max(1);
    let floor = u32::try_from(2 * share.max(1)).unwrap_or(NO_LEVEL);
    if greatest <= floor { before } else { floor.max(greatest - greatest / 5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_falls_to_twice_an_equal_share_and_rises_again() {
        // (asked, level before, late, level after)
        let cases: [(&[u32], u32, bool, u32); 11] = [
            (&[], NO_LEVEL, true, NO_LEVEL),
            (&[900], NO_LEVEL, true, NO_LEVEL),
            (&[300, 310, 290], NO_LEVEL, true, NO_LEVEL),
            (&[900, 10, 10, 80], NO_LEVEL, false, NO_LEVEL),
            (&[900, 10, 10, 80], NO_LEVEL, true, 720),
            (&[9000, 10, 10, 80], 720, true, 576),
            (&[9000, 30, 30, 40], 200, true, 160),
            (&[9000, 100, 100, 100], 110, true, 110),
            (&[9000, 100, 100, 100], 100, false, 126),
            (&[120, 100, 100, 100], 100, false, NO_LEVEL),
            (&[u32::MAX, u32::MAX, 1], u32::MAX - 1, true, u32::MAX - 1),
        ];
        for (asked, before, late, after) in cases {
            assert_eq!(level(asked, before, late), after, "{asked:?} {before} {late}");
        }
    }

    /// How many requests of each client are answered in a window in which each asks so often.
    fn answered<const N: usize>(admission: &Admission, asked: [(&str, u32); N]) -> [u32; N] {
        asked.map(|(client, n)| (0..n).filter(|_| admission.admits("r", client)).count() as u32)
    }

    #[test]
    fn without_a_queue_nobody_is_refused() {
        let admission = Admission::default();
        for _ in 0..3 {
            assert_eq!(answered(&admission, [("greedy", 10_000), ("modest", 10)]), [10_000, 10]);
            admission.turn(Duration::ZERO);
        }
    }

    #[test]
    fn with_a_queue_the_greedy_are_refused_and_the_modest_are_not() {
        let admission = Admission::default();
        let mut last = u32::MAX;
        for _ in 0..30 {
            let [greedy, modest, other] =
                answered(&admission, [("greedy", 10_000), ("modest", 10), ("other", 20)]);
            assert_eq!((modest, other), (10, 20));
            assert!(greedy <= last);
            last = greedy;
            admission.turn(LATE);
        }
        assert!(last < 1000, "{last}");
        for _ in 0..30 {
            admission.turn(Duration::ZERO);
        }
        assert_eq!(answered(&admission, [("greedy", 10_000)]), [10_000]);
    }
}
