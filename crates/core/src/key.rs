//! The life of a signing key: *announced → signing → retired → gone*.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::jose::Algorithm;
use crate::realm::KeyPolicy;

/// A signing key as stored: its private half sealed, its life written down beforehand.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyRecord {
    /// The realm it signs for.
    pub realm: String,
    /// Its name in the JWKS and in token headers.
    pub kid: String,
    /// The one algorithm it is used with.
    pub algorithm: Algorithm,
    /// PKCS#8, sealed under the master key (see [`MasterKey::seal`](crate::master::MasterKey::seal)).
    pub sealed: Vec<u8>,
    /// When it was first published.
    pub announced_at: Timestamp,
    /// When it begins to sign.
    pub signs_at: Timestamp,
    /// When its successor took over; it signs no more, and is still published.
    pub retired_at: Option<Timestamp>,
    /// When it leaves the JWKS.
    pub gone_at: Option<Timestamp>,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Published, not yet signing.
    Announced,
    /// Published and good for signing.
    Signing,
    /// Published, no longer signing.
    Retired,
    /// Neither published nor trusted.
    Gone,
}

impl KeyRecord {
    /// Where the key stands at `now`.
    pub fn stage(&self, now: Timestamp) -> Stage {
        if self.gone_at.is_some_and(|at| at <= now) {
            Stage::Gone
        } else if self.retired_at.is_some_and(|at| at <= now) {
            Stage::Retired
        } else if self.signs_at <= now {
            Stage::Signing
        } else {
            Stage::Announced
        }
    }
}

/// What has to be done about the keys of one realm and algorithm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyStep {
    /// Make a key that is published now and signs from `signs_at`.
    Announce {
        /// When it begins to sign.
        signs_at: Timestamp,
    },
    /// Write down that this key retires at `retired_at` and goes at `gone_at`.
    Retire {
        /// The key.
        kid: String,
        /// When it stops signing.
        retired_at: Timestamp,
        /// When it leaves the JWKS.
        gone_at: Timestamp,
    },
    /// Delete this key.
    Forget {
        /// The key.
        kid: String,
    },
}

/// What has to be done now about `keys`, all of one realm and one algorithm.
///
/// `longest_token` is the longest lifetime of a token that they sign. Calling it again after the steps were taken
/// gives none: it can run at any interval, on any number of nodes.
pub fn steps(
    keys: &[KeyRecord],
    policy: &KeyPolicy,
    longest_token: Duration,
    now: Timestamp,
) -> Vec<KeyStep> {
    let mut steps = Vec::new();
    let living = || keys.iter().filter(|k| k.stage(now) != Stage::Gone && k.retired_at.is_none());
    for key in keys.iter().filter(|k| k.stage(now) == Stage::Gone) {
        steps.push(KeyStep::Forget { kid: key.kid.clone() });
    }
    let newest = living().max_by_key(|k| (k.signs_at, &k.kid));
    match newest {
        // Without any key there is nothing to wait for: nobody can have cached a set that lacks it.
        None => steps.push(KeyStep::Announce { signs_at: now }),
        Some(newest) => {
            let takes_over = newest.signs_at + policy.rotate_every;
            if takes_over - policy.announce <= now {
                steps.push(KeyStep::Announce { signs_at: takes_over.max(now + policy.announce) });
            }
            if newest.stage(now) == Stage::Signing {
                let older = living().filter(|k| k.kid != newest.kid);
                steps.extend(older.map(|k| KeyStep::Retire {
                    kid: k.kid.clone(),
                    retired_at: newest.signs_at,
                    gone_at: now + longest_token + policy.linger,
                }));
            }
        }
    }
    steps
}

/// The key that signs at `now`: of those in the stage [`Stage::Signing`] the one that began last.
pub fn signing(keys: &[KeyRecord], now: Timestamp) -> Option<&KeyRecord> {
    keys.iter()
        .filter(|k| k.stage(now) == Stage::Signing)
        .max_by(|a, b| (a.signs_at, &a.kid).cmp(&(b.signs_at, &b.kid)))
}
