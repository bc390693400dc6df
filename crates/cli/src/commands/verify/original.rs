//! What the proxy was asked: the request that a forward-auth request is about.

use std::fmt;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};

/// The proxy that asks, which decides where it says what it was asked itself.
///
/// It is a setting and never guessed: what one proxy writes anew, another passes on as its client sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Proxy {
    /// `auth_request`, with the two headers that the recipe sets.
    Nginx,
    /// ForwardAuth.
    Traefik,
    /// `forward_auth`.
    Caddy,
    /// `ext_authz` over HTTP: method and path are those of the request itself, the path after this prefix.
    Envoy {
        /// Without a slash at its end.
        path_prefix: String,
    },
}

/// The request that is asked about.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Original {
    pub(super) method: Method,
    /// Path and query, as the client wrote them.
    pub(super) uri: Uri,
}

/// Why it is not known what is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unknown {
    /// The proxy does not send this header.
    Missing(&'static str),
    /// This header stands there more than once.
    Repeated(&'static str),
    /// The method is none.
    Method,
    /// The address is none, or none with a path.
    Uri,
    /// The path does not begin with the prefix.
    Prefix,
}

impl Unknown {
    /// Whether the proxy's configuration is at fault, rather than a client.
    pub(super) const fn is_misconfigured(self) -> bool {
        matches!(self, Self::Missing(_) | Self::Prefix)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the proxy does not send {name}"),
            Self::Repeated(name) => write!(f, "{name} was sent more than once"),
            Self::Method => f.write_str("the method of the original request is malformed"),
            Self::Uri => f.write_str("the address of the original request is malformed"),
            Self::Prefix => f.write_str("the path does not begin with the proxy's path_prefix"),
        }
    }
}

const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

impl Proxy {
    /// The request that this one is about.
    pub(super) fn original(&self, parts: &Parts) -> Result<Original, Unknown> {
        let (method, uri) = match self {
            Self::Nginx => (
                one(&parts.headers, &X_ORIGINAL_METHOD, "X-Original-Method")?,
                one(&parts.headers, &X_ORIGINAL_URI, "X-Original-URI")?,
            ),
            Self::Traefik | Self::Caddy => (
                one(&parts.headers, &X_FORWARDED_METHOD, "X-Forwarded-Method")?,
                one(&parts.headers, &X_FORWARDED_URI, "X-Forwarded-Uri")?,
            ),
            Self::Envoy { path_prefix } => {
                let uri = without_prefix(&parts.uri, path_prefix)?;
                return Ok(Original { method: parts.method.clone(), uri });
            }
        };
        Ok(Original {
            method: Method::from_bytes(method.as_bytes()).map_err(|_| Unknown::Method)?,
            uri: path_and_query(uri.as_bytes())?,
        })
    }
}

/// The only value of a header. With two it would depend on the reader what was asked.
fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    written: &'static str,
) -> Result<&'h HeaderValue, Unknown> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Unknown::Missing(written))?;
    if values.next().is_some() { Err(Unknown::Repeated(written)) } else { Ok(value) }
}

fn path_and_query(text: &[u8]) -> Result<Uri, Unknown> {
    // An absolute URL has an authority that nobody looks at; a fragment would be dropped, and what is sent on has it.
    if !text.starts_with(b"/") || text.contains(&b'#') {
        return Err(Unknown::Uri);
    }
    Uri::try_from(text).map_err(|_| Unknown::Uri)
}

fn without_prefix(uri: &Uri, prefix: &str) -> Result<Uri, Unknown> {
    let text = uri.path_and_query().map_or("", |it| it.as_str());
    if prefix.is_empty() {
        return if text.starts_with('/') { Ok(uri.clone()) } else { Err(Unknown::Uri) };
    }
    let rest = text.strip_prefix(prefix).ok_or(Unknown::Prefix)?;
    if !rest.starts_with('/') {
        return Err(Unknown::Prefix);
    }
    path_and_query(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn original(proxy: &Proxy, line: &str, headers: &[(&str, &str)]) -> Result<String, Unknown> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        proxy.original(&parts).map(|original| format!("{} {}", original.method, original.uri))
    }

    #[test]
    fn each_proxy_says_in_its_own_headers_what_it_was_asked() {
        let nginx = [("X-Original-Method", "POST"), ("X-Original-URI", "/a?b")];
        let forwarded = [("X-Forwarded-Method", "POST"), ("X-Forwarded-Uri", "/a?b")];
        let known = || Ok("POST /a?b".to_owned());
        assert_eq!(original(&Proxy::Nginx, "GET /_token", &nginx), known());
        for proxy in [Proxy::Traefik, Proxy::Caddy] {
            assert_eq!(original(&proxy, "GET /", &forwarded), known());
            // What another proxy would say, a client of this one may have written.
            assert_eq!(
                original(&proxy, "GET /", &nginx),
                Err(Unknown::Missing("X-Forwarded-Method"))
            );
            let both = [forwarded, nginx].concat();
            assert_eq!(original(&proxy, "GET /", &both), known());
        }
        assert_eq!(
            original(&Proxy::Nginx, "GET /", &forwarded),
            Err(Unknown::Missing("X-Original-Method"))
        );
        for (prefix, line) in [("", "POST /a?b"), ("/verify", "POST /verify/a?b")] {
            let envoy = Proxy::Envoy { path_prefix: prefix.to_owned() };
            let liar = [("X-Original-URI", "/public"), ("X-Forwarded-Uri", "/public")];
            assert_eq!(original(&envoy, line, &liar), known());
        }
        let bare = Proxy::Envoy { path_prefix: String::new() };
        assert_eq!(original(&bare, "OPTIONS *", &[]), Err(Unknown::Uri));
        let envoy = Proxy::Envoy { path_prefix: "/verify".to_owned() };
        for line in ["POST /a", "POST /verifya", "POST /verify", "POST /verify?x"] {
            assert_eq!(original(&envoy, line, &[]), Err(Unknown::Prefix), "{line}");
        }
    }

    #[test]
    fn what_stands_twice_or_is_malformed_is_refused() {
        let nginx = |method, uri| {
            original(
                &Proxy::Nginx,
                "GET /",
                &[("X-Original-Method", method), ("X-Original-URI", uri)],
            )
        };
        assert_eq!(nginx("GE T", "/"), Err(Unknown::Method));
        for uri in ["", "*", "a", "http://a.example/b", "/a#b", "/a b", "/a\u{e9}<"] {
            assert_eq!(nginx("GET", uri), Err(Unknown::Uri), "{uri}");
        }
        assert_eq!(nginx("GET", "//a/b"), Ok("GET //a/b".to_owned()));
        let twice =
            [("X-Original-Method", "GET"), ("X-Original-URI", "/a"), ("x-original-uri", "/a")];
        assert_eq!(
            original(&Proxy::Nginx, "GET /", &twice),
            Err(Unknown::Repeated("X-Original-URI"))
        );
    }
}
