//! Token Status Lists (draft-ietf-oauth-status-list-21): which tokens are no longer good, a bit or more for each.
//!
//! A token names its place by the claim `status` ([`Reference`]); who wants to know fetches the list at its URI, a
//! signed JWT ([`StatusListToken`]) that is good for some minutes and for any number of tokens.

mod list;
mod place;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Timestamp;
use crate::jose::claims::{Claims, typ_is};

pub use list::{MAX_PACKED, Status, StatusList};
pub use place::{PLACES, Place};

/// The `typ` of a status list token (§5.1).
pub const TYP: &str = "statuslist+jwt";

/// The media type of a status list token (§8.1).
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";

/// The longest URI of a list that is kept: longer ones lead nowhere with most servers.
const MAX_URI: usize = 2048;

/// The claim `status` of a token (§6.1): where its status is to be found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The index in the list.
    pub idx: u64,
    /// Where the list is. Only a URI that was compared to something trusted should be followed.
    pub uri: String,
}

impl Reference {
    /// Reads the claim of a token. `None`: the token names no list.
    ///
    /// # Errors
    ///
    /// The claim is there and not understood; then nothing is known of the token's status, and it is not good.
    pub fn of(claims: &Claims) -> Result<Option<Self>, StatusListError> {
        let named = Self::parts(claims)?;
        Ok(named.map(|(idx, uri)| Self { idx, uri: uri.to_owned() }))
    }

    /// The same, `idx` and `uri`, without a copy of the text.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn parts(claims: &Claims) -> Result<Option<(u64, &str)>, StatusListError> {
        const MALFORMED: StatusListError = StatusListError::Malformed("status");
        let Some(status) = claims.other.get("status") else { return Ok(None) };
        // §6.1: other members are other mechanisms.
        let Some(list) = status.as_object().ok_or(MALFORMED)?.get("status_list") else {
            return Ok(None);
        };
        let list = list.as_object().ok_or(MALFORMED)?;
        let idx = list.get("idx").and_then(Value::as_u64).ok_or(MALFORMED)?;
        let uri = list.get("uri").and_then(Value::as_str).ok_or(MALFORMED)?;
        if uri.is_empty() || uri.len() > MAX_URI {
            return Err(MALFORMED);
        }
        Ok(Some((idx, uri)))
    }

    /// The claim's value: `{"status_list":{"idx":…,"uri":…}}`.
    pub fn to_json(&self) -> String {
        format!(r#"{{"status_list":{{"idx":{},"uri":{}}}}}"#, self.idx, json!(self.uri))
    }
}

/// What a status list token says (§5.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusListToken {
    /// `sub`: the URI of the list.
    pub uri: String,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`: from when on it says nothing any more.
    pub expires_at: Option<Timestamp>,
    /// `ttl`: how long a copy may be kept before a new one is fetched. Whole seconds.
    pub ttl: Option<Duration>,
    /// `status_list`.
    pub list: StatusList,
}

impl StatusListToken {
    /// Reads a token whose signature was verified. `typ` is that of its header, `uri` is where it was looked for.
    ///
    /// # Errors
    ///
    /// §8.3: it is of another type or about another list, it has expired, or something is missing or malformed.
    pub fn read(
        typ: Option<&str>,
        claims: &Claims,
        uri: &str,
        now: Timestamp,
    ) -> Result<Self, StatusListError> {
        if !typ_is(typ, TYP) {
            return Err(StatusListError::Type);
        }
        // "The subject claim [...] MUST be equal to the uri claim in the status_list object of the Referenced Token"
        if claims.sub.as_deref() != Some(uri) {
            return Err(StatusListError::Subject);
        }
        let issued_at = claims.iat.ok_or(StatusListError::Malformed("iat"))?;
        if claims.exp.is_some_and(|exp| exp <= now) {
            return Err(StatusListError::Expired);
        }
        let list = claims.other.get("status_list").and_then(Value::as_object);
        Ok(Self {
            uri: uri.to_owned(),
            issued_at,
            expires_at: claims.exp,
            ttl: ttl(claims.other.get("ttl"))?,
            list: status_list(list.ok_or(StatusListError::Malformed("status_list"))?)?,
        })
    }

    /// The claims, to be signed under a header with [`TYP`].
    pub fn to_json(&self) -> String {
        let (bits, lst) = (self.list.bits(), self.list.encode());
        let exp = self.expires_at.map(|exp| format!(r#","exp":{}"#, exp.as_secs()));
        let ttl = self.ttl.map(|ttl| format!(r#","ttl":{}"#, ttl.as_secs()));
        format!(
            r#"{{"sub":{},"iat":{}{}{},"status_list":{{"bits":{bits},"lst":"{lst}"}}}}"#,
            json!(self.uri),
            self.issued_at.as_secs(),
            exp.unwrap_or_default(),
            ttl.unwrap_or_default(),
        )
    }
}

/// "a positive number": whole seconds here, as all times of tokens.
fn ttl(value: Option<&Value>) -> Result<Option<Duration>, StatusListError> {
    let Some(value) = value else { return Ok(None) };
    match value.as_u64() {
        Some(secs) if (1..=Claims::MAX_SECS).contains(&secs) => Ok(Some(Duration::from_secs(secs))),
        _ => Err(StatusListError::Malformed("ttl")),
    }
}

fn status_list(members: &Map<String, Value>) -> Result<StatusList, StatusListError> {
    let bits = members.get("bits").and_then(Value::as_u64).ok_or(StatusListError::Bits)?;
    let lst = members.get("lst").and_then(Value::as_str);
    StatusList::decode(bits, lst.ok_or(StatusListError::Malformed("lst"))?)
}

/// Why a token's status is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusListError {
    /// `bits` is none of 1, 2, 4 and 8.
    #[error("a status list has 1, 2, 4 or 8 bits for each token")]
    Bits,
    /// It is read no longer than that.
    #[error("the status list is too large")]
    TooLarge,
    /// What is named is missing or malformed.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// The index is beyond the end of the list.
    #[error("the index is beyond the end of the status list")]
    OutOfRange,
    /// The header's `typ` is another.
    #[error("not a status list token")]
    Type,
    /// `sub` is not the URI that the list was looked for at.
    #[error("the status list is another one")]
    Subject,
    /// `exp` has come.
    #[error("the status list has expired")]
    Expired,
}

#[cfg(test)]
mod tests;
