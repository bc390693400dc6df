//! Key sets over HTTP, found through the issuer's metadata (RFC 8414) unless their address is given.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokenry_core::jose::JwkSet;
use tokio::time::Instant;

use super::tls::{Connector, Dial, connector};
use super::{FetchError, Fetched, KeySource};
use crate::BoxFuture;

/// Metadata of big providers have about 5 KiB.
const MAX_METADATA_LEN: usize = 64 * 1024;

/// How long an address from the metadata is used. Addresses hardly ever change; a failed fetch asks again at once.
const DISCOVERY_LIFETIME: Duration = Duration::from_hours(1);

/// Fetches are minutes apart: an idle connection only costs the issuer a socket.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Fetches key sets over HTTP and TLS.
///
/// Redirects are not followed, answers are read up to a limit, and the metadata must be those of the issuer asked
/// for, byte by byte (RFC 8414 §3.3).
pub struct HttpKeySource {
    client: Client<Connector, Empty<Bytes>>,
    jwks_uri: Option<Uri>,
    allow_plain_http: bool,
    discovered: Mutex<Option<(Uri, Instant)>>,
}

impl HttpKeySource {
    /// Settings of one.
    pub fn builder() -> HttpKeySourceBuilder {
        HttpKeySourceBuilder::default()
    }

    async fn fetch_keys(&self, issuer: &str) -> Result<Fetched, FetchError> {
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => self.discover(issuer).await?,
        };
        let answer = self.get(uri, JwkSet::MAX_LEN).await;
        if answer.is_err() {
            // Perhaps the keys have moved.
            *self.discovered.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let (headers, body) = answer?;
        Ok(Fetched { body, max_age: max_age(&headers) })
    }

    async fn discover(&self, issuer: &str) -> Result<Uri, FetchError> {
        let now = Instant::now();
        if let Some((uri, at)) = &*self.discovered.lock().unwrap_or_else(PoisonError::into_inner)
            && now.saturating_duration_since(*at) < DISCOVERY_LIFETIME
        {
            return Ok(uri.clone());
        }
        let [oauth, openid] = metadata_addresses(issuer)?;
        let metadata = match self.get(oauth, MAX_METADATA_LEN).await {
            // An issuer from before RFC 8414, or one that only knows OpenID Connect. Not all say 404 to that.
            Err(FetchError::Status(_)) => self.get(openid, MAX_METADATA_LEN).await?,
            other => other?,
        };
        let uri = jwks_uri(&metadata.1, issuer)?;
        self.check_scheme(&uri)?;
        let found = Some((uri.clone(), now));
        *self.discovered.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(uri)
    }

    async fn get(&self, uri: Uri, limit: usize) -> Result<(HeaderMap, Bytes), FetchError> {
        self.check_scheme(&uri)?;
        let request = Request::get(uri)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("tokenry-verifier/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|e| FetchError::Address(e.to_string()))?;
        let response = self.client.request(request).await.map_err(connection)?;
        // A redirect is not followed either: it would lead where nobody has agreed to go.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                FetchError::BodyTooLong
            } else {
                FetchError::Connection(chain(&*e))
            }
        })?;
        Ok((parts.headers, body.to_bytes()))
    }

    fn check_scheme(&self, uri: &Uri) -> Result<(), FetchError> {
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_plain_http => Ok(()),
            _ => Err(FetchError::Address(format!("not an https address: {uri}"))),
        }
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
    roots: Option<Vec<u8>>,
    overrides: BTreeMap<String, SocketAddr>,
    allow_plain_http: bool,
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
        self.roots = Some(pem.into());
        self
    }

    /// Connects to this address whenever `host` is meant, as `curl --connect-to` does.
    ///
    /// The certificate must still be that of the host.
    #[must_use]
    pub fn connect_to(mut self, host: &str, addr: SocketAddr) -> Self {
        self.overrides.insert(host.to_ascii_lowercase(), addr);
        self
    }

    /// Accepts `http` addresses. Whoever can change an answer on the way can then issue tokens.
    #[must_use]
    pub const fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
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
        let dial = Dial { overrides: Arc::new(self.overrides) };
        let connector = connector(self.roots.as_deref(), dial, self.allow_plain_http)?;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let source = HttpKeySource {
            client,
            allow_plain_http: self.allow_plain_http,
            discovered: Mutex::new(None),
            jwks_uri,
        };
        if let Some(uri) = &source.jwks_uri
            && source.check_scheme(uri).is_err()
        {
            return Err(HttpConfigError::JwksUri(uri.to_string()));
        }
        Ok(source)
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

/// RFC 8414 §3.1: between host and path; OpenID Connect Discovery §4: after the path.
fn metadata_addresses(issuer: &str) -> Result<[Uri; 2], FetchError> {
    let bad = || FetchError::Address(format!("the issuer is not a URL: {issuer}"));
    let uri: Uri = issuer.parse().map_err(|_| bad())?;
    let (Some(scheme), Some(authority), None) = (uri.scheme_str(), uri.authority(), uri.query())
    else {
        return Err(bad());
    };
    // RFC 8414 §3.1: "any terminating "/" MUST be removed before inserting".
    let path = uri.path().trim_end_matches('/');
    let at = |path: String| format!("{scheme}://{authority}{path}").parse().map_err(|_| bad());
    Ok([
        at(format!("/.well-known/oauth-authorization-server{path}"))?,
        at(format!("{path}/.well-known/openid-configuration"))?,
    ])
}

fn jwks_uri(metadata: &[u8], issuer: &str) -> Result<Uri, FetchError> {
    #[derive(Deserialize)]
    struct Metadata {
        issuer: String,
        jwks_uri: String,
    }

    let metadata: Metadata =
        serde_json::from_slice(metadata).map_err(|e| FetchError::Metadata(e.to_string()))?;
    // RFC 8414 §3.3: "The "issuer" value returned MUST be identical to the authorization server's issuer
    // identifier value". Otherwise one issuer could have its keys taken for another's.
    if metadata.issuer != issuer {
        return Err(FetchError::Metadata("they are of another issuer".to_owned()));
    }
    metadata.jwks_uri.parse().map_err(|_| FetchError::Metadata("jwks_uri is not a URL".to_owned()))
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

fn connection(error: hyper_util::client::legacy::Error) -> FetchError {
    FetchError::Connection(chain(&error))
}

/// The whole story: the outermost error of a client says only that something went wrong.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_162_metadata_are_between_host_and_path() {
        for (issuer, oauth, openid) in [
            (
                "https://h",
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration",
            ),
            (
                "https://h/",
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration",
            ),
            (
                "https://h:8/a/b",
                "https://h:8/.well-known/oauth-authorization-server/a/b",
                "https://h:8/a/b/.well-known/openid-configuration",
            ),
        ] {
            let found = metadata_addresses(issuer).unwrap().map(|uri| uri.to_string());
            assert_eq!(found, [oauth, openid]);
        }
        for issuer in ["", "h", "/a", "https://h/?a=b", "https://"] {
            assert!(metadata_addresses(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn row_269_metadata_of_another_issuer_are_refused() {
        let metadata = br#"{"issuer":"https://h/a","jwks_uri":"https://h/keys"}"#;
        assert_eq!(jwks_uri(metadata, "https://h/a").unwrap(), "https://h/keys");
        for issuer in ["https://h", "https://h/a/", "https://H/a", "https://h/A"] {
            assert!(matches!(jwks_uri(metadata, issuer), Err(FetchError::Metadata(_))), "{issuer}");
        }
        for bad in
            ["", "{}", r#"{"issuer":"https://h/a"}"#, r#"{"issuer":"https://h/a","jwks_uri":" "}"#]
        {
            assert!(jwks_uri(bad.as_bytes(), "https://h/a").is_err(), "{bad}");
        }
    }

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
