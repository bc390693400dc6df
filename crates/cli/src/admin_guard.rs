//! Lets in whoever has an access token for the admin API: our own verifier, in front of our own server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use tokenry_core::Scope;
use tokenry_core::realm::Dialect;
use tokenry_server::{Access, Admin, AdminGuard, App, Denied, Issues};
use tokenry_verifier::{
    AccessToken, BoxFuture, FetchError, Fetched, Guard, Head, KeySource, Rejection, Verifier,
};

use crate::config::AdminApi;

/// The `realm` of challenges.
const REALM: &str = "tokenry admin";

/// How often keys are read anew, and how soon again for a token with a key that nobody knows: they lie in memory.
const KEYS_EVERY: Duration = Duration::from_secs(1);

/// When to come again where nothing can be said about a token.
const LATER: Duration = Duration::from_secs(1);

/// Checks access tokens of one realm of this server.
#[derive(Debug)]
pub(crate) struct TokenGuard {
    app: Arc<App>,
    api: AdminApi,
    /// For the realm as it was asked about last: it may be declared, or get another issuer, while the server runs.
    gates: Mutex<Option<Arc<Gates>>>,
}

/// One gate for each access, to the tokens of one issuer.
#[derive(Debug)]
struct Gates {
    issues: Issues,
    read: Guard,
    write: Guard,
}

/// The keys of a realm, straight from the server.
struct OwnKeys {
    app: Arc<App>,
    realm: String,
}

impl KeySource for OwnKeys {
    fn fetch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let keys = self.app.jwks(&self.realm);
            let body = keys.ok_or_else(|| FetchError::Address("the realm is gone".to_owned()))?;
            Ok(Fetched { body: Bytes::from(body), max_age: None })
        })
    }
}

impl TokenGuard {
    pub(crate) const fn new(app: Arc<App>, api: AdminApi) -> Self {
        Self { app, api, gates: Mutex::new(None) }
    }

    /// The gates to tokens of the realm as it is now; `None`: there is no such realm.
    fn gates(&self) -> Option<Arc<Gates>> {
        let issues = self.app.issues(&self.api.realm.value)?;
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = gates.as_ref().filter(|gates| gates.issues == issues) {
            return Some(Arc::clone(same));
        }
        let made = Arc::new(self.make(issues)?);
        *gates = Some(Arc::clone(&made));
        Some(made)
    }

    fn make(&self, issues: Issues) -> Option<Gates> {
        let realm = self.api.realm.value.clone();
        let verifier = Verifier::builder(&issues.issuer)
            .audience(&self.api.audience)
            .key_source(OwnKeys { app: Arc::clone(&self.app), realm })
            .refresh_every(KEYS_EVERY)
            .cooldown(KEYS_EVERY);
        let verifier = match issues.dialect {
            Dialect::Rfc => verifier,
            Dialect::Keycloak => verifier.accept_legacy_typ(),
        };
        let verifier = verifier
            .build()
            .inspect_err(|error| tracing::error!(%error, "the admin API cannot check tokens"))
            .ok()?;
        let gate =
            |scope: &Scope| verifier.layer().realm(REALM).require_scope(scope.clone()).into_guard();
        let (read, write) = (gate(&self.api.read_scope), gate(&self.api.write_scope));
        Some(Gates { issues, read, write })
    }

    /// Whether the server itself still stands by a token that its verifier has found good.
    async fn stands_by(&self, request: &Parts) -> Result<(), Rejection> {
        let sent = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|sent| sent.split_once(' ')).map_or("", |(_, token)| token);
        match self.app.is_active(&self.api.realm.value, token.trim_start_matches(' ')).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Rejection::Revoked),
            Err(_) => Err(Rejection::Unavailable { retry_after: LATER }),
        }
    }
}

#[async_trait]
impl AdminGuard for TokenGuard {
    async fn admit(&self, request: &Parts, needed: Access) -> Result<Admin, Denied> {
        let Some(gates) = self.gates() else {
            let realm = &self.api.realm.value;
            let reason = format!("there is no realm {realm:?}, whose tokens open the admin API");
            return Err(unavailable(reason));
        };
        let gate = match needed {
            Access::Read => &gates.read,
            Access::Write => &gates.write,
        };
        let head = Head {
            method: &request.method,
            uri: &request.uri,
            headers: &request.headers,
            extensions: &request.extensions,
        };
        let checked = async {
            let admitted = gate.check(head).await?;
            self.stands_by(request).await?;
            Ok(admin(admitted.token()))
        };
        checked.await.map_err(|rejection| denied(gate, head, &rejection))
    }
}

fn admin(token: &AccessToken) -> Admin {
    let client = token.client_id().unwrap_or_default().to_owned();
    let subject = token.subject().filter(|subject| *subject != client).map(str::to_owned);
    Admin { client, subject, jti: token.jti().map(str::to_owned) }
}

/// What the verifier would answer, with words for the body.
fn denied(gate: &Guard, head: Head<'_>, rejection: &Rejection) -> Denied {
    let answer: Response<()> = gate.refuse(head, rejection);
    let header = |name| answer.headers().get(name).cloned();
    let wait = |value: HeaderValue| Some(Duration::from_secs(value.to_str().ok()?.parse().ok()?));
    Denied {
        status: answer.status(),
        challenge: header(WWW_AUTHENTICATE),
        retry_after: header(RETRY_AFTER).and_then(wait),
        detail: rejection.description().unwrap_or(match rejection {
            Rejection::NoCredentials => "the admin API needs an access token",
            _ => "the token cannot be checked now",
        }),
        reason: rejection.to_string(),
    }
}

fn unavailable(reason: String) -> Denied {
    Denied {
        status: StatusCode::SERVICE_UNAVAILABLE,
        challenge: None,
        retry_after: Some(LATER),
        detail: "tokens cannot be checked now",
        reason,
    }
}
