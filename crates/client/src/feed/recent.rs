//! What was revoked lately, for tokens that are on their way meanwhile.

use std::collections::VecDeque;

use tokenry_core::revocation::{Ended, Marks};

/// How many are remembered: more than can be told while a token request is in flight.
const LIMIT: usize = 64;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Ended>);

impl Recent {
    pub(super) fn add(&mut self, ended: Ended) {
        if self.0.len() >= LIMIT {
            self.0.pop_front();
        }
        self.0.push_back(ended);
    }

    /// What has ended this token, if anything has: where there is more than one, what ends the most.
    pub(super) fn covering(&self, token: &Marks<'_>) -> Option<&Ended> {
        self.0.iter().filter(|ended| ended.covers(token)).max_by_key(|ended| not_before(ended))
    }
}

/// The point before which all tokens have ended.
pub(super) const fn not_before(ended: &Ended) -> Option<tokenry_core::Timestamp> {
    match ended {
        Ended::Client { not_before, .. }
        | Ended::Subject { not_before, .. }
        | Ended::All { not_before } => Some(*not_before),
        Ended::Token(_) | Ended::Key(_) => None,
    }
}
