//! The token endpoint: parse, authenticate, decide, commit, sign, answer. No step looks back.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokenry_core::client::{AuthenticatedClient, Proof, authenticate};
use tokenry_core::family::{Rotated, Rotation};
use tokenry_core::grant::{self, AuthenticatedUser, Circumstances, Issue, Refresh, Standing};
use tokenry_core::realm::Endpoint;
use tokenry_core::refresh::{RefreshToken, Subject};
use tokenry_core::request::{Credentials, Grant, Received};
use tokenry_core::{Refusal, Secret, Timestamp, TokenRequest, User};
use tokenry_store::StoreError;

use crate::app::App;
use crate::clock::{NoEntropy, random};
use crate::dialect::{GivenRefresh, Granted, Voice};
use crate::directory::{Directory, RealmState};
use crate::http_answer::{Body, error, unavailable};
use crate::keyring::Kind;
use crate::password::Busy;

/// Why no token was given.
enum Failure {
    /// We could have, and would not.
    Refused(Refusal),
    /// We would have, and could not, for the moment.
    Unavailable(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Busy> for Failure {
    fn from(_: Busy) -> Self {
        Self::Unavailable("too many passwords are being compared")
    }
}

impl From<NoEntropy> for Failure {
    fn from(_: NoEntropy) -> Self {
        Self::Unavailable("no random numbers")
    }
}

/// Answers a request to a token endpoint.
pub(crate) async fn answer(
    app: &App,
    directory: &Directory,
    state: &Arc<RealmState>,
    endpoint: Option<&Endpoint>,
    parts: &Parts,
    body: &[u8],
    peer: &str,
) -> Response<Body> {
    let voice = Voice { realm: &state.realm, endpoint };
    if parts.method != Method::POST {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request");
        response.headers_mut().insert(header::ALLOW, const { HeaderValue::from_static("POST") });
        return response;
    }
    let received = received(&parts.headers, parts.uri.query(), body, voice);
    let walk = Walk { app, directory, state, voice, now: app.now(), peer };
    let mut who = None;
    match walk.token(&received, &mut who).await {
        Ok((issue, response)) => {
            state.metrics.issued(issue.grant);
            response
        }
        Err(Failure::Refused(refusal)) => {
            state.metrics.refused(refusal.code());
            let (realm, client) = (&state.realm.name, who.as_deref());
            match refusal {
                Refusal::RefreshTokenReused | Refusal::RefreshTokenOfAnotherClient => {
                    tracing::warn!(realm, client, peer, reason = %refusal, "refresh token misused");
                }
                _ => {
                    tracing::info!(realm, client, peer, reason = %refusal, "token request refused")
                }
            }
            voice.refuse(&refusal)
        }
        Err(Failure::Unavailable(reason)) => {
            state.metrics.unavailable.inc();
            tracing::error!(realm = state.realm.name, reason, "token request not served");
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
    state: &'a RealmState,
    voice: Voice<'a>,
    now: Timestamp,
    peer: &'a str,
}

impl Walk<'_> {
    /// `who` is left with the client's identifier as far as it is known, for the log.
    async fn token(
        &self,
        received: &Received<'_>,
        who: &mut Option<String>,
    ) -> Result<(Issue, Response<Body>), Failure> {
        let request = TokenRequest::parse(received)?;
        *who = request.credentials.client_id().map(|id| id.chars().take(100).collect());
        if let Err(refusal) = &request.grant
            && self.voice.grant_comes_first(refusal)
        {
            return Err(refusal.clone().into());
        }
        let client = self.authenticate(&request)?;
        *who = Some(client.registration().id.clone());
        let issue = self.decide(&client, request.grant?).await?;
        let refresh = self.commit(&issue).await?;
        let response = self.sign(&issue, refresh)?;
        tracing::info!(
            realm = self.state.realm.name,
            client = issue.client.id,
            credential = credential(&client),
            grant = %issue.grant,
            scope = %issue.scope,
            peer = self.peer,
            "token issued"
        );
        Ok((issue, response))
    }

    fn authenticate(&self, request: &TokenRequest) -> Result<AuthenticatedClient, Refusal> {
        if let Some(endpoint) = self.voice.endpoint {
            let client = self.state.client(&endpoint.client).ok_or(Refusal::UnknownClient)?;
            return AuthenticatedClient::by_endpoint(client, endpoint);
        }
        match &request.credentials {
            Credentials::Secret { presented, raw } => {
                let check = |presented: &_| self.check(presented);
                let first = check(presented);
                match (first, raw) {
                    (Err(refusal), Some(raw)) => check(raw).map_err(|_| refusal),
                    (first, _) => first,
                }
            }
            Credentials::None { client_id } => {
                let missing = || {
                    client_id.as_ref().map_or(Refusal::NoClientId, |id| {
                        if self.state.client(id).is_some() {
                            Refusal::NoCredentials
                        } else {
                            Refusal::UnknownClient
                        }
                    })
                };
                let Ok(Grant::RefreshToken { refresh_token, .. }) = &request.grant else {
                    return Err(missing());
                };
                // The refresh token names its client, which is enough where the realm says so (row 116).
                let token =
                    self.state.sealer.open(refresh_token.expose()).map_err(|_| missing())?;
                if client_id.as_ref().is_some_and(|id| *id != token.client) {
                    return Err(missing());
                }
                let client = self.state.client(&token.client).ok_or_else(missing)?;
                let realm = self.state.realm.client_authentication;
                AuthenticatedClient::by_refresh_token(client, &token, realm)
            }
        }
    }

    fn check(
        &self,
        presented: &tokenry_core::request::Presented,
    ) -> Result<AuthenticatedClient, Refusal> {
        let client = self.state.client(&presented.client_id);
        authenticate(presented, client, &self.app.pepper, self.now)
    }

    async fn decide(&self, client: &AuthenticatedClient, grant: Grant) -> Result<Issue, Failure> {
        let circumstances =
            Circumstances { realm: &self.state.realm, now: self.now, random: random()? };
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
        self.app.passwords.matches(user.map(|user| user.password.clone()), password).await
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
        issue: &Issue,
        refresh: Option<GivenRefresh>,
    ) -> Result<Response<Body>, Failure> {
        let keyring = &self.state.keyring;
        let signer = keyring
            .signer(issue.algorithm, self.now)
            .ok_or(Failure::Unavailable("no signing key is ready"))?;
        let failed = Failure::Unavailable("the signature failed");
        let session = refresh.as_ref().map(|refresh| &*refresh.session);
        let claims = self.voice.access_claims(issue, session, self.peer);
        let Some(access_token) = signer.sign(Kind::Access, &claims) else { return Err(failed) };
        let id_token = match issue.id_token.then(|| self.voice.id_claims(issue)) {
            None => None,
            Some(claims) => match signer.sign(Kind::Id, &claims) {
                None => return Err(failed),
                token => token,
            },
        };
        Ok(self.voice.grant(&Granted {
            issue,
            access_token: &access_token,
            refresh,
            id_token: id_token.as_deref(),
        }))
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
