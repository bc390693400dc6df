//! The numbers of the keeper's policy, each with its reason.

use std::time::Duration;

/// The middle of the share of a token's lifetime after which it is renewed.
///
/// A share, never a fixed margin: a margin of 60 s or 5 min makes common libraries fetch on every call when tokens
/// live that long.
const SHARE: f64 = 0.75;

/// How far from the middle an instance's share may lie, so that a fleet that started together drifts apart.
///
/// The smallest share decides how many tokens a steady client asks for: 1 / 0.72 = 1.39 per lifetime. No instance may
/// ask for more than 1.4, whatever it drew.
const SHARE_SPREAD: f64 = 0.03;

/// The hard margin before expiry, inside which a token is not handed out, is at most this: longer than any request
/// should take to arrive, and than clocks usually differ.
const MARGIN_CAP: Duration = Duration::from_secs(30);

/// The hard margin as a share of the lifetime, for tokens that live less than 200 s. With the largest share above,
/// it leaves 7 % of the lifetime to renew in before a caller has to wait.
const MARGIN_SHARE: f64 = 0.15;

/// The upper end of the first backoff: a hiccup is over by then.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// The upper end of every later backoff: an outage ends unnoticed for at most this long.
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// The lower end of every backoff, since full jitter may draw zero, many times in a row.
const BACKOFF_FLOOR: Duration = Duration::from_millis(50);

/// A `Retry-After` beyond this is taken for this: a nonsense value must not park the keeper for good.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60 * 60);

/// How much is added to a `Retry-After` at most, as a share of it, so that a fleet does not return as one.
const RETRY_AFTER_SPREAD: f64 = 0.1;

/// How long a refusal is remembered: long enough that a thousand callers are one request, short enough that a
/// repaired registration is noticed at once.
const REFUSAL_HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Between refusals of background renewals, which nobody waits for.
const REFUSAL_RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(30));

/// How long a caller waits for the next attempt before it gets the last error.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long those who nobody waits for take at most to follow a revocation, which may concern all clients of a server at
/// once. Short enough that the next caller, in most cases, finds a token.
const REVOCATION_SPREAD: Duration = Duration::from_millis(500);

/// No token is trusted for longer, whatever the server says.
const LIFETIME_CAP: Duration = Duration::from_secs(24 * 60 * 60);

/// The end of a server's grace in which a doubtful refresh token is no longer sent is at most this: longer than a
/// request usually takes to arrive. One that takes longer costs its family, and credentials begin another.
const GRACE_MARGIN_CAP: Duration = Duration::from_secs(5);

/// The same as a share of the grace, for those of less than 20 s.
const GRACE_MARGIN_SHARE: f64 = 0.25;

/// An answer that arrives late starts the next renewal no sooner than after this fraction of the lifetime.
pub(super) const RENEWALS_PER_LIFETIME: u32 = 4;

/// The longest that a token has to have lived before a refusal of it is believed.
pub(super) const DOUBT_CAP: Duration = Duration::from_secs(60);

/// The policy of one keeper.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// The share of its lifetime after which a token is renewed.
    pub share: f64,
    /// How long a caller waits for the next attempt before it gets the last error.
    pub patience: Duration,
    /// The shortest time between the answer to credentials and sending them again.
    pub credentials_interval: Duration,
    /// Whether refresh tokens are used at all.
    pub use_refresh_tokens: bool,
    /// For how long after it was first sent a refresh token that may be used up is sent again.
    pub grace: Duration,
}

impl Policy {
    /// The default policy of the instance that drew `roll`, a random number in `[0, 1)`: a share of 75 % ± 3 %.
    pub fn of_instance(roll: f64) -> Self {
        Self {
            share: SHARE + (2.0 * roll.clamp(0.0, 1.0) - 1.0) * SHARE_SPREAD,
            patience: PATIENCE,
            credentials_interval: Duration::ZERO,
            use_refresh_tokens: true,
            grace: Duration::ZERO,
        }
    }

    /// How much of a server's grace is used: the rest is for the request to arrive in.
    pub(crate) fn usable_grace(grace: Duration) -> Duration {
        grace.saturating_sub(grace.mul_f64(GRACE_MARGIN_SHARE).min(GRACE_MARGIN_CAP))
    }

    /// How long before its expiry a token of this lifetime is no longer handed out.
    pub fn margin(&self, lifetime: Duration) -> Duration {
        lifetime.mul_f64(MARGIN_SHARE).min(MARGIN_CAP)
    }

    /// How long a token that claims this lifetime is trusted.
    pub(super) fn lifetime(&self, claimed: Duration) -> Duration {
        claimed.min(LIFETIME_CAP)
    }

    /// How long to wait after the failure that follows `failures` others.
    pub(super) fn backoff(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
        roll: f64,
    ) -> Duration {
        if let Some(after) = retry_after {
            let after = after.min(RETRY_AFTER_CAP);
            return after.mul_f64(1.0 + RETRY_AFTER_SPREAD * roll).max(BACKOFF_FLOOR);
        }
        let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let ceiling = BACKOFF_FIRST.saturating_mul(doubled).min(BACKOFF_CAP);
        ceiling.mul_f64(roll).max(BACKOFF_FLOOR)
    }

    /// How long callers are told of a refusal without asking the server again.
    pub(super) fn refusal_hold(&self, roll: f64) -> Duration {
        between(REFUSAL_HOLD, roll)
    }

    /// How long after a revocation the keeper asks for another token, if nobody waits for it.
    pub(super) fn revocation_spread(&self, roll: f64) -> Duration {
        between((Duration::ZERO, REVOCATION_SPREAD), roll)
    }

    /// How long after a refusal the keeper tries again of its own accord.
    pub(super) fn refusal_retry(&self, roll: f64) -> Duration {
        between(REFUSAL_RETRY, roll)
    }
}

/// How old a token has to be before it is believed to be bad, after `withdrawn` others in a row.
pub(super) fn doubt(withdrawn: u32) -> Duration {
    // Two revocations in quick succession happen; more are an API that refuses every token.
    let Some(doublings) = withdrawn.checked_sub(2) else { return Duration::ZERO };
    let doubled = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    Duration::from_secs(1).saturating_mul(doubled).min(DOUBT_CAP)
}

fn between((low, high): (Duration, Duration), roll: f64) -> Duration {
    low + (high - low).mul_f64(roll)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_draw_asks_for_more_than_1_4_tokens_per_lifetime_or_leaves_no_time_to_renew() {
        for roll in [0.0, 0.25, 0.5, 0.75, 0.999, 1.0] {
            let Policy { share, .. } = Policy::of_instance(roll);
            assert!(1.0 / share <= 1.4, "{roll}: {share}");
            assert!(1.0 - MARGIN_SHARE - share >= 0.05, "{roll}: {share}");
        }
    }
}
