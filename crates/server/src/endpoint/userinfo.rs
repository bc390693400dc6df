//! Keycloak's userinfo endpoint (OpenID Connect Core §5.3): who an access token is about, for whoever bears it.

use http::Response;
use tokenry_core::introspection::AccessToken;
use tokenry_core::request::Received;
use tokenry_core::{Secret, jose::Claims};

use super::{Failure, Walk};
use crate::http_answer::Body;
use crate::reader::Token;

/// Why a bearer is told nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denied {
    /// It bears no token.
    NoToken,
    /// It sent tokens in the header and in the form, or in two headers.
    TwoWays,
    /// It sent the parameter twice.
    Repeated,
    /// What it bears is no access token of this realm that is good now.
    NotGood,
    /// The session of the token was ended.
    Ended,
    /// The token was not asked for with the scope `openid`.
    NoOpenid,
}

impl Denied {
    /// For the log.
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no token",
            Self::TwoWays => "tokens in two places",
            Self::Repeated => "the access_token parameter was repeated",
            Self::NotGood => "no good access token of this realm",
            Self::Ended => "the family of the token was revoked",
            Self::NoOpenid => "the token has no scope openid",
        }
    }
}

impl Walk<'_> {
    pub(super) async fn user_info(
        &self,
        received: &Received<'_>,
    ) -> Result<Response<Body>, Failure> {
        let (realm, request_id) = (&self.state.realm.name, self.request_id);
        let told = match self.bearer(received).await? {
            Ok(token) => {
                tracing::debug!(realm, client = token.client, request_id, "userinfo told");
                self.voice.user_info(&token)
            }
            Err(why) => {
                let (peer, reason) = (self.peer, why.as_str());
                tracing::info!(realm, %peer, request_id, at = "userinfo", reason, "request refused");
                self.voice.denied(why)
            }
        };
        Ok(self.voice.decorated(told))
    }

    /// The access token that is borne, if it may be shown here.
    async fn bearer(
        &self,
        received: &Received<'_>,
    ) -> Result<Result<Box<AccessToken>, Denied>, Failure> {
        let text = match presented(received) {
            Ok(text) => text,
            Err(why) => return Ok(Err(why)),
        };
        Ok(match self.active(text.expose()).await? {
            // What is bound to a key is not good for who merely bears it (RFC 8705 §3, RFC 9449 §7.2).
            Some(Token::Access(token, _)) if token.claims.cnf.is_none() => {
                if is_openid(&token.claims) { Ok(token) } else { Err(Denied::NoOpenid) }
            }
            Some(_) => Err(Denied::NotGood),
            None => Err(self.why_not(text.expose()).await?),
        })
    }

    /// Keycloak tells those whose session ended before their token did.
    async fn why_not(&self, text: &str) -> Result<Denied, Failure> {
        Ok(match self.token_of(text).await? {
            Some(Token::Access(token, _))
                if self.now < token.expires_at
                    && token.family.is_some_and(|id| self.is_revoked(id)) =>
            {
                Denied::Ended
            }
            _ => Denied::NotGood,
        })
    }
}

fn is_openid(claims: &Claims) -> bool {
    claims.scopes().any(|token| token == "openid")
}

/// The token of the header (RFC 6750 §2.1) or of the form (§2.2). One in the URL (§2.3) is not looked at.
fn presented(received: &Received<'_>) -> Result<Secret, Denied> {
    if received.authorization_repeated {
        return Err(Denied::TwoWays);
    }
    let header = received.authorization.and_then(bearer_of);
    let mut form = received.values("access_token").into_iter();
    match (header, form.next(), form.next()) {
        (None, None, _) => Err(Denied::NoToken),
        (Some(_), Some(_), _) => Err(Denied::TwoWays),
        (None, Some(_), Some(_)) => Err(Denied::Repeated),
        (Some(token), None, _) | (None, Some(token), None) => Ok(token),
    }
}

fn bearer_of(header: &[u8]) -> Option<Secret> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    let token = rest.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then(|| Secret::new(token))
}
