//! Points in time, as arguments: nothing in this crate reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since the Unix epoch (1970-01-01T00:00:00Z, leap seconds not counted).
///
/// Arithmetic saturates: a lifetime of a thousand years is far away, never a panic.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch. As a "not before" it forbids nothing.
    pub const EPOCH: Self = Self(0);

    /// Whether it is [`EPOCH`](Self::EPOCH).
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    pub(crate) const fn is_epoch(&self) -> bool {
        self.0 == 0
    }

    /// From whole seconds since the epoch, as a JWT's `NumericDate` has them.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The same point without its fraction of a second.
    ///
    /// Tokens carry whole seconds; what a token says and what the server remembers must be equal.
    pub const fn trunc_to_secs(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// The whole second that has begun at this point, or begins next: a token's `iat` lies before a point exactly if it
    /// lies before this one.
    pub const fn ceil_to_secs(self) -> Self {
        Self::from_secs(self.0.div_ceil(1000))
    }

    /// How long it is from `earlier` until this point; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
