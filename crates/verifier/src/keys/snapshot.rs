//! The keys at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use tokenry_core::jose::jws::{Compact, JwsError, Verified};
use tokenry_core::jose::{Algorithm, JwkSet, VerifyingKey};

use crate::Rejection;

/// The most keys tried for a token without `kid`: each try is a whole verification.
const MAX_TRIES: usize = 4;

/// A key that is ready to verify.
#[derive(Debug)]
pub(crate) struct Key {
    verifying: VerifyingKey,
    /// What tells it from all others (RFC 7638), whatever its `kid`.
    thumbprint: [u8; 32],
}

impl Key {
    pub(crate) fn kid(&self) -> Option<&str> {
        self.verifying.kid()
    }
}

/// The keys at one moment: never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Snapshot {
    named: HashMap<String, Arc<Key>>,
    /// Every key, for tokens without `kid`.
    all: Vec<Arc<Key>>,
}

impl Snapshot {
    /// Keeps the keys for these algorithms.
    pub(crate) fn new(set: &JwkSet, algorithms: &[Algorithm]) -> Self {
        let mut snapshot = Self { named: HashMap::new(), all: Vec::new() };
        for key in set.keys() {
            let mut key = key.clone();
            // An RSA key that does not say what it is for is for RS256, unless only PS256 is accepted here.
            if !algorithms.contains(&Algorithm::Rs256) && algorithms.contains(&Algorithm::Ps256) {
                key = key.clone().for_algorithm(Algorithm::Ps256).unwrap_or(key);
            }
            if !algorithms.contains(&key.algorithm()) {
                continue;
            }
            let thumbprint = key.thumbprint_bytes();
            let key = Arc::new(Key { verifying: VerifyingKey::from(key), thumbprint });
            if let Some(kid) = key.kid() {
                snapshot.named.insert(kid.to_owned(), Arc::clone(&key));
            }
            snapshot.all.push(key);
        }
        snapshot
    }

    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a token that this key has signed could be verified now: the key is here, and for the same algorithm.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.all.iter().any(|own| {
            own.thumbprint == key.thumbprint
                && own.kid() == key.kid()
                && own.verifying.algorithm() == key.verifying.algorithm()
        })
    }

    /// Whether all the keys of another are here.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        other.all.iter().all(|key| self.has(key))
    }

    /// Checks a token's signature with the key it names, or with all that fit when it names none.
    pub(crate) fn verify<'t>(
        &self,
        token: &'t Compact<'_>,
    ) -> Result<(Verified<'t>, Arc<Key>), Rejection> {
        let check = |key: &Arc<Key>| match token.verify(&key.verifying) {
            Ok(verified) => Ok((verified, Arc::clone(key))),
            Err(JwsError::BadSignature) => Err(Rejection::BadSignature),
            Err(other) => Err(Rejection::Malformed(other)),
        };
        if let Some(kid) = token.header().kid() {
            return check(self.named.get(kid).ok_or(Rejection::UnknownKey)?);
        }
        let algorithm = token.header().algorithm();
        self.all
            .iter()
            .filter(|key| key.verifying.algorithm() == algorithm)
            .take(MAX_TRIES)
            .map(check)
            .reduce(Result::or)
            .unwrap_or(Err(Rejection::UnknownKey))
    }
}
