//! Introspection (RFC 7662): what a token says and whether it is good, for whoever may know.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokenry_core::introspection::{About, Known, TokenInquiry, may_know, refresh_token_is_active};
use tokenry_core::jose::claims::Audience;
use tokenry_core::refresh::RefreshToken;
use tokenry_core::request::Received;

use super::{Failure, Walk, Who};
use crate::http_answer::{Body, json};
use crate::json::Object;
use crate::keyring::Kind;
use crate::reader::{Reader, Token};

/// The media type of a signed answer (RFC 9701 §5).
const SIGNED: &str = "application/token-introspection+jwt";

impl Walk<'_> {
    /// `who` is filled where the request is refused.
    pub(super) async fn introspect(
        &self,
        received: &Received<'_>,
        headers: &HeaderMap,
        who: &mut Who,
    ) -> Result<Response<Body>, Failure> {
        let TokenInquiry { credentials, token } = TokenInquiry::parse(received, "token")?;
        let caller = self.client_of(&credentials, None, who).await?;
        let caller = caller.registration();
        let token = token.inspect_err(|_| who.client = Some(caller.id.clone()))?;
        let active = self.active(token.expose()).await?.filter(|token| {
            let dialect = self.state.realm.dialect;
            match token {
                Token::Access(token, _) => {
                    may_know(caller, &token.client, token.claims.aud.as_ref(), dialect)
                }
                Token::Refresh(token) => {
                    let audience = Audience::Many(token.audience.clone());
                    may_know(caller, &token.client, Some(&audience), dialect)
                }
            }
        });
        self.state.metrics.introspected.inc();
        let (realm, caller, request_id) = (&self.state.realm.name, &caller.id, self.request_id);
        tracing::debug!(realm, caller, request_id, active = active.is_some(), "token introspected");
        let told = self.voice.introspection(active.as_ref());
        if !accepts(headers, SIGNED) {
            return Ok(self.voice.decorated(json(StatusCode::OK, told)));
        }
        let claims = Object::with_capacity(told.len() + 256)
            .string("iss", self.state.realm.issuer.as_str())
            .string("aud", caller)
            .number("iat", self.now.as_secs())
            .raw("token_introspection", &told)
            .end();
        let signer = self.state.keyring.signer(self.state.realm.tokens.signing, self.now);
        let signed = signer.and_then(|signer| signer.sign(Kind::Introspection, &claims));
        let signed = signed.ok_or(Failure::Unavailable("no signing key is ready"))?;
        let mut response = json(StatusCode::OK, signed);
        let content_type = const { HeaderValue::from_static(SIGNED) };
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(self.voice.decorated(response))
    }

    /// The token of this realm that a text is, whether it is still good or not.
    pub(super) async fn token_of(&self, text: &str) -> Result<Option<Token>, Failure> {
        let reader = Reader {
            realm: &self.state.realm,
            sealer: &self.state.sealer,
            keyring: &self.state.keyring,
            store: &*self.app.store,
            now: self.now,
        };
        reader.token(text).await.map_err(|error| {
            tracing::error!(%error, "opaque token not read");
            Failure::Unavailable("the store did not say what an opaque token is")
        })
    }

    /// The token of this realm that a text is, if it is good now.
    pub(crate) async fn active(&self, text: &str) -> Result<Option<Token>, Failure> {
        let Some(token) = self.token_of(text).await? else { return Ok(None) };
        let Some(client) = self.client(token.client()).await? else { return Ok(None) };
        let (realm, now) = (&self.state.realm, self.now);
        let active = match &token {
            Token::Access(token, _) => {
                let ids = [Some(token.id), token.family];
                let other_client = match &token.about {
                    About::OtherClient(id) => self.client(id).await?,
                    _ => None,
                };
                let known = Known {
                    revoked: ids.into_iter().flatten().any(|id| self.is_revoked(id)),
                    client: Some(&client),
                    user: match &token.about {
                        About::User(id) => self.state.user_by_subject(id),
                        _ => None,
                    },
                    other_client: other_client.as_deref(),
                };
                token.is_active(known, realm, now)
            }
            Token::Refresh(token) => {
                refresh_token_is_active(token, &client, self.standing(token), realm, now)
                    && self.is_current(token).await?
            }
        };
        Ok(active.then_some(token))
    }

    /// Whether a refresh token has not been used up. What was used up is known to the store alone.
    async fn is_current(&self, token: &RefreshToken) -> Result<bool, Failure> {
        let family = self.app.store.family(&self.state.realm.name, token.family).await;
        let family = family.map_err(|error| {
            tracing::error!(%error, "family not read");
            Failure::Unavailable("the store did not say whether a refresh token was used up")
        })?;
        Ok(family.is_none_or(|family| {
            family.revoked_at.is_none() && family.generation == token.generation
        }))
    }
}

/// Whether a caller asks for this media type by name.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        one.split(';').next().is_some_and(|one| one.trim().eq_ignore_ascii_case(media_type))
    })
}
