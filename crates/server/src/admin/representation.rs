//! Realms and clients as JSON, in the words of a realm file; and the validators of what is told (RFC 9110 §8.8).

use http::header::ETAG;
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::particulars::Registered;
use tokenry_core::realm::{Dialect, RefreshPolicy};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Particulars, Realm, Timestamp, duration};

use super::registration::{AUTHENTICATION, ROTATE};
use crate::http_answer::{Body, json};
use crate::json::Object;

/// The client as an answer, with its validator.
pub(super) fn answer(status: StatusCode, client: &Client) -> Response<Body> {
    let text = self::client(client);
    let tag = etag(&text, client.not_before);
    let mut response = json(status, text);
    response.headers_mut().extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
    response
}

/// The validator of a client as it is.
pub(super) fn validator(client: &Client) -> String {
    etag(&self::client(client), client.not_before)
}

/// A digest of all that is told, and of the one time that is finer than it is told.
fn etag(text: &str, not_before: Timestamp) -> String {
    let text = format!("{text}{}", not_before.as_millis());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// What tells a realm apart, and what its clients may have.
pub(super) fn realm(realm: &Realm) -> String {
    let dialect = match realm.dialect {
        Dialect::Rfc => "rfc",
        Dialect::Keycloak => "keycloak",
    };
    Object::with_capacity(256)
        .string("name", &realm.name)
        .string("issuer", realm.issuer.as_str())
        .strings("aliases", realm.aliases.iter().map(String::as_str))
        .string("dialect", dialect)
        .strings("scopes", realm.scopes.tokens())
        .strings("audience", realm.audience.iter().map(String::as_str))
        .boolean("password_grant", realm.password_grant)
        .end()
}

/// A client: what it does not have of its own is left out, as in a realm file.
pub(super) fn client(client: &Client) -> String {
    // Taken apart completely, so that a new field cannot be forgotten here.
    let Client {
        realm,
        id,
        enabled,
        grants,
        scope,
        default_scope,
        audience,
        access,
        refresh,
        signing,
        reuse,
        client_authentication,
        particulars: _,
        not_before,
        ended_before: _,
        created_at,
        credentials,
    } = client;
    let authentication = client_authentication.map(|own| word(&AUTHENTICATION, own));
    let duration = |own: &Option<_>| own.map(duration::write);
    let credentials: Vec<String> = credentials.iter().map(credential).collect();
    Object::with_capacity(512)
        .string("realm", realm)
        .string("id", id)
        .boolean("enabled", *enabled)
        .strings("grants", grants.iter().map(GrantType::short_name))
        .strings("scope", scope.tokens())
        .then(|o| match default_scope {
            Some(scope) => o.strings("default_scope", scope.tokens()),
            None => o,
        })
        .strings("audience", audience.iter().map(String::as_str))
        .then(|o| optional(o, "access", duration(access).as_deref()))
        .then(|o| match refresh {
            Some(own) => o.raw("refresh", &self::refresh(own)),
            None => o,
        })
        .then(|o| optional(o, "signing", signing.map(|own| own.as_str())))
        .then(|o| optional(o, "reuse", duration(reuse).as_deref()))
        .then(|o| optional(o, "client_authentication", authentication))
        .then(|o| particulars(o, client.particulars()))
        .number("not_before", not_before.as_secs())
        .number("created_at", created_at.as_secs())
        .raw("credentials", &format!("[{}]", credentials.join(",")))
        .end()
}

fn optional(object: Object, name: &str, value: Option<&str>) -> Object {
    match value {
        Some(value) => object.string(name, value),
        None => object,
    }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, own)| *own == value).map_or("", |(word, _)| word)
}

fn particulars(object: Object, own: &Particulars) -> Object {
    let Particulars {
        introspects,
        dpop_bound,
        certificate_bound,
        legacy_audience,
        jwks_uri,
        registered,
        opaque,
    } = own;
    let switch = |o: Object, name, on: bool| if on { o.boolean(name, on) } else { o };
    object
        .then(|o| match introspects.as_slice() {
            [] => o,
            some => o.strings("introspects", some.iter().map(String::as_str)),
        })
        .then(|o| switch(o, "dpop_bound", *dpop_bound))
        .then(|o| switch(o, "certificate_bound", *certificate_bound))
        .then(|o| switch(o, "legacy_audience", *legacy_audience))
        .then(|o| optional(o, "jwks_uri", jwks_uri.as_deref()))
        .then(|o| match opaque {
            Some(own) => o.boolean("opaque", *own),
            None => o,
        })
        .then(|o| match registered {
            Some(own) => o.raw("registered", &self::registered(own)),
            None => o,
        })
}

/// What a client said when it registered itself; the digest of its token is nobody's business.
fn registered(own: &Registered) -> String {
    // Its certificates stand among the credentials already.
    let Registered { token: _, name, method, jwks: _ } = own;
    Object::with_capacity(100)
        .then(|o| optional(o, "name", name.as_deref()))
        .string("method", method)
        .end()
}

fn refresh(policy: &RefreshPolicy) -> String {
    let RefreshPolicy { lifetime, max_lifetime, policy, grace, client_credentials } = policy;
    Object::with_capacity(100)
        .string("lifetime", &duration::write(*lifetime))
        .then(|o| optional(o, "max_lifetime", max_lifetime.map(duration::write).as_deref()))
        .string("policy", word(&ROTATE, *policy))
        .string("grace", &duration::write(*grace))
        .boolean("client_credentials", *client_credentials)
        .end()
}

/// A credential without what is secret about it.
fn credential(credential: &Credential) -> String {
    let Credential { id, label, kind, not_before, expires_at, created_at } = credential;
    let object = Object::with_capacity(200).string("id", id).string("label", label);
    let object = match kind {
        CredentialKind::Secret { .. } => object.string("kind", "secret"),
        CredentialKind::PublicKey { jwk } => {
            let kid = serde_json::from_str::<Value>(jwk).ok();
            let kid = kid.as_ref().and_then(|jwk| jwk.get("kid")?.as_str());
            optional(object.string("kind", "public_key"), "kid", kid)
        }
        CredentialKind::Federated { issuer, subject } => {
            object.string("kind", "federated").string("issuer", issuer).string("subject", subject)
        }
        CredentialKind::CertificateName { .. } => object.string("kind", "certificate_name"),
        CredentialKind::SelfSigned { thumbprint } => {
            let hex: String = thumbprint.iter().map(|b| format!("{b:02x}")).collect();
            object.string("kind", "self_signed").string("thumbprint", &hex)
        }
        _ => object.string("kind", "other"),
    };
    object
        .number("not_before", not_before.as_secs())
        .then(|o| match expires_at {
            Some(at) => o.number("expires_at", at.as_secs()),
            None => o,
        })
        .number("created_at", created_at.as_secs())
        .end()
}
