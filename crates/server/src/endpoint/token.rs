//! The token endpoint: parse, authenticate, decide, commit, sign, answer. No step looks back.

use http::Response;
use http::request::Parts;
use tokenry_core::client::AuthenticatedClient;
use tokenry_core::family::{FamilyId, Rotated, Rotation};
use tokenry_core::grant::{self, AuthenticatedUser, Circumstances, Issue, Refresh};
use tokenry_core::opaque::OpaqueToken;
use tokenry_core::request::{Grant, Received};
use tokenry_core::{Binding, Refusal, Secret, TokenRequest, User};
use tokenry_store::StoreError;

use super::{Failure, Walk, Who, credential, cut};
use crate::clock::identifiers;
use crate::dialect::{GivenRefresh, Granted};
use crate::http_answer::Body;
use crate::keyring::{Kind, Signer};
use crate::password::Busy;
use crate::reuse::{Again, Reuse};
use crate::throttle::Target;

/// What is there of an answer before anything is signed.
struct Made {
    /// The text of an opaque access token.
    opaque: Option<Secret>,
    /// An access token that was given before.
    again: Option<Again>,
    refresh: Option<GivenRefresh>,
}

impl Walk<'_> {
    /// `who` is filled where the request is refused.
    pub(super) async fn token(
        &self,
        parts: &Parts,
        received: &Received<'_>,
        who: &mut Who,
    ) -> Result<Response<Body>, Failure> {
        let TokenRequest { credentials, grant } = TokenRequest::parse(received)?;
        if let Err(refusal) = &grant
            && self.voice.grant_comes_first(refusal)
        {
            who.client = credentials.client_id().map(cut);
            return Err(refusal.clone().into());
        }
        let refresh_token = match &grant {
            Ok(Grant::RefreshToken { refresh_token, .. }) => Some(refresh_token),
            _ => None,
        };
        let client = self.client_of(&credentials, refresh_token, who).await?;
        let user = match &grant {
            Ok(Grant::Password { username, .. }) => Some(cut(username)),
            _ => None,
        };
        let granted = async {
            let grant = grant?;
            let shown = self.shown(parts)?;
            let mut issue = self.decide(&client, grant, shown.binding).await?;
            if issue.is_ahead() {
                return Err(Failure::Unavailable("older tokens end by a time that is far ahead"));
            }
            // Nothing is used up for what cannot be signed.
            self.signer(&issue)?;
            self.use_up(&shown).await?;
            // Before a refresh token is used up: what comes to nothing must not cost it.
            let opaque = match issue.opaque {
                true => Some(Box::pin(self.hold(&mut issue)).await?),
                false => None,
            };
            let again = self.given_before(&mut issue);
            if again.is_none() && issue.wants_place(&self.state.realm) {
                self.place(&mut issue).await?;
            }
            let refresh = self.commit(&issue).await?;
            let made = Made { opaque, again, refresh };
            let mut response = self.sign(&issue, made, credential(&client))?;
            if shown.renews() {
                self.give_nonce(response.headers_mut());
            }
            Ok(response)
        };
        let known = || Who { client: Some(client.registration().id.clone()), user };
        granted.await.inspect_err(|_| *who = known())
    }

    async fn decide(
        &self,
        client: &AuthenticatedClient,
        grant: Grant,
        proven: Binding,
    ) -> Result<Issue, Failure> {
        let (realm, now) = (&self.state.realm, self.now);
        let circumstances = Circumstances { realm, now, proven, random: identifiers()? };
        Ok(match grant {
            Grant::ClientCredentials { asked } => {
                grant::client_credentials(client, asked, &circumstances)?
            }
            Grant::Password { username, password, asked } => {
                AuthenticatedUser::may_be_asked(&self.state.realm, client)?;
                AuthenticatedUser::may_ask_for(&self.state.realm, client, asked.scope.as_ref())?;
                let user = self.state.user(&username);
                let by = &client.registration().id;
                let right = Box::pin(self.compare(by, &username, user, password)).await?;
                let user = AuthenticatedUser::checked(user, right)?;
                grant::password(client, user, asked, &circumstances)?
            }
            Grant::RefreshToken { refresh_token, asked } => {
                let token = self.state.sealer.open(refresh_token.expose())?;
                let standing = self.standing(&token);
                grant::refresh_token(client, token, standing, asked, &circumstances)?
            }
            Grant::JwtBearer { assertion, asked } => {
                Box::pin(self.jwt_bearer(client, &assertion, asked, &circumstances)).await?
            }
            Grant::TokenExchange(exchange) => {
                Box::pin(self.token_exchange(client, *exchange, &circumstances)).await?
            }
            _ => return Err(Refusal::UnsupportedGrant("of another version".into()).into()),
        })
    }

    /// Whether a password is right. Beyond so many wrong ones it is not compared.
    async fn compare(
        &self,
        by: &str,
        name: &str,
        user: Option<&User>,
        password: Secret,
    ) -> Result<bool, Failure> {
        let target = Target::User { realm: &self.state.realm.name, client: by, name };
        if let Some(wait) = self.app.throttle.too_many(target, self.now) {
            return Err(Failure::Throttled(wait));
        }
        let hash = user.map(|user| user.password.clone());
        let compared = self.app.passwords.matches(&self.state.passwords, hash, password).await;
        let right = compared.inspect_err(|Busy| {
            self.app.metrics.shed.inc();
        })?;
        // Of many at once, no more are told than one after the other would be.
        if let Some(wait) = self.app.throttle.too_many(target, self.now) {
            return Err(Failure::Throttled(wait));
        }
        if !right {
            self.app.throttle.wrong(target, self.now);
        }
        Ok(right)
    }

    /// Makes durable what the issue uses up, and gives the refresh token of the answer.
    async fn commit(&self, issue: &Issue) -> Result<Option<GivenRefresh>, Failure> {
        let token = match &issue.refresh {
            Refresh::None => return Ok(None),
            Refresh::Give(token) => token.clone(),
            Refresh::Rotate { presented, rotation, policy } => match self.rotate(rotation).await? {
                Rotated::Successor { generation, rotated_at } => {
                    presented.successor(generation, rotated_at, policy)
                }
                Rotated::Revoked => return Err(Refusal::FamilyRevoked.into()),
                Rotated::Reused => {
                    self.ended(rotation.family);
                    self.state.metrics.reused.inc();
                    return Err(Refusal::RefreshTokenReused.into());
                }
            },
        };
        Ok(Some(GivenRefresh {
            expires_in: token.expires_at.since(self.now),
            text: self.state.sealer.seal(&token),
        }))
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Failure> {
        self.app.store.rotate(rotation.clone()).await.map_err(|error| match error {
            // The realm was removed while the request was under way.
            StoreError::Missing(_) => Refusal::NotARefreshToken.into(),
            error => {
                tracing::error!(%error, "rotation not stored");
                Failure::Unavailable("the store did not take a rotation")
            }
        })
    }

    /// Has the store hold what an opaque token stands for, before anybody gets it.
    async fn hold(&self, issue: &mut Issue) -> Result<Secret, Failure> {
        let mut random = [0; 10];
        random.copy_from_slice(&issue.jti[..10]);
        let id = FamilyId::new(self.now, random);
        issue.jti = id.0;
        let (text, token) = OpaqueToken::make(id, &crate::clock::random()?);
        let held = token.stored(self.voice.access_claims(issue, self.peer), issue.expires_at);
        self.app.store.put_token(&self.state.realm.name, id, held).await.map_err(|error| {
            tracing::error!(%error, "opaque token not stored");
            Failure::Unavailable("the store did not take an opaque token")
        })?;
        Ok(text)
    }

    fn signer(&self, issue: &Issue) -> Result<&Signer, Failure> {
        let signer = self.state.keyring.signer(issue.algorithm, self.now);
        signer.ok_or(Failure::Unavailable("no signing key is ready"))
    }

    /// The token that the client was given for the same before, where it may have that again.
    fn given_before(&self, issue: &mut Issue) -> Option<Again> {
        let window = Reuse::window(self.state, issue)?;
        let revoked = |jti| self.is_revoked(FamilyId(jti));
        self.app.reuse.find(self.state, issue, window, revoked)
    }

    /// Gives the access token its place in a status list. The store is asked once for all places of a list.
    async fn place(&self, issue: &mut Issue) -> Result<(), Failure> {
        let lists = &self.state.status_lists;
        let place = match lists.place() {
            Some(place) => place,
            None => {
                let taken = Box::pin(lists.take(&*self.app.store, &self.state.realm.name)).await;
                taken.map_err(|error| {
                    tracing::error!(%error, "status list not taken");
                    Failure::Unavailable("the store did not give a status list")
                })?
            }
        };
        issue.put(place, self.now);
        Ok(())
    }

    fn sign(&self, issue: &Issue, made: Made, credential: &str) -> Result<Response<Body>, Failure> {
        let Made { opaque, again, refresh } = made;
        let answer = |access_token: &str, id_token: Option<&str>, refresh| {
            self.voice.grant(&Granted { issue, access_token, refresh, id_token })
        };
        let response = if let Some(again) = &again {
            answer(again.token(), None, refresh)
        } else {
            let signer = self.signer(issue)?;
            let sign = |kind, claims: &str| {
                signer.sign(kind, claims).ok_or(Failure::Unavailable("the signature failed"))
            };
            let token = match &opaque {
                Some(text) => text.expose().to_owned(),
                None => sign(Kind::Access, &self.voice.access_claims(issue, self.peer))?,
            };
            let id_claims = issue.id_token.then(|| self.voice.id_claims(issue, self.peer, &token));
            let id_token = id_claims.map(|claims| sign(Kind::Id, &claims)).transpose()?;
            if Reuse::window(self.state, issue).is_some() {
                self.app.reuse.keep(self.state, issue, &token);
            }
            answer(&token, id_token.as_deref(), refresh)
        };
        self.state.metrics.issued(issue.grant);
        tracing::debug!(
            realm = self.state.realm.name,
            client = issue.client.id,
            credential,
            grant = %issue.grant,
            scope = %issue.scope,
            subject = ?issue.subject,
            peer = %self.peer,
            request_id = self.request_id,
            again = again.is_some(),
            "token issued"
        );
        Ok(response)
    }
}
