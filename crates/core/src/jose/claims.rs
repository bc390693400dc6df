//! The claims of a token (RFC 7519 §4, RFC 9068 §2.2), read strictly.

use serde_json::{Map, Value};

use super::json::{self, JsonError};
use crate::Timestamp;

/// The claims of a token. Absent ones are `None`; which must be there is for the reader to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `iss`: who issued it.
    pub iss: Option<String>,
    /// `sub`: who it is about.
    pub sub: Option<String>,
    /// `aud`: who it is for.
    pub aud: Option<Audience>,
    /// `exp`: from when on it is no longer good.
    pub exp: Option<Timestamp>,
    /// `nbf`: from when on it is good.
    pub nbf: Option<Timestamp>,
    /// `iat`: when it was issued.
    pub iat: Option<Timestamp>,
    /// `jti`: its identifier.
    pub jti: Option<String>,
    /// `client_id`: the client it was issued to (RFC 8693 §4.3).
    pub client_id: Option<String>,
    /// `scope`: scope tokens with spaces between them, as written (RFC 8693 §4.2).
    pub scope: Option<String>,
    /// `cnf`: the key its holder must prove to have, an object (RFC 7800).
    pub cnf: Option<Map<String, Value>>,
    /// Every other claim.
    pub other: Map<String, Value>,
}

impl Claims {
    /// The latest time read: the last second of the year 9999. What comes later is not meant.
    pub const MAX_SECS: u64 = 253_402_300_799;

    /// Reads the text of a claims object.
    ///
    /// Only texts that were signed or come from a trusted place should get here; a token's do, by
    /// [`Verified::claims`](super::jws::Verified::claims).
    pub fn parse(text: &[u8]) -> Result<Self, ClaimsError> {
        let ([iss, sub, aud, exp, nbf, iat, jti, client_id, scope, cnf], other) =
            json::object_with(text, &NAMES)?;
        Ok(Self {
            iss: string(iss, "iss")?,
            sub: string(sub, "sub")?,
            aud: audience(aud)?,
            exp: date(exp, "exp")?,
            nbf: date(nbf, "nbf")?,
            iat: date(iat, "iat")?,
            jti: string(jti, "jti")?,
            client_id: string(client_id, "client_id")?,
            scope: string(scope, "scope")?,
            cnf: confirmation(cnf)?,
            other,
        })
    }

    /// The claims as the members of one object, as a token says them.
    pub fn to_object(&self) -> Map<String, Value> {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let date = |date: Option<Timestamp>| date.map(|date| date.as_secs().into());
        let audience = |audience: &Audience| match audience {
            Audience::One(one) => Value::from(one.as_str()),
            Audience::Many(many) => Value::from(many.as_slice()),
        };
        let values = [
            text(&self.iss),
            text(&self.sub),
            self.aud.as_ref().map(audience),
            date(self.exp),
            date(self.nbf),
            date(self.iat),
            text(&self.jti),
            text(&self.client_id),
            text(&self.scope),
            self.cnf.clone().map(Value::Object),
        ];
        let known = NAMES.into_iter().zip(values);
        let known = known.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.other.clone().into_iter().chain(known).collect()
    }

    /// The scope tokens of `scope`.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.as_deref().unwrap_or_default().split(' ').filter(|token| !token.is_empty())
    }
}

/// The claims that have a place of their own.
const NAMES: [&str; 10] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf"];

/// `aud`: one recipient, or a list (RFC 7519 §4.1.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// A string.
    One(String),
    /// An array of strings, of any length.
    Many(Vec<String>),
}

impl Audience {
    /// Whether this recipient is meant, compared byte by byte.
    pub fn contains(&self, recipient: &str) -> bool {
        self.iter().any(|one| one == recipient)
    }

    /// The recipient, when there is exactly one.
    pub fn sole(&self) -> Option<&str> {
        match self {
            Self::One(one) => Some(one),
            Self::Many(many) => match many.as_slice() {
                [one] => Some(one),
                _ => None,
            },
        }
    }

    /// All recipients.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// Whether a header's `typ` is this media type: in any case, with or without `application/` (RFC 7515 §4.1.9).
///
/// `wanted` is the short form, such as `at+jwt`. A missing `typ` is no type.
pub fn typ_is(typ: Option<&str>, wanted: &str) -> bool {
    let Some(typ) = typ else { return false };
    typ.eq_ignore_ascii_case(wanted)
        || typ.split_at_checked("application/".len()).is_some_and(|(prefix, rest)| {
            prefix.eq_ignore_ascii_case("application/") && rest.eq_ignore_ascii_case(wanted)
        })
}

/// Why a payload is not read as claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// A claim stands twice.
    #[error("a claim stands twice")]
    Duplicate,
    /// A claim is of the wrong type or out of range (named).
    #[error("the claim {0} is malformed")]
    Malformed(&'static str),
    /// The payload is not a JSON object in UTF-8.
    #[error("the claims are not a JSON object")]
    NotJson,
}

impl From<JsonError> for ClaimsError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::DuplicateMember => Self::Duplicate,
            JsonError::NotUtf8 | JsonError::Syntax | JsonError::NotAnObject => Self::NotJson,
        }
    }
}

fn string(value: Option<Value>, name: &'static str) -> Result<Option<String>, ClaimsError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ClaimsError::Malformed(name)),
    }
}

/// Whole seconds only. RFC 7519 §2 allows fractions, and readers that allow strings, floats, negative or huge
/// numbers have ended up with tokens that never expire (CVE-2026-25537).
fn date(value: Option<Value>, name: &'static str) -> Result<Option<Timestamp>, ClaimsError> {
    match value {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(secs) if secs <= Claims::MAX_SECS => Ok(Some(Timestamp::from_secs(secs))),
            _ => Err(ClaimsError::Malformed(name)),
        },
    }
}

fn audience(value: Option<Value>) -> Result<Option<Audience>, ClaimsError> {
    const MALFORMED: ClaimsError = ClaimsError::Malformed("aud");
    match value {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(Audience::One(one))),
        Some(Value::Array(many)) => many
            .into_iter()
            .map(|one| match one {
                Value::String(one) => Ok(one),
                _ => Err(MALFORMED),
            })
            .collect::<Result<_, _>>()
            .map(|many| Some(Audience::Many(many))),
        Some(_) => Err(MALFORMED),
    }
}

fn confirmation(value: Option<Value>) -> Result<Option<Map<String, Value>>, ClaimsError> {
    match value {
        None => Ok(None),
        Some(Value::Object(cnf)) => Ok(Some(cnf)),
        Some(_) => Err(ClaimsError::Malformed("cnf")),
    }
}
