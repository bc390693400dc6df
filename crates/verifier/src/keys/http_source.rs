//! Key sets over HTTP, found through the issuer's metadata (RFC 8414) unless their address is given.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, Uri};
use tokenry_core::jose::JwkSet;

use super::{FetchError, Fetched, KeySource};
use crate::BoxFuture;
use crate::fetch::{Discovery, Http, HttpSettings, address};

/// Fetches key sets over HTTP and TLS.
///
/// Redirects are not followed, answers are read up to a limit, and the metadata must be those of the issuer asked
/// for, byte by byte (RFC 8414 §3.3).
pub struct HttpKeySource {
    http: Http,
    jwks_uri: Option<Uri>,
    discovery: Discovery,
}

impl HttpKeySource {
    /// Settings of one.
    pub fn builder() -> HttpKeySourceBuilder {
        HttpKeySourceBuilder::default()
    }

    async fn fetch_keys(&self, issuer: &str) -> Result<Fetched, FetchError> {
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => {
                let metadata = self.discovery.metadata(&self.http, issuer).await?;
                address(&metadata.jwks_uri, "jwks_uri")?
            }
        };
        let request =
            Request::get(uri).header(ACCEPT, "application/jwk-set+json, application/json");
        let answer = self.http.ask(request, Bytes::new(), JwkSet::MAX_LEN).await;
        if answer.is_err() {
            // Perhaps the keys have moved.
            self.discovery.forget();
        }
        let (parts, body) = answer?;
        Ok(Fetched { body, max_age: max_age(&parts.headers) })
    }
}

impl KeySource for HttpKeySource {
    fn fetch<'a>(&'a self, issuer: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(self.fetch_keys(issuer))
    }
}

impl fmt::Debug for HttpKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpKeySource").field("jwks_uri", &self.jwks_uri).finish_non_exhaustive()
    }
}

/// Settings of an [`HttpKeySource`].
#[derive(Clone, Debug, Default)]
pub struct HttpKeySourceBuilder {
    jwks_uri: Option<String>,
    http: HttpSettings,
}

impl HttpKeySourceBuilder {
    /// Fetches from this address, without asking for metadata.
    #[must_use]
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.jwks_uri = Some(uri.into());
        self
    }

    /// Trusts these certificates (PEM, one or several) instead of what the operating system trusts.
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.roots = Some(pem.into());
        self
    }

    /// Connects to this address whenever `host` is meant, as `curl --connect-to` does.
    ///
    /// The certificate must still be that of the host.
    #[must_use]
    pub fn connect_to(mut self, host: &str, addr: SocketAddr) -> Self {
        self.http.overrides.insert(host.to_ascii_lowercase(), addr);
        self
    }

    /// Accepts `http` addresses. Whoever can change an answer on the way can then issue tokens.
    #[must_use]
    pub const fn allow_plain_http(mut self) -> Self {
        self.http.allow_plain_http = true;
        self
    }

    /// How connections to the issuer are made.
    pub(crate) const fn http(&self) -> &HttpSettings {
        &self.http
    }

    /// Makes the source. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// That the address or the certificates cannot be used.
    pub fn build(self) -> Result<HttpKeySource, HttpConfigError> {
        let jwks_uri = match self.jwks_uri {
            None => None,
            Some(text) => Some(
                text.parse::<Uri>()
                    .ok()
                    .filter(|uri| uri.host().is_some())
                    .ok_or(HttpConfigError::JwksUri(text))?,
            ),
        };
        let http = self.http.build()?;
        if let Some(uri) = &jwks_uri
            && http.check_scheme(uri).is_err()
        {
            return Err(HttpConfigError::JwksUri(uri.to_string()));
        }
        Ok(HttpKeySource { http, jwks_uri, discovery: Discovery::default() })
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpConfigError {
    /// Not an absolute https address.
    #[error("the address of the keys must be an https URL, got `{0}`")]
    JwksUri(String),
    /// Not certificates in PEM.
    #[error("the root certificates are not certificates in PEM")]
    RootCertificates,
    /// The TLS library does not start.
    #[error("tls: {0}")]
    Tls(String),
}

/// `max-age` of RFC 9111 §5.2.2.1; `no-store` and `no-cache` count as zero.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut found = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) =
            directive.trim().split_once('=').unwrap_or_else(|| (directive.trim(), ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            found = value.trim_matches('"').parse().ok().map(Duration::from_secs).or(found);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_cache_control() {
        for (value, secs) in [
            ("public, max-age=60", Some(60)),
            ("Max-Age=\"60\"", Some(60)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("s-maxage=5", None),
            ("max-age=x", None),
            ("max-age=-1", None),
        ] {
            let headers = [(CACHE_CONTROL, value.parse().unwrap())].into_iter().collect();
            assert_eq!(max_age(&headers), secs.map(Duration::from_secs), "{value}");
        }
    }
}
