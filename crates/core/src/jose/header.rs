//! The protected header of tokens we make, encoded once per key and type.

use serde_json::{Value, json};

use super::json;
use super::{Algorithm, MAX_KID_LEN, base64url};

/// A protected header, encoded. Made once for each key and `typ`, used for every token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreparedHeader {
    encoded: String,
    algorithm: Algorithm,
}

impl PreparedHeader {
    /// `{"alg":…,"typ":…,"kid":…}`. `alg` is a name, since some algorithms have two.
    pub fn new(alg: &str, typ: &str, kid: &str) -> Result<Self, HeaderError> {
        let algorithm = alg.parse().map_err(|_| HeaderError::Algorithm)?;
        if kid.len() > MAX_KID_LEN {
            return Err(HeaderError::Kid);
        }
        Ok(Self::encode(algorithm, alg, typ, kid))
    }

    pub(super) fn encode(algorithm: Algorithm, alg: &str, typ: &str, kid: &str) -> Self {
        // Written by hand to fix the order of members, which keeps tokens comparable across versions.
        let text = format!(r#"{{"alg":"{alg}","typ":{},"kid":{}}}"#, json!(typ), json!(kid));
        Self { encoded: base64url::encode(text.as_bytes()), algorithm }
    }

    pub(super) fn encode_with_certificate(
        algorithm: Algorithm,
        alg: &str,
        typ: &str,
        kid: &str,
        thumbprint: &str,
    ) -> Self {
        let (typ, kid, thumbprint) = (json!(typ), json!(kid), json!(thumbprint));
        let text = format!(r#"{{"alg":"{alg}","typ":{typ},"kid":{kid},"x5t#S256":{thumbprint}}}"#);
        Self { encoded: base64url::encode(text.as_bytes()), algorithm }
    }

    /// A header in somebody else's manner, byte for byte. It must be one our own reader would accept.
    pub fn from_json(header: &[u8]) -> Result<Self, HeaderError> {
        let members = json::object(header).map_err(|_| HeaderError::NotAnObject)?;
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(HeaderError::Extension);
        }
        let algorithm = members
            .get("alg")
            .and_then(Value::as_str)
            .and_then(|name| name.parse().ok())
            .ok_or(HeaderError::Algorithm)?;
        Ok(Self { encoded: base64url::encode(header), algorithm })
    }

    /// The header in base64url, the first part of a token.
    pub fn as_str(&self) -> &str {
        &self.encoded
    }

    /// The algorithm it names.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// `alg` is missing or not the name of an [`Algorithm`].
    #[error("the header names no known algorithm")]
    Algorithm,
    /// `crit` or `b64`, which this crate does not write.
    #[error("the header uses an extension")]
    Extension,
    /// `kid` is longer than [`MAX_KID_LEN`].
    #[error("the kid is too long")]
    Kid,
    /// Not the text of a JSON object, or one with a member twice.
    #[error("the header is not a JSON object")]
    NotAnObject,
}
