//! What holds for every history of a machine.

use proptest::prelude::*;

use super::*;

/// What happens next in a history, and how long after the last thing.
#[derive(Clone, Copy, Debug)]
enum Next {
    Ask,
    Serve,
    Land(Outcome),
    Invalidate { newest: bool },
    Revoke { newest: bool, ahead_ms: u64, with_refresh_token: bool },
    Wake,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Grant { lifetime_secs: u64, refresh: bool },
    Refuse,
    Fail { retry_after_secs: Option<u64>, maybe_spent: bool },
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0_u64..100_000, any::<bool>())
            .prop_map(|(lifetime_secs, refresh)| Outcome::Grant { lifetime_secs, refresh }),
        Just(Outcome::Refuse),
        (proptest::option::of(0_u64..100_000), any::<bool>()).prop_map(
            |(retry_after_secs, maybe_spent)| Outcome::Fail { retry_after_secs, maybe_spent }
        ),
    ]
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        3 => Just(Next::Ask),
        1 => Just(Next::Serve),
        3 => outcome().prop_map(Next::Land),
        1 => any::<bool>().prop_map(|newest| Next::Invalidate { newest }),
        1 => (any::<bool>(), 0_u64..5_000, any::<bool>()).prop_map(
            |(newest, ahead_ms, with_refresh_token)| Next::Revoke { newest, ahead_ms, with_refresh_token }
        ),
        3 => Just(Next::Wake),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    (0.0..1.0, 0_u64..30, 0_u64..60, any::<bool>(), 0_u64..60).prop_map(
        |(roll, patience, interval, use_refresh_tokens, grace)| Policy {
            patience: Duration::from_secs(patience),
            credentials_interval: Duration::from_secs(interval),
            use_refresh_tokens,
            grace: Duration::from_secs(grace),
            ..Policy::of_instance(roll)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_history_keeps_the_promises(
        policy in policy(),
        history in proptest::collection::vec((next(), 0_u64..400_000, 0.0..1.0), 1..80),
    ) {
        let (interval, grace) = (policy.credentials_interval, policy.grace);
        let mut machine = Machine::new(policy);
        let mut now = Duration::ZERO;
        let mut in_flight = None;
        let mut waiting = false;
        let mut answered_at: Option<Duration> = None;
        let mut sent_at = Duration::ZERO;
        // Until when a refresh token that is perhaps used up may be sent.
        let mut doubtful_until: Option<Duration> = None;
        for (next, after_ms, roll) in history {
            let mut later = now + Duration::from_millis(after_ms);
            let input = match next {
                Next::Ask => Input::Asked,
                Next::Serve => Input::Served { at: now },
                Next::Land(_) if in_flight.is_none() => continue,
                Next::Land(Outcome::Grant { lifetime_secs, refresh }) => Input::Granted {
                    lifetime: Duration::from_secs(lifetime_secs),
                    refresh_token: match refresh {
                        true => Received::Present { lifetime: None },
                        false => Received::Absent,
                    },
                    roll,
                },
                Next::Land(Outcome::Refuse) => {
                    Input::Failed { failure: Failure::Refused, maybe_spent: false, roll }
                }
                Next::Land(Outcome::Fail { retry_after_secs, maybe_spent }) => Input::Failed {
                    failure: Failure::Transient {
                        retry_after: retry_after_secs.map(Duration::from_secs),
                    },
                    maybe_spent,
                    roll,
                },
                Next::Invalidate { newest } => Input::Invalidated {
                    generation: machine.generation() - u64::from(!newest && machine.generation() > 0),
                },
                Next::Revoke { newest, ahead_ms, with_refresh_token } => {
                    let not_before = later + Duration::from_millis(ahead_ms);
                    let generation =
                        machine.generation() - u64::from(!newest && machine.generation() > 0);
                    Input::Revoked(Revoked { generation, not_before, with_refresh_token, roll })
                }
                Next::Wake => match machine.wake_at() {
                    None => continue,
                    Some(at) => {
                        later = now.max(at);
                        Input::Timer
                    }
                },
            };
            now = later;
            if let Next::Land(outcome) = next {
                let landed = in_flight.take();
                if landed == Some(Grant::Credentials) && !matches!(outcome, Outcome::Fail { .. }) {
                    answered_at = Some(now);
                }
                match (outcome, landed) {
                    (Outcome::Grant { refresh, .. }, _) if refresh || landed == Some(Grant::Credentials) => {
                        doubtful_until = None;
                    }
                    (Outcome::Fail { maybe_spent: true, .. }, Some(Grant::Refresh)) => {
                        doubtful_until.get_or_insert(sent_at + grace);
                    }
                    _ => {}
                }
            }
            waiting |= matches!(next, Next::Ask);
            for action in machine.step(input, now) {
                match action {
                    Action::Request(grant) => {
                        prop_assert!(in_flight.is_none(), "two requests in flight");
                        if grant == Grant::Credentials && let Some(answered_at) = answered_at {
                            prop_assert!(now >= answered_at + interval, "credentials in a loop");
                        }
                        if grant == Grant::Refresh {
                            let over = doubtful_until.is_some_and(|until| now >= until);
                            prop_assert!(!over, "presented what is perhaps used up");
                        }
                        in_flight = Some(grant);
                        sent_at = now;
                    }
                    Action::Release => {
                        prop_assert!(machine.generation() > 0, "released without a token");
                        waiting = false;
                    }
                    Action::Fail => {
                        prop_assert!(!machine.is_good(now), "failed with a good token");
                        waiting = false;
                    }
                    Action::Withdraw | Action::ForgetRefreshToken => {}
                }
            }
            if let Input::Revoked(_) = input {
                prop_assert!(in_flight.is_some() || machine.flight.is_none(), "asked at once");
            }
            // Nobody waits for nothing.
            prop_assert!(!waiting || in_flight.is_some() || machine.wake_at().is_some());
            // A timer that came leaves nothing due: it would come again at once, for ever.
            if matches!(input, Input::Timer) {
                prop_assert!(machine.wake_at().is_none_or(|at| at > now), "a hot loop");
            }
        }
    }
}
