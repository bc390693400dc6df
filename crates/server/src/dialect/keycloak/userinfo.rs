//! What Keycloak's userinfo endpoint says, or why it says nothing (RFC 6750 §3).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use tokenry_core::Realm;
use tokenry_core::introspection::AccessToken;

use super::realm_name;
use crate::endpoint::Denied;
use crate::http_answer::{Body, full};
use crate::json::Object;

/// What is known of whom a token is about: what the token says itself.
///
/// Of a service account Keycloak keeps in the session where it was used, so it tells that where there is a session.
pub(in crate::dialect) fn answer(token: &AccessToken) -> String {
    let claims = &token.claims;
    let told = |name: &str| claims.other.get(name).and_then(Value::as_str);
    let of_session = |name: &str| told(name).filter(|_| token.family.is_some());
    let member = |o: Object, name: &str, value: Option<&str>| match value {
        Some(value) => o.string(name, value),
        None => o,
    };
    let client = claims.client_id.as_deref().filter(|_| token.family.is_some());
    Object::with_capacity(256)
        .string("sub", claims.sub.as_deref().unwrap_or_default())
        .boolean("email_verified", false)
        .then(|o| member(o, "clientHost", of_session("clientHost")))
        .then(|o| member(o, "preferred_username", told("preferred_username")))
        .then(|o| member(o, "clientAddress", of_session("clientAddress")))
        .then(|o| member(o, "client_id", client))
        .end()
}

/// An empty answer; all is in its challenge.
pub(in crate::dialect) fn denied(realm: &Realm, why: Denied) -> Response<Body> {
    let (status, error) = match why {
        // RFC 6750 §3.1: a request without authentication information is told no error code.
        Denied::NoToken => (StatusCode::UNAUTHORIZED, None),
        Denied::TwoWays => {
            let text = "More than one method used for including an access token";
            (StatusCode::BAD_REQUEST, Some(("invalid_request", text)))
        }
        Denied::Repeated => {
            (StatusCode::BAD_REQUEST, Some(("invalid_request", "Duplicate parameter")))
        }
        Denied::NotGood => {
            (StatusCode::UNAUTHORIZED, Some(("invalid_token", "Token verification failed")))
        }
        Denied::Ended => {
            (StatusCode::UNAUTHORIZED, Some(("invalid_token", "user_session_not_found")))
        }
        Denied::NoOpenid => {
            (StatusCode::FORBIDDEN, Some(("insufficient_scope", "Missing openid scope")))
        }
    };
    let mut challenge = format!("Bearer realm=\"{}\"", realm_name(realm));
    if let Some((code, text)) = error {
        challenge.push_str(&format!(", error=\"{code}\", error_description=\"{text}\""));
    }
    let mut response = full(status, Bytes::new());
    let headers = response.headers_mut();
    let challenge = HeaderValue::from_maybe_shared(Bytes::from(challenge));
    let challenge = challenge.unwrap_or(const { HeaderValue::from_static("Bearer") });
    headers.insert(header::WWW_AUTHENTICATE, challenge);
    let text = const { HeaderValue::from_static("text/plain;charset=utf-8") };
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    response
}
