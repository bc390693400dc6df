//! URLs that may be fetched from.

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use rustls_pki_types::ServerName;

use super::FetchError;

/// The longest URL. Servers refuse longer ones.
const MAX_LEN: usize = 2_048;

/// A URL that may be fetched from, if its host may.
#[derive(Clone, Debug)]
pub(super) struct Url {
    /// In lower case; an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as written, for the `Host` header.
    pub(super) authority: String,
    pub(super) path: PathAndQuery,
    /// Whom the certificate must be for.
    pub(super) name: ServerName<'static>,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        // First, since the parser drops it.
        if text.contains('#') {
            return Err(FetchError::Fragment);
        }
        if text.len() > MAX_LEN {
            return Err(FetchError::MalformedUrl);
        }
        let uri: Uri = text.parse().map_err(|_| FetchError::MalformedUrl)?;
        match uri.scheme_str() {
            Some("https") => {}
            Some(_) => return Err(FetchError::NotHttps),
            None => return Err(FetchError::MalformedUrl),
        }
        let authority = uri.authority().ok_or(FetchError::MalformedUrl)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::UserInfo);
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let name = ServerName::try_from(host.clone()).map_err(|_| FetchError::MalformedUrl)?;
        Ok(Self {
            port: port(authority).ok_or(FetchError::MalformedUrl)?,
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            host,
            name,
        })
    }
}

/// The port, where what follows the host is one. The parser takes anything for none.
fn port(authority: &Authority) -> Option<u16> {
    match authority.as_str().strip_prefix(authority.host())? {
        "" => Some(443),
        rest => rest.strip_prefix(':').filter(|port| !port.starts_with('+'))?.parse().ok(),
    }
}

/// Whether this is an https URL without user name and fragment, from which something may be fetched if its host may be
/// connected to.
pub fn is_fetchable(url: &str) -> bool {
    Url::parse(url).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_170_only_https_urls_are_fetched() {
        let cases = [
            ("https://a.example", None),
            ("https://a.example/", None),
            ("https://A.example:8443/jwks?x=y", None),
            ("https://[2001:db8::1]:8443/jwks", None),
            ("HTTPS://a.example/", None),
            ("http://a.example/", Some(FetchError::NotHttps)),
            ("ftp://a.example/", Some(FetchError::NotHttps)),
            ("file:///etc/passwd", Some(FetchError::MalformedUrl)),
            ("gopher://a.example/", Some(FetchError::NotHttps)),
            ("https://a.example/#x", Some(FetchError::Fragment)),
            ("https://a.example/#", Some(FetchError::Fragment)),
            ("https://ann@a.example/", Some(FetchError::UserInfo)),
            ("https://ann:secret@a.example/", Some(FetchError::UserInfo)),
            ("https://@a.example/", Some(FetchError::UserInfo)),
            ("https://a.example:65536/", Some(FetchError::MalformedUrl)),
            ("https://a.example:+443/", Some(FetchError::MalformedUrl)),
            ("https://a.example:443:443/", Some(FetchError::MalformedUrl)),
            ("https://[::1]x/", Some(FetchError::MalformedUrl)),
            ("https://a.example:/", Some(FetchError::MalformedUrl)),
            ("https:///jwks", Some(FetchError::MalformedUrl)),
            ("https://", Some(FetchError::MalformedUrl)),
            ("https://a b/", Some(FetchError::MalformedUrl)),
            ("https://a.example/\r\nx: y", Some(FetchError::MalformedUrl)),
            ("//a.example/", Some(FetchError::MalformedUrl)),
            ("a.example", Some(FetchError::MalformedUrl)),
            ("/jwks", Some(FetchError::MalformedUrl)),
            ("", Some(FetchError::MalformedUrl)),
        ];
        for (text, expected) in cases {
            assert_eq!(Url::parse(text).err(), expected, "{text}");
            assert_eq!(is_fetchable(text), expected.is_none(), "{text}");
        }
        let long = format!("https://a.example/{}", "a".repeat(MAX_LEN));
        assert_eq!(Url::parse(&long).err(), Some(FetchError::MalformedUrl));
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("https://A.example:8443/jwks?x=y").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("a.example", 8443));
        assert_eq!((url.authority.as_str(), url.path.as_str()), ("A.example:8443", "/jwks?x=y"));
        let url = Url::parse("https://[::1]").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 443, "/"));
    }
}
