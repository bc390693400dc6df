//! Who may ask: programs, and no web pages.
//!
//! A page that a browser on this machine shows can reach a listener on loopback, by its address or by a name of the
//! page's owner that resolves to it (DNS rebinding). What such a request gets would be got with the token. So a request
//! has to name the listener as nobody else's DNS can, and must not come from a page of another origin.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};

use super::trouble::Trouble;

/// What the page is to the listener, as a browser says (Fetch Metadata §2.3). Pages cannot set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whom the listener takes requests from.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// Names that the listener has besides `localhost` and addresses, in lower case.
    pub(super) names: Vec<String>,
    /// Origins of web pages that may ask.
    pub(super) origins: Vec<String>,
    /// Whether it is a socket that no browser reaches.
    pub(super) is_private: bool,
}

impl Guard {
    /// For a request to the listener itself.
    ///
    /// The port is not compared: it says nothing about who asks, and forwarded ports differ.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Trouble> {
        let authority = match uri.authority() {
            // RFC 9112 §3.2.2: the `Host` beside it counts for nothing.
            Some(authority) => authority.as_str(),
            None => the_host(headers)?,
        };
        if self.is_private {
            return Ok(());
        }
        let host = host_of(authority).ok_or(Trouble::BadRequest("the Host header is malformed"))?;
        if !self.is_ours(host) {
            return Err(Trouble::Misdirected);
        }
        self.check_page("http", authority, headers)
    }

    /// For a request that is to get a token: it comes from no web page, or from one of the origin that it goes to.
    pub(super) fn check_page(
        &self,
        scheme: &str,
        authority: &str,
        headers: &HeaderMap,
    ) -> Result<(), Trouble> {
        for origin in headers.get_all(ORIGIN) {
            let text = origin.to_str().unwrap_or_default();
            let own = text
                .strip_prefix(scheme)
                .and_then(|rest| rest.strip_prefix("://"))
                .is_some_and(|rest| rest.eq_ignore_ascii_case(authority));
            if !own && !self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(text)) {
                return Err(Trouble::ForeignPage);
            }
        }
        // `none` is a person who typed the address. Where an origin is allowed, the browser sends it, and says
        // `cross-site` as well.
        let listed = headers.contains_key(ORIGIN);
        let sites = headers.get_all(SEC_FETCH_SITE);
        if !listed && sites.iter().any(|site| site != "same-origin" && site != "none") {
            return Err(Trouble::ForeignPage);
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        // An address is no name that somebody's DNS could point here.
        host.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// The one `Host` header (RFC 9112 §3.2).
fn the_host(headers: &HeaderMap) -> Result<&str, Trouble> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next().map(http::HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) => Ok(host),
        _ => Err(Trouble::BadRequest("a request has one Host header")),
    }
}

/// The host of an authority without its port: `None` if it is malformed, or has user information (RFC 9110 §4.2.4).
pub(super) fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (authority.get(..end)?, authority.get(end..)?)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let good_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 5,
        None => port.is_empty(),
    };
    let of_a_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let good_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(of_a_host),
    };
    (good_port && good_host).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let names = vec!["tokens.internal".to_owned()];
        Guard { names, origins: vec!["https://app.example".to_owned()], is_private: false }
    }

    fn ask(uri: &str, fields: &[(&'static str, &str)]) -> Result<(), u16> {
        ask_of(&guard(), uri, fields)
    }

    fn ask_of(guard: &Guard, uri: &str, fields: &[(&'static str, &str)]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let checked = guard.check(&uri.parse().unwrap(), &headers);
        checked.map_err(|trouble| trouble.status().as_u16())
    }

    #[test]
    fn the_listener_is_named_as_nobody_elses_dns_can() {
        for (host, expected) in [
            ("localhost:9000", Ok(())),
            ("LOCALHOST", Ok(())),
            ("127.0.0.1:9000", Ok(())),
            ("[::1]:9000", Ok(())),
            ("tokens.internal:80", Ok(())),
            ("Tokens.Internal.", Ok(())),
            ("localhost:65535", Ok(())),
            ("localhost:123456", Err(400)),
            ("evil.example:9000", Err(421)),
            ("localhost.evil.example", Err(421)),
            ("127.0.0.1.evil.example:9000", Err(421)),
            ("xtokens.internal", Err(421)),
            ("0x7f000001", Err(421)),
            ("localhost@evil.example", Err(400)),
            ("evil.example@localhost", Err(400)),
            ("localhost:9000:80", Err(400)),
            ("localhost:evil", Err(400)),
            ("localhost/evil", Err(400)),
            ("local%68ost", Err(400)),
            ("[::1", Err(400)),
            ("[::1]evil", Err(400)),
            ("[localhost]", Err(400)),
            (" localhost", Err(400)),
            ("", Err(400)),
        ] {
            assert_eq!(ask("/", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(ask("/", &[]), Err(400));
        assert_eq!(ask("/", &[("host", "localhost"), ("host", "localhost")]), Err(400));
        // An absolute form says it, whatever stands beside it (RFC 9112 §3.2.2).
        assert_eq!(ask("http://evil.example/", &[("host", "localhost")]), Err(421));
        assert_eq!(ask("http://localhost/", &[("host", "evil.example")]), Ok(()));
    }

    #[test]
    fn a_page_of_another_origin_gets_nothing() {
        const HOST: (&str, &str) = ("host", "localhost:9000");
        for (field, expected) in [
            (("origin", "http://localhost:9000"), Ok(())),
            (("origin", "https://app.example"), Ok(())),
            (("origin", "https://localhost:9000"), Err(403)),
            (("origin", "http://localhost:3000"), Err(403)),
            (("origin", "http://localhost"), Err(403)),
            (("origin", "https://evil.example"), Err(403)),
            (("origin", "null"), Err(403)),
            (("origin", ""), Err(403)),
            (("sec-fetch-site", "same-origin"), Ok(())),
            (("sec-fetch-site", "none"), Ok(())),
            (("sec-fetch-site", "same-site"), Err(403)),
            (("sec-fetch-site", "cross-site"), Err(403)),
            (("sec-fetch-site", "anything"), Err(403)),
        ] {
            assert_eq!(ask("/", &[HOST, field]), expected, "{field:?}");
        }
        let allowed = ("origin", "https://app.example");
        assert_eq!(ask("/", &[HOST, allowed, ("sec-fetch-site", "cross-site")]), Ok(()));
        assert_eq!(ask("/", &[HOST, allowed, ("origin", "https://evil.example")]), Err(403));
    }

    #[test]
    fn no_browser_reaches_a_unix_socket() {
        let guard = Guard { is_private: true, ..Guard::default() };
        assert_eq!(ask_of(&guard, "/", &[("host", "whatever.example")]), Ok(()));
        assert_eq!(ask_of(&guard, "/", &[]), Err(400));
    }
}
