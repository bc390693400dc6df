//! Answers that every part of the server gives alike.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{self as http_body, Frame, SizeHint};

use crate::feed::FeedBody;
use crate::life::UnderWay;

/// The body of an answer: whole and in memory, but for the revocation feed.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    /// Boxed, since every answer would have the room for it.
    Feed(Box<FeedBody>),
}

impl Body {
    /// Has the connection count as busy until all is sent; a whole body is that far.
    pub(crate) fn keep(&self, under_way: UnderWay) {
        match &self.0 {
            Kind::Whole(_) => drop(under_way),
            Kind::Feed(told) => told.keep(under_way),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(context),
            Kind::Feed(told) => told.poll_frame(context).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Feed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Feed(_) => SizeHint::default(),
        }
    }
}

/// Every connection has room for one.
const _: () = assert!(size_of::<Body>() <= size_of::<Full<Bytes>>() + size_of::<usize>());

/// An answer with a whole body.
pub(crate) fn full(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body(Kind::Whole(Full::new(body))));
    *response.status_mut() = status;
    response
}

/// An answer that goes on.
pub(crate) fn stream(told: FeedBody) -> Response<Body> {
    Response::new(Body(Kind::Feed(Box::new(told))))
}

/// A JSON answer that nobody may keep (RFC 6749 §5.1).
pub(crate) fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = full(status, Bytes::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// An error of the transport, in the form that OAuth clients read.
pub(crate) fn error(status: StatusCode, code: &str) -> Response<Body> {
    json(status, format!(r#"{{"error":"{code}"}}"#))
}

/// 429, and when to come again.
pub(crate) fn slow_down(wait: Duration) -> Response<Body> {
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "slow_down");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    response
}

/// 503, and when to come again.
pub(crate) fn unavailable() -> Response<Body> {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
