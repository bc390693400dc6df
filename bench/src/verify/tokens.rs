//! Tokens as the server writes them (RFC 9068 §2.2), the keys for them, and verifiers that have these keys in memory.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokenry_core::Timestamp;
use tokenry_core::jose::{Algorithm, PreparedHeader, SigningKey, generate};
use tokenry_verifier::{
    AccessToken, BoxFuture, FetchError, Fetched, KeySource, Rejection, Verifier, VerifierBuilder,
};

use crate::clock::unix_seconds;
use crate::problem::{Problem, Result};

pub(super) const ISSUER: &str = "https://id.example/realms/main";
pub(super) const AUDIENCE: &str = "https://api.example";

/// How long the tokens live: longer than any run.
const LIFETIME: u64 = 24 * 60 * 60;

/// For how many times as many tokens there has to be room, so that none drives another out.
const ROOM: usize = 4;

/// How long a key set in memory may take to arrive.
const KEYS: Duration = Duration::from_secs(5);

/// One that issues tokens, with one key.
pub(super) struct Issuer {
    key: SigningKey,
    header: PreparedHeader,
    issued: u64,
}

impl Issuer {
    pub(super) fn new(algorithm: &str) -> Result<Self> {
        let algorithm: Algorithm =
            algorithm.parse().map_err(|_| Problem::new(format!("no algorithm `{algorithm}`")))?;
        let key = SigningKey::from_pkcs8(algorithm, generate(algorithm)?.as_bytes())?;
        let header = key.header("at+jwt");
        Ok(Self { key, header, issued: 0 })
    }

    /// Many tokens, no two alike.
    pub(super) fn tokens(&mut self, count: usize) -> Result<Vec<String>> {
        (0..count).map(|_| self.token()).collect()
    }

    /// One token, with the members in the order of the server's `dialect/rfc.rs`.
    pub(super) fn token(&mut self) -> Result<String> {
        let (iat, jti) = (unix_seconds(), self.jti());
        let exp = iat + LIFETIME;
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"billing","aud":"{AUDIENCE}","exp":{exp},"iat":{iat},"jti":"{jti}","client_id":"billing","scope":"invoices:read invoices:write"}}"#
        );
        let mut token = String::new();
        self.key.sign_compact(&self.header, claims.as_bytes(), &mut token)?;
        Ok(token)
    }

    /// A UUID that nobody else has; it need not be one that nobody can guess.
    fn jti(&mut self) -> String {
        self.issued += 1;
        format!("01990000-0000-7000-8000-{:012x}", self.issued)
    }

    /// What its JWKS endpoint answers.
    pub(super) fn jwks(&self) -> String {
        json!({ "keys": [self.key.public_jwk()] }).to_string()
    }

    /// A verifier of its tokens, which has its keys.
    pub(super) async fn verifier(
        &self,
        settings: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
    ) -> Result<Verifier> {
        holding(&self.jwks(), settings).await
    }
}

/// A verifier that has these keys.
pub(super) async fn holding(
    jwks: &str,
    settings: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
) -> Result<Verifier> {
    let source = InMemory(Bytes::copy_from_slice(jwks.as_bytes()));
    let builder = Verifier::builder(ISSUER).audience(AUDIENCE).key_source(source);
    let verifier = settings(builder).build()?;
    ready(&verifier).await?;
    Ok(verifier)
}

/// A verifier that checks each token anew.
pub(super) const fn forgetful(builder: VerifierBuilder) -> VerifierBuilder {
    builder.cache(0)
}

/// A verifier that remembers each of so many tokens: none drives another out.
pub(super) const fn roomy(builder: VerifierBuilder, tokens: usize) -> VerifierBuilder {
    remembering(builder, ROOM * tokens)
}

/// A verifier that remembers about so many tokens.
pub(super) const fn remembering(builder: VerifierBuilder, tokens: usize) -> VerifierBuilder {
    builder.cache(tokens)
}

/// Waits until a verifier has keys.
pub(super) async fn ready(verifier: &Verifier) -> Result<()> {
    let keys = async {
        while !verifier.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(KEYS, keys).await.map_err(|_| Problem::new("the verifier got no keys"))
}

/// Verifies a token without a runtime.
///
/// A token whose key is known is never waited for, so one poll is all there is to measure; one that waits is an error.
pub(super) fn verify(
    verifier: &Verifier,
    token: &str,
    now: Timestamp,
) -> std::result::Result<std::sync::Arc<AccessToken>, Failed> {
    let future = std::pin::pin!(verifier.verify(token, now));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verified) => verified.map_err(Failed::Rejected),
        Poll::Pending => Err(Failed::Waits),
    }
}

/// Why a good token was not found good.
#[derive(Debug)]
pub(super) enum Failed {
    Rejected(Rejection),
    Waits,
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Rejected(rejection) => {
                Self::new(format!("a good token is refused: {rejection}"))
            }
            Failed::Waits => Self::new("a token whose key is known is waited for"),
        }
    }
}

/// A key set that is there.
struct InMemory(Bytes);

impl KeySource for InMemory {
    fn fetch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::result::Result<Fetched, FetchError>> {
        let fetched = Fetched { body: self.0.clone(), max_age: None };
        Box::pin(std::future::ready(Ok(fetched)))
    }
}
