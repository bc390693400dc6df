//! Where a redirect leads, and what of a request goes there (RFC 9110 §15.4).

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, PROXY_AUTHORIZATION, REFERER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use reqwest::{Request, Url};

use crate::dpop::DPOP;

/// What a request says about its body.
const ABOUT_THE_BODY: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    TRANSFER_ENCODING,
];

/// What is meant for one origin only (§15.4, 1.).
const FOR_ONE_ORIGIN: [HeaderName; 7] =
    [AUTHORIZATION, COOKIE, DPOP, HOST, ORIGIN, PROXY_AUTHORIZATION, REFERER];

/// Where a request has been led so far.
#[derive(Debug, Default)]
pub(super) struct Trail {
    was_protected: bool,
}

impl Trail {
    /// Whether a request there may have a token, if the host is allowed. Whoever was on https did not mean to leave it.
    pub(super) fn may_have_token(&mut self, url: &Url) -> bool {
        let is_protected = url.scheme() == "https";
        self.was_protected |= is_protected;
        is_protected || !self.was_protected
    }
}

/// What is kept of a request to follow a redirect with: without the token, and with the body if it can be copied.
#[derive(Debug)]
pub(super) struct Kept {
    request: Request,
    is_whole: bool,
}

impl Kept {
    pub(super) fn of(request: &Request) -> Self {
        match request.try_clone() {
            Some(request) => Self { request, is_whole: true },
            None => Self { request: without_body(request), is_whole: false },
        }
    }

    /// The request that follows this answer. `None` if it is no redirect, or one that cannot be followed.
    pub(super) fn follow(mut self, status: StatusCode, headers: &HeaderMap) -> Option<Request> {
        if !is_redirect(status) {
            return None;
        }
        let method = method(status, self.request.method());
        if method == *self.request.method() {
            if !self.is_whole {
                return None;
            }
        } else {
            *self.request.method_mut() = method;
            *self.request.body_mut() = None;
            remove(self.request.headers_mut(), &ABOUT_THE_BODY);
        }
        let target = target(self.request.url(), headers)?;
        if target.origin() != self.request.url().origin() {
            remove(self.request.headers_mut(), &FOR_ONE_ORIGIN);
        }
        *self.request.url_mut() = target;
        Some(self.request)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn method(status: StatusCode, method: &Method) -> Method {
    match status {
        StatusCode::SEE_OTHER if *method != Method::HEAD => Method::GET,
        // §15.4.2: "For historical reasons, a user agent MAY change the request method from POST to GET".
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if *method == Method::POST => Method::GET,
        _ => method.clone(),
    }
}

/// The one `Location`, relative to where it was found, with http or https, and without a user's name and password.
fn target(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let mut locations = headers.get_all(LOCATION).iter();
    let (Some(location), None) = (locations.next(), locations.next()) else { return None };
    let location = std::str::from_utf8(location.as_bytes()).ok()?;
    let mut target = from.join(location).ok()?;
    if !matches!(target.scheme(), "http" | "https") {
        return None;
    }
    target.set_username("").ok()?;
    target.set_password(None).ok()?;
    Some(target)
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

fn without_body(request: &Request) -> Request {
    let mut copy = Request::new(request.method().clone(), request.url().clone());
    *copy.headers_mut() = request.headers().clone();
    *copy.timeout_mut() = request.timeout().copied();
    *copy.version_mut() = request.version();
    copy
}
