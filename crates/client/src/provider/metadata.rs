//! A provider from what its server publishes about itself (RFC 8414, RFC 8705 §5).

use serde::Deserialize;

use super::file::url;
use super::{ClientAuthentication, FILE_LIMIT, FeedPlace, MtlsAliases, Provider, ProviderError};

/// The members that matter to a client. Those that nobody knows are ignored (§3.2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    revocation_endpoint: Option<String>,
    revocation_feed_endpoint: Option<String>,
    mtls_endpoint_aliases: Option<Aliases>,
}

#[derive(Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    revocation_feed_endpoint: Option<String>,
}

impl Provider {
    /// The server that published these metadata (RFC 8414), whose issuer is known beforehand. Where they were fetched is
    /// up to the caller; they are believed only if they are about this very issuer (§3.3).
    ///
    /// A keeper whose transport has a client certificate asks where `mtls_endpoint_aliases` says (RFC 8705 §5). The rest
    /// is as with [`Provider::at`].
    ///
    /// # Errors
    ///
    /// [`ProviderError::Metadata`] if they are no metadata, of another issuer, or name a URL that is not https.
    pub fn from_metadata(issuer: &str, metadata: &[u8]) -> Result<Self, ProviderError> {
        let wrong = |what: String| ProviderError::Metadata { what };
        if u64::try_from(metadata.len()).unwrap_or(u64::MAX) > FILE_LIMIT {
            return Err(wrong(format!("longer than {FILE_LIMIT} bytes")));
        }
        let read: Metadata =
            serde_json::from_slice(metadata).map_err(|error| wrong(error.to_string()))?;
        // "The issuer value returned MUST be identical to" the one that was asked for: byte for byte.
        if read.issuer != issuer {
            return Err(wrong(format!("of issuer {:?}, not {issuer:?}", read.issuer)));
        }
        let at = |member: Option<String>| member.map(|member| url(&member)).transpose();
        let aliases = read.mtls_endpoint_aliases.unwrap_or_default();
        let mut provider = Self::at(&read.token_endpoint)
            .map_err(|error| wrong(error.to_string()))?
            .with_client_authentication(method(read.token_endpoint_auth_methods_supported));
        provider.mtls = MtlsAliases {
            token: at(aliases.token_endpoint).map_err(wrong)?,
            revocation: at(aliases.revocation_endpoint).map_err(wrong)?,
            feed: at(aliases.revocation_feed_endpoint).map_err(wrong)?,
        };
        provider.feed = FeedPlace::Metadata(at(read.revocation_feed_endpoint).map_err(wrong)?);
        if let Some(refresh) = &mut provider.refresh {
            refresh.revocation = at(read.revocation_endpoint).map_err(wrong)?;
        }
        provider.issuer = Some(read.issuer);
        Ok(provider)
    }
}

/// The method for a client with a secret, if there is one; clients with a key or a certificate have their own.
fn method(supported: Option<Vec<String>>) -> ClientAuthentication {
    // "If omitted, the default is client_secret_basic" (§2).
    let Some(supported) = supported else { return ClientAuthentication::Basic };
    let known = [
        ("client_secret_basic", ClientAuthentication::Basic),
        ("client_secret_post", ClientAuthentication::Post),
        ("private_key_jwt", ClientAuthentication::PrivateKeyJwt),
        ("tls_client_auth", ClientAuthentication::TlsClientAuth),
        ("self_signed_tls_client_auth", ClientAuthentication::TlsClientAuth),
    ];
    let first = known.iter().find(|(name, _)| supported.iter().any(|method| method == name));
    first.map_or(ClientAuthentication::Basic, |(_, method)| *method)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://as.example/r";

    fn read(metadata: &str) -> Result<Provider, ProviderError> {
        Provider::from_metadata(ISSUER, metadata.as_bytes())
    }

    fn with(members: &str) -> String {
        format!(
            r#"{{"issuer":"https://as.example/r","token_endpoint":"https://as.example/r/token"{members}}}"#
        )
    }

    #[test]
    fn row_269_metadata_of_another_issuer_make_no_provider() {
        for issuer in ["https://as.example/r/", "https://AS.example/r", "https://as.example", ""] {
            let error = Provider::from_metadata(issuer, with("").as_bytes()).unwrap_err();
            assert!(error.to_string().contains("of issuer"), "{error}");
        }
        let provider = read(&with("")).unwrap();
        assert_eq!(provider.issuer(), Some(ISSUER));
        assert_eq!(provider.token_url(), "https://as.example/r/token");
        assert_eq!(provider.refresh_url(), Some(provider.token_url()));
    }

    #[test]
    fn row_093_with_a_certificate_the_alias_is_asked() {
        let aliases =
            r#","mtls_endpoint_aliases":{"token_endpoint":"https://mtls.as.example/t","x":1}"#;
        let provider = read(&with(aliases)).unwrap();
        assert_eq!(provider.token_url(), "https://as.example/r/token");
        let over_mtls = provider.clone().over_mtls();
        assert_eq!(over_mtls.token_url(), "https://mtls.as.example/t");
        assert_eq!(over_mtls.refresh_url(), Some(over_mtls.token_url()));
        // RFC 8705 §5: without an alias the endpoint is where it is for everybody.
        for none in ["", r#","mtls_endpoint_aliases":{}"#] {
            let provider = read(&with(none)).unwrap().over_mtls();
            assert_eq!(provider.token_url(), "https://as.example/r/token");
        }
        // A URL that somebody has set is used as it is.
        let provider = provider.with_token_url("https://proxy.example/t").unwrap().over_mtls();
        assert_eq!(provider.token_url(), "https://proxy.example/t");
    }

    #[test]
    fn the_revocation_endpoint_is_known_and_has_an_alias_of_its_own() {
        assert_eq!(read(&with("")).unwrap().revocation_url(), None);
        let members = r#","revocation_endpoint":"https://as.example/r/revoke","mtls_endpoint_aliases":{"revocation_endpoint":"https://mtls.as.example/v"}"#;
        let provider = read(&with(members)).unwrap();
        assert_eq!(provider.revocation_url().unwrap(), "https://as.example/r/revoke");
        let over_mtls = provider.clone().over_mtls();
        assert_eq!(over_mtls.revocation_url().unwrap(), "https://mtls.as.example/v");
        assert_eq!(over_mtls.token_url(), "https://as.example/r/token");
        // One server's refresh token is not shown to another.
        let elsewhere = provider.clone().with_token_url("https://proxy.example/t").unwrap();
        assert_eq!(elsewhere.over_mtls().revocation_url(), None);
        let elsewhere = provider.with_refresh_url("https://proxy.example/t").unwrap();
        assert_eq!(elsewhere.over_mtls().revocation_url(), None);
    }

    #[test]
    fn the_revocation_feed_is_known_and_has_an_alias_of_its_own() {
        assert_eq!(read(&with("")).unwrap().feed, FeedPlace::Metadata(None));
        let members = r#","revocation_feed_endpoint":"https://as.example/r/feed","mtls_endpoint_aliases":{"revocation_feed_endpoint":"https://mtls.as.example/f"}"#;
        let provider = read(&with(members)).unwrap();
        assert_eq!(provider.revocation_feed_url().unwrap(), "https://as.example/r/feed");
        let over_mtls = provider.clone().over_mtls();
        assert_eq!(over_mtls.revocation_feed_url().unwrap(), "https://mtls.as.example/f");
        // The credentials of one server are not shown to another.
        let elsewhere = provider.clone().with_token_url("https://proxy.example/t").unwrap();
        assert_eq!(elsewhere.over_mtls().feed, FeedPlace::Unknown);
        let given = provider.with_revocation_feed_url("https://as.example/other").unwrap();
        assert_eq!(given.over_mtls().revocation_feed_url().unwrap(), "https://as.example/other");
    }

    #[test]
    fn a_secret_goes_the_way_that_the_server_takes_it() {
        for (methods, expected) in [
            ("", ClientAuthentication::Basic),
            (r#"["client_secret_post"]"#, ClientAuthentication::Post),
            (r#"["client_secret_post","client_secret_basic"]"#, ClientAuthentication::Basic),
            (r#"["private_key_jwt"]"#, ClientAuthentication::PrivateKeyJwt),
            (r#"["self_signed_tls_client_auth"]"#, ClientAuthentication::TlsClientAuth),
            (r#"["magic"]"#, ClientAuthentication::Basic),
        ] {
            let members = match methods {
                "" => String::new(),
                methods => format!(r#","token_endpoint_auth_methods_supported":{methods}"#),
            };
            let provider = read(&with(&members)).unwrap();
            assert_eq!(provider.client_authentication(), expected, "{methods}");
        }
    }

    #[test]
    fn metadata_that_make_no_sense_are_an_error() {
        for wrong in [
            "".to_owned(),
            "[]".to_owned(),
            r#"{"issuer":"https://as.example/r"}"#.to_owned(),
            with(r#","issuer":"https://as.example/r""#),
            with(r#","mtls_endpoint_aliases":{"token_endpoint":"http://mtls.example/t"}"#),
            with(r#","mtls_endpoint_aliases":{"revocation_endpoint":"http://mtls.example/t"}"#),
            with(r#","revocation_endpoint":"http://as.example/r/revoke""#),
            with(r#","revocation_feed_endpoint":"http://as.example/r/feed""#),
            with(
                r#","mtls_endpoint_aliases":{"revocation_feed_endpoint":"http://mtls.example/f"}"#,
            ),
            with("").replace("https://as.example/r/token", "http://as.example/r/token"),
            with(&" ".repeat(100_000)),
        ] {
            let error = read(&wrong).unwrap_err();
            assert!(matches!(error, ProviderError::Metadata { .. }), "{error}");
        }
    }
}
