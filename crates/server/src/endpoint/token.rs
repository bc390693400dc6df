//! The token endpoint: parse, authenticate, decide, commit, sign, answer. No step looks back.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokenry_core::client::{AuthenticatedClient, Proof, authenticate};
use tokenry_core::family::{Rotated, Rotation};
use tokenry_core::grant::{self, AuthenticatedUser, Circumstances, Issue, Refresh, Standing};
use tokenry_core::realm::Endpoint;
use tokenry_core::refresh::{RefreshToken, Subject};
use tokenry_core::request::{Credentials, Grant, Presented, Received};
use tokenry_core::{Client, Refusal, Secret, Timestamp, TokenRequest, User};
use tokenry_store::StoreError;

use crate::app::App;
use crate::clock::{NoEntropy, identifiers};
use crate::dialect::{GivenRefresh, Granted, Voice};
use crate::directory::{Directory, RealmState};
use crate::http_answer::{Body, error, unavailable};
use crate::keyring::Kind;
use crate::password::Busy;
use crate::reuse::Reuse;

/// Why no token was given.
enum Failure {
    /// We could have, and would not.
    Refused(Refusal),
    /// We would have, and could not, for the moment.
    Unavailable(&'static str),
    /// We could have, and others come first.
    Shed,
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

/// A request at a token endpoint of a realm.
pub(crate) struct At<'a> {
    pub(crate) app: &'a App,
    pub(crate) directory: &'a Directory,
    pub(crate) state: &'a Arc<RealmState>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) peer: IpAddr,
    /// The request's name in the log.
    pub(crate) request_id: &'a str,
}

/// Answers a request to a token endpoint.
pub(crate) async fn answer(at: At<'_>, parts: &Parts, body: &[u8]) -> Response<Body> {
    let At { app, directory, state, endpoint, peer, request_id } = at;
    let voice = Voice { realm: &state.realm, endpoint };
    if parts.method != Method::POST {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request");
        response.headers_mut().insert(header::ALLOW, const { HeaderValue::from_static("POST") });
        return response;
    }
    let received = received(&parts.headers, parts.uri.query(), body, voice);
    let walk = Walk { app, directory, state, voice, now: app.now(), peer, request_id };
    let mut who = Who::default();
    match walk.token(&received, &mut who).await {
        Ok(response) => response,
        Err(Failure::Refused(refusal)) => {
            walk.tell_operator(&refusal, &who);
            voice.refuse(&refusal)
        }
        Err(Failure::Shed) => unavailable(),
        Err(Failure::Unavailable(reason)) => {
            state.metrics.unavailable.inc();
            tracing::error!(
                realm = state.realm.name,
                request_id,
                reason,
                "token request not served"
            );
            unavailable()
        }
    }
}

fn received<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    body: &'a [u8],
    voice: Voice<'_>,
) -> Received<'a> {
    let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
    Received {
        content_type: headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        authorization: authorization.next().map(HeaderValue::as_bytes),
        authorization_repeated: authorization.next().is_some(),
        query: query.map(str::as_bytes),
        body,
        grant: voice.endpoint.map(|endpoint| endpoint.grant),
        form_wins: voice.form_wins(),
    }
}

/// One request on its way through the house.
struct Walk<'a> {
    app: &'a App,
    directory: &'a Directory,
    state: &'a Arc<RealmState>,
    voice: Voice<'a>,
    now: Timestamp,
    peer: IpAddr,
    request_id: &'a str,
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

impl Walk<'_> {
    /// `who` is filled where the request is refused.
    async fn token(
        &self,
        received: &Received<'_>,
        who: &mut Who,
    ) -> Result<Response<Body>, Failure> {
        let TokenRequest { credentials, grant } = TokenRequest::parse(received)?;
        let presented = |who: &mut Who| who.client = credentials.client_id().map(cut);
        if let Err(refusal) = &grant
            && self.voice.grant_comes_first(refusal)
        {
            presented(who);
            return Err(refusal.clone().into());
        }
        let client =
            self.authenticate(&credentials, &grant).await.inspect_err(|_| presented(who))?;
        // Only who has proved to be a client counts as that client: nobody can use up another's share.
        if !self.app.admission.admits(&self.state.realm.name, &client.registration().id) {
            self.app.metrics.shed.inc();
            return Err(Failure::Shed);
        }
        let user = match &grant {
            Ok(Grant::Password { username, .. }) => Some(cut(username)),
            _ => None,
        };
        let granted = async {
            let mut issue = self.decide(&client, grant?).await?;
            let refresh = self.commit(&issue).await?;
            self.sign(&mut issue, refresh, credential(&client))
        };
        let known = || Who { client: Some(client.registration().id.clone()), user };
        granted.await.inspect_err(|_| *who = known())
    }

    /// Counts and logs a refusal.
    fn tell_operator(&self, refusal: &Refusal, who: &Who) {
        self.state.metrics.refused(refusal.code());
        let (realm, peer, request_id) = (&self.state.realm.name, self.peer, self.request_id);
        let Who { client, user } = who;
        let error = refusal.code().as_str();
        match refusal {
            Refusal::RefreshTokenReused | Refusal::RefreshTokenOfAnotherClient => {
                tracing::warn!(realm, client, user, %peer, request_id, error, reason = %refusal, "refresh token misused");
            }
            _ => {
                tracing::info!(realm, client, user, %peer, request_id, error, reason = %refusal, "token request refused");
            }
        }
    }

    async fn authenticate(
        &self,
        credentials: &Credentials,
        grant: &Result<Grant, Refusal>,
    ) -> Result<AuthenticatedClient, Failure> {
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
            Credentials::None { client_id } => {
                self.by_refresh_token(client_id.as_deref(), grant).await
            }
        }
    }

    async fn check(&self, presented: &Presented) -> Result<AuthenticatedClient, Failure> {
        let client = self.client(&presented.client_id).await?;
        Ok(authenticate(presented, client.as_ref(), &self.app.pepper, self.now)?)
    }

    /// The refresh token names its client, which is enough where the realm says so (row 116).
    async fn by_refresh_token(
        &self,
        client_id: Option<&str>,
        grant: &Result<Grant, Refusal>,
    ) -> Result<AuthenticatedClient, Failure> {
        let Ok(Grant::RefreshToken { refresh_token, .. }) = grant else {
            return Err(self.missing(client_id).await);
        };
        let Ok(token) = self.state.sealer.open(refresh_token.expose()) else {
            return Err(self.missing(client_id).await);
        };
        if client_id.is_some_and(|id| *id != token.client) {
            return Err(self.missing(client_id).await);
        }
        let Some(client) = self.client(&token.client).await? else {
            return Err(self.missing(client_id).await);
        };
        let realm = self.state.realm.client_authentication;
        Ok(AuthenticatedClient::by_refresh_token(&client, &token, realm)?)
    }

    /// Nobody authenticated: what is missing depends on whether the client exists, which only Keycloak's dialect tells.
    async fn missing(&self, client_id: Option<&str>) -> Failure {
        let Some(id) = client_id else { return Refusal::NoClientId.into() };
        match self.client(id).await {
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

    async fn decide(&self, client: &AuthenticatedClient, grant: Grant) -> Result<Issue, Failure> {
        let circumstances =
            Circumstances { realm: &self.state.realm, now: self.now, random: identifiers()? };
        Ok(match grant {
            Grant::ClientCredentials { scope } => {
                grant::client_credentials(client, scope, &circumstances)?
            }
            Grant::Password { username, password, scope } => {
                AuthenticatedUser::may_be_asked(&self.state.realm, client)?;
                let user = self.state.user(&username);
                let right = self.compare(user, password).await?;
                let user = AuthenticatedUser::checked(user, right)?;
                grant::password(client, user, scope, &circumstances)?
            }
            Grant::RefreshToken { refresh_token, scope } => {
                let token = self.state.sealer.open(refresh_token.expose())?;
                let standing = self.standing(&token);
                grant::refresh_token(client, token, standing, scope, &circumstances)?
            }
            _ => return Err(Refusal::UnsupportedGrant("of another version".into()).into()),
        })
    }

    async fn compare(&self, user: Option<&User>, password: Secret) -> Result<bool, Busy> {
        let hash = user.map(|user| user.password.clone());
        let compared = self.app.passwords.matches(&self.state.passwords, hash, password).await;
        compared.inspect_err(|Busy| {
            self.app.metrics.shed.inc();
        })
    }

    fn standing(&self, token: &RefreshToken) -> Standing<'_> {
        let realm = &self.state.realm.name;
        let user = match &token.subject {
            Subject::Client => None,
            Subject::User { name, .. } => self.state.user(name),
        };
        let revoked = self.directory.is_revoked(realm, token.family)
            || self.app.revoked_here.contains(realm, token.family);
        Standing { revoked, user }
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
                    self.app.revoked_here.insert(&rotation.realm, rotation.family);
                    self.state.metrics.reused.inc();
                    return Err(Refusal::RefreshTokenReused.into());
                }
            },
        };
        Ok(Some(GivenRefresh {
            expires_in: token.expires_at.since(self.now),
            session: token.family.to_string(),
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

    fn sign(
        &self,
        issue: &mut Issue,
        refresh: Option<GivenRefresh>,
        credential: &str,
    ) -> Result<Response<Body>, Failure> {
        let window = Reuse::window(self.state, issue);
        let again = window.and_then(|window| self.app.reuse.find(self.state, issue, window));
        let answer = |access_token: &str, id_token: Option<&str>, refresh| {
            self.voice.grant(&Granted { issue, access_token, refresh, id_token })
        };
        let response = if let Some(again) = &again {
            answer(again.token(), None, refresh)
        } else {
            let keyring = &self.state.keyring;
            let signer = keyring
                .signer(issue.algorithm, self.now)
                .ok_or(Failure::Unavailable("no signing key is ready"))?;
            let sign = |kind, claims: &str| {
                signer.sign(kind, claims).ok_or(Failure::Unavailable("the signature failed"))
            };
            let session = refresh.as_ref().map(|refresh| &*refresh.session);
            let claims = self.voice.access_claims(issue, session, self.peer);
            let token = sign(Kind::Access, &claims)?;
            let id_claims = issue.id_token.then(|| self.voice.id_claims(issue));
            let id_token = id_claims.map(|claims| sign(Kind::Id, &claims)).transpose()?;
            if window.is_some() {
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

/// What the client proved itself with, for the log.
fn credential(client: &AuthenticatedClient) -> &str {
    match client.proof() {
        Proof::Credential(id) => id,
        Proof::Endpoint => "endpoint",
        Proof::RefreshToken => "refresh_token",
    }
}
