//! A copy of a status list, and for how long it says something.

use std::ops::Range;
use std::time::Duration;

use tokenry_core::Timestamp;
use tokenry_core::status_list::{Status, StatusList, StatusListError, StatusListToken};
use tokio::time::Instant;

/// The shortest `ttl` obeyed: twelve requests a minute for a list are enough, whatever an issuer wants.
const MIN_TTL: Duration = Duration::from_secs(5);

/// The longest: what takes longer to hear of a revocation than to fetch the keys anew is not worth it.
const MAX_TTL: Duration = Duration::from_mins(5);

/// Where a list has no `ttl`.
const DEFAULT_TTL: Duration = Duration::from_mins(1);

/// How long a copy without `exp` is used after its `ttl` while no newer one can be had.
const GRACE: Duration = Duration::from_mins(5);

/// How long a copy is used at most, whatever its `exp`: as long as keys are.
const MAX_AGE: Duration = Duration::from_hours(24);

/// How soon a token is looked at again whose copy should have been replaced.
const SOON: Duration = Duration::from_secs(5);

/// When a fetch began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

/// A copy of a list that was found good.
#[derive(Debug)]
pub(super) struct Copy {
    list: StatusList,
    issued_at: Timestamp,
    began: Began,
    ttl: Duration,
    /// When it says nothing any more.
    expires_at: Timestamp,
}

impl Copy {
    pub(super) fn new(token: StatusListToken, began: Began, leeway: Duration) -> Self {
        let ttl = token.ttl.unwrap_or(DEFAULT_TTL).clamp(MIN_TTL, MAX_TTL);
        let expires_at = match token.expires_at {
            Some(exp) => (exp + leeway).min(began.at + MAX_AGE),
            None => began.at + ttl + GRACE,
        };
        Self { list: token.list, issued_at: token.issued_at, began, ttl, expires_at }
    }

    /// Whether it says anything now. It ends by either clock, so that one that is set back does not lengthen its life.
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        let life = self.expires_at.since(self.began.at);
        now < self.expires_at && self.began.instant.elapsed() < life
    }

    /// The time for which what it says now may be believed without looking again.
    pub(super) fn good(&self, now: Timestamp) -> Range<Timestamp> {
        let fresh_until = (self.began.at + self.ttl).max(now + SOON);
        // Requests that have waited for it are a little older, and a clock that is set back ends it, too.
        self.began.at - self.ttl..fresh_until.min(self.expires_at)
    }

    pub(super) fn status(&self, idx: u64) -> Result<Status, StatusListError> {
        self.list.status(idx)
    }

    /// Whether another says the same of every token.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.list == other.list
    }

    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.issued_at < other.issued_at
    }

    /// How many bytes it takes.
    pub(super) const fn size(&self) -> usize {
        self.list.size()
    }

    /// When to fetch the next: before its time is over, so that no token waits for it.
    pub(super) fn refresh_at(&self) -> Instant {
        let life = self.expires_at.since(self.began.at);
        self.began.instant + self.ttl.min(life) * 4 / 5
    }

    /// How long it is held without being asked: a token that is remembered is looked at again within a `ttl`.
    pub(super) fn idle(&self) -> Duration {
        self.ttl * 2
    }
}
