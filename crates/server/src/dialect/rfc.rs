//! The default dialect: RFC 6749 answers, RFC 9068 access tokens.

use http::StatusCode;
use tokenry_core::grant::Issue;
use tokenry_core::jose::claims::Audience;
use tokenry_core::refresh::Subject;
use tokenry_core::refusal::ErrorCode;
use tokenry_core::request::{GrantType, TokenType};
use tokenry_core::{Realm, Refusal};

use super::{DPOP, Granted, Told, confirmed, listed, uuid_text};
use crate::json::Object;
use crate::reader::Token;

/// What a token exchange gives.
const ACCESS_TOKEN: &str = TokenType::AccessToken.as_str();

/// RFC 6749 §5.2. No description: the code is all that a caller may know.
pub(super) fn tell(refusal: &Refusal) -> Told {
    let code = refusal.code();
    let client = code == ErrorCode::InvalidClient;
    Told {
        status: if client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST },
        code: code.as_str(),
        description: None,
        challenge: client,
    }
}

/// RFC 6749 §5.1. `scope` is there whenever the scope is not empty: the empty text is none (§3.3).
pub(super) fn answer(granted: &Granted<'_>, token_type: &str) -> String {
    let issue = granted.issue;
    Object::with_capacity(granted.length())
        .string("access_token", granted.access_token)
        .then(|o| match &granted.refresh {
            Some(refresh) => o.string("refresh_token", refresh.text.expose()),
            None => o,
        })
        .then(|o| match granted.id_token {
            Some(token) => o.string("id_token", token),
            None => o,
        })
        .string("token_type", token_type)
        .number("expires_in", issue.lifetime().as_secs())
        .then(|o| match issue.grant {
            // RFC 8693 §2.2.1
            GrantType::TokenExchange => o.string("issued_token_type", ACCESS_TOKEN),
            _ => o,
        })
        .then(|o| if issue.scope.is_empty() { o } else { o.string("scope", issue.scope.as_str()) })
        .end()
}

/// RFC 9068 §2.2.
pub(super) fn access_claims(realm: &Realm, issue: &Issue) -> String {
    Object::with_capacity(512)
        .string("iss", realm.issuer.as_str())
        .string("sub", subject(issue))
        .one_or_many("aud", &issue.audience)
        .number("exp", issue.expires_at.as_secs())
        .number("iat", issue.issued_at.as_secs())
        .string("jti", &uuid_text(&issue.jti))
        .string("client_id", &issue.client.id)
        .then(|o| match issue.family {
            Some(family) => o.string("sid", &family.to_string()),
            None => o,
        })
        .then(|o| if issue.scope.is_empty() { o } else { o.string("scope", issue.scope.as_str()) })
        .then(|o| confirmed(o, &issue.binding))
        .then(|o| match &issue.act {
            Some(act) => o.raw("act", act),
            None => o,
        })
        .then(|o| match &issue.may_act {
            Some(may_act) => o.raw("may_act", may_act),
            None => o,
        })
        .then(|o| listed(o, realm, issue))
        .end()
}

/// RFC 7662 §2.2, for a token that is good.
pub(super) fn introspection(realm: &Realm, token: &Token) -> String {
    let object = Object::with_capacity(512).boolean("active", true);
    match token {
        Token::Access(token, _) => {
            let claims = &token.claims;
            let audience: Vec<_> = claims.aud.iter().flat_map(Audience::iter).collect();
            let binding = token.binding().unwrap_or_default();
            let token_type = if token.is_bound_to_key() { DPOP } else { "Bearer" };
            object
                .then(|o| match &claims.scope {
                    Some(scope) => o.string("scope", scope),
                    None => o,
                })
                .string("client_id", &token.client)
                .string("token_type", token_type)
                .number("exp", token.expires_at.as_secs())
                .number("iat", token.issued_at.as_secs())
                .string("sub", claims.sub.as_deref().unwrap_or(&token.client))
                .one_or_many("aud", &audience)
                .string("iss", realm.issuer.as_str())
                .string("jti", &token.id.to_string())
                .then(|o| confirmed(o, &binding))
                .then(|o| match claims.other.get("act") {
                    Some(act) => o.raw("act", &act.to_string()),
                    None => o,
                })
                .end()
        }
        // `token_type` is left out: RFC 6749 §5.1 knows none for it.
        Token::Refresh(token) => object
            .string("scope", token.scope.as_str())
            .string("client_id", &token.client)
            .number("exp", token.expires_at.as_secs())
            .number("iat", token.issued_at.as_secs())
            .string("sub", subject_of(&token.subject, &token.client))
            .one_or_many("aud", &token.audience)
            .string("iss", realm.issuer.as_str())
            .then(|o| confirmed(o, &token.binding))
            .end(),
    }
}

/// RFC 9068 §2.2: the client's identifier where there is no user. A user's is a UUID, which no client is named by.
pub(super) fn subject(issue: &Issue) -> &str {
    subject_of(&issue.subject, &issue.client.id)
}

fn subject_of<'a>(subject: &'a Subject, client: &'a str) -> &'a str {
    match subject {
        Subject::Client => client,
        Subject::User { id, .. } | Subject::Other { id } => id,
    }
}
