//! What a realm publishes of itself: its keys (RFC 7517 §5) and its metadata (RFC 8414 §2).

use tokenry_core::Timestamp;
use tokenry_core::realm::{ClientAuthentication, Dialect};
use tokenry_core::request::GrantType;

use crate::directory::RealmState;
use crate::document::Document;
use crate::json::Object;

/// The realm's public keys.
pub(crate) fn jwks(state: &RealmState, now: Timestamp) -> Document {
    let content_type = match state.realm.dialect {
        Dialect::Rfc => "application/jwk-set+json",
        Dialect::Keycloak => "application/json",
    };
    Document::new(content_type, state.keyring.jwks(now))
}

/// The realm's metadata, computed from its configuration alone (row 299).
pub(crate) fn metadata(state: &RealmState) -> Document {
    let realm = &state.realm;
    let issuer = realm.issuer.as_str();
    let (token, jwks) = match realm.dialect {
        Dialect::Rfc => ("token", "jwks"),
        Dialect::Keycloak => ("protocol/openid-connect/token", "protocol/openid-connect/certs"),
    };
    let mut grants = vec![GrantType::ClientCredentials.as_str()];
    if realm.tokens.refresh.is_some() {
        grants.push(GrantType::RefreshToken.as_str());
    }
    if realm.password_grant {
        grants.push(GrantType::Password.as_str());
    }
    let mut methods = vec!["client_secret_basic", "client_secret_post"];
    if realm.client_authentication == ClientAuthentication::Optional {
        methods.push("none");
    }
    let mut algorithms: Vec<_> = state.algorithms().into_iter().collect();
    algorithms.sort();
    let body = Object::with_capacity(1024)
        .string("issuer", issuer)
        .string("token_endpoint", &format!("{issuer}/{token}"))
        .string("jwks_uri", &format!("{issuer}/{jwks}"))
        .strings("grant_types_supported", grants)
        // RFC 8414 §2 requires it, §3.2 wants empty arrays left out; what clients parse decides: they expect it.
        .strings("response_types_supported", [])
        .strings("subject_types_supported", ["public"])
        .strings("id_token_signing_alg_values_supported", algorithms.iter().map(|a| a.as_str()))
        .strings("token_endpoint_auth_methods_supported", methods)
        .then(|o| {
            if realm.scopes.is_empty() {
                o
            } else {
                o.strings("scopes_supported", realm.scopes.tokens())
            }
        })
        .end();
    Document::new("application/json", body)
}
