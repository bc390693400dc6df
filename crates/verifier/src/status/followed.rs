//! Which URIs of lists are followed: a token decides what is fetched, but not from whom.

use http::Uri;

/// The URIs that are followed.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    /// The issuer's own; none, where its name is no URL.
    own: Option<Origin>,
    prefixes: Vec<Address>,
    allow_plain_http: bool,
}

/// Scheme, host and port.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Origin {
    is_https: bool,
    host: String,
    port: u16,
}

/// An address that has one meaning.
#[derive(Clone, Debug)]
struct Address {
    origin: Origin,
    path: String,
    has_query: bool,
}

impl Followed {
    /// Those of the issuer's origin, and of these prefixes; `None`: a prefix is none.
    pub(super) fn new(issuer: &str, prefixes: &[String], allow_plain_http: bool) -> Option<Self> {
        let may_be_asked = |address: &Address| address.origin.is_https || allow_plain_http;
        let prefixes: Option<Vec<_>> = prefixes
            .iter()
            .map(|text| Address::read(text).filter(may_be_asked).filter(|it| !it.has_query))
            .collect();
        let own = Address::read(issuer).map(|address| address.origin);
        Some(Self { own, prefixes: prefixes?, allow_plain_http })
    }

    /// Whether a list is looked for here.
    pub(super) fn has(&self, uri: &str) -> bool {
        let Some(address) = Address::read(uri) else { return false };
        if !address.origin.is_https && !self.allow_plain_http {
            return false;
        }
        self.own.as_ref() == Some(&address.origin)
            || self.prefixes.iter().any(|prefix| address.is_below(prefix))
    }
}

impl Address {
    /// Reads an address strictly. What is written in a way that others may read otherwise is none: a user, dots and
    /// slashes in disguise, a fragment.
    fn read(text: &str) -> Option<Self> {
        if !text.bytes().all(is_url_char) {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, host) = (uri.authority()?.as_str(), uri.host()?);
        // A user would stand before the host, and is left over here.
        let port = match authority.strip_prefix(host)? {
            "" if is_https => 443,
            "" => 80,
            rest => rest.strip_prefix(':').filter(|port| is_number(port))?.parse().ok()?,
        };
        let path = uri.path();
        if host.is_empty() || path.split('/').any(|it| matches!(it, "." | "..")) || hides(path) {
            return None;
        }
        let origin = Origin { is_https, host: host.to_ascii_lowercase(), port };
        Some(Self { origin, path: path.to_owned(), has_query: uri.query().is_some() })
    }

    /// Whether it is this prefix, or in the folder of this name.
    fn is_below(&self, prefix: &Self) -> bool {
        let folder = prefix.path.trim_end_matches('/');
        self.origin == prefix.origin
            && self
                .path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Characters of RFC 3986 §2 without `#`: what follows it is for nobody who is asked.
const fn is_url_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'/'
                | b'?'
                | b'['
                | b']'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b'%'
        )
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether dots or slashes are hidden in it (`%2e`, `%2f`, `%5c`): some servers look behind that, and some do not.
fn hides(path: &str) -> bool {
    let hidden = |pair: &str| ["2e", "2f", "5c"].iter().any(|it| pair.eq_ignore_ascii_case(it));
    path.split('%').skip(1).any(|rest| rest.get(..2).is_none_or(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_193_only_lists_of_the_issuers_origin_are_followed() {
        let followed = Followed::new("https://id.example/realms/main", &[], false).unwrap();
        for uri in [
            "https://id.example/status-lists/1",
            "https://id.example/other/realm?x=y",
            "https://ID.example:443/a",
            "https://id.example",
            "https://id.example/a%20b",
        ] {
            assert!(followed.has(uri), "{uri}");
        }
        for uri in [
            "http://id.example/a",
            "https://id.example:444/a",
            "https://id.example:/a",
            "https://id.example:99999/a",
            "https://id.example.evil.example/a",
            "https://id.example@evil.example/a",
            "https://evil.example/@id.example",
            "https://evil.example#@id.example/",
            "https://user@id.example/a",
            "https://:@id.example/a",
            "https://id.example./a",
            "https://id.example/a#b",
            "https://id.example\\@evil.example/a",
            "https://id.example/a/../b",
            "https://id.example/./b",
            "https://id.example/a/%2E%2e/b",
            "https://id.example/a%2fb",
            "https://id.example/a%5Cb",
            "https://id.example/a%",
            "https://id.example/ä",
            "https://id.example/a b",
            "//id.example/a",
            "/a",
            "ftp://id.example/a",
            "urn:x",
            "",
        ] {
            assert!(!followed.has(uri), "{uri}");
        }
    }

    #[test]
    fn row_193_a_prefix_is_compared_by_whole_segments() {
        for prefix in ["https://s.example/lists", "https://S.example:443/lists/"] {
            let followed =
                Followed::new("https://id.example", &[prefix.to_owned()], false).unwrap();
            for (uri, expected) in [
                ("https://s.example/lists", true),
                ("https://s.example/lists/1/2", true),
                ("https://s.example/lists?n=1", true),
                ("https://id.example/x", true),
                ("https://s.example/lists2", false),
                ("https://s.example/", false),
                ("https://s.example/Lists/1", false),
                ("https://s.example:8443/lists/1", false),
                ("http://s.example/lists/1", false),
                ("https://s.example/lists/../x", false),
            ] {
                assert_eq!(followed.has(uri), expected, "{uri}");
            }
        }
        let all = Followed::new("joe", &["https://s.example".to_owned()], false).unwrap();
        assert!(all.has("https://s.example/x") && !all.has("https://id.example/x"));
    }

    #[test]
    fn a_prefix_is_an_address_without_query_and_user() {
        for (prefix, plain, expected) in [
            ("https://s.example/a", false, true),
            ("http://s.example/a", true, true),
            ("http://s.example/a", false, false),
            ("https://s.example/a?b", false, false),
            ("https://u@s.example/a", false, false),
            ("s.example", false, false),
        ] {
            let made = Followed::new("https://id.example", &[prefix.to_owned()], plain);
            assert_eq!(made.is_some(), expected, "{prefix}");
        }
        // Where keys may be fetched without TLS, lists may be as well.
        let plain = Followed::new("http://id.example", &[], true).unwrap();
        assert!(plain.has("http://id.example/1") && plain.has("http://id.example:80/1"));
        assert!(!plain.has("https://id.example/1"));
    }
}
