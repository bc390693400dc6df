//! Where requests go.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use super::guard::host_of;
use super::trouble::Trouble;
use crate::hosts::is_protected;

/// A server: scheme, host and port.
#[derive(Clone, Debug)]
pub struct Destination {
    scheme: Scheme,
    authority: Authority,
    /// The same, as `Host` has it.
    pub(super) host_field: HeaderValue,
    port: u16,
}

impl Destination {
    /// That of an absolute URL of scheme http or https. `None` for all else, and where there is user information.
    pub fn of(url: &Uri) -> Option<Self> {
        let scheme = url.scheme().filter(|s| **s == Scheme::HTTP || **s == Scheme::HTTPS)?;
        let authority = url.authority()?;
        let host = host_of(authority.as_str())?;
        // `http` does not tell a port that is none from one that is not there.
        let port = match authority.as_str().strip_prefix(host)?.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if *scheme == Scheme::HTTPS => 443,
            None => 80,
        };
        let host_field = HeaderValue::try_from(authority.as_str()).ok()?;
        Some(Self { scheme: scheme.clone(), authority: authority.clone(), host_field, port })
    }

    /// The host, in brackets if it is an IPv6 address.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The port, the scheme's own if the URL has none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is asked over TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The URL of something there.
    pub(super) fn url(&self, path: &PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.clone());
        // All three are there, which is all that can be wrong.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// The same for all that are the same.
    pub(super) fn key(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host().to_ascii_lowercase(), self.port)
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Where a listener's requests go: a server, and a path that is put before theirs.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub(super) destination: Destination,
    /// Without the slash at its end.
    base: String,
    pub(super) http2: bool,
}

/// Why a URL cannot be an upstream's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Not a URL, not http or https, or one with a user.
    #[error("an upstream is an https URL, or an http URL of this machine, without a user")]
    Url,
    /// A token would cross a network in the clear.
    #[error("a token must not leave this machine over http: write https")]
    InTheClear,
    /// Requests have queries of their own.
    #[error("an upstream's URL has no query")]
    Query,
}

impl Upstream {
    /// From a URL: https, or http to this machine. Its path is put before that of each request.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(url: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = url.parse().map_err(|_| UpstreamError::Url)?;
        let destination = Destination::of(&uri).ok_or(UpstreamError::Url)?;
        if !is_protected(&uri) {
            return Err(UpstreamError::InTheClear);
        }
        // `http` forgets fragments.
        if uri.query().is_some() || url.contains('#') {
            return Err(UpstreamError::Query);
        }
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { destination, base, http2: false })
    }

    /// Speaks HTTP/2 without asking, also where there is no TLS to agree on it, as gRPC servers want it.
    #[must_use]
    pub const fn with_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The server.
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The path there, for one that a program asked for.
    pub(super) fn path(&self, uri: &Uri) -> Result<PathAndQuery, Trouble> {
        let asked = uri.path_and_query().filter(|path| path.as_str().starts_with('/'));
        let asked = asked.ok_or(Trouble::BadRequest("a request's target is a path"))?;
        if self.base.is_empty() {
            return Ok(asked.clone());
        }
        // They would lead out of the upstream's path.
        if asked.path().split(['/', '\\']).any(is_dots) {
            return Err(Trouble::BadRequest("a path must not have dot segments"));
        }
        let joined = format!("{}{asked}", self.base);
        PathAndQuery::try_from(joined).map_err(|_| Trouble::BadRequest("the path is malformed"))
    }
}

/// Whether a segment means this directory or the one above (RFC 3986 §3.3), also where it is written otherwise.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    // What comes before an encoded slash is a segment to some servers.
    plain.replace("%5c", "%2f").split("%2f").any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_273_an_upstream_is_https_or_this_machine() {
        for (url, expected) in [
            ("https://api.example", None),
            ("https://api.example:8443/v1/", None),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:8080/", None),
            ("http://localhost", None),
            ("http://api.example", Some(UpstreamError::InTheClear)),
            ("http://localhost.evil.example", Some(UpstreamError::InTheClear)),
            ("https://me@api.example", Some(UpstreamError::Url)),
            ("https://api.example:99999", Some(UpstreamError::Url)),
            ("ftp://api.example", Some(UpstreamError::Url)),
            ("api.example", Some(UpstreamError::Url)),
            ("/v1", Some(UpstreamError::Url)),
            ("", Some(UpstreamError::Url)),
            ("https://api.example/?a=b", Some(UpstreamError::Query)),
            ("https://api.example/#a", Some(UpstreamError::Query)),
        ] {
            assert_eq!(Upstream::new(url).err(), expected, "{url}");
        }
    }

    #[test]
    fn a_path_is_put_behind_that_of_the_upstream() {
        let path = |upstream: &str, asked: &str| {
            let path = Upstream::new(upstream).unwrap().path(&asked.parse().unwrap());
            path.map(|path| path.to_string()).map_err(|trouble| trouble.status().as_u16())
        };
        for (upstream, asked, expected) in [
            ("https://a.example", "/x?y=z", Ok("/x?y=z")),
            ("https://a.example/v1/", "/x?y=/../z", Ok("/v1/x?y=/../z")),
            ("https://a.example/v1", "/", Ok("/v1/")),
            ("https://a.example/v1", "/x/a..b/...", Ok("/v1/x/a..b/...")),
            ("https://a.example/v1", "//evil.example/x", Ok("/v1//evil.example/x")),
            ("https://a.example", "//evil.example/x", Ok("//evil.example/x")),
            ("https://a.example", "/@evil.example/", Ok("/@evil.example/")),
            ("https://a.example", "http://localhost:1/x?y", Ok("/x?y")),
            ("https://a.example", "*", Err(400)),
            ("https://a.example/v1", "/..", Err(400)),
            ("https://a.example/v1", "/x/../../y", Err(400)),
            ("https://a.example/v1", "/x/%2e%2E/y", Err(400)),
            ("https://a.example/v1", "/x/.%2e%2fy", Err(400)),
            ("https://a.example/v1", "/x/..%5Cy", Err(400)),
        ] {
            assert_eq!(path(upstream, asked), expected.map(str::to_owned), "{asked}");
        }
    }

    #[test]
    fn the_url_is_of_the_upstream_whatever_the_path() {
        let to = Upstream::new("https://a.example:8443").unwrap();
        for asked in ["//evil.example/x", "/@evil.example/", "/x?http://evil.example"] {
            let url = to.destination.url(&to.path(&asked.parse().unwrap()).unwrap());
            assert_eq!(url.to_string(), format!("https://a.example:8443{asked}"));
            assert_eq!(url.host(), Some("a.example"));
        }
    }
}
