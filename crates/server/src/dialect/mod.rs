//! How a realm speaks: refusals, answers and claims, as bytes.
//!
//! Nothing else asks which dialect a realm has, save for the paths ([`crate::directory`]) and the metadata.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokenry_core::Binding;
use tokenry_core::family::hyphenated;
use tokenry_core::grant::Issue;
use tokenry_core::introspection::AccessToken;
use tokenry_core::realm::{Dialect, Endpoint};
use tokenry_core::refusal::ErrorCode;
use tokenry_core::request::Received;
use tokenry_core::status_list::Reference;
use tokenry_core::{Realm, Refusal, Secret, Timestamp};

use crate::endpoint::Denied;
use crate::http_answer::{Body, error, full, json};
use crate::json::Object;
use crate::metadata;
use crate::reader::Token;

mod keycloak;
mod rfc;

/// The kinds of endpoint at which clients authenticate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Token,
    /// RFC 7662.
    Introspection,
    /// RFC 7009.
    Revocation,
    /// Keycloak's: the end of a session by its refresh token.
    Logout,
    /// RFC 7591.
    Registration,
    /// The revocation feed.
    Revocations,
    /// Keycloak's: who an access token is about (OpenID Connect Core §5.3).
    UserInfo,
}

impl Place {
    /// For the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspection => "introspection",
            Self::Revocation => "revocation",
            Self::Logout => "logout",
            Self::Registration => "registration",
            Self::Revocations => "revocations",
            Self::UserInfo => "userinfo",
        }
    }
}

/// A dialect at one endpoint of one realm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) place: Place,
    /// The declared endpoint, where it is one.
    pub(crate) endpoint: Option<&'a Endpoint>,
}

/// Everything that a positive answer says.
pub(crate) struct Granted<'a> {
    pub(crate) issue: &'a Issue,
    pub(crate) access_token: &'a str,
    pub(crate) refresh: Option<GivenRefresh>,
    pub(crate) id_token: Option<&'a str>,
}

impl Granted<'_> {
    /// How long the answer is at most, nearly always: no longer, since the allocator is slow beyond 1 KiB.
    fn length(&self) -> usize {
        /// The names of all members, and what is no token.
        const REST: usize = 120;
        let refresh = self.refresh.as_ref().map_or(0, |refresh| refresh.text.expose().len() + 80);
        let id_token = self.id_token.map_or(0, |token| token.len() + 16);
        self.access_token.len() + self.issue.scope.as_str().len() + refresh + id_token + REST
    }
}

/// A refresh token in an answer.
pub(crate) struct GivenRefresh {
    pub(crate) text: Secret,
    pub(crate) expires_in: Duration,
}

/// A refusal as it goes out.
pub(crate) struct Told {
    status: StatusCode,
    code: &'static str,
    description: Option<String>,
    challenge: bool,
}

impl Voice<'_> {
    /// Whether what is wrong with the grant is told before the client is authenticated.
    pub(crate) fn grant_comes_first(&self, refusal: &Refusal) -> bool {
        match self.realm.dialect {
            Dialect::Rfc => false,
            Dialect::Keycloak => keycloak::comes_first(refusal),
        }
    }

    /// Whether a client that is disabled is told so before its secret is compared.
    pub(crate) fn disabled_comes_first(&self) -> bool {
        self.realm.dialect == Dialect::Keycloak
    }

    /// The answer to a request that is refused.
    pub(crate) fn refuse(&self, refusal: &Refusal, received: &Received<'_>) -> Response<Body> {
        let mut told = match self.realm.dialect {
            Dialect::Rfc => rfc::tell(refusal),
            Dialect::Keycloak => keycloak::tell(refusal, self.place, received),
        };
        let status = self.endpoint.and_then(|e| e.invalid_grant_status);
        if let Some(status) = status.filter(|_| refusal.code() == ErrorCode::InvalidGrant) {
            told.status = StatusCode::from_u16(status).unwrap_or(told.status);
        }
        let body = Object::with_capacity(128)
            .string("error", told.code)
            .then(|o| match &told.description {
                Some(description) => o.string("error_description", description),
                None => o,
            })
            .end();
        let mut response = json(told.status, body);
        if told.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge(&self.realm.name));
        }
        self.decorate(response.headers_mut());
        response
    }

    /// The answer to a request that is granted.
    pub(crate) fn grant(&self, granted: &Granted<'_>) -> Response<Body> {
        let own = self.endpoint.and_then(|e| e.token_type.as_deref());
        // RFC 9449 §5: "A token_type of DPoP MUST be included"
        let bound = granted.issue.binding.key.is_some();
        let token_type = if bound { DPOP } else { own.unwrap_or("Bearer") };
        let body = match self.realm.dialect {
            Dialect::Rfc => rfc::answer(granted, token_type),
            Dialect::Keycloak => keycloak::answer(self.realm, granted, token_type),
        };
        let mut response = json(StatusCode::OK, body);
        self.decorate(response.headers_mut());
        response
    }

    /// The claims of the access token.
    pub(crate) fn access_claims(&self, issue: &Issue, peer: IpAddr) -> String {
        match self.realm.dialect {
            Dialect::Rfc => rfc::access_claims(self.realm, issue),
            Dialect::Keycloak => keycloak::access_claims(self.realm, issue, peer),
        }
    }

    /// What introspection says of a token that is good, or of anything else.
    pub(crate) fn introspection(&self, token: Option<&Token>) -> String {
        match (token, self.realm.dialect) {
            // RFC 7662 §2.2: nothing else, so that nobody learns why.
            (None, _) => r#"{"active":false}"#.to_owned(),
            (Some(token), Dialect::Rfc) => rfc::introspection(self.realm, token),
            (Some(token), Dialect::Keycloak) => keycloak::introspection(self.realm, token),
        }
    }

    /// What the userinfo endpoint says of whom a token is about.
    pub(crate) fn user_info(&self, token: &AccessToken) -> Response<Body> {
        json(StatusCode::OK, keycloak::userinfo::answer(token))
    }

    /// The answer to a bearer who is told nothing.
    pub(crate) fn denied(&self, why: Denied) -> Response<Body> {
        keycloak::userinfo::denied(self.realm, why)
    }

    /// The answer to a revocation; whether there was something to revoke.
    pub(crate) fn revoked(&self, was_good: bool) -> Response<Body> {
        let mut response = match (self.realm.dialect, self.place) {
            (Dialect::Keycloak, Place::Logout) => full(StatusCode::NO_CONTENT, Bytes::new()),
            (Dialect::Keycloak, _) if !was_good => json(StatusCode::OK, keycloak::unknown_token()),
            _ => full(StatusCode::OK, Bytes::new()),
        };
        let no_store = const { HeaderValue::from_static("no-store") };
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        self.decorated(response)
    }

    /// The answer to a method that is not for this place.
    pub(crate) fn wrong_method(&self) -> Response<Body> {
        let code = match self.realm.dialect {
            Dialect::Rfc => "invalid_request",
            Dialect::Keycloak => "HTTP 405 Method Not Allowed",
        };
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, code);
        let is_read = matches!(self.place, Place::UserInfo | Place::Revocations);
        let allowed = if is_read { "GET, POST" } else { "POST" };
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        self.decorated(response)
    }

    /// The answer with the headers that the dialect adds.
    pub(crate) fn decorated(&self, mut response: Response<Body>) -> Response<Body> {
        self.decorate(response.headers_mut());
        response
    }

    /// The claims of the ID token (OpenID Connect Core §2).
    pub(crate) fn id_claims(&self, issue: &Issue, peer: IpAddr, access_token: &str) -> String {
        if self.realm.dialect == Dialect::Keycloak {
            return keycloak::id_token::claims(self.realm, issue, peer, access_token);
        }
        let jti = uuid_text(&issue.jti);
        Object::with_capacity(384)
            .string("iss", self.realm.issuer.as_str())
            .string("sub", rfc::subject(issue))
            .string("aud", &issue.client.id)
            .number("exp", issue.expires_at.as_secs())
            .number("iat", issue.decided_at.as_secs())
            .string("jti", &format!("id-{jti}"))
            .string("azp", &issue.client.id)
            .end()
    }

    fn decorate(&self, headers: &mut HeaderMap) {
        decorate(self.realm.dialect, headers);
    }
}

/// The token type of tokens that are bound to a key.
const DPOP: &str = "DPoP";

/// Adds `cnf` where a token is bound to a key (RFC 7800 §3.1).
fn confirmed(object: Object, binding: &Binding) -> Object {
    if binding.is_none() {
        return object;
    }
    let cnf = Object::with_capacity(128);
    let cnf = binding.members().fold(cnf, |cnf, (name, value)| cnf.string(name, &value));
    object.raw("cnf", &cnf.end())
}

/// Adds `status` where a token has a place in a status list (draft-ietf-oauth-status-list §6.1).
fn listed(object: Object, realm: &Realm, issue: &Issue) -> Object {
    let Some(place) = issue.place else { return object };
    let uri = metadata::status_list(realm, place.list);
    object.raw("status", &Reference { idx: place.index.into(), uri }.to_json())
}

/// Adds the headers that a dialect has on every answer.
pub(crate) fn decorate(dialect: Dialect, headers: &mut HeaderMap) {
    if dialect == Dialect::Keycloak {
        keycloak::decorate(headers);
    }
}

/// The answer to a method that a document does not have.
pub(crate) fn not_for_documents(dialect: Dialect) -> Response<Body> {
    match dialect {
        Dialect::Rfc => full(StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        Dialect::Keycloak => error(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed"),
    }
}

/// The answer where nothing is. A host where Keycloak is spoken tells whether at least the realm is there.
pub(crate) fn not_found(realm: Option<bool>) -> Response<Body> {
    let mut response = error(
        StatusCode::NOT_FOUND,
        match realm {
            None => "not_found",
            Some(true) => "HTTP 404 Not Found",
            Some(false) => "Realm does not exist",
        },
    );
    if realm.is_some() {
        keycloak::decorate(response.headers_mut());
    }
    response
}

/// What Keycloak calls a realm.
pub(crate) fn keycloak_name(realm: &Realm) -> &str {
    keycloak::realm_name(realm)
}

/// `Basic realm="…"`; a realm's name has no character that would need escaping.
fn challenge(realm: &str) -> HeaderValue {
    let text = Bytes::from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    HeaderValue::from_maybe_shared(text).unwrap_or(const { HeaderValue::from_static("Basic") })
}

/// 16 bytes as a UUID.
fn uuid_text(id: &[u8; 16]) -> String {
    String::from_utf8_lossy(&hyphenated(id)).into_owned()
}

/// The latest `not_before` that holds for a client.
fn not_before(realm: &Realm, issue: &Issue) -> Timestamp {
    realm.not_before.max(issue.client.not_before)
}
