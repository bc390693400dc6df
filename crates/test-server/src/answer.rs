//! The bytes of answers.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokenry_core::Timestamp;

use crate::issued::Pair;
use crate::{ExpiresIn, Fault, RetryAfter};

/// RFC 9449 §8.
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What somebody sees whom a firewall has stopped.
const PAGE: &str =
    "<!DOCTYPE html>\n<html><head><title>Sorry</title></head><body><h1>Sorry</h1></body></html>\n";

pub(crate) fn answer(status: u16, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(crate) fn json(status: u16, body: String) -> Response<Bytes> {
    answer(status, "application/json", body)
}

/// An answer of no content type of ours.
pub(crate) fn plain(status: u16) -> Response<Bytes> {
    answer(status, "text/plain", String::new())
}

/// An error of RFC 6749 §5.2.
pub(crate) fn refusal(status: u16, code: &str) -> Response<Bytes> {
    let mut answer = json(status, format!(r#"{{"error":{}}}"#, quoted(code)));
    if status == 401 {
        // RFC 6749 §5.2: "the authorization server MUST respond with [...] the "WWW-Authenticate" response header field".
        with(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"test\"");
    }
    answer
}

/// A header of this answer, if its text can stand in one.
pub(crate) fn with(answer: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

pub(crate) fn with_nonce(answer: &mut Response<Bytes>, nonce: &str) {
    with(answer, DPOP_NONCE, nonce);
}

/// The tokens (RFC 6749 §5.1), with what the fault makes of them.
pub(crate) fn tokens(pair: &Pair, lifetime: Duration, fault: Option<&Fault>) -> Response<Bytes> {
    let own_type = if pair.grantee.key.is_some() { "DPoP" } else { "Bearer" };
    let token_type = match fault {
        Some(Fault::TokenType(other)) => other,
        _ => own_type,
    };
    let mut members =
        vec![("access_token", quoted(&pair.access_token)), ("token_type", quoted(token_type))];
    members.extend(expires_in(lifetime, fault).map(|text| ("expires_in", text)));
    members.extend(pair.refresh_token.as_deref().map(|text| ("refresh_token", quoted(text))));
    members.extend(pair.grantee.scope.as_deref().map(|text| ("scope", quoted(text))));
    let members: Vec<_> =
        members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    json(200, format!("{{{}}}", members.join(",")))
}

fn expires_in(lifetime: Duration, fault: Option<&Fault>) -> Option<String> {
    let secs = lifetime.as_secs();
    let Some(Fault::ExpiresIn(fault)) = fault else { return Some(secs.to_string()) };
    match fault {
        ExpiresIn::Absent => None,
        ExpiresIn::Null => Some("null".to_owned()),
        ExpiresIn::Number(text) => Some(text.clone()),
        ExpiresIn::Quoted => Some(format!(r#""{secs}""#)),
        ExpiresIn::Text(text) => Some(quoted(text)),
    }
}

/// What is answered instead of processing the request, if that is what the fault is.
pub(crate) fn instead(fault: &Fault, now: Timestamp) -> Option<Response<Bytes>> {
    Some(match fault {
        Fault::ErrorAs200(code) => refusal(200, code),
        Fault::Html(status) => answer(*status, "text/html", PAGE.to_owned()),
        Fault::InternalError => plain(500),
        Fault::TooManyRequests(after) => delaying(429, *after, now),
        Fault::Unavailable(after) => delaying(503, *after, now),
        Fault::InvalidClient => refusal(401, "invalid_client"),
        Fault::InvalidGrant => refusal(400, "invalid_grant"),
        Fault::InvalidGrantAs401 => refusal(401, "invalid_grant"),
        Fault::Refused(status, code) => refusal(*status, code),
        Fault::Redirect(url) => {
            let mut answer = plain(307);
            with(&mut answer, LOCATION, url);
            answer
        }
        _ => return None,
    })
}

fn delaying(status: u16, after: RetryAfter, now: Timestamp) -> Response<Bytes> {
    let mut answer = plain(status);
    let text = match after {
        RetryAfter::Absent => return answer,
        RetryAfter::Seconds(secs) => secs.to_string(),
        RetryAfter::Date(secs) => {
            let since_epoch = Duration::from_secs(now.as_secs().saturating_add(secs));
            match UNIX_EPOCH.checked_add(since_epoch) {
                Some(date) => httpdate::fmt_http_date(date),
                None => return answer,
            }
        }
    };
    with(&mut answer, RETRY_AFTER, &text);
    answer
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
