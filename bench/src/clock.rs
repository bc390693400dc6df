//! The one place where a benchmark reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring how long something takes.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for the claims of a token.
#[expect(clippy::disallowed_methods, reason = "the bound signs tokens of today")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
