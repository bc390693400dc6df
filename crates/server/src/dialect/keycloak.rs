//! The dialect of Keycloak 20 and newer, for clients and APIs that were written against it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokenry_core::grant::Issue;
use tokenry_core::refresh::Subject;
use tokenry_core::refusal::ErrorCode;
use tokenry_core::request::{GrantType, Received};
use tokenry_core::{Realm, Refusal};

use super::{DPOP, Granted, Place, Told, confirmed, listed, not_before, uuid_text};
use crate::json::Object;
use crate::reader::Token;

pub(super) mod id_token;
pub(super) mod userinfo;

/// How much of a scope that was refused is repeated. Nobody asks for more and means it.
const MAX_REPEATED: usize = 500;

/// Keycloak looks at `grant_type` before it looks at the client.
pub(super) fn comes_first(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::MissingParameter("grant_type") | Refusal::UnsupportedGrant(_))
}

/// Keycloak's status, code and text for each refusal. It never sends a challenge.
///
/// Some of its texts depend on what was asked for, or repeat it.
pub(super) fn tell(refusal: &Refusal, place: Place, received: &Received<'_>) -> Told {
    const CREDENTIALS: &str = "Invalid client or Invalid client credentials";
    let (status, code, text) = match refusal {
        // Introspection has one answer to all who are not clients.
        other
            if matches!(place, Place::Introspection | Place::Revocations)
                && other.code() == ErrorCode::InvalidClient =>
        {
            (401, "invalid_request", Some("Authentication failed.".into()))
        }
        Refusal::MissingParameter("token") if place == Place::Introspection => {
            (400, "invalid_request", Some("Token not provided.".into()))
        }
        Refusal::MissingParameter("token") => {
            (400, "invalid_request", Some("Token not provided".into()))
        }
        Refusal::TokenOfAnotherClient if place == Place::Revocation => {
            (400, "invalid_request", Some("Unmatching clients".into()))
        }
        Refusal::ContentType => (415, "HTTP 415 Unsupported Media Type", None),
        Refusal::MalformedRequest(_) => (400, "invalid_request", Some("Invalid request".into())),
        Refusal::MissingParameter("refresh_token") => {
            (400, "invalid_request", Some("No refresh token".into()))
        }
        Refusal::MissingParameter("username") => {
            (401, "invalid_request", Some("Missing parameter: username".into()))
        }
        // A user without a password and a wrong password are one to Keycloak.
        Refusal::MissingParameter("password") => {
            (401, "invalid_grant", Some("Invalid user credentials".into()))
        }
        Refusal::MissingParameter(name) => {
            (400, "invalid_request", Some(format!("Missing form parameter: {name}")))
        }
        Refusal::RepeatedParameter(_) => {
            (400, "invalid_request", Some("duplicated parameter".into()))
        }
        Refusal::MalformedScope | Refusal::ScopeNotAllowed(_) | Refusal::NoScopeThere(_) => {
            (400, "invalid_scope", Some(format!("Invalid scopes: {}", asked_scope(received))))
        }
        Refusal::UnsupportedGrant(_) => {
            (400, "unsupported_grant_type", Some("Unsupported grant_type".into()))
        }
        Refusal::AssertionReused => (
            400,
            "invalid_client",
            Some("Client authentication with signed JWT failed: Token reuse detected".into()),
        ),
        Refusal::AssertionNotSigned => (
            400,
            "invalid_client",
            Some(
                "Client authentication with signed JWT failed: not signed by a key of the client"
                    .into(),
            ),
        ),
        Refusal::BadAssertion(why) => (
            400,
            "invalid_client",
            Some(format!("Client authentication with signed JWT failed: {why}")),
        ),
        Refusal::WrongSecret | Refusal::SecretExpired => {
            (401, "unauthorized_client", Some(CREDENTIALS.into()))
        }
        Refusal::NoCredentials => (401, "unauthorized_client", Some(CREDENTIALS.into())),
        Refusal::AuthenticationNotAllowed
        // A stranger's certificate tells no more than a stranger's name.
        | Refusal::BadCertificate(_)
        | Refusal::ClientDisabled
        | Refusal::MalformedBasic
        | Refusal::NoClientId
        | Refusal::UnknownClient
        | Refusal::UnsupportedAssertion
        | Refusal::UnsupportedScheme => (401, "invalid_client", Some(CREDENTIALS.into())),
        Refusal::GrantNotAllowed => match asked_grant(received) {
            Some(GrantType::ClientCredentials) => (
                401,
                "unauthorized_client",
                Some("Client not enabled to retrieve service account".into()),
            ),
            Some(GrantType::Password) => (
                400,
                "unauthorized_client",
                Some("Client not allowed for direct access grants".into()),
            ),
            _ => (400, "unauthorized_client", Some("Client not allowed for this grant".into())),
        },
        Refusal::WrongPassword => (401, "invalid_grant", Some("Invalid user credentials".into())),
        Refusal::UserDisabled if asked_grant(received) == Some(GrantType::RefreshToken) => {
            (400, "invalid_grant", Some("User disabled".into()))
        }
        Refusal::UserDisabled => (400, "invalid_grant", Some("Account disabled".into())),
        Refusal::NotARefreshToken => (400, "invalid_grant", Some("Invalid refresh token".into())),
        Refusal::RefreshTokenExpired => (400, "invalid_grant", Some("Token is not active".into())),
        Refusal::RefreshTokenStale => (400, "invalid_grant", Some("Stale token".into())),
        Refusal::RefreshTokenReused => {
            (400, "invalid_grant", Some("Maximum allowed refresh token reuse exceeded".into()))
        }
        Refusal::RefreshTokenOfAnotherClient | Refusal::TokenOfAnotherClient => (
            400,
            "invalid_grant",
            Some("Invalid refresh token. Token client and authorized client don't match".into()),
        ),
        Refusal::FamilyRevoked => (400, "invalid_grant", Some("Session not active".into())),
        other => (400, other.code().as_str(), None),
    };
    Told {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        code,
        description: text,
        challenge: false,
    }
}

fn asked_grant(received: &Received<'_>) -> Option<GrantType> {
    let named =
        || received.values("grant_type").first().and_then(|name| GrantType::named(name.expose()));
    received.grant.or_else(named)
}

/// The scope as it was sent, as far as RFC 6749 §5.2 admits it in a description.
fn asked_scope(received: &Received<'_>) -> String {
    let sent = received.values("scope");
    let sent = sent.first().map_or("", |scope| scope.expose());
    let admitted = sent.chars().filter(|c| matches!(c, ' '..='!' | '#'..='[' | ']'..='~'));
    admitted.take(MAX_REPEATED).collect()
}

/// Keycloak's fields in Keycloak's order.
pub(super) fn answer(realm: &Realm, granted: &Granted<'_>, token_type: &str) -> String {
    let issue = granted.issue;
    let refresh_in = granted.refresh.as_ref().map_or(0, |r| r.expires_in.as_secs());
    Object::with_capacity(granted.length())
        .string("access_token", granted.access_token)
        .number("expires_in", issue.lifetime().as_secs())
        .number("refresh_expires_in", refresh_in)
        .then(|o| match &granted.refresh {
            Some(refresh) => o.string("refresh_token", refresh.text.expose()),
            None => o,
        })
        .string("token_type", token_type)
        .then(|o| match granted.id_token {
            Some(token) => o.string("id_token", token),
            None => o,
        })
        .number("not-before-policy", not_before(realm, issue).as_secs())
        .then(|o| match issue.family {
            Some(family) => o.string("session_state", &family.to_string()),
            None => o,
        })
        .string("scope", issue.scope.as_str())
        .end()
}

/// Keycloak's claims: `typ` and `azp` in the payload, a service account as the subject.
pub(super) fn access_claims(realm: &Realm, issue: &Issue, peer: IpAddr) -> String {
    let (subject, username) = account(realm, &issue.subject, &issue.client.id);
    let object = Object::with_capacity(768)
        .number("exp", issue.expires_at.as_secs())
        .number("iat", issue.issued_at.as_secs())
        .string("jti", &uuid_text(&issue.jti))
        .string("iss", realm.issuer.as_str())
        .one_or_many("aud", &issue.audience)
        .string("sub", &subject)
        .string("typ", if issue.binding.key.is_some() { DPOP } else { "Bearer" })
        .string("azp", &issue.client.id)
        .then(|o| match issue.family {
            Some(family) => o.string("sid", &family.to_string()),
            None => o,
        })
        .string("acr", "1")
        .then(|o| confirmed(o, &issue.binding))
        .then(|o| listed(o, realm, issue))
        .string("scope", issue.scope.as_str());
    described(object, issue, peer, &username).end()
}

/// Who a token is about, beside its `sub`: a service account with the address that it was given to.
fn described(object: Object, issue: &Issue, peer: IpAddr, username: &str) -> Object {
    let object = object.boolean("email_verified", false);
    match issue.subject {
        Subject::Client => object
            .string("clientHost", &peer.to_string())
            .string("preferred_username", username)
            .string("clientAddress", &peer.to_string())
            .string("client_id", &issue.client.id),
        Subject::User { .. } | Subject::Other { .. } => {
            object.string("preferred_username", username)
        }
    }
}

/// The `sub` and the name of whom a token is about.
fn account(realm: &Realm, subject: &Subject, client: &str) -> (String, String) {
    match subject {
        Subject::User { name, id } => (id.clone(), name.clone()),
        // No grant of this dialect is about others.
        Subject::Other { id } => (id.clone(), id.clone()),
        Subject::Client => (service_account(realm, client), service_account_name(client)),
    }
}

/// What introspection says: everything that the token says, and three members more.
pub(super) fn introspection(realm: &Realm, token: &Token) -> String {
    let (claims, client, username) = match token {
        Token::Access(token, claims) => {
            let name = token.claims.other.get("preferred_username").and_then(Value::as_str);
            (claims.clone(), &token.client, name.unwrap_or_default().to_owned())
        }
        Token::Refresh(token) => {
            let (subject, username) = account(realm, &token.subject, &token.client);
            let claims = Object::with_capacity(512)
                .number("exp", token.expires_at.as_secs())
                .number("iat", token.issued_at.as_secs())
                .string("iss", realm.issuer.as_str())
                .string("aud", realm.issuer.as_str())
                .string("sub", &subject)
                .string("typ", "Refresh")
                .string("azp", &token.client)
                .string("sid", &token.family.to_string())
                .string("acr", "1")
                .string("scope", token.scope.as_str())
                .then(|o| confirmed(o, &token.binding))
                .boolean("email_verified", false)
                .string("preferred_username", &username)
                .end();
            (claims, &token.client, username)
        }
    };
    // A service account's token names its client already.
    let named = matches!(token, Token::Access(token, _) if token.claims.client_id.is_some());
    let kind = match token {
        Token::Access(token, _) if token.is_bound_to_key() => DPOP,
        Token::Access(..) => "Bearer",
        Token::Refresh(_) => "Refresh",
    };
    Object::continued(claims)
        .then(|o| if named { o } else { o.string("client_id", client) })
        .string("username", &username)
        .string("token_type", kind)
        .boolean("active", true)
        .end()
}

/// Keycloak answers 200 to the revocation of what it does not know, and says that in an error all the same.
pub(super) fn unknown_token() -> String {
    Object::with_capacity(64)
        .string("error", "invalid_token")
        .string("error_description", "Invalid token")
        .end()
}

fn service_account_name(client: &str) -> String {
    format!("service-account-{}", client.to_lowercase())
}

/// The `sub` of a client's service account: a UUID (version 8) of its realm and identifier, the same for ever.
fn service_account(realm: &Realm, client: &str) -> String {
    let name = ["service-account", &realm.name, client].join("\0");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_ref()[..16]);
    id[6] = 0x80 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    uuid_text(&id)
}

/// What Keycloak calls the realm: the end of its issuer.
pub(super) fn realm_name(realm: &Realm) -> &str {
    realm.issuer.path().rsplit('/').next().unwrap_or_default()
}

/// The security headers that Keycloak sends with every JSON answer.
pub(super) fn decorate(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
