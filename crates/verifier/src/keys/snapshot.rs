//! The keys at one moment.

use std::collections::HashMap;
use std::time::Duration;

use tokenry_core::jose::jws::{Compact, JwsError, Verified};
use tokenry_core::jose::{Algorithm, JwkSet, VerifyingKey};
use tokio::time::Instant;

use crate::Rejection;

/// The most keys tried for a token without `kid`: each try is a whole verification.
const MAX_TRIES: usize = 4;

/// The keys at one moment: never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Snapshot {
    named: HashMap<String, VerifyingKey>,
    /// Every key, for tokens without `kid`.
    all: Vec<VerifyingKey>,
    fetched_at: Instant,
}

impl Snapshot {
    /// Keeps the keys for these algorithms.
    pub(crate) fn new(set: &JwkSet, algorithms: &[Algorithm], fetched_at: Instant) -> Self {
        let mut snapshot = Self { named: HashMap::new(), all: Vec::new(), fetched_at };
        for key in set.keys() {
            let mut key = key.clone();
            // An RSA key that does not say what it is for is for RS256, unless only PS256 is accepted here.
            if !algorithms.contains(&Algorithm::Rs256) && algorithms.contains(&Algorithm::Ps256) {
                key = key.clone().for_algorithm(Algorithm::Ps256).unwrap_or(key);
            }
            if !algorithms.contains(&key.algorithm()) {
                continue;
            }
            let verifying = VerifyingKey::from(key);
            if let Some(kid) = verifying.kid() {
                snapshot.named.insert(kid.to_owned(), verifying.clone());
            }
            snapshot.all.push(verifying);
        }
        snapshot
    }

    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether the identifiers are the same, and how many keys have none.
    pub(crate) fn has_same_keys(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.named.len() == other.named.len()
            && self.named.keys().all(|kid| other.named.contains_key(kid))
    }

    /// How long ago the keys were fetched.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched_at)
    }

    /// Checks a token's signature with the key it names, or with all that fit when it names none.
    pub(crate) fn verify<'t>(&self, token: &'t Compact<'_>) -> Result<Verified<'t>, Rejection> {
        let check = |key: &VerifyingKey| {
            token.verify(key).map_err(|error| match error {
                JwsError::BadSignature => Rejection::BadSignature,
                other => Rejection::Malformed(other),
            })
        };
        if let Some(kid) = token.header().kid() {
            return check(self.named.get(kid).ok_or(Rejection::UnknownKey)?);
        }
        let algorithm = token.header().algorithm();
        self.all
            .iter()
            .filter(|key| key.algorithm() == algorithm)
            .take(MAX_TRIES)
            .map(check)
            .reduce(Result::or)
            .unwrap_or(Err(Rejection::UnknownKey))
    }
}
