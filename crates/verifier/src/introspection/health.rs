//! When an issuer that does not answer is asked again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many questions in a row may fail before there is a pause: a connection that breaks is no outage.
const TOLERATED: u32 = 3;
/// The first pause; it doubles with each failure after it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. Requests wait for the end of it, and six questions a minute are no burden.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Whether an issuer answers. In a pause nothing is asked, and after it one question, until there is an answer.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    paused_until: Option<Instant>,
    trying: bool,
}

/// A question that may be put; how it ends is to be said.
#[derive(Debug)]
#[must_use = "nothing more is asked before it is known how it ended"]
pub(super) struct Try {
    /// Whether it is the one after a pause.
    first: bool,
}

impl Health {
    /// Whether something may be asked now.
    ///
    /// # Errors
    ///
    /// When to come again.
    pub(super) fn admit(&self) -> Result<Try, Duration> {
        let mut state = self.state();
        let Some(until) = state.paused_until else { return Ok(Try { first: false }) };
        let left = until.saturating_duration_since(Instant::now());
        if state.trying || !left.is_zero() {
            return Err(left.max(FIRST_PAUSE));
        }
        state.trying = true;
        Ok(Try { first: true })
    }

    /// There was an answer, whatever it said. Gives whether there had been none before.
    pub(super) fn answered(&self, _: Try) -> bool {
        std::mem::take(&mut *self.state()).failures > 0
    }

    /// There was no answer. Gives whether that is the first time.
    pub(super) fn failed(&self, one: Try) -> bool {
        let mut state = self.state();
        // What was asked before a pause, and fails in it, says nothing new.
        if !one.first && state.paused_until.is_some() {
            return false;
        }
        state.trying = false;
        state.failures = state.failures.saturating_add(1);
        if state.failures >= TOLERATED {
            let doublings = (state.failures - TOLERATED).min(16);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE);
            state.paused_until = Some(Instant::now() + pause);
        }
        state.failures == 1
    }

    /// Whether the last question had no answer.
    pub(super) fn is_failing(&self) -> bool {
        self.state().failures > 0
    }

    /// Whether it is in a pause. After it somebody has to be let ask, or nobody would ever know that there are answers.
    pub(super) fn is_paused(&self) -> bool {
        self.state().paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn pauses_get_longer_and_one_question_ends_each() {
        let health = Health::default();
        for i in 0..TOLERATED {
            assert_eq!(health.failed(health.admit().unwrap()), i == 0);
        }
        for secs in [1, 2, 4, 8, 10, 10] {
            assert_eq!(health.admit().unwrap_err(), SECOND * secs);
            assert!(health.is_paused() && health.is_failing());
            advance(SECOND * secs).await;
            assert!(!health.is_paused() && health.is_failing());
            let one = health.admit().unwrap();
            assert_eq!(health.admit().unwrap_err(), SECOND, "one at a time");
            assert!(!health.failed(one));
        }
        advance(SECOND * 10).await;
        assert!(health.answered(health.admit().unwrap()));
        assert!(!health.is_paused() && !health.is_failing());
        assert!(!health.answered(health.admit().unwrap()));
        assert!(health.failed(health.admit().unwrap()), "forgotten with the first answer");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_fail_together_are_one_outage() {
        let health = Health::default();
        let many: Vec<Try> = (0..64).map(|_| health.admit().unwrap()).collect();
        for one in many {
            let _ = health.failed(one);
        }
        assert_eq!(health.admit().unwrap_err(), FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_straggler_does_not_end_the_try_of_another() {
        let health = Health::default();
        let straggler = health.admit().unwrap();
        for _ in 0..TOLERATED {
            let _ = health.failed(health.admit().unwrap());
        }
        advance(SECOND).await;
        let _one = health.admit().unwrap();
        assert!(!health.failed(straggler));
        assert_eq!(health.admit().unwrap_err(), SECOND);
    }
}
