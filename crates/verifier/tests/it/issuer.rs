//! An issuer for tests: its keys, its tokens, and the source its keys are fetched from.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Request, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::{self, Algorithm, SigningKey};
use tokenry_verifier::{
    AccessToken, BoxFuture, FetchError, Fetched, KeySource, Verifier, VerifierBuilder,
    VerifierLayer,
};
use tokio::time::Instant;
use tower::ServiceExt;

pub(crate) const ISSUER: &str = "https://id.example/realms/main";
pub(crate) const API: &str = "https://api.example";
/// When tests start, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;

pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, jose::generate(algorithm).unwrap().as_bytes()).unwrap()
}

/// The claims of a good token, good for a hundred days so that only what a test is about expires.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "billing", "client_id": "billing", "aud": API, "jti": "j-1",
        "iat": START, "exp": START + 8_640_000, "scope": "read write",
    })
}

/// The claims of a good token with one of them replaced, or taken away by `null`.
pub(crate) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    claims
}

pub(crate) fn token(key: &SigningKey, claims: &Value) -> String {
    let mut token = String::new();
    key.sign_compact(&key.header("at+jwt"), claims.to_string().as_bytes(), &mut token).unwrap();
    token
}

/// A token with any header and any payload, correctly signed.
pub(crate) fn forge(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn set(keys: &[&SigningKey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.public_jwk().to_json()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Where the verifier fetches keys: answers what it is told to, and counts.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Answer,
    delay: Duration,
    max_age: Option<Duration>,
    fetches: Vec<Instant>,
}

#[derive(Clone, Default)]
pub(crate) enum Answer {
    #[default]
    Down,
    Panic,
    Set(String),
}

impl Source {
    pub(crate) fn with(keys: &[&SigningKey]) -> Self {
        let source = Self::default();
        source.publish(keys);
        source
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.answer(Answer::Set(set(keys)));
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.0.lock().unwrap().answer = answer;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    pub(crate) fn max_age(&self, secs: u64) {
        self.0.lock().unwrap().max_age = Some(Duration::from_secs(secs));
    }

    pub(crate) fn fetches(&self) -> usize {
        self.0.lock().unwrap().fetches.len()
    }

    /// The times between fetches, in seconds.
    pub(crate) fn pauses(&self) -> Vec<u64> {
        let fetches = &self.0.lock().unwrap().fetches;
        fetches.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
    }

    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl KeySource for Source {
    fn fetch<'a>(&'a self, issuer: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        assert_eq!(issuer, ISSUER);
        Box::pin(async {
            let (answer, delay, max_age) = {
                let mut state = self.0.lock().unwrap();
                state.fetches.push(Instant::now());
                (state.answer.clone(), state.delay, state.max_age)
            };
            tokio::time::sleep(delay).await;
            match answer {
                Answer::Down => Err(FetchError::Status(503)),
                Answer::Panic => panic!("a source that panics"),
                Answer::Set(text) => Ok(Fetched { body: text.into(), max_age }),
            }
        })
    }
}

/// A verifier whose clock goes with tokio's.
pub(crate) fn builder(source: &Source) -> VerifierBuilder {
    let start = Instant::now();
    Verifier::builder(ISSUER).audience(API).key_source(source.clone()).clock(move || {
        Timestamp::from_secs(START) + Instant::now().saturating_duration_since(start)
    })
}

/// An API behind the layer. It answers with the subject of the token.
pub(crate) fn api(layer: VerifierLayer) -> Router {
    let handler = async |Extension(token): Extension<Arc<AccessToken>>| {
        token.subject().unwrap_or_default().to_owned()
    };
    Router::new().route("/", get(handler)).layer(layer)
}

/// Sends a request with these `Authorization` headers.
pub(crate) async fn send(api: &Router, uri: &str, authorization: &[&str]) -> Response<Body> {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    for value in authorization {
        request.headers_mut().append(AUTHORIZATION, value.parse().unwrap());
    }
    api.clone().oneshot(request).await.unwrap()
}

/// The status and the challenge for a token.
pub(crate) async fn ask(api: &Router, token: &str) -> (u16, String) {
    answer(&send(api, "/", &[&format!("Bearer {token}")]).await)
}

pub(crate) fn answer(response: &Response<Body>) -> (u16, String) {
    let challenges: Vec<&str> = response
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(challenges.len() <= 1, "{challenges:?}");
    (response.status().as_u16(), challenges.concat())
}
