//! What went wrong, as a problem document (RFC 9457).

use std::time::Duration;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tokenry_store::StoreError;

use super::guard::Denied;
use crate::clock::NoEntropy;
use crate::http_answer::{Body, json};
use crate::json::Object;

/// How many wrong members are told at once; beyond that nobody reads on.
const MAX_TOLD: usize = 50;

/// How much of what the caller wrote is repeated to it.
const MAX_QUOTED: usize = 80;

/// Why a request is not answered as it was meant.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// For the caller and the log: it repeats no value that the caller sent.
    pub(super) detail: String,
    wrong: Vec<Wrong>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A member of the body that is wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) member: String,
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), wrong: Vec::new(), headers: Vec::new() }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
    pub(super) fn only(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this resource has {allowed}"))
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// Everything that is wrong with the members of a body.
    pub(super) fn wrong(wrong: Vec<Wrong>) -> Self {
        let detail = "members of the body are wrong, as `errors` says one by one";
        Self { wrong, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).again_in(Duration::from_secs(1))
    }

    pub(super) fn denied(denied: &Denied) -> Self {
        let mut problem = Self::new(denied.status, denied.detail);
        if let Some(challenge) = &denied.challenge {
            problem = problem.with(WWW_AUTHENTICATE, challenge.clone());
        }
        match denied.retry_after {
            Some(wait) => problem.again_in(wait),
            None => problem,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn again_in(self, wait: Duration) -> Self {
        // Rounded up: who comes too early comes in vain.
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(RETRY_AFTER, secs.max(1).into())
    }

    /// The answer. `request_id` names this occurrence: letters, digits, dots, `_` and `-`, a URI reference as it is.
    pub(super) fn answer(self, request_id: &str) -> Response<Body> {
        const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
        let title = self.status.canonical_reason().unwrap_or("Problem");
        let told = self.wrong.iter().take(MAX_TOLD).map(|wrong| {
            Object::with_capacity(100)
                .string("member", &wrong.member)
                .string("detail", &wrong.detail)
                .end()
        });
        let told: Vec<String> = told.collect();
        // RFC 9457 §4.2.1: "about:blank" says that the problem "has no additional semantics beyond that of the HTTP
        // status code".
        let body = Object::with_capacity(256)
            .string("type", "about:blank")
            .string("title", title)
            .number("status", self.status.as_u16().into())
            .string("detail", &self.detail)
            .string("instance", request_id)
            .then(|body| match told.as_slice() {
                [] => body,
                told => body.raw("errors", &format!("[{}]", told.join(","))),
            });
        let mut response = json(self.status, body.end());
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing(_) => Self::not_found("it was removed in the meantime"),
            StoreError::Conflict => Self::unavailable("others change too much at this moment"),
            StoreError::Corrupt(_) => {
                tracing::error!(%error, "administration failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "what is stored cannot be read")
            }
            _ => {
                tracing::error!(%error, "administration failed");
                Self::unavailable("the store is not available")
            }
        }
    }
}

impl From<NoEntropy> for Problem {
    fn from(error: NoEntropy) -> Self {
        tracing::error!(%error, "administration failed");
        Self::unavailable("no random numbers")
    }
}

/// What the caller wrote, between backticks and cut short.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
