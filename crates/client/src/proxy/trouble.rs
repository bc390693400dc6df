//! Why a request gets no answer from an upstream, and what the program is told instead.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::body::ResponseBody;
use crate::Error;

/// Says that an answer is the proxy's own, and why (RFC 9209).
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why there is no answer from an upstream.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The program's to repair: a request that can be understood in two ways, or not at all.
    BadRequest(&'static str),
    /// It names somebody else.
    Misdirected,
    /// It comes from a web page of another origin.
    ForeignPage,
    /// The configuration takes no requests to hosts that no rule names.
    NoRule,
    /// A tunnel, where there are none.
    NoTunnel,
    /// TRACE: its answer would hold the token (RFC 9110 §9.3.8).
    NoTrace,
    /// There is no token, so nothing was sent.
    NoToken(Error),
    /// A token did not come in time, so nothing was sent.
    TokenTimeout(Duration),
    /// No connection.
    Unreachable(io::Error),
    /// No connection in time.
    ConnectTimeout(Duration),
    /// A connection, and no head of an answer in time.
    ResponseTimeout(Duration),
    /// A connection that ended, or an answer that is none.
    Broken(hyper::Error),
    /// The request would have to be sent again, and its body is gone.
    Unrepeatable,
    /// It changes to a protocol that nobody asked for.
    Unasked,
}

/// See [`Trouble::blame`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Blame {
    Program,
    Source,
    Upstream,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl Trouble {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignPage | Self::NoRule => StatusCode::FORBIDDEN,
            Self::NoTunnel | Self::NoTrace => StatusCode::METHOD_NOT_ALLOWED,
            // What was refused will be refused again until somebody does something.
            Self::NoToken(Error::Refused { .. } | Error::Unusable { .. })
            | Self::Unreachable(_)
            | Self::Broken(_)
            | Self::Unrepeatable
            | Self::Unasked => StatusCode::BAD_GATEWAY,
            Self::NoToken(_) | Self::TokenTimeout(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout(_) | Self::ResponseTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// A word for programs, and the error type of RFC 9209 §2.3.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest(_) => ("invalid_request", "http_request_error"),
            Self::Misdirected => ("misdirected", "http_request_denied"),
            Self::ForeignPage => ("foreign_origin", "http_request_denied"),
            Self::NoRule => ("no_rule", "http_request_denied"),
            Self::NoTunnel => ("no_tunnel", "http_request_denied"),
            Self::NoTrace => ("no_trace", "http_request_denied"),
            Self::NoToken(_) | Self::TokenTimeout(_) => ("no_token", "destination_unavailable"),
            Self::Unreachable(error) => ("unreachable", unreachable(error)),
            Self::ConnectTimeout(_) => ("connect_timeout", "connection_timeout"),
            Self::ResponseTimeout(_) => ("response_timeout", "http_response_timeout"),
            Self::Broken(_) | Self::Unrepeatable => ("broken", "http_response_incomplete"),
            Self::Unasked => ("broken", "http_upgrade_failed"),
        }
    }

    /// Whose trouble it is, for those who count.
    pub(super) const fn blame(&self) -> Blame {
        match self {
            Self::NoToken(_) | Self::TokenTimeout(_) => Blame::Source,
            Self::Unreachable(_)
            | Self::ConnectTimeout(_)
            | Self::ResponseTimeout(_)
            | Self::Broken(_)
            | Self::Unrepeatable
            | Self::Unasked => Blame::Upstream,
            Self::BadRequest(_)
            | Self::Misdirected
            | Self::ForeignPage
            | Self::NoRule
            | Self::NoTunnel
            | Self::NoTrace => Blame::Program,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoToken(Error::HeldBack { retry_in }) => {
                Some(retry_in.as_secs() + u64::from(retry_in.subsec_nanos() > 0))
            }
            // It has been asked for, and may be there by then.
            Self::TokenTimeout(_) => Some(1),
            _ => None,
        }
    }

    pub(super) fn answer(&self) -> Response<ResponseBody> {
        let (error, proxy_status) = self.words();
        let body = Body { error, error_description: &self.to_string() };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(ResponseBody::Own(Bytes::from(body)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        if let Ok(value) = HeaderValue::try_from(format!("tokenry; error={proxy_status}")) {
            headers.insert(PROXY_STATUS, value);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadRequest(what) => f.write_str(what),
            Self::Misdirected => f.write_str(
                "the Host header is no name of this proxy: use localhost, its address or a name of its configuration",
            ),
            Self::ForeignPage => {
                f.write_str("the request comes from a web page of another origin")
            }
            Self::NoRule => f.write_str("no rule of this proxy names the host"),
            Self::NoTunnel => f.write_str("this proxy makes no tunnels (CONNECT)"),
            Self::NoTrace => f.write_str("the answer to TRACE would hold the token"),
            Self::NoToken(error) => write!(f, "no token: {error}"),
            Self::TokenTimeout(after) => write!(f, "no token after {} ms", after.as_millis()),
            Self::Unreachable(error) => {
                write!(f, "the upstream is not reachable: {}", root_cause(error))
            }
            Self::ConnectTimeout(after) => {
                write!(f, "no connection to the upstream after {} ms", after.as_millis())
            }
            Self::ResponseTimeout(after) => {
                write!(f, "no answer of the upstream after {} ms", after.as_millis())
            }
            Self::Unrepeatable => f.write_str("the upstream closed the connection"),
            Self::Unasked => f.write_str("the upstream changes to a protocol that nobody asked for"),
            Self::Broken(error) => write!(f, "the upstream gave no answer: {}", root_cause(error)),
        }
    }
}

fn unreachable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        // The TLS library says so for certificates and all else.
        io::ErrorKind::InvalidData => "tls_certificate_error",
        _ => "destination_unavailable",
    }
}

/// The innermost error, which is the one that says something.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
