//! Sets of public keys (RFC 7517 §5).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Algorithm, Jwk, JwkError};

/// A set of public keys, each usable, no two under one `kid`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    #[serde(skip)]
    skipped: Vec<JwkError>,
}

impl JwkSet {
    /// The longest text read. Big providers publish about 20 keys of 2 KiB each, with certificate chains.
    pub const MAX_LEN: usize = 256 * 1024;
    /// The most keys read. Rotation needs two or three per algorithm.
    pub const MAX_KEYS: usize = 128;

    /// Reads a set.
    ///
    /// A key that cannot be used (unknown kind or algorithm, for encryption, malformed, weak) is left out and
    /// never spoils the others. The set as a whole is refused when it publishes something private, or when it
    /// leaves open which key or which algorithm is meant.
    pub fn parse(json: &[u8]) -> Result<Self, JwkSetError> {
        Self::parse_with(json, Jwk::parse)
    }

    /// Reads a set as [`parse`](Self::parse) does, in which keys may also be for this `use`, such as `jwt-svid`.
    pub fn parse_for(json: &[u8], usage: &str) -> Result<Self, JwkSetError> {
        Self::parse_with(json, |key| Jwk::parse_for(key, usage))
    }

    fn parse_with(
        json: &[u8],
        parse: impl Fn(&str) -> Result<Jwk, JwkError>,
    ) -> Result<Self, JwkSetError> {
        #[derive(Deserialize)]
        struct Text<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }

        if json.len() > Self::MAX_LEN {
            return Err(JwkSetError::TooLong);
        }
        let text: Text<'_> = serde_json::from_slice(json).map_err(|_| JwkSetError::NotAKeySet)?;
        if text.keys.len() > Self::MAX_KEYS {
            return Err(JwkSetError::TooManyKeys);
        }
        let mut keys = Vec::with_capacity(text.keys.len());
        let mut skipped = Vec::new();
        for key in text.keys {
            match parse(key.get()) {
                Ok(key) => keys.push(key),
                Err(JwkError::Private) => return Err(JwkSetError::PrivateKey),
                // RFC 7517 §5: implementations SHOULD ignore keys they do not understand or that are out of range.
                Err(error) => skipped.push(error),
            }
        }
        let set = Self::new(keys)?;
        Ok(Self { skipped, ..set })
    }

    /// Makes a set of keys, which must be unambiguous.
    pub fn new(keys: Vec<Jwk>) -> Result<Self, JwkSetError> {
        let prints: Vec<String> = keys.iter().map(Jwk::thumbprint).collect();
        for (i, key) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate().take(i) {
                if key.kid().is_some() && key.kid() == other.kid() {
                    return Err(JwkSetError::DuplicateKid);
                }
                if prints[i] == prints[j] && key.algorithm() != other.algorithm() {
                    return Err(JwkSetError::TwoAlgorithms);
                }
            }
        }
        Ok(Self { keys, skipped: Vec::new() })
    }

    /// The usable keys, in the order of the text.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Why keys of the text were left out, one entry each.
    pub fn skipped(&self) -> &[JwkError] {
        &self.skipped
    }

    /// The key with this identifier.
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid() == Some(kid))
    }

    /// The keys for an algorithm, for tokens without `kid`.
    pub fn for_algorithm(&self, algorithm: Algorithm) -> impl Iterator<Item = &Jwk> {
        self.keys.iter().filter(move |key| key.algorithm() == algorithm)
    }

    /// The set as compact JSON, `{"keys":[…]}`.
    pub fn to_json(&self) -> String {
        // Only strings are written, so that there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why a whole set is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkSetError {
    /// Two usable keys have one `kid`.
    #[error("two keys have the same kid")]
    DuplicateKid,
    /// Not a JSON object with an array `keys`.
    #[error("not a JSON Web Key Set")]
    NotAKeySet,
    /// A private or symmetric key is in it: whoever published that has lost it.
    #[error("the key set has a private key in it")]
    PrivateKey,
    /// Longer than [`JwkSet::MAX_LEN`].
    #[error("the key set is too long")]
    TooLong,
    /// More than [`JwkSet::MAX_KEYS`].
    #[error("the key set has too many keys")]
    TooManyKeys,
    /// One key is offered for two algorithms (RFC 8725bis §3.1).
    #[error("one key is offered for two algorithms")]
    TwoAlgorithms,
}
