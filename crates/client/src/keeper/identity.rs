//! What a token is for.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::provider::CredentialsGrant;
use crate::{Credentials, Provider};

/// All that has to be the same for two keepers to share what they keep (RFC 8707 §2, RFC 9449 §5).
///
/// A keeper is for one of these; what outlives it is found again by it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Identity {
    /// The issuer, or else the token endpoint.
    server: String,
    client: Option<String>,
    user: Option<String>,
    grant: &'static str,
    scope: BTreeSet<String>,
    resource: Option<String>,
    /// What else is asked for, such as an `audience`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    /// The thumbprint of the DPoP key, if it was given. One that was generated never comes back.
    key: Option<String>,
}

impl Identity {
    pub(super) fn new(
        provider: &Provider,
        credentials: &Credentials,
        resource: Option<&str>,
        key: Option<String>,
    ) -> Self {
        let scope = provider.obtain.scope.as_deref().unwrap_or_default();
        Self {
            server: provider.issuer.clone().unwrap_or_else(|| provider.obtain.url.to_string()),
            client: credentials.client.as_ref().map(|client| client.id.clone()),
            user: credentials.user.as_ref().map(|user| user.name.clone()),
            grant: match provider.obtain.grant {
                CredentialsGrant::ClientCredentials => "client_credentials",
                CredentialsGrant::Password => "password",
            },
            // RFC 6749 §3.3: "their order does not matter".
            scope: scope.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            resource: resource.map(str::to_owned),
            parameters: provider.obtain.parameters.clone(),
            key,
        }
    }

    /// A name of it that says nothing about it.
    pub(super) fn digest(&self) -> String {
        // Only strings are written, so that there is nothing to fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        BASE64_URL_SAFE_NO_PAD.encode(digest)
    }
}

#[cfg(test)]
mod tests {
    use tokenry_core::Secret;

    use super::*;

    #[test]
    fn row_272_client_grant_scope_set_resource_and_key_each_make_another_token() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let client = |id: &str| Credentials::client(id, Secret::new("s"));
        let digest =
            |provider: &Provider, credentials: &Credentials, resource, key: Option<&str>| {
                Identity::new(provider, credentials, resource, key.map(str::to_owned)).digest()
            };
        let scoped = |scope: &str| provider.clone().with_scope(scope);
        let base = digest(&scoped("a b"), &client("c"), Some("https://r.example"), Some("k"));
        for same in [
            digest(&scoped("b a"), &client("c"), Some("https://r.example"), Some("k")),
            digest(&scoped("a b a"), &client("c"), Some("https://r.example"), Some("k")),
        ] {
            assert_eq!(base, same);
        }
        let password = scoped("a b").with_grant(CredentialsGrant::Password);
        let elsewhere = scoped("a b").with_token_url("https://other.example/token").unwrap();
        let mut audience = scoped("a b");
        audience.obtain.parameters.insert("audience".to_owned(), "x".to_owned());
        for other in [
            digest(&audience, &client("c"), Some("https://r.example"), Some("k")),
            digest(&scoped("a b"), &client("d"), Some("https://r.example"), Some("k")),
            digest(&scoped("a"), &client("c"), Some("https://r.example"), Some("k")),
            digest(&scoped("a b"), &client("c"), Some("https://s.example"), Some("k")),
            digest(&scoped("a b"), &client("c"), None, Some("k")),
            digest(&scoped("a b"), &client("c"), Some("https://r.example"), Some("l")),
            digest(&scoped("a b"), &client("c"), Some("https://r.example"), None),
            digest(&password, &client("c"), Some("https://r.example"), Some("k")),
            digest(&elsewhere, &client("c"), Some("https://r.example"), Some("k")),
        ] {
            assert_ne!(base, other);
        }
    }
}
