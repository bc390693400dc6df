//! Public documents: written once, served from memory, cached by whoever asks (RFC 9111).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokenry_core::realm::Dialect;

use crate::dialect::{decorate, not_for_documents};
use crate::http_answer::{Body, full};

/// A document with its validator.
#[derive(Debug)]
pub(crate) struct Document {
    content_type: &'static str,
    dialect: Dialect,
    body: Bytes,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

/// How long others may keep a document. A key is announced for longer (`KeyPolicy::announce`).
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

impl Document {
    pub(crate) fn new(dialect: Dialect, content_type: &'static str, body: String) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
        let hex: String = digest.as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect();
        let etag = HeaderValue::try_from(format!("\"{hex}\""));
        Self {
            content_type,
            dialect,
            body: Bytes::from(body),
            etag: etag.unwrap_or(const { HeaderValue::from_static("\"-\"") }),
            cache_control: CACHE_CONTROL,
        }
    }

    /// The same, to be kept by others in another way.
    pub(crate) fn cached(self, cache_control: HeaderValue) -> Self {
        Self { cache_control, ..self }
    }

    /// Answers `GET` and `HEAD`, with 304 for whoever has it already; `OPTIONS` names both.
    pub(crate) fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        if let Some(response) = other_method(self.dialect, method) {
            return response;
        }
        let fresh = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            value.to_str().is_ok_and(|v| {
                v.split(',')
                    .map(|tag| tag.trim().trim_start_matches("W/"))
                    .any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
            })
        });
        let mut response = match (fresh, method) {
            (true, _) => full(StatusCode::NOT_MODIFIED, Bytes::new()),
            // The server leaves the body out of an answer to HEAD and keeps its length.
            (false, _) => full(StatusCode::OK, self.body.clone()),
        };
        let headers = response.headers_mut();
        if !fresh {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        decorate(self.dialect, headers);
        response
    }
}

/// The answer to every method but `GET` and `HEAD`.
pub(crate) fn other_method(dialect: Dialect, method: &Method) -> Option<Response<Body>> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
    let mut response = match *method {
        Method::GET | Method::HEAD => return None,
        Method::OPTIONS => full(StatusCode::NO_CONTENT, Bytes::new()),
        _ => not_for_documents(dialect),
    };
    response.headers_mut().insert(header::ALLOW, ALLOW);
    decorate(dialect, response.headers_mut());
    Some(response)
}
