//! Where a token may go.

use std::net::IpAddr;

use http::Uri;

/// The hosts that a token was meant for.
///
/// A pattern is a host name, with an optional port; without one, any port is meant. Its first label may hold one
/// `*`, which stands for any text within that label: `*.example.com` is `a.example.com`, and neither `example.com`
/// nor `a.b.example.com`. A pattern that begins with `!` forbids what another allows.
///
/// ```
/// use tokenry_client::AllowedHosts;
///
/// let hosts = AllowedHosts::new(["*.example.com", "!*-stg.example.com"]);
/// assert!(hosts.allows(&"https://api.example.com/v1".parse().unwrap()));
/// assert!(!hosts.allows(&"https://api-stg.example.com/v1".parse().unwrap()));
/// assert!(!hosts.allows(&"http://api.example.com/v1".parse().unwrap()));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AllowedHosts {
    allowed: Vec<Pattern>,
    forbidden: Vec<Pattern>,
    /// A pattern that was to forbid something makes no sense, so that nobody knows what.
    forbids_all: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern {
    host: String,
    port: Option<u16>,
}

impl AllowedHosts {
    /// From patterns. With none, a token goes nowhere.
    pub fn new<I>(patterns: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut hosts = Self::default();
        for pattern in patterns {
            let (forbids, pattern) = match pattern.as_ref().strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, pattern.as_ref()),
            };
            match (Pattern::parse(pattern), forbids) {
                (Some(pattern), true) => hosts.forbidden.push(pattern),
                (Some(pattern), false) => hosts.allowed.push(pattern),
                (None, true) => hosts.forbids_all = true,
                (None, false) => {}
            }
        }
        hosts
    }

    /// The first of these patterns that makes no sense: a URL instead of a host, a port that is none, a second `*`.
    ///
    /// [`new`](Self::new) takes it for one that allows nothing, or forbids everything.
    pub fn malformed<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Option<&'p str> {
        let host = |pattern: &'p str| pattern.strip_prefix('!').unwrap_or(pattern);
        patterns.into_iter().find(|pattern| Pattern::parse(host(pattern)).is_none())
    }

    /// The patterns, as they are written.
    pub fn patterns(&self) -> Vec<String> {
        let allowed = self.allowed.iter().map(Pattern::to_string);
        let forbidden = self.forbidden.iter().map(|pattern| format!("!{pattern}"));
        // What forbids everything is as good as nothing allowed.
        if self.forbids_all { Vec::new() } else { allowed.chain(forbidden).collect() }
    }

    /// Whether no host is allowed at all.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Whether a token may be sent to this absolute URL: an allowed host, over https, or http to loopback.
    pub fn allows(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let host = normal(host);
        let port = uri.port_u16().or_else(|| match uri.scheme_str() {
            Some("https") => Some(443),
            _ => Some(80),
        });
        !self.forbids_all
            && is_protected(uri)
            && self.allowed.iter().any(|pattern| pattern.matches(&host, port))
            && !self.forbidden.iter().any(|pattern| pattern.matches(&host, port))
    }
}

impl Pattern {
    fn parse(pattern: &str) -> Option<Self> {
        // An IPv6 address in brackets has colons of its own.
        let (host, port) = match pattern.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (pattern, None),
        };
        let is_address = host.starts_with('[') && host.ends_with(']');
        let of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte);
        let star_ends = host
            .split_once('*')
            .is_none_or(|(before, after)| !before.contains('.') && !after.contains('*'));
        let good = is_address || (!host.is_empty() && host.bytes().all(of_a_host) && star_ends);
        good.then(|| Self { host: normal(host), port })
    }

    fn matches(&self, host: &str, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        let Some((before, after)) = self.host.split_once('*') else { return self.host == host };
        let Some(rest) = host.strip_prefix(before) else { return false };
        let Some(star) = rest.strip_suffix(after) else { return false };
        !star.is_empty() && !star.contains('.')
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// Whether what is sent to this URL cannot be read on the way: https, or http that does not leave the machine.
pub(crate) fn is_protected(uri: &Uri) -> bool {
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_loopback(&normal(host)),
        _ => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    // RFC 6761 §6.3: names under `localhost` resolve to loopback.
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], uri: &str) -> bool {
        AllowedHosts::new(patterns).allows(&uri.parse().unwrap())
    }

    #[test]
    fn row_273_a_star_stands_for_one_label_at_most() {
        let patterns = ["*.services.simacan.com"];
        assert!(allows(&patterns, "https://locations.services.simacan.com/x"));
        assert!(allows(&patterns, "https://LOCATIONS.services.simacan.com./x"));
        assert!(!allows(&patterns, "https://services.simacan.com/"));
        assert!(!allows(&patterns, "https://a.b.services.simacan.com/"));
        assert!(!allows(&patterns, "https://services.simacan.com.evil.example/"));
        assert!(!allows(&patterns, "https://evil.example/.services.simacan.com"));
    }

    #[test]
    fn row_273_an_exact_host_is_no_suffix_and_no_userinfo() {
        let patterns = ["graphql.tuinly.com"];
        assert!(allows(&patterns, "https://graphql.tuinly.com:8443/graphql"));
        assert!(!allows(&patterns, "https://evilgraphql.tuinly.com/"));
        assert!(!allows(&patterns, "https://graphql.tuinly.com@evil.example/"));
        assert!(!allows(&patterns, "/graphql"));
    }

    #[test]
    fn row_273_a_token_does_not_travel_in_the_clear_except_within_the_machine() {
        let patterns = ["api.example", "127.0.0.1", "[::1]", "api.localhost"];
        assert!(!allows(&patterns, "http://api.example/"));
        assert!(allows(&patterns, "http://127.0.0.1:8080/"));
        assert!(allows(&patterns, "http://[::1]:8080/"));
        assert!(allows(&patterns, "http://api.localhost/"));
    }

    #[test]
    fn a_port_in_the_pattern_is_obeyed() {
        assert!(allows(&["api.example:443"], "https://api.example/"));
        assert!(allows(&["api.example:8443"], "https://api.example:8443/"));
        assert!(!allows(&["api.example:8443"], "https://api.example/"));
        assert!(!allows(&["[::1]:8443"], "https://[::1]/"));
    }

    #[test]
    fn a_forbidden_host_is_forbidden_although_allowed() {
        let patterns = ["*.services.simacan.com", "!*-stg.services.simacan.com"];
        assert!(allows(&patterns, "https://a.services.simacan.com/"));
        assert!(!allows(&patterns, "https://a-stg.services.simacan.com/"));
    }

    #[test]
    fn row_273_a_pattern_that_makes_no_sense_allows_nothing_or_forbids_everything() {
        for wrong in [
            "https://api.example",
            "api.example:x",
            "api.example:99999",
            "a.*.example",
            "*.*",
            "",
            "api.example/v1",
        ] {
            assert!(!allows(&[wrong], "https://api.example/"), "{wrong}");
            let forbidding = format!("!{wrong}");
            assert!(!allows(&["api.example", &forbidding], "https://api.example/"), "{wrong}");
            assert_eq!(AllowedHosts::malformed(["api.example", wrong]), Some(wrong));
        }
        let good = ["*.example:8443", "[::1]", "!*-stg.example"];
        assert_eq!(AllowedHosts::malformed(good), None);
        assert_eq!(AllowedHosts::new(good).patterns(), good);
    }

    #[test]
    fn without_patterns_a_token_goes_nowhere() {
        assert!(!allows(&[], "https://api.example/"));
    }
}
