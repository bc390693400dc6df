//! Public keys in JSON (RFC 7517) and their thumbprints (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::ParsedPublicKey;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::key::{MlDsaFlaw, PublicNumbers, RsaFlaw};
use super::{Algorithm, MAX_KID_LEN, VerifyingKey, base64url};

/// A public key that may verify signatures of one algorithm.
///
/// Keys for anything else (`use: "enc"`, `key_ops` without `verify`) cannot be made into one, and nothing private
/// can be in it. Written as JSON it has the members of its kind and `use`, `alg` and `kid`, nothing else.
#[derive(Clone)]
pub struct Jwk {
    kid: Option<String>,
    algorithm: Algorithm,
    algorithm_name: &'static str,
    /// Whether the JSON named the algorithm, or the kind of the key decided it.
    algorithm_declared: bool,
    numbers: PublicNumbers,
    parsed: ParsedPublicKey,
}

impl Jwk {
    /// Reads one key, strictly: no member twice, base64url without padding, numbers in their full and only form.
    ///
    /// An EC or OKP key has the algorithm of its curve. An RSA key without `alg` has `RS256`, the one everybody
    /// means; [`for_algorithm`](Self::for_algorithm) settles it otherwise. An AKP key must have `alg` (RFC 9964 §3).
    pub fn parse(json: &str) -> Result<Self, JwkError> {
        Self::from_members(&json::object(json.as_bytes())?, &["sig"])
    }

    /// Reads one key as [`parse`](Self::parse) does, which may also be for this `use`, such as `jwt-svid`.
    pub fn parse_for(json: &str, usage: &str) -> Result<Self, JwkError> {
        Self::from_members(&json::object(json.as_bytes())?, &["sig", usage])
    }

    /// Reads one key from JSON that was parsed before, as [`parse`](Self::parse) does.
    ///
    /// Members that stood twice in the text cannot be seen here any more.
    pub fn from_value(value: &Value) -> Result<Self, JwkError> {
        Self::from_members(value.as_object().ok_or(JwkError::NotAnObject)?, &["sig"])
    }

    fn from_members(members: &Map<String, Value>, uses: &[&str]) -> Result<Self, JwkError> {
        // First of all: a key pair that was published by mistake is an incident, whatever else is wrong with it.
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(JwkError::Private);
        }
        if !may_verify(members, uses)? {
            return Err(JwkError::NotForVerifying);
        }
        let kid = string(members, "kid")?;
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID_LEN) {
            return Err(JwkError::Kid);
        }
        let (numbers, default) = numbers(members)?;
        let declared = string(members, "alg")?;
        let algorithm = match declared {
            Some(name) => name.parse().map_err(|_| JwkError::UnsupportedAlgorithm)?,
            None => default,
        };
        let mut key = Self::new(numbers, algorithm, kid.map(str::to_owned))?;
        key.algorithm_declared = declared.is_some();
        if let Some(name) = declared {
            key = key.with_algorithm_name(name);
        }
        Ok(key)
    }

    pub(super) fn new(
        numbers: PublicNumbers,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, JwkError> {
        // RFC 8725bis §3.1: one algorithm per key, and only one that the key can be used with.
        if !numbers.suits(algorithm) {
            return Err(JwkError::AlgorithmMismatch);
        }
        let parsed = numbers.parse(algorithm).ok_or(JwkError::NotOnCurve)?;
        let algorithm_name = algorithm.as_str();
        Ok(Self { kid, algorithm, algorithm_name, algorithm_declared: true, numbers, parsed })
    }

    /// The same key for an algorithm agreed on elsewhere, such as a client's registration.
    ///
    /// Refused when the key itself names another, or is of another kind.
    pub fn for_algorithm(self, algorithm: Algorithm) -> Result<Self, JwkError> {
        if self.algorithm == algorithm {
            return Ok(self);
        }
        if self.algorithm_declared {
            return Err(JwkError::AlgorithmMismatch);
        }
        Self::new(self.numbers, algorithm, self.kid)
    }

    /// The same key under another `kid`.
    #[must_use]
    pub fn with_kid(mut self, kid: String) -> Self {
        self.kid = Some(kid);
        self
    }

    /// The same key with its algorithm written under another of its names (`Ed25519` for `EdDSA`).
    ///
    /// A name of another algorithm changes nothing.
    #[must_use]
    pub fn with_algorithm_name(mut self, name: &str) -> Self {
        if let Some(name) = self.algorithm.names().iter().copied().find(|known| *known == name) {
            self.algorithm_name = name;
        }
        self
    }

    /// The identifier, if the key has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm the key is for.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The SHA-256 thumbprint, base64url (RFC 7638 §3).
    pub fn thumbprint(&self) -> String {
        base64url::encode(&self.thumbprint_bytes())
    }

    /// The SHA-256 thumbprint itself.
    pub fn thumbprint_bytes(&self) -> [u8; 32] {
        let e = base64url::encode;
        // RFC 7638 §3.3: required members only, in lexicographic order, without whitespace.
        let canonical = match &self.numbers {
            PublicNumbers::Rsa { n, e: exponent } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, e(exponent), e(n))
            }
            PublicNumbers::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, e(x), e(y))
            }
            PublicNumbers::P384 { x, y } => {
                format!(r#"{{"crv":"P-384","kty":"EC","x":"{}","y":"{}"}}"#, e(x), e(y))
            }
            PublicNumbers::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, e(x))
            }
            // RFC 9964 §6.
            PublicNumbers::MlDsa { algorithm, key } => {
                format!(r#"{{"alg":"{algorithm}","kty":"AKP","pub":"{}"}}"#, e(key))
            }
        };
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, canonical.as_bytes()).as_ref());
        thumbprint
    }

    /// The key as compact JSON.
    pub fn to_json(&self) -> String {
        // Only strings are written, so that there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let e = base64url::encode;
        let mut map = serializer.serialize_map(None)?;
        if let Some(kid) = &self.kid {
            map.serialize_entry("kid", kid)?;
        }
        let (kty, crv) = match &self.numbers {
            PublicNumbers::Rsa { .. } => ("RSA", None),
            PublicNumbers::P256 { .. } => ("EC", Some("P-256")),
            PublicNumbers::P384 { .. } => ("EC", Some("P-384")),
            PublicNumbers::Ed25519 { .. } => ("OKP", Some("Ed25519")),
            PublicNumbers::MlDsa { .. } => ("AKP", None),
        };
        map.serialize_entry("kty", kty)?;
        map.serialize_entry("alg", self.algorithm_name)?;
        map.serialize_entry("use", "sig")?;
        if let Some(crv) = crv {
            map.serialize_entry("crv", crv)?;
        }
        match &self.numbers {
            PublicNumbers::Rsa { n, e: exponent } => {
                map.serialize_entry("n", &e(n))?;
                map.serialize_entry("e", &e(exponent))?;
            }
            PublicNumbers::P256 { x, y } => {
                map.serialize_entry("x", &e(x))?;
                map.serialize_entry("y", &e(y))?;
            }
            PublicNumbers::P384 { x, y } => {
                map.serialize_entry("x", &e(x))?;
                map.serialize_entry("y", &e(y))?;
            }
            PublicNumbers::Ed25519 { x } => map.serialize_entry("x", &e(x))?,
            PublicNumbers::MlDsa { key, .. } => map.serialize_entry("pub", &e(key))?,
        }
        map.end()
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Equal when the numbers, the algorithm and the identifier are.
impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.numbers == other.numbers
    }
}

impl Eq for Jwk {}

/// Why a key is not one that verifies signatures here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// `alg` names an algorithm that the kind or curve of the key cannot have.
    #[error("the algorithm does not suit the key")]
    AlgorithmMismatch,
    /// A member stands twice.
    #[error("a member of the key stands twice")]
    DuplicateMember,
    /// `kid` is empty or longer than [`MAX_KID_LEN`].
    #[error("the kid is empty or too long")]
    Kid,
    /// A member is missing, of the wrong type, or not in its one form (named).
    #[error("the member {0} is missing or malformed")]
    Member(&'static str),
    /// `use` or `key_ops` says the key is for something else.
    #[error("the key is not for verifying signatures")]
    NotForVerifying,
    /// The text is not a JSON object.
    #[error("the key is not a JSON object")]
    NotAnObject,
    /// The coordinates are not those of a point on the curve.
    #[error("the point is not on its curve")]
    NotOnCurve,
    /// A private or symmetric key, in a place where only public ones may be.
    #[error("the key is private")]
    Private,
    /// An RSA exponent that is even, one, or longer than 32 bits.
    #[error("the RSA exponent is not acceptable")]
    RsaExponent,
    /// An RSA modulus that is even, or comes from a broken generator.
    #[error("the RSA modulus is not acceptable")]
    RsaModulus,
    /// An RSA key below 2048 or above 8192 bits, or one written with leading zeros.
    #[error("the RSA key is too short or too long")]
    RsaSize,
    /// `alg` names an algorithm this crate does not have.
    #[error("unsupported algorithm")]
    UnsupportedAlgorithm,
    /// `kty` or `crv` names a kind of key this crate does not have.
    #[error("unsupported kind of key")]
    UnsupportedKind,
}

impl From<JsonError> for JwkError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::DuplicateMember => Self::DuplicateMember,
            JsonError::NotUtf8 | JsonError::Syntax | JsonError::NotAnObject => Self::NotAnObject,
        }
    }
}

impl From<RsaFlaw> for JwkError {
    fn from(flaw: RsaFlaw) -> Self {
        match flaw {
            RsaFlaw::Size => Self::RsaSize,
            RsaFlaw::Exponent => Self::RsaExponent,
            RsaFlaw::Modulus => Self::RsaModulus,
        }
    }
}

impl From<MlDsaFlaw> for JwkError {
    fn from(flaw: MlDsaFlaw) -> Self {
        match flaw {
            MlDsaFlaw::Algorithm => Self::AlgorithmMismatch,
            MlDsaFlaw::Length => Self::Member("pub"),
        }
    }
}

impl From<&Jwk> for VerifyingKey {
    fn from(key: &Jwk) -> Self {
        Self::new(key.kid.clone(), key.algorithm, key.parsed.clone())
    }
}

impl From<Jwk> for VerifyingKey {
    fn from(key: Jwk) -> Self {
        Self::new(key.kid, key.algorithm, key.parsed)
    }
}

/// What only a private or symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1, RFC 8037 §2, RFC 9964 §3).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// What `use` (RFC 7517 §4.2) and `key_ops` (§4.3) say; a key without either may do anything.
fn may_verify(members: &Map<String, Value>, uses: &[&str]) -> Result<bool, JwkError> {
    let by_use = string(members, "use")?.is_none_or(|usage| uses.contains(&usage));
    let by_ops = match members.get("key_ops") {
        None => true,
        Some(Value::Array(ops)) if ops.iter().all(Value::is_string) => {
            ops.iter().any(|op| op == "verify")
        }
        Some(_) => return Err(JwkError::Member("key_ops")),
    };
    Ok(by_use && by_ops)
}

fn numbers(members: &Map<String, Value>) -> Result<(PublicNumbers, Algorithm), JwkError> {
    let kty = string(members, "kty")?.ok_or(JwkError::Member("kty"))?;
    if kty == "RSA" {
        let numbers = PublicNumbers::rsa(bytes(members, "n")?, bytes(members, "e")?)?;
        return Ok((numbers, Algorithm::Rs256));
    }
    if kty == "AKP" {
        // RFC 9964 §3: the alg parameter "is REQUIRED for all AKP keys".
        let name = string(members, "alg")?.ok_or(JwkError::Member("alg"))?;
        let algorithm = name.parse().map_err(|_| JwkError::UnsupportedAlgorithm)?;
        return Ok((PublicNumbers::ml_dsa(algorithm, bytes(members, "pub")?)?, algorithm));
    }
    if !matches!(kty, "EC" | "OKP") {
        return Err(JwkError::UnsupportedKind);
    }
    match (kty, string(members, "crv")?.ok_or(JwkError::Member("crv"))?) {
        ("EC", "P-256") => Ok((
            PublicNumbers::P256 { x: fixed(members, "x")?, y: fixed(members, "y")? },
            Algorithm::Es256,
        )),
        ("EC", "P-384") => Ok((
            PublicNumbers::P384 { x: fixed(members, "x")?, y: fixed(members, "y")? },
            Algorithm::Es384,
        )),
        ("OKP", "Ed25519") => {
            Ok((PublicNumbers::Ed25519 { x: fixed(members, "x")? }, Algorithm::EdDsa))
        }
        _ => Err(JwkError::UnsupportedKind),
    }
}

fn string<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, JwkError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::Member(name)),
    }
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    string(members, name)?.and_then(base64url::decode).ok_or(JwkError::Member(name))
}

/// RFC 7518 §6.2.1.2: "The length of this octet string MUST be the full size of a coordinate".
fn fixed<const N: usize>(
    members: &Map<String, Value>,
    name: &'static str,
) -> Result<[u8; N], JwkError> {
    bytes(members, name)?.try_into().map_err(|_| JwkError::Member(name))
}
