//! Revocation (RFC 7009), and Keycloak's logout: a client gives back what it has.

use http::Response;
use tokenry_core::family::FamilyId;
use tokenry_core::grant::refresh_policy;
use tokenry_core::introspection::{AccessToken, TokenInquiry};
use tokenry_core::refresh::family_end;
use tokenry_core::request::Received;
use tokenry_core::status_list::{self, Reference};
use tokenry_core::{Client, Refusal, Timestamp};

use super::introspect::Token;
use super::{Failure, Walk, Who, credential};
use crate::dialect::Place;
use crate::http_answer::Body;

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
    /// A refresh token ends with its family, and with the access tokens of that family. An access token ends alone, unless
    /// a status list has no other place for it than that of its family.
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
            let (id, until) = match &token {
                None if logout => return Err(Refusal::NotARefreshToken.into()),
                Some(Token::Access(..)) if logout => {
                    return Err(Refusal::NotARefreshToken.into());
                }
                // "invalid tokens do not cause an error response" (RFC 7009 §2.2).
                None => return Ok(Met::Nothing),
                Some(Token::Access(token, _)) => match listed_family(token) {
                    Some(family) => {
                        (family, self.end_of_family(token.expires_at, client.registration()))
                    }
                    None => (token.id, token.expires_at),
                },
                Some(Token::Refresh(token)) => {
                    (token.family, self.end_of_family(token.expires_at, client.registration()))
                }
            };
            if token.as_ref().is_some_and(|token| token.client() != client.registration().id) {
                return Err(Refusal::TokenOfAnotherClient.into());
            }
            let over = token.is_some_and(|token| self.is_over(&token));
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

    /// When nothing of a family can be good any more of which one token expires then.
    fn end_of_family(&self, expires_at: Timestamp, client: &Client) -> Timestamp {
        let end = family_end(self.now, expires_at, refresh_policy(&self.state.realm, client));
        end.max(self.now + self.state.longest_access())
    }

    /// Whether a token has expired, or ended with its family.
    fn is_over(&self, token: &Token) -> bool {
        let (expires_at, family) = match token {
            Token::Access(token, _) => (token.expires_at, token.family),
            Token::Refresh(token) => (token.expires_at, Some(token.family)),
        };
        expires_at <= self.now || family.is_some_and(|id| self.is_revoked(id))
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

/// The family that has to end with an access token, since it alone has a place in a status list.
///
/// RFC 7009 §2.1: where "the token passed to the request is an access token, the authorization server MAY revoke the
/// respective refresh token as well". A token by exchange names somebody else's family, and has a place of its own.
fn listed_family(token: &AccessToken) -> Option<FamilyId> {
    let names_a_place = matches!(Reference::of(&token.claims), Ok(Some(_)));
    let alone = status_list::Place::of(token.id).is_some();
    token
        .family
        .filter(|family| names_a_place && !alone && status_list::Place::of(*family).is_some())
}
