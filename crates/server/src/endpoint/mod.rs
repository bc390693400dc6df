//! The endpoints at which clients authenticate: each has its walk, and here is what the walks share.

mod certificate;
mod feed;
mod foreign;
mod introspect;
mod proof;
mod register;
mod revoke;
mod token;
mod userinfo;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use tokenry_core::assertion::{self, PresentedAssertion, Terms};
use tokenry_core::client::{AuthenticatedClient, Proof, authenticate};
use tokenry_core::family::FamilyId;
use tokenry_core::grant::Standing;
use tokenry_core::jose::JwkSet;
use tokenry_core::realm::Profile;
use tokenry_core::refresh::{RefreshToken, Subject};
use tokenry_core::request::{Credentials, Presented, Received};
use tokenry_core::{Client, Refusal, Secret, Timestamp};

use crate::app::App;
use crate::certificate::PeerCertificate;
use crate::clock::NoEntropy;
use crate::dialect::{Place, Voice};
use crate::directory::{Directory, RealmState};
use crate::http_answer::{Body, slow_down, unavailable};
use crate::password::Busy;
use crate::remote_keys::Place as PublishedAt;
use crate::throttle::Target;

pub(crate) use userinfo::Denied;

/// Why a client does not get what it asks for.
pub(crate) enum Failure {
    /// We could have, and would not.
    Refused(Refusal),
    /// We would have, and could not, for the moment.
    Unavailable(&'static str),
    /// We would have, and somebody else whom that needs did not answer.
    Elsewhere(&'static str),
    /// We could have, and others come first.
    Shed,
    /// Too much was guessed at it; to be tried again after this.
    Throttled(Duration),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Busy> for Failure {
    fn from(_: Busy) -> Self {
        Self::Shed
    }
}

impl From<NoEntropy> for Failure {
    fn from(_: NoEntropy) -> Self {
        Self::Unavailable("no random numbers")
    }
}

/// One request on its way through the house.
pub(crate) struct Walk<'a> {
    pub(crate) app: &'a App,
    pub(crate) directory: &'a Directory,
    pub(crate) state: &'a Arc<RealmState>,
    pub(crate) voice: Voice<'a>,
    pub(crate) now: Timestamp,
    pub(crate) peer: IpAddr,
    /// The certificate of the client.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// The request's name in the log.
    pub(crate) request_id: &'a str,
}

/// Who a request is said to come from, for the log of a refusal; cut short, since strangers write it.
#[derive(Default)]
struct Who {
    client: Option<String>,
    user: Option<String>,
}

/// At most 100 characters of what a stranger sent.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

fn received<'a>(parts: &'a Parts, body: &'a [u8], voice: Voice<'_>) -> Received<'a> {
    let headers: &HeaderMap = &parts.headers;
    let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
    Received {
        content_type: headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        authorization: authorization.next().map(HeaderValue::as_bytes),
        authorization_repeated: authorization.next().is_some(),
        query: parts.uri.query().map(str::as_bytes),
        body,
        grant: voice.endpoint.map(|endpoint| endpoint.grant),
        dialect: voice.realm.dialect,
    }
}

impl Walk<'_> {
    /// Answers a request.
    pub(crate) async fn answer(&self, parts: &Parts, body: &[u8]) -> Response<Body> {
        let may_read = matches!(self.voice.place, Place::UserInfo | Place::Revocations);
        let is_read = may_read && parts.method == Method::GET;
        if parts.method != Method::POST && !is_read {
            return self.voice.wrong_method();
        }
        let received = received(parts, body, self.voice);
        let mut who = Who::default();
        let answered = match self.voice.place {
            // Boxed, so that no piece of what is remembered of a request is larger than 1 KiB: the allocator hands
            // those out at once, and looks around for larger ones.
            Place::Token => Box::pin(self.token(parts, &received, &mut who)).await,
            Place::Introspection => {
                Box::pin(self.introspect(&received, &parts.headers, &mut who)).await
            }
            Place::Revocation | Place::Logout => Box::pin(self.revoke(&received, &mut who)).await,
            Place::UserInfo => Box::pin(self.user_info(&received)).await,
            Place::Revocations => Box::pin(self.follow(parts, &received, &mut who)).await,
            // Its requests are no forms, and come in another way.
            Place::Registration => return self.voice.wrong_method(),
        };
        answered.unwrap_or_else(|failure| self.fail(failure, &who, &received))
    }

    /// Answers a request that cannot be granted.
    fn fail(&self, failure: Failure, who: &Who, received: &Received<'_>) -> Response<Body> {
        match failure {
            Failure::Refused(refusal) => {
                self.tell_operator(&refusal, who);
                let mut response = self.voice.refuse(&refusal, received);
                if refusal == Refusal::NonceNeeded {
                    self.give_nonce(response.headers_mut());
                }
                response
            }
            Failure::Shed => unavailable(),
            Failure::Throttled(wait) => {
                self.state.metrics.throttled.inc();
                slow_down(wait)
            }
            // Strangers can cause it, so it is no news; why nobody answered was said where it was noticed.
            Failure::Elsewhere(reason) => {
                let (realm, request_id) = (&self.state.realm.name, self.request_id);
                tracing::debug!(realm, request_id, reason, "request not served");
                unavailable()
            }
            Failure::Unavailable(reason) => {
                self.state.metrics.unavailable.inc();
                let (realm, request_id) = (&self.state.realm.name, self.request_id);
                tracing::error!(realm, request_id, reason, "request not served");
                unavailable()
            }
        }
    }

    /// Counts and logs a refusal.
    fn tell_operator(&self, refusal: &Refusal, who: &Who) {
        self.state.metrics.refused(refusal.code());
        let (realm, peer, request_id) = (&self.state.realm.name, self.peer, self.request_id);
        let Who { client, user } = who;
        let (at, error) = (self.voice.place.as_str(), refusal.code().as_str());
        match refusal {
            Refusal::RefreshTokenReused
            | Refusal::RefreshTokenOfAnotherClient
            | Refusal::TokenOfAnotherClient => {
                tracing::warn!(realm, client, user, %peer, request_id, at, error, reason = %refusal, "token misused");
            }
            _ => {
                tracing::info!(realm, client, user, %peer, request_id, at, error, reason = %refusal, "request refused");
            }
        }
    }

    /// The client that the credentials are of, if it does not ask for more than its share.
    ///
    /// `refresh_token` is what the request presents, where it presents one. `who` is filled in either case.
    async fn client_of(
        &self,
        credentials: &Credentials,
        refresh_token: Option<&Secret>,
        who: &mut Who,
    ) -> Result<AuthenticatedClient, Failure> {
        let client = match self.authenticate(credentials, refresh_token).await {
            Ok(client) => client,
            Err(failure) => {
                who.client = credentials.client_id().map(cut);
                return Err(match credentials {
                    Credentials::Secret { presented, .. } => {
                        self.guessed(failure, &presented.client_id)
                    }
                    _ => failure,
                });
            }
        };
        // Only who has proved to be a client counts as that client: nobody can use up another's share.
        if !self.app.admission.admits(&self.state.realm.name, &client.registration().id) {
            self.app.metrics.shed.inc();
            return Err(Failure::Shed);
        }
        Ok(client)
    }

    /// A wrong secret counts. The right one is never throttled, so that nobody can lock a client out.
    fn guessed(&self, failure: Failure, id: &str) -> Failure {
        let Failure::Refused(Refusal::WrongSecret | Refusal::UnknownClient) = failure else {
            return failure;
        };
        let target = Target::Client { realm: &self.state.realm.name, id };
        self.app.throttle.wrong(target, self.now).map_or(failure, Failure::Throttled)
    }

    async fn authenticate(
        &self,
        credentials: &Credentials,
        refresh_token: Option<&Secret>,
    ) -> Result<AuthenticatedClient, Failure> {
        // FAPI 2.0 §5.3.2.1: confidential clients alone, "using one of [...] mTLS [...] or private_key_jwt".
        let weak =
            self.voice.endpoint.is_some() || matches!(credentials, Credentials::Secret { .. });
        if weak && self.state.realm.profile == Profile::Fapi2 {
            return Err(Refusal::AuthenticationNotAllowed.into());
        }
        if let Some(endpoint) = self.voice.endpoint {
            let client = self.client(&endpoint.client).await?.ok_or(Refusal::UnknownClient)?;
            return Ok(AuthenticatedClient::by_endpoint(&client, endpoint)?);
        }
        match credentials {
            Credentials::Secret { presented, raw } => match (self.check(presented).await, raw) {
                (Err(Failure::Refused(refusal)), Some(raw)) => {
                    self.check(raw).await.map_err(|_| refusal.into())
                }
                (first, _) => first,
            },
            Credentials::Assertion(presented) => Box::pin(self.by_assertion(presented)).await,
            // Boxed, like all that is rare and large: every connection would keep the room for it.
            Credentials::None { client_id } => {
                let id = client_id.as_deref();
                if let Some(client) = Box::pin(self.by_certificate(id)).await? {
                    return Ok(client);
                }
                Box::pin(self.by_refresh_token(id, refresh_token)).await
            }
        }
    }

    async fn check(&self, presented: &Presented) -> Result<AuthenticatedClient, Failure> {
        let id = &presented.client_id;
        let pepper = &self.app.pepper;
        if let Some(client) = self.client(id).await? {
            let checked = authenticate(presented, Some(&client), pepper, self.now);
            if checked.is_err() {
                self.app.clients.pretend(&self.state.realm.name, id);
            }
            return Ok(checked.map_err(|refusal| match self.is_told_disabled(&client) {
                true => Refusal::ClientDisabled,
                false => refusal,
            })?);
        }
        // As long as for one that exists, to the last access to memory; whatever comes of it, there is no such client.
        // (`pretend` does for the other what is done here.)
        let decoy = self.app.clients.decoy(&self.state.realm.name, id);
        let _ = std::hint::black_box(authenticate(presented, decoy.as_ref(), pepper, self.now));
        Err(Refusal::UnknownClient.into())
    }

    fn is_told_disabled(&self, client: &Client) -> bool {
        !client.enabled && self.voice.disabled_comes_first()
    }

    /// An assertion is good once, also for a request that is refused later.
    async fn by_assertion(
        &self,
        presented: &PresentedAssertion,
    ) -> Result<AuthenticatedClient, Failure> {
        let realm = &self.state.realm;
        let client = self.client(&presented.named()?).await?;
        let said = tokenry_core::foreign::unverified(&presented.assertion);
        if let (Some(client), Some(said)) = (&client, &said)
            && assertion::is_federated(client, &said.issuers)
        {
            return Box::pin(self.by_federation(presented, client, said)).await;
        }
        let legacy = client.as_ref().is_some_and(|client| client.particulars().legacy_audience);
        let audiences = [realm.issuer.as_str(), &self.state.token_endpoint];
        let terms = Terms {
            audiences: if legacy { &audiences } else { &audiences[..1] },
            fapi: realm.profile == Profile::Fapi2,
        };
        let check = |published: Option<&JwkSet>| {
            assertion::authenticate(presented, client.as_ref(), published, &terms, self.now)
        };
        let (client, once) = match (check(None), client.as_deref()) {
            (Err(Refusal::AssertionNotSigned), Some(client)) => {
                check(self.published(client, presented).await?.as_deref())?
            }
            (checked, _) => checked?,
        };
        let new = self.app.store.use_up(&realm.name, once.id, once.until).await;
        match new {
            Ok(true) => Ok(client),
            Ok(false) => Err(Refusal::AssertionReused.into()),
            Err(error) => {
                tracing::error!(%error, "client assertion not used up");
                Err(Failure::Unavailable("the store did not take a client assertion"))
            }
        }
    }

    /// The keys that the client publishes itself, if it does.
    ///
    /// Anybody may have named it. A fetch is all that can be caused that way, and that seldom.
    async fn published(
        &self,
        client: &Client,
        presented: &PresentedAssertion,
    ) -> Result<Option<Arc<JwkSet>>, Failure> {
        let url = client.particulars().jwks_uri.as_deref();
        let Some(url) = url.filter(|_| client.enabled) else {
            return Ok(None);
        };
        let kid = presented.kid();
        let place = PublishedAt::Url(url);
        let keys = match client.particulars().registered {
            Some(_) => &self.app.strangers_keys,
            None => &self.app.client_keys,
        };
        match keys.keys(place, None, self.now, kid.as_deref()).await {
            Ok(set) => Ok(Some(set)),
            // The log has seen why, once for each fetch.
            Err(_) => Err(Failure::Elsewhere("the client's keys were not fetched")),
        }
    }

    /// The refresh token names its client, which is enough where the realm says so (row 116).
    async fn by_refresh_token(
        &self,
        client_id: Option<&str>,
        refresh_token: Option<&Secret>,
    ) -> Result<AuthenticatedClient, Failure> {
        let opened = refresh_token.and_then(|text| self.state.sealer.open(text.expose()).ok());
        let Some(token) = opened.filter(|token| client_id.is_none_or(|id| *id == token.client))
        else {
            return Err(self.missing(client_id).await);
        };
        let Some(client) = self.client(&token.client).await? else {
            return Err(self.missing(client_id).await);
        };
        let realm = &self.state.realm;
        if realm.profile == Profile::Fapi2 {
            return Err(Refusal::NoCredentials.into());
        }
        let required = realm.client_authentication;
        let known = AuthenticatedClient::by_refresh_token(&client, &token, required);
        Ok(known.map_err(|refusal| match (refusal, client_id) {
            // Whoever named no client is told of none.
            (Refusal::NoCredentials, None) => Refusal::NoClientId,
            (refusal, _) => refusal,
        })?)
    }

    /// Nobody authenticated: what is missing depends on whether the client exists, which only Keycloak's dialect tells.
    async fn missing(&self, client_id: Option<&str>) -> Failure {
        let Some(id) = client_id else { return Refusal::NoClientId.into() };
        match self.client(id).await {
            Ok(Some(client)) if self.is_told_disabled(&client) => Refusal::ClientDisabled.into(),
            Ok(Some(_)) => Refusal::NoCredentials.into(),
            Ok(None) => Refusal::UnknownClient.into(),
            Err(failure) => failure,
        }
    }

    async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, Failure> {
        self.app.clients.get(&self.state.realm.name, id).await.map_err(|error| {
            tracing::error!(%error, "client not loaded");
            Failure::Unavailable("the store did not give a client")
        })
    }

    fn standing(&self, token: &RefreshToken) -> Standing<'_> {
        let user = match &token.subject {
            Subject::Client | Subject::Other { .. } => None,
            Subject::User { name, .. } => self.state.user(name),
        };
        Standing { revoked: self.is_revoked(token.family), user }
    }

    /// Takes note, for this node at once, of what has been revoked durably.
    fn ended(&self, id: FamilyId) {
        self.app.revoked_here.insert(&self.state.realm.name, id);
        self.state.status_lists.insert(id);
        self.app.feed.tell();
    }

    /// Whether a family, or a token by its own, was revoked, as far as this node knows.
    fn is_revoked(&self, id: FamilyId) -> bool {
        let realm = &self.state.realm.name;
        self.directory.is_revoked(realm, id) || self.app.revoked_here.contains(realm, id)
    }
}

/// What the client proved itself with, for the log.
fn credential(client: &AuthenticatedClient) -> &str {
    match client.proof() {
        Proof::Credential(id) => id,
        Proof::Endpoint => "endpoint",
        Proof::RefreshToken => "refresh_token",
    }
}
