//! Claims of a token as headers of the answer, from where the proxy takes them to the API.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokenry_verifier::AccessToken;

/// How much all claims of a token may take in headers: with what else stands in an answer, less than the 4 KiB that nginx
/// reads one into.
const MAX_CLAIMS: usize = 3072;

/// What stands between the elements of a list.
const SEPARATOR: &str = ",";

/// A claim, by its name or by a JSON pointer (RFC 6901) to a part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    Audience,
    ClientId,
    ExpiresAt,
    IssuedAt,
    Issuer,
    NotBefore,
    Scope,
    Subject,
    TokenId,
    Other(String),
    Part(String),
}

impl Claim {
    /// The claim of this name; `None` for one that no header can hold.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "cnf" => return None,
            "aud" => Self::Audience,
            "client_id" => Self::ClientId,
            "exp" => Self::ExpiresAt,
            "iat" => Self::IssuedAt,
            "iss" => Self::Issuer,
            "nbf" => Self::NotBefore,
            "scope" => Self::Scope,
            "sub" => Self::Subject,
            "jti" => Self::TokenId,
            pointer if pointer.starts_with('/') => {
                let first = pointer.split('/').nth(1).unwrap_or_default();
                // What is a text or a number has no parts.
                return matches!(Self::named(first)?, Self::Other(_))
                    .then(|| Self::Part(pointer.to_owned()));
            }
            other => Self::Other(other.to_owned()),
        })
    }
}

/// Headers that are always written, empty where the token does not have the claim.
///
/// A proxy that writes what it gets over what its client sent has nothing of the client's left then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ClaimHeaders(pub(super) Vec<(HeaderName, Claim)>);

impl Default for ClaimHeaders {
    fn default() -> Self {
        Self(vec![
            // Also where there is one issuer: with a second one, a subject alone would be two.
            (HeaderName::from_static("x-token-issuer"), Claim::Issuer),
            (HeaderName::from_static("x-token-subject"), Claim::Subject),
            (HeaderName::from_static("x-token-client"), Claim::ClientId),
            (HeaderName::from_static("x-token-scope"), Claim::Scope),
        ])
    }
}

/// A claim that cannot stand in its header: the request is refused.
///
/// To leave it out would make somebody nobody, and to change it somebody else.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the claim for {0} cannot stand in a header")]
pub(super) struct Unwritable(pub(super) HeaderName);

impl ClaimHeaders {
    /// Writes all of them.
    pub(super) fn write(
        &self,
        token: &AccessToken,
        headers: &mut HeaderMap,
    ) -> Result<(), Unwritable> {
        let mut room = MAX_CLAIMS;
        for (name, claim) in &self.0 {
            let value = claim.value(token).ok_or_else(|| Unwritable(name.clone()))?;
            room = room.checked_sub(value.len()).ok_or_else(|| Unwritable(name.clone()))?;
            headers.insert(name, value);
        }
        Ok(())
    }
}

impl Claim {
    /// The value of the header, empty where there is no such claim. `None` where it cannot be written.
    fn value(&self, token: &AccessToken) -> Option<HeaderValue> {
        let claims = token.claims();
        let time = |at: Option<tokenry_core::Timestamp>| {
            Some(at.map_or(EMPTY, |at| HeaderValue::from(at.as_secs())))
        };
        match self {
            Self::Audience => list(claims.aud.iter().flat_map(|aud| aud.iter())),
            Self::ClientId => text(token.client_id().unwrap_or_default()),
            Self::ExpiresAt => time(claims.exp),
            Self::IssuedAt => time(claims.iat),
            Self::Issuer => text(claims.iss.as_deref().unwrap_or_default()),
            Self::NotBefore => time(claims.nbf),
            Self::Scope => text(token.scope().as_str()),
            Self::Subject => text(token.subject().unwrap_or_default()),
            Self::TokenId => text(token.jti().unwrap_or_default()),
            Self::Other(name) => claims.other.get(name).map_or(Some(EMPTY), json),
            Self::Part(pointer) => {
                let name = pointer.split('/').nth(1)?.replace("~1", "/").replace("~0", "~");
                let rest = pointer.get(1..)?.find('/').and_then(|at| pointer.get(at + 1..));
                let claim = claims.other.get(&name);
                let part = claim.and_then(|claim| claim.pointer(rest.unwrap_or_default()));
                part.map_or(Some(EMPTY), json)
            }
        }
    }
}

const EMPTY: HeaderValue = HeaderValue::from_static("");

fn json(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::Null => Some(EMPTY),
        Value::String(value) => text(value),
        Value::Bool(_) | Value::Number(_) => text(&value.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            list(items?)
        }
        Value::Object(_) => None,
    }
}

/// A list, in which nothing that looks like two of its elements may be one.
fn list<'v>(items: impl IntoIterator<Item = &'v str>) -> Option<HeaderValue> {
    let mut joined = String::new();
    for (number, item) in items.into_iter().enumerate() {
        if item.is_empty() || item.contains(SEPARATOR) {
            return None;
        }
        if number > 0 {
            joined.push_str(SEPARATOR);
        }
        joined.push_str(item);
    }
    text(&joined)
}

/// Printable ASCII. RFC 9110 §5.5 lets readers take spaces off both ends, so that there must be none.
fn text(value: &str) -> Option<HeaderValue> {
    let is_printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_printable || value.starts_with(' ') || value.ends_with(' ') {
        return None;
    }
    HeaderValue::from_str(value).ok()
}

/// Why a name can be none of a header with a claim.
pub(super) fn forbidden(name: &HeaderName) -> Option<&'static str> {
    const OF_HTTP: [HeaderName; 24] = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::HOST,
        header::LOCATION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RETRY_AFTER,
        header::SERVER,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VARY,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ];
    let text = name.as_str();
    if OF_HTTP.contains(name)
        || ["keep-alive", "proxy-connection", "dpop", "dpop-nonce"].contains(&text)
    {
        return Some("it has a meaning of its own");
    }
    if ["x-original-", "x-forwarded-", "x-envoy-", "x-accel-", "sec-"]
        .iter()
        .any(|it| text.starts_with(it))
    {
        return Some("it is the proxy's own");
    }
    // CGI and its heirs take `X_A` and `X-A` for one name, so that a client could send the other.
    text.contains('_').then_some("write `-` instead of `_`, which others take for the same")
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn written(of: &Value) -> Option<String> {
        json(of).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_claim_is_written_as_it_is_or_not_at_all() {
        for (claim, header) in [
            (value!("billing"), "billing"),
            (value!("a b,c"), "a b,c"),
            (value!(7), "7"),
            (value!(1.5), "1.5"),
            (value!(true), "true"),
            (value!(null), ""),
            (value!([]), ""),
            (value!(["a", "b c"]), "a,b c"),
        ] {
            assert_eq!(written(&claim).as_deref(), Some(header), "{claim}");
        }
        for wrong in [
            value!("a\r\nX-Token-Subject: root"),
            value!("a\tb"),
            value!("caf\u{e9}"),
            value!(" a"),
            value!("a "),
            value!({ "a": 1 }),
            value!(["a,b"]),
            value!(["a", ""]),
            value!(["a", 1]),
            value!([["a"]]),
        ] {
            assert_eq!(written(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_that_mean_something_else_are_forbidden() {
        for name in [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "host",
            "x-forwarded-for",
            "x_token_subject",
            "authorization",
        ] {
            assert!(forbidden(&HeaderName::from_static(name)).is_some(), "{name}");
        }
        for name in ["x-token-subject", "x-user", "remote-user"] {
            assert_eq!(forbidden(&HeaderName::from_static(name)), None, "{name}");
        }
    }
}
