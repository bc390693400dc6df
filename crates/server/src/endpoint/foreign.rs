//! Tokens of other issuers at the endpoints: as a client's credential, as a grant, and to be exchanged.

use std::sync::Arc;

use tokenry_core::assertion::{self, PresentedAssertion};
use tokenry_core::client::AuthenticatedClient;
use tokenry_core::foreign::{self, ForeignToken, Unverified};
use tokenry_core::grant::{self, Circumstances, Exchanged, Issue};
use tokenry_core::introspection::{About, AccessToken};
use tokenry_core::jose::JwkSet;
use tokenry_core::realm::{Dialect, Profile, Trust, TrustedKeys};
use tokenry_core::refresh::Subject;
use tokenry_core::request::{Asked, Exchange, GrantType, PresentedToken, TokenType};
use tokenry_core::{Binding, Client, Refusal, Secret};

use super::{Failure, Walk};
use crate::reader::Token;
use crate::remote_keys::Place as PublishedAt;

impl Walk<'_> {
    /// The client that another issuer says it is, where the client is known by what that issuer says.
    pub(super) async fn by_federation(
        &self,
        presented: &PresentedAssertion,
        client: &Arc<Client>,
        said: &Unverified,
    ) -> Result<AuthenticatedClient, Failure> {
        // Its algorithms and lifetimes are not those of FAPI 2.0 §5.3.2.1, §5.4.1.
        if self.state.realm.profile == Profile::Fapi2 {
            return Err(Refusal::AuthenticationNotAllowed.into());
        }
        // RFC 7523bis §4: a client's assertion is for the issuer alone.
        let audiences = [self.state.realm.issuer.as_str()];
        let checked = self.foreign(&presented.assertion, said, &audiences, &Binding::NONE).await?;
        let token = checked.map_err(Refusal::BadAssertion)?;
        Ok(assertion::authenticate_federated(presented, client, &token, self.now)?)
    }

    /// A token of another issuer as a grant.
    pub(super) async fn jwt_bearer(
        &self,
        client: &AuthenticatedClient,
        token: &Secret,
        asked: Asked,
        circumstances: &Circumstances<'_>,
    ) -> Result<Issue, Failure> {
        self.speaks_of_others(GrantType::JwtBearer)?;
        let said = foreign::unverified(token).ok_or(Refusal::BadForeignToken("not a JWT"))?;
        let proven = &circumstances.proven;
        let checked = self.foreign(token, &said, &self.audiences_of_grants(), proven).await?;
        let token = checked.map_err(Refusal::BadForeignToken)?;
        Ok(grant::jwt_bearer(client, &token, asked, circumstances)?)
    }

    /// A token about somebody for another about the same.
    pub(super) async fn token_exchange(
        &self,
        client: &AuthenticatedClient,
        exchange: Exchange,
        circumstances: &Circumstances<'_>,
    ) -> Result<Issue, Failure> {
        self.speaks_of_others(GrantType::TokenExchange)?;
        let proven = &circumstances.proven;
        let subject = self.exchanged(&exchange.subject, proven).await?;
        let actor = match &exchange.actor {
            Some(actor) => Some(self.exchanged(actor, proven).await?),
            None => None,
        };
        let asked = exchange.asked;
        Ok(grant::token_exchange(client, &subject, actor.as_ref(), asked, circumstances)?)
    }

    /// Keycloak's dialect has neither of these grants.
    fn speaks_of_others(&self, grant: GrantType) -> Result<(), Refusal> {
        match self.state.realm.dialect {
            Dialect::Rfc => Ok(()),
            Dialect::Keycloak => Err(Refusal::UnsupportedGrant(grant.short_name().to_owned())),
        }
    }

    /// A subject token or an actor token that is good now.
    async fn exchanged(
        &self,
        presented: &PresentedToken,
        proven: &Binding,
    ) -> Result<Exchanged, Failure> {
        match self.active(presented.token.expose()).await? {
            Some(Token::Access(token, _)) => {
                let subject = self.about(&token);
                return Ok(Exchanged::own(*token, subject)?);
            }
            Some(Token::Refresh(_)) => {
                return Err(Refusal::BadExchangedToken("a refresh token").into());
            }
            None => {}
        }
        let said = foreign::unverified(&presented.token)
            .filter(|_| presented.kind == TokenType::Jwt)
            .ok_or(Refusal::BadExchangedToken("not a token of this realm that is good"))?;
        let audiences = self.audiences_of_grants();
        let checked = self.foreign(&presented.token, &said, &audiences, proven).await?;
        let token = checked.map_err(Refusal::BadExchangedToken)?;
        Ok(Exchanged::foreign(&token)?)
    }

    /// Whom the new token is about, in the words of a grant.
    fn about(&self, token: &AccessToken) -> Subject {
        match &token.about {
            About::Client => Subject::Other { id: token.client.clone() },
            About::User(id) => match self.state.user_by_subject(id) {
                Some(user) => Subject::User { name: user.name.clone(), id: id.clone() },
                None => Subject::Other { id: id.clone() },
            },
            About::OtherClient(id) | About::Foreign(id) => Subject::Other { id: id.clone() },
        }
    }

    /// The token of an issuer that the realm trusts; or what is wrong with it.
    async fn foreign(
        &self,
        token: &Secret,
        said: &Unverified,
        audiences: &[&str],
        proven: &Binding,
    ) -> Result<Result<ForeignToken<'_>, &'static str>, Failure> {
        let realm = &self.state.realm;
        if realm.profile == Profile::Fapi2 && !said.algorithm.is_of_fapi() {
            return Ok(Err("an algorithm that FAPI does not admit"));
        }
        let Some(trust) = said.trust(realm) else {
            return Ok(Err("of an issuer that is not trusted"));
        };
        let keys = self.keys_of(trust, said.kid.as_deref()).await?;
        let checked = ForeignToken::check(token, trust, &keys, audiences, proven, self.now);
        Ok(checked.map_err(|bad| bad.0))
    }

    /// "[...] the authorization server's issuer identifier or token endpoint" (RFC 7523 §3, its revision §4).
    fn audiences_of_grants(&self) -> [&str; 2] {
        [self.state.realm.issuer.as_str(), &self.state.token_endpoint]
    }

    /// The keys of a trusted issuer: those of its registration, or those that it publishes.
    async fn keys_of(&self, trust: &Trust, kid: Option<&str>) -> Result<Arc<JwkSet>, Failure> {
        let place = match &trust.keys {
            TrustedKeys::Jwks(_) => {
                let held = self.state.trusted_keys(&trust.name);
                return held
                    .ok_or(Failure::Unavailable("the keys of a trusted issuer do not read"));
            }
            TrustedKeys::JwksUri(url) => PublishedAt::Url(url),
            TrustedKeys::Discovered => PublishedAt::Issuer(&trust.issuer),
        };
        let keys = self.app.trusted_keys.keys(place, trust.key_usage(), self.now, kid).await;
        // The log has seen why, once for each fetch.
        keys.map_err(|_| Failure::Elsewhere("the keys of a trusted issuer were not fetched"))
    }
}
