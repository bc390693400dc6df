//! Changes that are made only if the client is still as the caller read it (RFC 9110 §13).

use http::{HeaderMap, HeaderName, StatusCode, header};
use tokenry_core::Client;

use super::problem::Problem;
use super::representation::validator;

/// That `If-Match` and `If-None-Match` hold of the client as it is stored.
pub(super) fn check(headers: &HeaderMap, stored: Option<&Client>) -> Result<(), Problem> {
    if !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_NONE_MATCH) {
        return Ok(());
    }
    let current = stored.map(validator);
    let current = current.as_deref();
    // RFC 9110 §13.1.1 compares strongly, so that a weak tag never matches; §13.1.2 weakly.
    let if_match = !headers.contains_key(header::IF_MATCH)
        || tags(headers, &header::IF_MATCH).any(|tag| matches(tag, current));
    let if_none_match = !tags(headers, &header::IF_NONE_MATCH)
        .any(|tag| matches(tag.strip_prefix("W/").unwrap_or(tag), current));
    if if_match && if_none_match {
        return Ok(());
    }
    let detail = match current {
        Some(_) => "the client is another than the precondition says; read it again",
        None => "there is no such client",
    };
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn matches(tag: &str, current: Option<&str>) -> bool {
    current.is_some_and(|current| tag == "*" || tag == current)
}
