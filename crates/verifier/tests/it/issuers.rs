//! A verifier that trusts several issuers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{
    BoxFuture, BuildError, FetchError, Fetched, KeySource, Rejection, Verifier, VerifierBuilder,
};
use tokio::time::sleep;

use crate::issuer::{START, claims_with, forge, key, set, token};

const ONE: &str = "https://one.example";
const OTHER: &str = "https://other.example/realms/main";

/// The keys of one issuer, for nobody else.
struct Keys(&'static str, String);

impl KeySource for Keys {
    fn fetch<'a>(&'a self, issuer: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        assert_eq!(issuer, self.0);
        Box::pin(async { Ok(Fetched { body: self.1.clone().into(), max_age: None }) })
    }
}

fn two(one: &[&SigningKey], other: &[&SigningKey]) -> VerifierBuilder {
    Verifier::builder(ONE)
        .audience("one")
        .key_source(Keys(ONE, set(one)))
        .issuer(OTHER)
        .audience("other")
        .accept_legacy_typ()
        .key_source(Keys(OTHER, set(other)))
        .clock(|| tokenry_core::Timestamp::from_secs(START))
}

async fn ready(builder: VerifierBuilder) -> Verifier {
    let verifier = builder.build().unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(verifier.is_ready());
    verifier
}

fn said(iss: &str, aud: &str) -> Value {
    let mut claims = claims_with("iss", json!(iss));
    claims["aud"] = json!(aud);
    claims
}

async fn ask(verifier: &Verifier, token: &str) -> Result<String, Rejection> {
    let token = verifier.verify(token, verifier.now()).await?;
    Ok(token.claims().iss.clone().unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_is_believed_in_its_own_name_alone() {
    let [one, other] = [key(Algorithm::Es256), key(Algorithm::EdDsa)];
    let verifier = ready(two(&[&one], &[&other])).await;
    // Twice each: what is remembered of one is not taken for the other's.
    for _ in 0..2 {
        assert_eq!(ask(&verifier, &token(&one, &said(ONE, "one"))).await, Ok(ONE.into()));
        assert_eq!(ask(&verifier, &token(&other, &said(OTHER, "other"))).await, Ok(OTHER.into()));
        for (key, iss, aud, expected) in [
            // Its own key, another's name.
            (&one, OTHER, "other", Rejection::UnknownKey),
            (&other, ONE, "one", Rejection::UnknownKey),
            // Another's audience.
            (&one, ONE, "other", Rejection::WrongAudience),
            (&other, OTHER, "one", Rejection::WrongAudience),
            (&one, "https://third.example", "one", Rejection::WrongIssuer),
        ] {
            assert_eq!(
                ask(&verifier, &token(key, &said(iss, aud))).await,
                Err(expected),
                "{iss} {aud}"
            );
        }
    }
    let nobody = token(&one, &claims_with("iss", Value::Null));
    assert_eq!(ask(&verifier, &nobody).await, Err(Rejection::WrongIssuer));
    let names: Vec<String> =
        verifier.metrics().issuers.into_iter().map(|issuer| issuer.issuer).collect();
    assert_eq!(names, [ONE, OTHER]);
}

/// `kid` is a name within one set: that another issuer has the same says nothing.
#[tokio::test(start_paused = true)]
async fn keys_of_one_name_are_not_mixed_up() {
    let [one, other] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let named = |key: &SigningKey| {
        let mut jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        jwk["kid"] = json!("1");
        json!({ "keys": [jwk] }).to_string()
    };
    let builder = two(&[], &[])
        .key_source(Keys(OTHER, named(&other)))
        .issuer("https://third.example")
        .audience("third")
        .key_source(Keys("https://third.example", named(&one)));
    let verifier = ready(builder).await;
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "1"}).to_string();
    let by = |key: &SigningKey, iss: &str, aud: &str| {
        forge(key, header.as_bytes(), said(iss, aud).to_string().as_bytes())
    };
    assert!(ask(&verifier, &by(&other, OTHER, "other")).await.is_ok());
    assert!(ask(&verifier, &by(&one, "https://third.example", "third")).await.is_ok());
    assert_eq!(
        ask(&verifier, &by(&one, OTHER, "other")).await,
        Err(Rejection::BadSignature),
        "the other's name with our key"
    );
}

#[tokio::test(start_paused = true)]
async fn settings_are_those_of_the_issuer_that_was_named_last() {
    let [one, other] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let verifier = ready(two(&[&one], &[&other])).await;
    let legacy = |key: &SigningKey, claims: &Value| {
        let kid = key.public_jwk().kid().map(str::to_owned);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid}).to_string();
        forge(key, header.as_bytes(), claims.to_string().as_bytes())
    };
    assert!(ask(&verifier, &legacy(&other, &said(OTHER, "other"))).await.is_ok());
    let refused = ask(&verifier, &legacy(&one, &said(ONE, "one"))).await;
    assert_eq!(refused, Err(Rejection::WrongType));
}

#[tokio::test]
async fn an_issuer_is_named_once_and_has_audiences_of_its_own() {
    let keys = || Keys(ONE, set(&[]));
    let twice = Verifier::builder(ONE).audience("a").key_source(keys());
    let twice = twice.issuer(ONE).audience("b").key_source(keys()).build();
    assert_eq!(twice.unwrap_err(), BuildError::SameIssuer(ONE.into()));
    let silent = Verifier::builder(ONE).audience("a").key_source(keys()).issuer(OTHER);
    assert_eq!(silent.key_source(keys()).build().unwrap_err(), BuildError::NoAudience);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_whoever_issued_the_token() {
    let [one, other] = [key(Algorithm::Es256), key(Algorithm::EdDsa)];
    let verifier = Arc::new(ready(two(&[&one], &[&other])).await);
    let tokens = [token(&one, &said(ONE, "one")), token(&other, &said(OTHER, "other"))];
    for text in &tokens {
        assert!(ask(&verifier, text).await.is_ok());
    }
    verifier.refuse("j-1", verifier.now() + Duration::from_secs(60)).unwrap();
    for text in &tokens {
        assert_eq!(ask(&verifier, text).await, Err(Rejection::Revoked));
    }
}
