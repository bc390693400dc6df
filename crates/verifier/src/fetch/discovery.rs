//! Where an issuer's endpoints are, by its metadata (RFC 8414).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, Uri};
use serde::Deserialize;
use tokio::time::Instant;

use super::Http;
use crate::keys::FetchError;

/// Metadata of big providers have about 5 KiB.
const MAX_METADATA_LEN: usize = 64 * 1024;

/// How much of another issuer's name is repeated in an error: as much as names have.
const MAX_NAMED: usize = 200;

/// How long an address from the metadata is used. Addresses hardly ever change; who fails with one asks again at once.
const DISCOVERY_LIFETIME: Duration = Duration::from_hours(1);

/// The metadata of an issuer, fetched when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    found: Mutex<Option<(Arc<Metadata>, Instant)>>,
}

/// What of the metadata is used. The addresses are as written; who asks there checks them.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub(crate) jwks_uri: String,
    pub(crate) revocation_feed_endpoint: Option<String>,
    pub(crate) introspection_endpoint: Option<String>,
}

impl Discovery {
    /// The metadata of an issuer, which must be its own, byte by byte (RFC 8414 §3.3).
    pub(crate) async fn metadata(
        &self,
        http: &Http,
        issuer: &str,
    ) -> Result<Arc<Metadata>, FetchError> {
        let now = Instant::now();
        if let Some((metadata, at)) = &*self.found.lock().unwrap_or_else(PoisonError::into_inner)
            && now.saturating_duration_since(*at) < DISCOVERY_LIFETIME
        {
            return Ok(Arc::clone(metadata));
        }
        let [oauth, openid] = metadata_addresses(issuer)?;
        let body = match get(http, oauth).await {
            // An issuer from before RFC 8414, or one that only knows OpenID Connect. Not all say 404 to that.
            Err(FetchError::Status(_)) => get(http, openid).await?,
            other => other?,
        };
        let metadata = Arc::new(read(&body, issuer)?);
        let found = Some((Arc::clone(&metadata), now));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(metadata)
    }

    /// Has the metadata fetched anew: perhaps something has moved.
    pub(crate) fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn get(http: &Http, uri: Uri) -> Result<Bytes, FetchError> {
    let request = Request::get(uri).header(ACCEPT, "application/json");
    Ok(http.ask(request, Bytes::new(), MAX_METADATA_LEN).await?.1)
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

fn read(metadata: &[u8], issuer: &str) -> Result<Metadata, FetchError> {
    let metadata: Metadata =
        serde_json::from_slice(metadata).map_err(|e| FetchError::Metadata(e.to_string()))?;
    // RFC 8414 §3.3: "The "issuer" value returned MUST be identical to the authorization server's issuer
    // identifier value". Otherwise one issuer could have its keys taken for another's.
    if metadata.issuer != issuer {
        let named: String =
            metadata.issuer.chars().take(MAX_NAMED).flat_map(char::escape_debug).collect();
        let text = format!("they are of `{named}`, and not of `{issuer}`");
        return Err(FetchError::Metadata(text));
    }
    Ok(metadata)
}

/// An address out of the metadata.
pub(crate) fn address(text: &str, name: &str) -> Result<Uri, FetchError> {
    text.parse().map_err(|_| FetchError::Metadata(format!("{name} is not a URL")))
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
        let found = read(metadata, "https://h/a").unwrap();
        assert_eq!(address(&found.jwks_uri, "jwks_uri").unwrap(), "https://h/keys");
        for issuer in ["https://h", "https://h/a/", "https://H/a", "https://h/A"] {
            assert!(matches!(read(metadata, issuer), Err(FetchError::Metadata(_))), "{issuer}");
        }
        let slash = read(metadata, "https://h/a/").unwrap_err().to_string();
        assert!(slash.ends_with("they are of `https://h/a`, and not of `https://h/a/`"), "{slash}");
        for bad in ["", "{}", r#"{"issuer":"https://h/a"}"#] {
            assert!(read(bad.as_bytes(), "https://h/a").is_err(), "{bad}");
        }
        assert!(address(" ", "jwks_uri").is_err());
    }
}
