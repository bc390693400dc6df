//! Vendors as their clients see them: each grants what the vendor grants, and refuses what it refuses.

mod auth0;
mod cognito;
mod entra;
mod keycloak;
mod okta;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tokenry_core::Secret;
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, Claims, SigningKey, VerifyingKey, generate};
use tokio::time::Instant;

use crate::testing::{Asked, BEGINNING, Server, answer, builder_of, pass};
use crate::{Credentials, Keeper, KeeperBuilder, Provider};

/// How long a busy vendor wants to be left alone.
const BUSY: u64 = 60;

/// A vendor, which may be busy.
struct Vendor {
    server: Server,
    busy: Arc<AtomicBool>,
    began: Instant,
}

impl Vendor {
    /// `busy` is what it answers while it is.
    fn new(
        mut answers: impl FnMut(&Asked, usize) -> Response<Bytes> + Send + 'static,
        busy: impl Fn(&Asked) -> Response<Bytes> + Send + 'static,
    ) -> Self {
        let is_busy = Arc::new(AtomicBool::new(false));
        let flag = is_busy.clone();
        let server = Server::new(move |asked, n| {
            Ok(if flag.load(Ordering::SeqCst) { busy(asked) } else { answers(asked, n) })
        });
        Self { server, busy: is_busy, began: Instant::now() }
    }

    /// A client whose clock is the vendor's, whenever it begins.
    fn builder(&self, provider: Provider, credentials: Credentials) -> KeeperBuilder {
        let began = self.began;
        builder_of(provider, credentials, &self.server)
            .wall_clock(move || BEGINNING + began.elapsed())
    }

    fn keeper(&self, provider: Provider, credentials: Credentials) -> Keeper {
        self.builder(provider, credentials).build().unwrap()
    }

    /// What somebody is told whom it refuses.
    async fn refusal(&self, provider: Provider, credentials: Credentials) -> String {
        let keeper = self.builder(provider, credentials).patience(Duration::ZERO);
        keeper.build().unwrap().token().await.unwrap_err().to_string()
    }

    /// Each renewal comes before anybody has to wait for it, and by one request.
    async fn is_renewed(&self, keeper: &Keeper, lifetime: u64) {
        let mut last = keeper.token().await.unwrap();
        for _ in 0..3 {
            let before = self.server.count();
            pass(secs(lifetime * 3 / 4 + 1)).await;
            let next = keeper.try_token().unwrap();
            assert_ne!(text(&last), text(&next));
            assert_eq!(self.server.count(), before + 1);
            last = next;
        }
    }

    /// A token that ended early is replaced by one request; another 401 to the old one costs none.
    async fn may_end_a_token_early(&self, keeper: &Keeper) {
        let first = keeper.token().await.unwrap();
        let before = self.server.count();
        keeper.invalidate(&first);
        let second = keeper.token().await.unwrap();
        assert_ne!(text(&first), text(&second));
        keeper.invalidate(&first);
        assert_eq!(text(&keeper.token().await.unwrap()), text(&second));
        assert_eq!(self.server.count(), before + 1);
    }

    /// While it is busy, callers go on with the old token, and it is asked again when it said.
    async fn is_left_alone_while_busy(&self, keeper: &Keeper, lifetime: u64) {
        let first = keeper.token().await.unwrap();
        self.busy.store(true, Ordering::SeqCst);
        pass(secs(lifetime * 3 / 4 + 1)).await;
        let before = self.server.count();
        pass(secs(BUSY - 3)).await;
        assert_eq!(self.server.count(), before);
        assert_eq!(text(&keeper.try_token().unwrap()), text(&first));
        self.busy.store(false, Ordering::SeqCst);
        // A tenth is added, so that a fleet does not return as one.
        pass(secs(BUSY / 10 + 4)).await;
        assert_eq!(self.server.count(), before + 1);
        assert_ne!(text(&keeper.try_token().unwrap()), text(&first));
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn text(token: &crate::Token) -> &str {
    token.access_token().expose()
}

fn named(name: &str, parameters: &[(&str, &str)]) -> Provider {
    let pairs = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Provider::named_with(name, &pairs.collect()).unwrap()
}

fn secret(id: &str, secret: &'static str) -> Credentials {
    Credentials::client(id, Secret::new(secret))
}

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().as_bytes()).unwrap()
}

fn json(status: u16, body: &Value) -> Response<Bytes> {
    answer(status, &body.to_string())
}

fn error(status: u16, code: &str, description: &str) -> Response<Bytes> {
    json(status, &json!({ "error": code, "error_description": description }))
}

fn with_header(mut response: Response<Bytes>, name: &'static str, value: u64) -> Response<Bytes> {
    response.headers_mut().insert(name, value.into());
    response
}

/// A field of the form, decoded.
fn field(asked: &Asked, name: &str) -> Option<String> {
    asked.form.get(name).map(|value| decoded(value))
}

fn is(asked: &Asked, name: &str, value: &str) -> bool {
    field(asked, name).as_deref() == Some(value)
}

/// The client and its secret as HTTP Basic has them.
fn basic(asked: &Asked) -> Option<(String, String)> {
    let header = asked.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(header).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

/// The client and its secret as the form has them.
fn post(asked: &Asked) -> Option<(String, String)> {
    Some((field(asked, "client_id")?, field(asked, "client_secret")?))
}

fn is_client(pair: Option<&(String, String)>, id: &str, secret: &str) -> bool {
    pair.is_some_and(|(own, given)| own == id && given == secret)
}

/// The reverse of RFC 6749 appendix B.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap()
}

/// The assertions of one client's key, each of which is taken once.
struct Assertions {
    client: &'static str,
    audience: &'static str,
    key: VerifyingKey,
    seen: BTreeSet<String>,
}

impl Assertions {
    fn new(client: &'static str, audience: &'static str, key: &SigningKey) -> Self {
        let key = VerifyingKey::from(key.public_jwk());
        Self { client, audience, key, seen: BTreeSet::new() }
    }

    /// Why the assertion of a request is not taken.
    fn check(&mut self, asked: &Asked) -> Result<Claims, &'static str> {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if !is(asked, "client_assertion_type", kind) {
            return Err("type");
        }
        let assertion = field(asked, "client_assertion").ok_or("assertion")?;
        let compact = Compact::parse(&assertion).map_err(|_| "form")?;
        let verified = compact.verify(&self.key).map_err(|_| "signature")?;
        let claims = verified.claims().map_err(|_| "claims")?;
        if claims.iss.as_deref() != Some(self.client) || claims.sub.as_deref() != Some(self.client)
        {
            return Err("client");
        }
        if claims.aud.as_ref().and_then(|aud| aud.sole()) != Some(self.audience) {
            return Err("audience");
        }
        // Vendors take assertions of five minutes to an hour.
        let lives = claims.exp.is_some_and(|exp| exp > asked.at && exp <= asked.at + secs(300));
        if !lives {
            return Err("expiry");
        }
        if !self.seen.insert(claims.jti.clone().ok_or("jti")?) {
            return Err("replayed");
        }
        Ok(claims)
    }
}

/// A part of a JWT as JSON, unverified.
fn part(jwt: &str, n: usize) -> Value {
    let part = jwt.split('.').nth(n).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn the_form_is_read_as_it_was_meant() {
    assert_eq!(decoded("a+b%2Bc%C3%BC%3D"), "a b+c\u{fc}=");
}
