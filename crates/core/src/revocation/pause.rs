//! How long to wait before a feed is asked for again. A function of its arguments.

use std::time::Duration;

/// The upper end of the first pause: a server that was restarted, or a proxy that cuts long answers, must not cost the
/// second within which revocations arrive.
const FIRST: Duration = Duration::from_millis(250);
/// The lower end of every pause, since jitter may draw zero, many times in a row.
const FLOOR: Duration = Duration::from_millis(50);
/// What is waited at most because the issuer asks for it.
const RETRY_AFTER_CAP: Duration = Duration::from_mins(1);
/// By how much of itself a pause that others are told as well is lengthened at most, so that not all come at once.
const SPREAD: f64 = 0.25;
/// After the first refusal, and after many: somebody has to change something first, or has done so a moment ago, and not
/// every node knows of it.
const REFUSED: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(1)];
/// Where there is no feed: an issuer learns it by an upgrade.
const NO_FEED: Duration = Duration::from_mins(5);

/// What came of the last try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It may go better next time.
    Failed {
        /// When the issuer wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It goes better once somebody has changed something.
    Refused,
    /// There is nothing to ask for.
    NoFeed,
}

/// The pause after as many failures in a row, where `roll` is in `[0, 1)`. `cap` is the upper end of every pause after a
/// failure: how much longer than an outage a follower may be behind.
pub fn pause(outcome: Outcome, failures: u32, cap: Duration, roll: f64) -> Duration {
    let roll = if roll.is_finite() { roll.clamp(0.0, 1.0) } else { 1.0 };
    let about = |pause: Duration| pause.mul_f64(1.0 + SPREAD * roll).max(FLOOR);
    match outcome {
        Outcome::Failed { retry_after: Some(after) } => about(after.min(RETRY_AFTER_CAP)),
        Outcome::Failed { retry_after: None } => {
            doubled(FIRST, failures).min(cap).mul_f64(roll).max(FLOOR)
        }
        Outcome::Refused => about(doubled(REFUSED[0], failures).min(REFUSED[1])),
        Outcome::NoFeed => about(NO_FEED),
    }
}

/// The first pause, doubled with every further failure.
fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_never_nothing() {
        let failed = Outcome::Failed { retry_after: None };
        let ms = |failures, roll| pause(failed, failures, CAP, roll).as_millis();
        assert_eq!([1, 2, 3, 4].map(|n| ms(n, 1.0)), [250, 500, 1000, 2000]);
        for failures in [8, 9, 40, u32::MAX] {
            assert_eq!(ms(failures, 1.0), 5_000, "{failures}");
        }
        for failures in [0, 1, 40, u32::MAX] {
            assert_eq!(ms(failures, 0.0), 50, "{failures}");
        }
        // Numbers that nobody should draw.
        for roll in [-1.0, 5.0, f64::NAN, f64::INFINITY] {
            assert!((50..=5_000).contains(&ms(40, roll)), "{roll}");
        }
    }

    #[test]
    fn the_issuer_is_obeyed_within_bounds() {
        let secs = |after, roll| {
            let after = Some(Duration::from_secs(after));
            pause(Outcome::Failed { retry_after: after }, 1, CAP, roll).as_secs_f64()
        };
        for (after, roll, expected) in [
            (8, 0.0, 8.0),
            (8, 1.0, 10.0),
            (3600, 0.0, 60.0),
            (u64::MAX, 1.0, 75.0),
            (0, 0.0, 0.05),
        ] {
            assert!((secs(after, roll) - expected).abs() < 1e-9, "{after} {roll}");
        }
        let refused =
            [1, 2, 3, 4, 5, u32::MAX].map(|n| pause(Outcome::Refused, n, CAP, 0.0).as_secs());
        assert_eq!(refused, [5, 10, 20, 40, 60, 60]);
        assert_eq!(pause(Outcome::NoFeed, 9, CAP, 0.0), NO_FEED);
    }
}
