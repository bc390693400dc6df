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

/// The key that signs with `algorithm` at `now`: of those in the stage [`Stage::Signing`] the one that began last.
pub fn signing(keys: &[KeyRecord], now: Timestamp, algorithm: Algorithm) -> Option<&KeyRecord> {
    keys.iter()
        .filter(|k| k.algorithm == algorithm && k.stage(now) == Stage::Signing)
        .max_by(|a, b| (a.signs_at, &a.kid).cmp(&(b.signs_at, &b.kid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Runs the policy once an hour for `days`, and gives the keys as they are after each hour.
    fn live(days: u64) -> Vec<(Timestamp, Vec<KeyRecord>)> {
        let mut keys: Vec<KeyRecord> = Vec::new();
        let mut history = Vec::new();
        for hour in 0..days * 24 {
            let now = Timestamp::from_secs(1_000_000 + hour * 3600);
            for step in steps(&keys, &KeyPolicy::default(), HOUR, now) {
                match step {
                    KeyStep::Announce { signs_at } => keys.push(KeyRecord {
                        realm: "r".into(),
                        kid: format!("key-{hour}"),
                        algorithm: Algorithm::Es256,
                        sealed: vec![],
                        announced_at: now,
                        signs_at,
                        retired_at: None,
                        gone_at: None,
                    }),
                    KeyStep::Retire { kid, retired_at, gone_at } => {
                        let key = keys.iter_mut().find(|k| k.kid == kid).unwrap();
                        (key.retired_at, key.gone_at) = (Some(retired_at), Some(gone_at));
                    }
                    KeyStep::Forget { kid } => keys.retain(|k| k.kid != kid),
                }
            }
            assert_eq!(
                steps(&keys, &KeyPolicy::default(), HOUR, now),
                [],
                "a second run has nothing to do"
            );
            history.push((now, keys.clone()));
        }
        history
    }

    #[test]
    fn there_is_always_a_key_that_signs() {
        for (now, keys) in live(200) {
            assert!(signing(&keys, now, Algorithm::Es256).is_some(), "{now}");
            assert!(keys.len() <= 2, "{now}");
        }
    }

    #[test]
    fn row_159_a_key_is_published_long_before_it_signs_and_long_after() {
        let history = live(200);
        let mut last: Option<(Timestamp, String)> = None;
        let mut takeovers = 0;
        for (now, keys) in &history {
            let signer = signing(keys, *now, Algorithm::Es256).unwrap();
            if let Some((_, old)) = last.as_ref().filter(|(_, kid)| *kid != signer.kid) {
                takeovers += 1;
                assert!(now.since(signer.announced_at) >= DAY);
                let published_until = history
                    .iter()
                    .filter(|(at, keys)| {
                        at >= now
                            && keys.iter().any(|k| k.kid == *old && k.stage(*at) != Stage::Gone)
                    })
                    .map(|(at, _)| *at)
                    .max();
                assert!(published_until.unwrap().since(*now) >= HOUR);
            }
            last = Some((*now, signer.kid.clone()));
        }
        assert_eq!(takeovers, 2);
    }
}
