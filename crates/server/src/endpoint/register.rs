//! Registration by clients themselves (RFC 7591), and what they may do with it later (RFC 7592).

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokenry_core::client::{
    CREDENTIAL_ID_LEN, Credential, CredentialKind, SecretDigest, generate_secret,
};
use tokenry_core::particulars::Registered;
use tokenry_core::realm::RegistrationPolicy;
use tokenry_core::registration::{self, BadRegistration, Metadata};
use tokenry_core::{Client, Particulars, Secret};
use tokenry_store::{Change, Revision, StoreError};

use super::{Failure, Walk};
use crate::clock::random;
use crate::http_answer::{Body, full, json};
use crate::json::Object;
use crate::reader::Token;

/// What every token for the management of a registration begins with, so that secret scanners find a leaked one.
const TOKEN_PREFIX: &str = "tkm_";

/// What the identifiers of clients begin with that have registered themselves: none is a UUID, as users' subjects are.
const ID_PREFIX: &str = "dyn_";

/// Why nothing is registered.
enum Denied {
    /// RFC 6750 §3: the challenge to who has no token, or not this one.
    Unauthorized(Option<&'static str>),
    /// The token does not reach so far.
    Forbidden,
    Bad(BadRegistration),
    /// Another method, and those that there are.
    Method(&'static str),
    Failure(Failure),
}

impl From<BadRegistration> for Denied {
    fn from(bad: BadRegistration) -> Self {
        Self::Bad(bad)
    }
}

impl<F: Into<Failure>> From<F> for Denied {
    fn from(failure: F) -> Self {
        Self::Failure(failure.into())
    }
}

/// A registration as it goes out.
struct Told<'a> {
    client: &'a Client,
    registered: &'a Registered,
    token: &'a str,
    /// Shown once, when it was made.
    secret: Option<&'a Secret>,
}

impl Walk<'_> {
    /// `id` is the client whose registration is meant; `None`: a new one.
    pub(crate) async fn registration(
        &self,
        parts: &Parts,
        body: &[u8],
        id: Option<&str>,
    ) -> Response<Body> {
        let answered = match id {
            None => self.register(parts, body).await,
            Some(id) => self.manage(parts, body, id).await,
        };
        answered.unwrap_or_else(|denied| self.deny(denied))
    }

    async fn register(&self, parts: &Parts, body: &[u8]) -> Result<Response<Body>, Denied> {
        let policy = self.policy()?;
        if parts.method != Method::POST {
            return Err(Denied::Method("POST"));
        }
        self.may_register(parts, policy).await?;
        let metadata = Metadata::read(body, &self.state.realm, policy)?;
        let id = format!("{ID_PREFIX}{}", base64url(&random::<16>()?));
        let token = Secret::new(format!("{TOKEN_PREFIX}{}", base64url(&random::<32>()?)));
        let (client, credentials, secret) = self.made(&id, &metadata, &token)?;
        let mut changes = vec![Change::PutClient(client.clone())];
        changes.extend(credentials.into_iter().map(|credential| self.put(&id, credential)));
        self.change(changes, None).await?;
        tracing::info!(
            realm = self.state.realm.name,
            client = id,
            peer = %self.peer,
            request_id = self.request_id,
            "client registered itself"
        );
        let registered = registered(&client).ok_or(Denied::Unauthorized(None))?;
        let told =
            Told { client: &client, registered, token: token.expose(), secret: secret.as_ref() };
        Ok(json(StatusCode::CREATED, self.told(&told, &metadata.method)))
    }

    async fn manage(&self, parts: &Parts, body: &[u8], id: &str) -> Result<Response<Body>, Denied> {
        let policy = self.policy()?;
        let (_, token) = credentials(&parts.headers)?;
        // From the store, and with its number: what is held in memory may be older than what an operator has done.
        let read_at = self.stored(self.app.store.revision().await)?;
        let stored = self.app.store.client(&self.state.realm.name, id).await;
        let client = self.stored(stored)?.filter(|client| client.enabled);
        // "If the client does not exist [...] the server MUST respond with HTTP 401" as to a wrong token (RFC 7592 §2).
        let digest = self.app.pepper.digest(token.expose());
        let known = client.as_ref().and_then(registered);
        let nobody = SecretDigest([0; 32]);
        let is_good = known.map_or(&nobody, |known| &known.token).matches(&digest);
        let (true, Some(client), Some(known)) = (is_good, &client, known) else {
            return Err(Denied::Unauthorized(Some("invalid_token")));
        };
        match parts.method {
            Method::GET => {
                let told = Told { client, registered: known, token: token.expose(), secret: None };
                Ok(json(StatusCode::OK, self.told(&told, &stored_method(client, known))))
            }
            Method::PUT => self.update(body, client, policy, &token, read_at).await,
            Method::DELETE => {
                let (realm, client) = (self.state.realm.name.clone(), id.to_owned());
                self.change(vec![Change::RemoveClient { realm, client }], Some(read_at)).await?;
                tracing::info!(
                    realm = self.state.realm.name,
                    client = id,
                    peer = %self.peer,
                    request_id = self.request_id,
                    "client removed its registration"
                );
                Ok(full(StatusCode::NO_CONTENT, bytes::Bytes::new()))
            }
            _ => Err(Denied::Method("GET, PUT, DELETE")),
        }
    }

    /// Replaces a registration: keys and secrets that the client no longer authenticates with are removed.
    async fn update(
        &self,
        body: &[u8],
        client: &Client,
        policy: &RegistrationPolicy,
        token: &Secret,
        read_at: Revision,
    ) -> Result<Response<Body>, Denied> {
        let realm = &self.state.realm;
        let metadata = Metadata::read_update(body, &client.id, realm, policy)?;
        let (made, mut credentials, mut secret) = self.made(&client.id, &metadata, token)?;
        let keeps = |kind: &CredentialKind| {
            matches!(kind, CredentialKind::Secret { .. })
                && matches!(metadata.method, registration::Method::Secret { .. })
        };
        if client.credentials.iter().any(|own| keeps(&own.kind)) {
            (credentials, secret) = (Vec::new(), None);
        }
        // What the operator has said of the client since stays; what the client says of itself changes.
        let says = made.particulars();
        let particulars = Particulars {
            dpop_bound: says.dpop_bound,
            certificate_bound: says.certificate_bound,
            jwks_uri: says.jwks_uri.clone(),
            registered: says.registered.clone(),
            ..client.particulars().clone()
        };
        let updated = Client {
            grants: made.grants,
            scope: made.scope,
            particulars: particulars.boxed(),
            credentials: Vec::new(),
            ..client.clone()
        };
        let gone = client.credentials.iter().filter(|own| !keeps(&own.kind));
        let mut changes = vec![Change::PutClient(updated.clone())];
        changes.extend(gone.map(|own| Change::RemoveCredential {
            realm: realm.name.clone(),
            client: client.id.clone(),
            credential: own.id.clone(),
        }));
        changes.extend(credentials.into_iter().map(|own| self.put(&client.id, own)));
        self.change(changes, Some(read_at)).await?;
        tracing::info!(
            realm = realm.name,
            client = client.id,
            peer = %self.peer,
            request_id = self.request_id,
            "client changed its registration"
        );
        let registered = registered(&updated).ok_or(Denied::Unauthorized(None))?;
        let told =
            Told { client: &updated, registered, token: token.expose(), secret: secret.as_ref() };
        Ok(json(StatusCode::OK, self.told(&told, &metadata.method)))
    }

    fn policy(&self) -> Result<&RegistrationPolicy, Denied> {
        self.state.realm.registration.as_ref().ok_or(Denied::Unauthorized(None))
    }

    /// Whether the request has an access token of this realm that is for the realm itself (`aud` is its issuer) and
    /// reaches so far (RFC 7591 §3): one for an API could be brought here by that API.
    async fn may_register(&self, parts: &Parts, policy: &RegistrationPolicy) -> Result<(), Denied> {
        let (scheme, text) = credentials(&parts.headers)?;
        let Some(Token::Access(token, _)) = self.active(text.expose()).await? else {
            return Err(Denied::Unauthorized(Some("invalid_token")));
        };
        let binding = token.binding().ok_or(Denied::Unauthorized(Some("invalid_token")))?;
        let shown = self.shown_with(parts, Some(text.expose()))?;
        if !binding.is_proved_by(&shown.binding)
            || binding.key.is_some() != (scheme == Scheme::Dpop)
        {
            return Err(Denied::Unauthorized(Some("invalid_token")));
        }
        let issuer = self.state.realm.issuer.as_str();
        if !token.claims.aud.as_ref().is_some_and(|aud| aud.contains(issuer)) {
            return Err(Denied::Unauthorized(Some("invalid_token")));
        }
        let has = |wanted: &str| token.claims.scopes().any(|own| own == wanted);
        if policy.scope.is_empty() || !policy.scope.tokens().all(has) {
            return Err(Denied::Forbidden);
        }
        if !self.app.admission.admits(&self.state.realm.name, &token.client) {
            return Err(Failure::Shed.into());
        }
        Ok(self.use_up(&shown).await?)
    }

    /// The client that metadata mean, with its credentials, and the secret among them.
    fn made(
        &self,
        id: &str,
        metadata: &Metadata,
        token: &Secret,
    ) -> Result<(Client, Vec<Credential>, Option<Secret>), Denied> {
        let mut secret = None;
        let (mut jwks_uri, mut jwks) = (None, None);
        let kinds: Vec<(String, CredentialKind)> = match &metadata.method {
            registration::Method::Secret { .. } => {
                let (id, made) = generate_secret(&random()?);
                let digest = self.app.pepper.digest(made.expose());
                secret = Some(made);
                vec![(id, CredentialKind::Secret { digest })]
            }
            registration::Method::Keys(keys) => {
                let key = |key: &tokenry_core::jose::Jwk| {
                    let id = key.thumbprint()[..CREDENTIAL_ID_LEN].to_owned();
                    (id, CredentialKind::PublicKey { jwk: key.to_json().into() })
                };
                keys.iter().map(key).collect()
            }
            registration::Method::JwksUri(url) => {
                jwks_uri = Some(url.clone());
                Vec::new()
            }
            registration::Method::CertificateName(name) => {
                let kind = CredentialKind::CertificateName { name: Box::new(name.clone()) };
                vec![(base64url(&random::<6>()?), kind)]
            }
            registration::Method::SelfSigned { thumbprints, jwks: sent } => {
                jwks = Some(sent.clone());
                let own = |thumbprint: &[u8; 32]| {
                    let id = base64url(&thumbprint[..6]);
                    (id, CredentialKind::SelfSigned { thumbprint: *thumbprint })
                };
                thumbprints.iter().map(own).collect()
            }
        };
        let credential = |(id, kind)| Credential {
            id,
            label: "registered".to_owned(),
            kind,
            not_before: self.now,
            expires_at: None,
            created_at: self.now,
        };
        let registered = Registered {
            token: self.app.pepper.digest(token.expose()),
            name: metadata.name.clone(),
            method: metadata.method.as_str().to_owned(),
            jwks,
        };
        let particulars = Particulars {
            dpop_bound: metadata.dpop_bound,
            certificate_bound: metadata.certificate_bound,
            jwks_uri,
            registered: Some(registered),
            ..Particulars::default()
        };
        let client = Client {
            grants: metadata.grants,
            scope: metadata.scope.clone(),
            particulars: particulars.boxed(),
            ..Client::new(&self.state.realm.name, id, self.now)
        };
        Ok((client, kinds.into_iter().map(credential).collect(), secret))
    }

    fn put(&self, client: &str, credential: Credential) -> Change {
        let (realm, client) = (self.state.realm.name.clone(), client.to_owned());
        Change::PutCredential { realm, client, credential }
    }

    /// Changes what is stored, and takes it up at once on this node.
    ///
    /// With `read_at`, only if nothing has changed since. Who comes second is told to come again.
    async fn change(&self, changes: Vec<Change>, read_at: Option<Revision>) -> Result<(), Failure> {
        match self.app.store.change(changes, read_at, self.now).await {
            Err(StoreError::Conflict) => return Err(Failure::Shed),
            changed => drop(self.stored(changed)?),
        }
        self.app.feed.tell();
        // It is stored, so it is done: this node takes it up in a moment, like the others.
        if let Err(error) = self.app.reload().await {
            tracing::warn!(%error, "registration not taken up yet");
        }
        Ok(())
    }

    fn stored<T>(&self, answered: Result<T, StoreError>) -> Result<T, Failure> {
        answered.map_err(|error| {
            tracing::error!(%error, "the store did not answer about a registration");
            Failure::Unavailable("the store did not answer about a registration")
        })
    }

    /// RFC 7591 §3.2.1.
    fn told(&self, told: &Told<'_>, method: &registration::Method) -> String {
        let Told { client, registered, token, secret } = told;
        let issuer = self.state.realm.issuer.as_str();
        let particulars = client.particulars();
        let by_secret = matches!(method, registration::Method::Secret { .. });
        Object::with_capacity(1024)
            .string("client_id", &client.id)
            .number("client_id_issued_at", client.created_at.as_secs())
            .then(|o| match secret {
                Some(secret) => o.string("client_secret", secret.expose()),
                None => o,
            })
            .then(|o| if by_secret { o.number("client_secret_expires_at", 0) } else { o })
            .string("registration_access_token", token)
            .string("registration_client_uri", &format!("{issuer}/register/{}", client.id))
            .then(|o| match &registered.name {
                Some(name) => o.string("client_name", name),
                None => o,
            })
            .string("token_endpoint_auth_method", method.as_str())
            .strings("grant_types", client.grants.iter().map(|grant| grant.as_str()))
            .strings("response_types", [])
            .string("scope", client.scope.as_str())
            .boolean("dpop_bound_access_tokens", particulars.dpop_bound)
            .boolean("tls_client_certificate_bound_access_tokens", particulars.certificate_bound)
            .then(|o| match method {
                registration::Method::Secret { .. } => o,
                registration::Method::JwksUri(url) => o.string("jwks_uri", url),
                registration::Method::CertificateName(name) => {
                    o.string(name.parameter(), &name.value())
                }
                registration::Method::SelfSigned { jwks, .. } => o.raw("jwks", jwks),
                registration::Method::Keys(keys) => {
                    let keys: Vec<String> = keys.iter().map(|key| key.to_json()).collect();
                    o.raw("jwks", &format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
                }
            })
            .end()
    }

    fn deny(&self, denied: Denied) -> Response<Body> {
        let (status, code, description) = match denied {
            Denied::Failure(failure) => {
                return self.fail(failure, &Default::default(), &Default::default());
            }
            Denied::Method(allowed) => {
                let mut response = json(
                    StatusCode::METHOD_NOT_ALLOWED,
                    r#"{"error":"invalid_request"}"#.to_owned(),
                );
                let allowed = HeaderValue::from_static(allowed);
                response.headers_mut().insert(header::ALLOW, allowed);
                return response;
            }
            Denied::Unauthorized(code) => (StatusCode::UNAUTHORIZED, code, None),
            Denied::Forbidden => (StatusCode::FORBIDDEN, Some("insufficient_scope"), None),
            Denied::Bad(bad) => (StatusCode::BAD_REQUEST, Some(bad.code()), Some(bad.to_string())),
        };
        let (realm, peer, request_id) = (&self.state.realm.name, self.peer, self.request_id);
        tracing::info!(realm, %peer, request_id, at = "registration", error = code, "request refused");
        let body = Object::with_capacity(128)
            .string("error", code.unwrap_or("invalid_token"))
            .then(|o| match &description {
                Some(description) => o.string("error_description", description),
                None => o,
            })
            .end();
        let mut response = json(status, body);
        if status != StatusCode::BAD_REQUEST {
            // RFC 6750 §3.1: no code to who has brought no token at all.
            let challenge = match code {
                Some(code) => format!("Bearer realm=\"{realm}\", error=\"{code}\""),
                None => format!("Bearer realm=\"{realm}\""),
            };
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

/// What is kept of a client that has registered itself.
fn registered(client: &Client) -> Option<&Registered> {
    client.particulars().registered.as_ref()
}

/// How a client authenticates that has registered itself, by what it has.
fn stored_method(client: &Client, registered: &Registered) -> registration::Method {
    let keys = client.credentials.iter().filter_map(|credential| match &credential.kind {
        CredentialKind::PublicKey { jwk } => tokenry_core::jose::Jwk::parse(jwk).ok(),
        _ => None,
    });
    let name = client.credentials.iter().find_map(|credential| match &credential.kind {
        CredentialKind::CertificateName { name } => Some((**name).clone()),
        _ => None,
    });
    if let ("tls_client_auth", Some(name)) = (registered.method.as_str(), name) {
        return registration::Method::CertificateName(name);
    }
    if let ("self_signed_tls_client_auth", Some(jwks)) =
        (registered.method.as_str(), &registered.jwks)
    {
        let (thumbprints, jwks) = (Vec::new(), jwks.clone());
        return registration::Method::SelfSigned { thumbprints, jwks };
    }
    match (registered.method.as_str(), &client.particulars().jwks_uri) {
        ("private_key_jwt", Some(url)) => registration::Method::JwksUri(url.clone()),
        ("private_key_jwt", None) => registration::Method::Keys(keys.collect()),
        (other, _) => registration::Method::Secret { post: other == "client_secret_post" },
    }
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

/// The token of the one `Authorization` header.
fn credentials(headers: &HeaderMap) -> Result<(Scheme, Secret), Denied> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return Err(Denied::Unauthorized(None));
    };
    let text = one.to_str().map_err(|_| Denied::Unauthorized(Some("invalid_token")))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let scheme = match scheme {
        bearer if bearer.eq_ignore_ascii_case("Bearer") => Scheme::Bearer,
        dpop if dpop.eq_ignore_ascii_case("DPoP") => Scheme::Dpop,
        _ => return Err(Denied::Unauthorized(None)),
    };
    Ok((scheme, Secret::new(token.trim())))
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
