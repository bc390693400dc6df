//! How many lines of the log requests may cause: whoever sends bad tokens must not be able to fill a disk with them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokenry_core::Timestamp;

/// How many requests of one kind have a line of their own in each span of time: enough to see who it is and why.
const LINES: u32 = 20;

/// The span. It is also how late it is told how many had no line.
pub(super) const SPAN: Duration = Duration::from_secs(10);

/// Counts the requests of one kind.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Timestamp,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// Whether a request gets a line now. One that gets none is counted.
    pub(super) fn take(&self, now: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back begins a span as well.
        if now < state.began || now.since(state.began) >= SPAN {
            (state.began, state.written) = (now, 0);
        }
        if state.written < LINES {
            state.written += 1;
            return true;
        }
        state.left_out += 1;
        false
    }

    /// How many have had no line since this was asked last.
    pub(super) fn left_out(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_a_line_and_the_others_are_counted() {
        let lines = Lines::default();
        let at = |secs: u64| Timestamp::from_secs(1_000_000 + secs);
        let written = |secs, of: u32| (0..of).filter(|_| lines.take(at(secs))).count();
        assert_eq!(written(0, 200), 20);
        assert_eq!(written(9, 5), 0);
        assert_eq!((lines.left_out(), lines.left_out()), (185, 0));
        assert_eq!(written(10, 25), 20);
        assert_eq!(written(0, 1), 1, "a clock that is set back");
        assert_eq!(lines.left_out(), 5);
    }
}
