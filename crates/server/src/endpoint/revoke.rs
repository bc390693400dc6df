//! Revocation (RFC 7009), and Keycloak's logout: a client gives back what it has.

use http::Response;
use tokenry_core::family::FamilyId;
use tokenry_core::introspection::TokenInquiry;
use tokenry_core::request::Received;
use tokenry_core::{Refusal, Timestamp};

use super::{Failure, Walk, Who, credential};
use crate::dialect::Place;
use crate::http_answer::Body;
use crate::reader::Token;
use crate::revoking::ended_with;

/// What a revocation met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Met {
    /// No token of this realm.
    Nothing,
    /// One that was no longer good.
    Ended,
    /// One that was good until now.
    Good,
}

impl Walk<'_> {
    /// `who` is filled where the request is refused.
    ///
    /// What ends with a token: see [`ended_with`].
    pub(super) async fn revoke(
        &self,
        received: &Received<'_>,
        who: &mut Who,
    ) -> Result<Response<Body>, Failure> {
        let logout = self.voice.place == Place::Logout;
        let name = if logout { "refresh_token" } else { "token" };
        let TokenInquiry { credentials, token } = TokenInquiry::parse(received, name)?;
        let client = self.client_of(&credentials, token.as_ref().ok(), who).await?;
        let revoked = async {
            let token = self.token_of(token?.expose()).await?;
            let token = match token {
                None if logout => return Err(Refusal::NotARefreshToken.into()),
                Some(Token::Access(..)) if logout => {
                    return Err(Refusal::NotARefreshToken.into());
                }
                // "invalid tokens do not cause an error response" (RFC 7009 §2.2).
                None => return Ok(Met::Nothing),
                Some(token) => token,
            };
            let (realm, now) = (&self.state.realm, self.now);
            let expired = self.state.access_expired(now);
            let (id, until) = ended_with(&token, realm, client.registration(), expired, now);
            if token.client() != client.registration().id {
                return Err(Refusal::TokenOfAnotherClient.into());
            }
            let over = self.is_over(&token);
            if until > self.now {
                self.end(id, &client.registration().id, until).await?;
            }
            Ok(if over { Met::Ended } else { Met::Good })
        };
        let met = revoked.await.inspect_err(|_: &Failure| {
            who.client = Some(client.registration().id.clone());
        })?;
        if met != Met::Nothing {
            self.state.metrics.revoked.inc();
            tracing::info!(
                realm = self.state.realm.name,
                client = client.registration().id,
                credential = credential(&client),
                peer = %self.peer,
                request_id = self.request_id,
                "token revoked"
            );
        }
        Ok(self.voice.revoked(met == Met::Good))
    }

    /// Whether a token has expired, or ended with its family.
    fn is_over(&self, token: &Token) -> bool {
        let family = match token {
            Token::Access(token, _) => token.family,
            Token::Refresh(token) => Some(token.family),
        };
        token.expires_at() <= self.now || family.is_some_and(|id| self.is_revoked(id))
    }

    /// Remembers durably, and at once on this node, that what has this identifier is no longer good.
    async fn end(&self, id: FamilyId, client: &str, until: Timestamp) -> Result<(), Failure> {
        let realm = &self.state.realm.name;
        let ended = self.app.store.revoke_family(realm, client, id, self.now, until).await;
        ended.map_err(|error| {
            tracing::error!(%error, "revocation not stored");
            Failure::Unavailable("the store did not take a revocation")
        })?;
        self.ended(id);
        Ok(())
    }
}
