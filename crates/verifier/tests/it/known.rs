//! Tokens that were found good before: remembered, and refused just when they would be if they were not.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{AccessToken, Rejection, Verifier};
use tokio::time::sleep;

use crate::issuer::{Answer, START, Source, builder, claims, claims_with, forge, key, token};

const HOUR: Duration = Duration::from_hours(1);

/// A verifier that has fetched its keys.
async fn ready(source: &Source) -> Verifier {
    let verifier = builder(source).build().unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(verifier.is_ready());
    verifier
}

async fn ask(verifier: &Verifier, token: &str) -> Result<(), Rejection> {
    verifier.verify(token, verifier.now()).await.map(drop)
}

/// Has a token verified, and sees that it is remembered.
async fn remembered(verifier: &Verifier, token: &str) {
    assert_eq!(ask(verifier, token).await, Ok(()));
    let before = verifier.metrics();
    assert_eq!(ask(verifier, token).await, Ok(()));
    let after = verifier.metrics();
    assert_eq!(after.cache_hits, before.cache_hits + 1);
    assert_eq!(after.accepted, before.accepted + 1);
}

/// Asks, and says whether the answer came out of memory.
async fn hit(verifier: &Verifier, token: &str) -> bool {
    let before = verifier.metrics().cache_hits;
    let _ = ask(verifier, token).await;
    verifier.metrics().cache_hits > before
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut claims = claims();
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

#[tokio::test(start_paused = true)]
async fn a_token_is_remembered_and_says_the_same() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let text = token(&key, &claims());
    let first = verifier.verify(&text, verifier.now()).await.unwrap();
    let second = verifier.verify(&text, verifier.now()).await.unwrap();
    assert_eq!(AccessToken::clone(&first), AccessToken::clone(&second));
    assert_eq!(verifier.metrics().cache_hits, 1);
    // Nothing that only resembles it is taken for it.
    for other in [format!("{text}="), format!("{text} "), text.to_uppercase()] {
        assert!(ask(&verifier, &other).await.is_err());
    }
    assert_eq!(verifier.metrics().cache_hits, 1);
    assert_eq!(verifier.metrics().refused, 3);
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_with_its_time() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let text = token(&key, &with(&[("exp", json!(START + 600)), ("nbf", json!(START + 100))]));
    let at = |secs| verifier.verify(&text, Timestamp::from_secs(START + secs));
    assert!(at(300).await.is_ok());
    // Ten seconds of leeway, both ways.
    for (secs, expected) in [
        (609, None),
        (610, Some(Rejection::Expired)),
        (90, None),
        (89, Some(Rejection::NotYetValid)),
        (300, None),
    ] {
        assert_eq!(at(secs).await.err(), expected, "{secs}");
    }
    assert_eq!(verifier.metrics().cache_hits, 3);
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_when_its_owner_refuses_it() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let token = |jti: &str| token(&key, &with(&[("jti", json!(jti)), ("sid", json!("family"))]));
    let [one, other] = ["one", "other"].map(token);
    remembered(&verifier, &one).await;
    remembered(&verifier, &other).await;
    let until = verifier.now() + HOUR;
    verifier.refuse("one", until).unwrap();
    assert_eq!(ask(&verifier, &one).await, Err(Rejection::Revoked));
    // The others are looked at once more, and not verified again.
    assert!(hit(&verifier, &other).await);
    assert!(hit(&verifier, &other).await);
    verifier.refuse("family", until).unwrap();
    assert_eq!(ask(&verifier, &other).await, Err(Rejection::Revoked));
    assert_eq!(verifier.metrics().issuers[0].revocations, 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_when_its_key_leaves() {
    let [old, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&old]);
    let verifier = ready(&source).await;
    let text = token(&old, &claims());
    remembered(&verifier, &text).await;
    // A key more is no reason to forget anything.
    source.publish(&[&old, &new]);
    sleep(Duration::from_mins(5)).await;
    assert!(hit(&verifier, &text).await);
    source.publish(&[&new]);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(ask(&verifier, &text).await, Err(Rejection::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_when_another_key_takes_the_name_of_its_key() {
    let [old, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let named = |key: &SigningKey| {
        let mut jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        jwk["kid"] = json!("the-key");
        Answer::Set(json!({ "keys": [jwk] }).to_string())
    };
    let source = Source::default();
    source.answer(named(&old));
    let verifier = ready(&source).await;
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "the-key"}).to_string();
    let text = forge(&old, header.as_bytes(), claims().to_string().as_bytes());
    remembered(&verifier, &text).await;
    source.answer(named(&new));
    sleep(Duration::from_mins(5)).await;
    assert_eq!(ask(&verifier, &text).await, Err(Rejection::BadSignature));
}

#[tokio::test(start_paused = true)]
async fn row_246_nothing_is_remembered_beyond_the_bound_of_stale_keys() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let text = token(&key, &claims());
    remembered(&verifier, &text).await;
    source.answer(Answer::Down);
    sleep(23 * HOUR).await;
    assert!(hit(&verifier, &text).await);
    sleep(HOUR).await;
    assert!(matches!(ask(&verifier, &text).await, Err(Rejection::Unavailable { .. })));
    assert_eq!(verifier.metrics().unavailable, 1);
    assert_eq!(verifier.metrics().issuers[0].keys, 0);
    // The keys that come back are the same, so that what was known of it still holds.
    source.publish(&[&key]);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(ask(&verifier, &text).await, Ok(()));
    let metrics = verifier.metrics();
    let [issuer] = metrics.issuers.as_slice() else { panic!("{metrics:?}") };
    assert_eq!(issuer.keys, 1);
    assert!(issuer.key_fetches_failed > 100 && issuer.key_fetches > issuer.key_fetches_failed);
}

#[tokio::test(start_paused = true)]
async fn it_is_forgotten_on_request() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let [one, other] = ["one", "other"].map(|jti| token(&key, &claims_with("jti", json!(jti))));
    for text in [&one, &other] {
        remembered(&verifier, text).await;
    }
    verifier.forget(&one);
    assert!(!hit(&verifier, &one).await && hit(&verifier, &one).await);
    assert!(hit(&verifier, &other).await);
    verifier.forget_all();
    assert!(!hit(&verifier, &one).await && !hit(&verifier, &other).await);
}

#[tokio::test(start_paused = true)]
async fn a_bound_token_that_is_remembered_is_still_no_bearer_token() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let thumbprint = key.public_jwk().thumbprint();
    let text = token(&key, &claims_with("cnf", json!({ "jkt": thumbprint })));
    for _ in 0..3 {
        assert_eq!(ask(&verifier, &text).await, Err(Rejection::Bound));
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_is_bounded_and_may_be_none() {
    let key = key(Algorithm::EdDsa);
    let source = Source::with(&[&key]);
    let none = builder(&source).cache(0).build().unwrap();
    let few = builder(&source).cache(4).build().unwrap();
    sleep(Duration::from_millis(1)).await;
    let tokens: Vec<String> =
        (0..100).map(|i| token(&key, &claims_with("jti", json!(i.to_string())))).collect();
    let (mut kept, mut last) = (0, 0);
    for text in &tokens {
        assert_eq!(ask(&none, text).await, Ok(()));
        assert_eq!(ask(&few, text).await, Ok(()));
        // The one that came last is always there.
        last += usize::from(hit(&few, text).await);
    }
    for text in &tokens {
        assert!(!hit(&none, text).await);
        kept += usize::from(hit(&few, text).await);
    }
    assert_eq!(last, 100);
    assert!((1..=8).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_the_place_of_the_token_that_expires_soonest() {
    let key = key(Algorithm::EdDsa);
    let source = Source::with(&[&key]);
    // Four places in all.
    let verifier = builder(&source).cache(2).build().unwrap();
    sleep(Duration::from_millis(1)).await;
    let expiring = |secs: u64| token(&key, &claims_with("exp", json!(START + secs)));
    let [soon, later, much_later, last, new] = [1000, 2000, 3000, 4000, 5000].map(expiring);
    for text in [&later, &soon, &last, &much_later, &new] {
        assert_eq!(ask(&verifier, text).await, Ok(()));
    }
    for text in [&later, &much_later, &last, &new] {
        assert!(hit(&verifier, text).await);
    }
    assert!(!hit(&verifier, &soon).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_remembered_takes_no_memory() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let verifier = ready(&source).await;
    let text = token(&key, &claims());
    let now = verifier.now();
    // Twice: the first look of a thread makes it known to the table.
    for _ in 0..2 {
        assert!(verifier.verify(&text, now).await.is_ok());
    }
    let before = verifier.metrics().cache_hits;
    let mut context = Context::from_waker(Waker::noop());
    let info = allocation_counter::measure(|| {
        for _ in 0..8 {
            let mut asked = pin!(verifier.verify(&text, now));
            assert!(asked.as_mut().poll(&mut context).is_ready());
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
    assert_eq!(verifier.metrics().cache_hits, before + 8);
}
