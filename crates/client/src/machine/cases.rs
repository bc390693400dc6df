//! Runs the cases of `tests/cases/`.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[expect(dead_code, reason = "read by whoever counts which rows are proven")]
    row: Option<u16>,
    #[serde(default)]
    policy: PolicyChange,
    steps: Vec<Step>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyChange {
    share: Option<f64>,
    patience: Option<u64>,
    credentials_interval: Option<u64>,
    use_refresh_tokens: Option<bool>,
    grace: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: u64,
    input: CaseInput,
    roll: Option<f64>,
    actions: Option<Vec<String>>,
    phase: Option<String>,
    // Present and null means: not of its own accord.
    #[serde(default, deserialize_with = "present")]
    wake: Option<Option<u64>>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CaseInput {
    Asked,
    Timer,
    Restored,
    RestoredInDoubt {
        until: u64,
    },
    Served(u64),
    Granted {
        lifetime: u64,
        refresh_token: Option<CaseRefresh>,
    },
    Refused,
    Failed {
        retry_after: Option<u64>,
        #[serde(default)]
        maybe_spent: bool,
    },
    Invalidated(u64),
    Revoked {
        generation: u64,
        not_before: Option<u64>,
        #[serde(default)]
        with_refresh_token: bool,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum CaseRefresh {
    For(u64),
    Word(Word),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Forever,
    Unstored,
}

impl CaseInput {
    fn input(self, roll: f64) -> Input {
        let ms = Duration::from_millis;
        match self {
            Self::Asked => Input::Asked,
            Self::Timer => Input::Timer,
            Self::Restored => Input::Restored { until: None },
            Self::RestoredInDoubt { until } => Input::Restored { until: Some(ms(until)) },
            Self::Served(at) => Input::Served { at: ms(at) },
            Self::Granted { lifetime, refresh_token } => {
                let refresh_token = match refresh_token {
                    None => Received::Absent,
                    Some(CaseRefresh::For(lifetime)) => {
                        Received::Present { lifetime: Some(ms(lifetime)) }
                    }
                    Some(CaseRefresh::Word(Word::Forever)) => Received::Present { lifetime: None },
                    Some(CaseRefresh::Word(Word::Unstored)) => Received::Unstored,
                };
                Input::Granted { lifetime: ms(lifetime), refresh_token, roll }
            }
            Self::Refused => Input::Failed { failure: Failure::Refused, maybe_spent: false, roll },
            Self::Failed { retry_after, maybe_spent } => {
                let retry_after = retry_after.map(ms);
                Input::Failed { failure: Failure::Transient { retry_after }, maybe_spent, roll }
            }
            Self::Invalidated(generation) => Input::Invalidated { generation },
            Self::Revoked { generation, not_before, with_refresh_token } => {
                let not_before = ms(not_before.unwrap_or_default());
                Input::Revoked(Revoked { generation, not_before, with_refresh_token, roll })
            }
        }
    }
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Request(Grant::Credentials) => "request credentials",
        Action::Request(Grant::Refresh) => "request refresh",
        Action::Release => "release",
        Action::Fail => "fail",
        Action::Withdraw => "withdraw",
        Action::ForgetRefreshToken => "forget refresh token",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Empty => "empty",
        Phase::Fetching => "fetching",
        Phase::HeldBack => "held_back",
        Phase::Good => "good",
        Phase::Renewing => "renewing",
        Phase::Retrying => "retrying",
    }
}

fn policy(change: &PolicyChange) -> Policy {
    let mut policy = Policy::of_instance(0.5);
    if let Some(share) = change.share {
        policy.share = share;
    }
    if let Some(patience) = change.patience {
        policy.patience = Duration::from_millis(patience);
    }
    if let Some(interval) = change.credentials_interval {
        policy.credentials_interval = Duration::from_millis(interval);
    }
    if let Some(use_refresh_tokens) = change.use_refresh_tokens {
        policy.use_refresh_tokens = use_refresh_tokens;
    }
    if let Some(grace) = change.grace {
        policy.grace = Duration::from_millis(grace);
    }
    policy
}

fn run(file: &str) {
    let cases: Vec<Case> = serde_json::from_str(file).unwrap();
    for case in cases {
        let mut machine = Machine::new(policy(&case.policy));
        for (index, step) in case.steps.iter().enumerate() {
            let here = format!("{:?}, step {index}", case.name);
            let now = Duration::from_millis(step.at);
            let actions = machine.step(step.input.input(step.roll.unwrap_or(0.5)), now);
            if let Some(expected) = &step.actions {
                let actions: Vec<_> = actions.iter().map(action_name).collect();
                assert_eq!(actions, *expected, "{here}: actions");
            }
            if let Some(expected) = &step.phase {
                assert_eq!(phase_name(machine.phase(now)), expected, "{here}: phase");
            }
            if let Some(expected) = step.wake {
                // A duration that a share was taken of may be off by a fraction of a millisecond.
                let wake = machine.wake_at().map(|at| at.as_micros().div_ceil(1000));
                assert_eq!(wake, expected.map(u128::from), "{here}: wake");
            }
        }
    }
}

#[test]
fn the_renewal_cases_hold() {
    run(include_str!("../../tests/cases/renewal.json"));
}

#[test]
fn the_failure_cases_hold() {
    run(include_str!("../../tests/cases/failure.json"));
}

#[test]
fn the_invalidation_cases_hold() {
    run(include_str!("../../tests/cases/invalidation.json"));
}

#[test]
fn the_revocation_cases_hold() {
    run(include_str!("../../tests/cases/revocation.json"));
}

#[test]
fn the_doubt_cases_hold() {
    run(include_str!("../../tests/cases/doubt.json"));
}
