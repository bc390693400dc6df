//! Signed tokens in the compact serialization (RFC 7515 §3.1, §5.2), read strictly (RFC 8725).

use serde_json::Value;

use super::claims::{Claims, ClaimsError};
use super::json::{self, JsonError};
use super::{Algorithm, Jwk, MAX_KID_LEN, VerifyingKey, base64url};

/// The longest token read. Header fields of common servers end at 8 or 16 KiB.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;

/// A token that has the right form. Its header is read, its signature not yet checked, its payload out of reach.
#[derive(Debug)]
pub struct Compact<'t> {
    header: Header,
    signing_input: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    /// Reads the three parts and the header.
    ///
    /// There is one way to write each part (base64url, no padding, no whitespace), so two texts are two tokens.
    pub fn parse(token: &'t str) -> Result<Self, JwsError> {
        Self::parse_up_to(token, MAX_TOKEN_LEN)
    }

    /// The same for what does not come in a header field, and may be longer.
    pub fn parse_up_to(token: &'t str, max_len: usize) -> Result<Self, JwsError> {
        if token.len() > max_len {
            return Err(JwsError::TooLong);
        }
        // RFC 7516 has five parts: an encrypted token ends here, before anything of it is decoded.
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwsError::NotThreeParts);
        };
        let signing_input = &token[..header.len() + 1 + payload.len()];
        let decode = |part| base64url::decode(part).ok_or(JwsError::NotBase64Url);
        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            signing_input,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The header. Anybody may have written it.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// A string claim of a payload nobody has vouched for yet.
    ///
    /// Its one use is to choose whose key to verify with (the `iss` of a token, the `sub` of a client assertion);
    /// what is done with it must be safe for any value. `None` also for a payload that is not strict JSON.
    pub fn unverified_claim(&self, name: &str) -> Option<String> {
        match json::object(&self.payload).ok()?.remove(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The key that a token brings along (`jwk`, RFC 7515 §4.1.3).
    ///
    /// It proves nothing but that whoever signed the token has it. That is just what a DPoP proof is to prove (RFC 9449
    /// §4.3); no other token is ever verified with a key of its own.
    pub(crate) fn own_key(&self) -> Option<Jwk> {
        let header = self.signing_input.split('.').next()?;
        let members = json::object(&base64url::decode(header)?).ok()?;
        Jwk::from_value(members.get("jwk")?).ok()
    }

    /// Checks the signature, and only then gives access to the payload.
    ///
    /// The key decides the algorithm; a header that names another is refused (RFC 8725 §3.1).
    pub fn verify(&self, key: &VerifyingKey) -> Result<Verified<'_>, JwsError> {
        if self.header.algorithm != key.algorithm() {
            return Err(JwsError::AlgorithmMismatch);
        }
        key.verify(self.header.algorithm, self.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JwsError::BadSignature)?;
        Ok(Verified { header: &self.header, payload: &self.payload })
    }
}

/// A header and payload whose signature was checked. Only [`Compact::verify`] makes one:
///
/// ```compile_fail
/// # fn f(header: &tokenry_core::jose::jws::Header) {
/// let forged = tokenry_core::jose::jws::Verified { header, payload: b"{}" };
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Verified<'c> {
    header: &'c Header,
    payload: &'c [u8],
}

impl<'c> Verified<'c> {
    /// The header as signed.
    pub const fn header(&self) -> &'c Header {
        self.header
    }

    /// The payload as signed.
    pub const fn payload(&self) -> &'c [u8] {
        self.payload
    }

    /// The payload read as claims.
    pub fn claims(&self) -> Result<Claims, ClaimsError> {
        Claims::parse(self.payload)
    }
}

/// The members of a header that mean something here.
///
/// `jwk`, `jku`, `x5c`, `x5u` and whatever else a header says are dropped on reading: a token that brings its own
/// key, or the address of one, proves nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    algorithm: Algorithm,
    typ: Option<String>,
    kid: Option<String>,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, JwsError> {
        let ([alg, typ, kid, crit, b64], _) =
            json::object_with(text, &["alg", "typ", "kid", "crit", "b64"])?;
        // RFC 7515 §4.1.11: whoever does not understand all of `crit` must refuse. We understand no extension,
        // and an empty list is not allowed. `b64` (RFC 7797) may only stand together with `crit`.
        if crit.is_some() || b64.is_some() {
            return Err(JwsError::CriticalExtension);
        }
        let algorithm = match alg {
            None => return Err(JwsError::NoAlgorithm),
            Some(Value::String(name)) => {
                name.parse().map_err(|_| JwsError::UnsupportedAlgorithm)?
            }
            Some(_) => return Err(JwsError::HeaderMember("alg")),
        };
        let typ = string(typ, "typ")?;
        let kid = string(kid, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_LEN) {
            return Err(JwsError::KidTooLong);
        }
        Ok(Self { algorithm, typ, kid })
    }

    /// `alg`.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `typ`, if there is one. Compare it with [`typ_is`](super::claims::typ_is).
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `kid`, if there is one; at most [`MAX_KID_LEN`] bytes.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

/// Why a text is not a token whose signature is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// The header names another algorithm than the key has.
    #[error("the header names another algorithm than the key has")]
    AlgorithmMismatch,
    /// The signature is not one of the key.
    #[error("the signature is not valid")]
    BadSignature,
    /// The header has `crit` or `b64`.
    #[error("the header asks for an extension")]
    CriticalExtension,
    /// A member of the header stands twice.
    #[error("a member of the header stands twice")]
    DuplicateMember,
    /// A member of the header is of the wrong type (named).
    #[error("the header member {0} is malformed")]
    HeaderMember(&'static str),
    /// The header is not a JSON object in UTF-8.
    #[error("the header is not a JSON object")]
    HeaderNotJson,
    /// `kid` is longer than [`MAX_KID_LEN`].
    #[error("the kid is too long")]
    KidTooLong,
    /// The header has no `alg`.
    #[error("the header names no algorithm")]
    NoAlgorithm,
    /// A part is not base64url in its one form.
    #[error("a part is not base64url")]
    NotBase64Url,
    /// Not three parts with dots between them.
    #[error("not three parts")]
    NotThreeParts,
    /// Longer than [`MAX_TOKEN_LEN`], or what was said to be the most.
    #[error("the token is too long")]
    TooLong,
    /// `alg` is `none`, symmetric, or unknown.
    #[error("unsupported algorithm")]
    UnsupportedAlgorithm,
}

impl From<JsonError> for JwsError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::DuplicateMember => Self::DuplicateMember,
            JsonError::NotUtf8 | JsonError::Syntax | JsonError::NotAnObject => Self::HeaderNotJson,
        }
    }
}

fn string(value: Option<Value>, name: &'static str) -> Result<Option<String>, JwsError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::HeaderMember(name)),
    }
}
