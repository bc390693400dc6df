//! What a realm publishes of itself: its keys (RFC 7517 §5) and its metadata (RFC 8414 §2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokenry_core::jose::Algorithm;
use tokenry_core::realm::{ClientAuthentication, Dialect, Profile};
use tokenry_core::request::GrantType;
use tokenry_core::{Realm, Timestamp};

use crate::dialect::keycloak_name;
use crate::directory::RealmState;
use crate::document::Document;
use crate::json::Object;

/// The realm's public keys.
pub(crate) fn jwks(state: &RealmState, now: Timestamp) -> Document {
    let content_type = match state.realm.dialect {
        Dialect::Rfc => "application/jwk-set+json",
        Dialect::Keycloak => "application/json",
    };
    Document::new(state.realm.dialect, content_type, state.keyring.jwks(now))
}

/// What Keycloak says at the realm's own address, for adapters that know no JWKS.
pub(crate) fn keycloak_realm(state: &RealmState, now: Timestamp) -> Document {
    let realm = &state.realm;
    let issuer = realm.issuer.as_str();
    let key = state.keyring.public_der(realm.tokens.signing, now).unwrap_or_default();
    let body = Object::with_capacity(1024)
        .string("realm", keycloak_name(realm))
        .string("public_key", &BASE64_STANDARD.encode(key))
        .string("token-service", &format!("{issuer}/protocol/openid-connect"))
        .string("account-service", &format!("{issuer}/account"))
        .number("tokens-not-before", realm.not_before.as_secs())
        .end();
    Document::new(realm.dialect, "application/json;charset=UTF-8", body)
}

/// Where tokens are to be had.
pub(crate) fn token_endpoint(realm: &Realm) -> String {
    at(realm, "token", "token")
}

/// Where a status list of the realm is to be had.
pub(crate) fn status_list(realm: &Realm, number: u32) -> String {
    format!("{}/{number}", at(realm, STATUS_LISTS, STATUS_LISTS))
}

/// The path below which they are.
pub(crate) fn status_lists(realm: &Realm) -> String {
    place(realm, realm.issuer.path(), STATUS_LISTS, STATUS_LISTS)
}

const STATUS_LISTS: &str = "status-lists";

/// The URL of an endpoint by its name in either dialect.
fn at(realm: &Realm, rfc: &str, keycloak: &str) -> String {
    place(realm, realm.issuer.as_str(), rfc, keycloak)
}

/// The names that clients may give the algorithms of what they sign: assertions and proofs.
fn admitted(realm: &Realm) -> impl Iterator<Item = &'static str> {
    let all = realm.profile != Profile::Fapi2;
    let admitted = Algorithm::ALL.into_iter().filter(move |a| all || a.is_of_fapi());
    admitted.flat_map(|algorithm| algorithm.names().iter().copied())
}

/// The realm's metadata, computed from its configuration alone (row 299).
pub(crate) fn metadata(state: &RealmState) -> Document {
    let realm = &state.realm;
    let issuer = realm.issuer.as_str();
    let at = |rfc: &str, keycloak: &str| at(realm, rfc, keycloak);
    let mut grants = vec![GrantType::ClientCredentials.as_str()];
    if realm.tokens.refresh.is_some() {
        grants.push(GrantType::RefreshToken.as_str());
    }
    let fapi = realm.profile == Profile::Fapi2;
    if realm.password_grant && !fapi {
        grants.push(GrantType::Password.as_str());
    }
    if realm.dialect == Dialect::Rfc {
        grants.push(GrantType::TokenExchange.as_str());
        if realm.trusts.iter().any(|trust| !trust.scopes.is_empty()) {
            grants.push(GrantType::JwtBearer.as_str());
        }
    }
    // The one that needs no secret comes first (RFC 9700 §2.5).
    let mut methods = vec!["private_key_jwt"];
    if !fapi {
        methods.extend(["client_secret_basic", "client_secret_post"]);
    }
    if realm.certificates.is_some() {
        methods.push("self_signed_tls_client_auth");
    }
    if !state.authorities.are_none() {
        methods.push("tls_client_auth");
    }
    let proving = methods.clone();
    if realm.client_authentication == ClientAuthentication::Optional && !fapi {
        methods.push("none");
    }
    let mut algorithms: Vec<_> = state.algorithms().into_iter().collect();
    algorithms.sort();
    let body = Object::with_capacity(1024)
        .string("issuer", issuer)
        .string("token_endpoint", &token_endpoint(realm))
        .string("introspection_endpoint", &at("introspect", "token/introspect"))
        .then(|o| match realm.dialect {
            Dialect::Rfc => o,
            Dialect::Keycloak => o
                .string("userinfo_endpoint", &at("", "userinfo"))
                .string("end_session_endpoint", &at("", "logout")),
        })
        .string("jwks_uri", &at("jwks", "certs"))
        .then(|o| match (&realm.registration, realm.dialect) {
            (Some(_), Dialect::Rfc) => o.string("registration_endpoint", &at("register", "")),
            _ => o,
        })
        .strings("grant_types_supported", grants)
        // RFC 8414 §2 requires it, §3.2 wants empty arrays left out; what clients parse decides: they expect it.
        .strings("response_types_supported", [])
        .strings("subject_types_supported", ["public"])
        .strings(
            "id_token_signing_alg_values_supported",
            algorithms.into_iter().map(|a| realm.tokens.name_of(a)),
        )
        .strings("token_endpoint_auth_methods_supported", methods.iter().copied())
        .strings("token_endpoint_auth_signing_alg_values_supported", admitted(realm))
        .strings("introspection_endpoint_auth_methods_supported", proving)
        .strings("introspection_endpoint_auth_signing_alg_values_supported", admitted(realm))
        .strings("introspection_signing_alg_values_supported", [realm.tokens.signing_name()])
        .then(|o| match realm.dialect {
            Dialect::Rfc if realm.scopes.is_empty() => o,
            Dialect::Rfc => o.strings("scopes_supported", realm.scopes.tokens()),
            Dialect::Keycloak => openid(o, realm),
        })
        .then(|o| match &realm.certificates {
            // RFC 8705 §3.3
            Some(_) => o.boolean("tls_client_certificate_bound_access_tokens", true),
            None => o,
        })
        .strings("dpop_signing_alg_values_supported", admitted(realm))
        .string("revocation_endpoint", &at("revoke", "revoke"))
        .strings("revocation_endpoint_auth_methods_supported", methods)
        .strings("revocation_endpoint_auth_signing_alg_values_supported", admitted(realm))
        // Of our own: where those who check tokens are told what was revoked.
        .string("revocation_feed_endpoint", &at("revocations", "revocations"))
        .then(|o| match realm.certificates.as_ref().and_then(|policy| policy.origin.as_ref()) {
            Some(origin) => o.raw("mtls_endpoint_aliases", &aliases(realm, origin)),
            None => o,
        })
        .end();
    Document::new(realm.dialect, "application/json", body)
}

/// What OpenID Connect Discovery 1.0 §3 adds, in Keycloak's order.
///
/// Left out is what no machine asks for: `authorization_endpoint` and all that belongs to it, device and CIBA
/// endpoints, registration, encryption, front and back channel logout. Spring, Quarkus and oauth2-proxy read the
/// document without them.
fn openid(object: Object, realm: &Realm) -> Object {
    const CLAIMS: [&str; 8] =
        ["iss", "sub", "aud", "exp", "iat", "preferred_username", "acr", "azp"];
    let others = realm.scopes.tokens().filter(|token| *token != "openid");
    object
        .strings("claims_supported", CLAIMS)
        .strings("claim_types_supported", ["normal"])
        .boolean("claims_parameter_supported", false)
        .strings("scopes_supported", ["openid"].into_iter().chain(others))
        .boolean("request_parameter_supported", false)
        // Where it is left out it is taken for true.
        .boolean("request_uri_parameter_supported", false)
}

/// A path of the realm below its issuer, or below what stands for that at another place.
fn place(realm: &Realm, issuer: &str, rfc: &str, keycloak: &str) -> String {
    match realm.dialect {
        Dialect::Rfc => format!("{issuer}/{rfc}"),
        Dialect::Keycloak => format!("{issuer}/protocol/openid-connect/{keycloak}"),
    }
}

/// The endpoints at which clients present certificates (RFC 8705 §5).
fn aliases(realm: &Realm, origin: &str) -> String {
    let issuer = format!("{origin}{}", realm.issuer.path());
    let at = |rfc, keycloak| place(realm, &issuer, rfc, keycloak);
    Object::with_capacity(256)
        .string("token_endpoint", &at("token", "token"))
        .string("revocation_endpoint", &at("revoke", "revoke"))
        .string("introspection_endpoint", &at("introspect", "token/introspect"))
        .string("revocation_feed_endpoint", &at("revocations", "revocations"))
        .end()
}
