//! What the demo shows: one line per thing that happened, and at the end what did not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::output::{Output, print};

/// What has to happen, each at least once.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Step {
    Started,
    Obtained,
    Used,
    RefreshedInBackground,
    KeptTheFirstRefreshToken,
    RefusedEarly,
    Recovered,
    AnswerLost,
    AnswerRepaired,
    RefreshTokenExpired,
    FellBackToThePassword,
    StagingRefused,
    NothingWaited,
}

impl Step {
    const ALL: [Self; 13] = [
        Self::Started,
        Self::Obtained,
        Self::Used,
        Self::RefreshedInBackground,
        Self::KeptTheFirstRefreshToken,
        Self::RefusedEarly,
        Self::Recovered,
        Self::AnswerLost,
        Self::AnswerRepaired,
        Self::RefreshTokenExpired,
        Self::FellBackToThePassword,
        Self::StagingRefused,
        Self::NothingWaited,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Obtained => "obtained",
            Self::Used => "used",
            Self::RefreshedInBackground => "refreshed_in_background",
            Self::KeptTheFirstRefreshToken => "kept_the_first_refresh_token",
            Self::RefusedEarly => "refused_early",
            Self::Recovered => "recovered",
            Self::AnswerLost => "answer_lost",
            Self::AnswerRepaired => "answer_repaired",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::FellBackToThePassword => "fell_back_to_the_password",
            Self::StagingRefused => "staging_refused",
            Self::NothingWaited => "nothing_waited",
        }
    }

    /// What the step shows, for the end of the story.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Started => {
                "a server on SQLite with the vendors' realms, and APIs behind the verifier"
            }
            Self::Obtained => "every keeper obtained a token",
            Self::Used => "every API accepted its token",
            Self::RefreshedInBackground => {
                "every token was refreshed before it expired, in the background"
            }
            Self::KeptTheFirstRefreshToken => {
                "where a refresh brings no refresh token, the first one stays in use"
            }
            Self::RefusedEarly => "an API refused a token before its time, with 401",
            Self::Recovered => "the same call succeeded with a new token",
            Self::AnswerLost => "the answer to a rotation was lost on the way",
            Self::AnswerRepaired => "asking again gave the same refresh token, byte for byte",
            Self::RefreshTokenExpired => {
                "a refresh token expired while nobody asked, and was refused with 401"
            }
            Self::FellBackToThePassword => "the keeper went back to the password, once",
            Self::StagingRefused => "credentials of staging do not work in production",
            Self::NothingWaited => "no call failed, and none waited while a token was good",
        }
    }
}

/// The lines so far.
#[derive(Clone)]
pub(super) struct Timeline {
    output: Output,
    began: Instant,
    done: Arc<Mutex<BTreeSet<Step>>>,
}

impl Timeline {
    /// Begins to count.
    pub(super) fn start(output: Output) -> Self {
        Self { output, began: Instant::now(), done: Arc::default() }
    }

    /// A line about somebody; `step` is what it proves.
    pub(super) fn say(&self, who: &str, step: Option<Step>, text: &str) {
        if let Some(step) = step {
            self.done().insert(step);
        }
        let at = self.began.elapsed();
        if self.output.is_json() {
            let line = json!({
                "at_ms": u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                "who": who,
                "step": step.map(Step::name),
                "text": text,
            });
            print(&line.to_string());
        } else {
            let mark = if step.is_some() { "✓" } else { " " };
            print(&format!("{:6.2} s  {mark} {who:<18}  {text}", at.as_secs_f64()));
        }
    }

    /// A line for people that tells them what they are going to see.
    pub(super) fn heading(&self, text: &str) {
        if !self.output.is_json() {
            print(&format!("\n{text}"));
        }
    }

    /// Says what happened and what did not; gives whether all of it did.
    pub(super) fn conclude(&self) -> bool {
        let done = self.done();
        let missing: Vec<Step> =
            Step::ALL.into_iter().filter(|step| !done.contains(step)).collect();
        if self.output.is_json() {
            let names = |steps: &mut dyn Iterator<Item = &Step>| {
                steps.map(|s| s.name()).collect::<Vec<_>>()
            };
            let line = json!({
                "complete": missing.is_empty(),
                "took_ms": u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "done": names(&mut done.iter()),
                "missing": names(&mut missing.iter()),
            });
            print(&line.to_string());
        } else {
            print("\nWhat you saw");
            for step in Step::ALL {
                let mark = if done.contains(&step) { "✓" } else { "✗ did not happen:" };
                print(&format!("  {mark} {}", step.meaning()));
            }
            print(&format!("\n{} steps in {}", done.len(), seconds(self.began.elapsed())));
        }
        missing.is_empty()
    }

    fn done(&self) -> MutexGuard<'_, BTreeSet<Step>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration as people read it.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
