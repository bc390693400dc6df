//! The fields that end at a proxy, and those that it adds (RFC 9110 §7.6).

use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, EXPECT, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The fields of RFC 9110 §7.6.1, whether `Connection` names them or not.
const OF_THE_CONNECTION: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS];

/// How we are called in `Via` (RFC 9110 §7.6.3).
const PSEUDONYM: &str = "tokenry";

/// What a program wants besides an answer.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// Another protocol on the connection: WebSocket, mostly.
    pub(super) upgrade: Option<HeaderValue>,
    /// Trailers, without which no gRPC server answers.
    pub(super) trailers: bool,
}

/// Takes out of a request what was for us alone.
pub(super) fn clean_request(headers: &mut HeaderMap, version: Version) -> Wants {
    let mut wants = Wants::default();
    if headers.keys().any(is_of_the_connection) {
        let options = connection_options(headers);
        wants.trailers = has_token(headers, TE, "trailers");
        if version == Version::HTTP_11 && options.contains(&UPGRADE) {
            // HTTP/2 within the connection would be a way past us. Whoever offers it takes an answer in HTTP/1.1 as well
            // (RFC 9110 §7.8).
            wants.upgrade =
                headers.get(UPGRADE).filter(|_| !has_token(headers, UPGRADE, "h2c")).cloned();
        }
        remove(headers, &options);
    }
    if headers.keys().any(|name| name == PROXY_AUTHORIZATION || name == EXPECT) {
        headers.remove(PROXY_AUTHORIZATION);
        // It is met by whoever reads the body, which is us.
        headers.remove(EXPECT);
    }
    wants
}

/// Takes out of an answer what was for us alone. `origin` is whether the program takes us for the origin itself.
pub(super) fn clean_answer(headers: &mut HeaderMap, origin: bool) {
    if headers.keys().any(is_of_the_connection) {
        let options = connection_options(headers);
        remove(headers, &options);
    }
    if origin {
        // RFC 7838 §2.1: other places of *our* origin, which are not ours, and where nobody adds a token.
        headers.remove(ALT_SVC);
    }
}

/// Takes out the credentials of the program: ours go instead.
pub(super) fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(crate::dpop::DPOP);
}

/// Says that the request went through us.
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    const HTTP_1: HeaderValue = HeaderValue::from_static("1.1 tokenry");
    const HTTP_2: HeaderValue = HeaderValue::from_static("2 tokenry");
    debug_assert!(HTTP_1.as_bytes().ends_with(PSEUDONYM.as_bytes()));
    headers.append(VIA, if version == Version::HTTP_2 { HTTP_2 } else { HTTP_1 });
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    OF_THE_CONNECTION.contains(name)
}

/// The fields that `Connection` names.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

fn remove(headers: &mut HeaderMap, options: &[HeaderName]) {
    for name in OF_THE_CONNECTION.iter().chain(options) {
        headers.remove(name);
    }
}

/// Whether a list in a field has this word, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|b| *b == b',' || *b == b';'));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_of_the_connection_goes_no_further() {
        let mut request = headers(&[
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two ,, authorization"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("http2-settings", "AAA"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("authorization", "Basic eA=="),
            ("accept", "*/*"),
        ]);
        let wants = clean_request(&mut request, Version::HTTP_11);
        assert_eq!(names(&request), ["accept", "x-three"]);
        assert!(wants.upgrade.is_none() && !wants.trailers);

        let mut answer = headers(&[
            ("connection", "x-one"),
            ("x-one", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2"),
            ("alt-svc", "h3=\":443\""),
            ("content-type", "text/plain"),
        ]);
        clean_answer(&mut answer, false);
        assert_eq!(names(&answer), ["alt-svc", "content-type"]);
        clean_answer(&mut answer, true);
        assert_eq!(names(&answer), ["content-type"]);
    }

    #[test]
    fn an_upgrade_is_wanted_if_connection_says_so_and_it_is_not_http2() {
        for (connection, upgrade, expected) in [
            ("Upgrade", "websocket", Some("websocket")),
            ("keep-alive, upgrade", "SPDY/3.1", Some("SPDY/3.1")),
            ("keep-alive", "websocket", None),
            ("upgrade, http2-settings", "h2c", None),
            ("upgrade", "websocket, H2C", None),
        ] {
            let mut request = headers(&[("connection", connection), ("upgrade", upgrade)]);
            let wants = clean_request(&mut request, Version::HTTP_11);
            let found = wants.upgrade.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{connection} {upgrade}");
            assert!(request.is_empty());
        }
        let mut request = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert!(clean_request(&mut request, Version::HTTP_10).upgrade.is_none());
    }

    #[test]
    fn trailers_are_wanted_by_te() {
        for (te, expected) in [("trailers", true), ("gzip, Trailers;q=1", true), ("gzip", false)] {
            let wants = clean_request(&mut headers(&[("te", te)]), Version::HTTP_2);
            assert_eq!(wants.trailers, expected, "{te}");
        }
    }
}
