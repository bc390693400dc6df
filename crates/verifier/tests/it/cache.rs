//! How keys are kept: what a fetch costs whom, and what happens while the issuer is down.

use std::time::Duration;

use axum::Router;
use axum::http::header::RETRY_AFTER;
use serde_json::json;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::Verifier;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

use crate::issuer::{
    Answer, Source, api, ask, builder, claims, claims_with, key, send, set, token,
};

const HOUR: Duration = Duration::from_hours(1);

/// A verifier that has fetched its keys.
async fn ready(source: &Source) -> (Verifier, Router) {
    let verifier = builder(source).build().unwrap();
    let api = api(verifier.layer());
    settle().await;
    assert_eq!(source.fetches(), 1);
    assert!(verifier.is_ready());
    (verifier, api)
}

/// Lets everything that can run run. Time stands as good as still.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// The statuses of as many requests at the same time.
async fn all(api: &Router, tokens: Vec<String>) -> Vec<u16> {
    let mut requests = JoinSet::new();
    for token in tokens {
        let api = api.clone();
        requests.spawn(async move { ask(&api, &token).await.0 });
    }
    requests.join_all().await
}

fn with_kid(key: &SigningKey, kid: &str) -> String {
    let header = json!({"alg": key.algorithm(), "typ": "at+jwt", "kid": kid}).to_string();
    crate::issuer::forge(key, header.as_bytes(), claims().to_string().as_bytes())
}

#[tokio::test(start_paused = true)]
async fn row_245_a_flood_of_unknown_keys_is_one_fetch_per_cooldown() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    source.delay(Duration::from_millis(100));
    let verifier = builder(&source).build().unwrap();
    let api = api(verifier.layer());
    sleep(Duration::from_secs(1)).await;
    for round in 0..4 {
        let flood = (0..500).map(|i| with_kid(&key, &format!("{round}-{i}"))).collect();
        assert_eq!(all(&api, flood).await, [401; 500]);
        assert_eq!(source.fetches(), 2 + round / 2, "round {round}");
        sleep(Duration::from_secs(16)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_245_a_new_key_is_found_within_the_request_that_needs_it() {
    let [old, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&old]);
    let (_verifier, api) = ready(&source).await;
    source.publish(&[&old, &new]);
    source.delay(Duration::from_millis(200));
    let tokens = (0..100).map(|_| token(&new, &claims())).collect();
    assert_eq!(all(&api, tokens).await, [200; 100]);
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_at_the_moment_of_a_regular_fetch_causes_no_second_one() {
    let key = key(Algorithm::Es256);
    // Which of the two comes first is drawn by lot, so that it takes some rounds to see both.
    for _ in 0..50 {
        let source = Source::with(&[&key]);
        let verifier = builder(&source).build().unwrap();
        let api = api(verifier.layer());
        sleep(Duration::from_mins(5)).await;
        assert_eq!(ask(&api, &with_kid(&key, "unknown")).await.0, 401);
        settle().await;
        assert_eq!(source.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_known_key_never_waits() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let (_verifier, api) = ready(&source).await;
    source.delay(HOUR);
    let unknown = {
        let (api, token) = (api.clone(), with_kid(&key, "unknown"));
        tokio::spawn(async move {
            let start = Instant::now();
            (ask(&api, &token).await.0, start.elapsed().as_secs())
        })
    };
    settle().await;
    assert_eq!(source.fetches(), 2, "the fetch is under way");
    let start = Instant::now();
    assert_eq!(ask(&api, &token(&key, &claims())).await.0, 200);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The other one waits, but not for as long as the source takes.
    assert_eq!(unknown.await.unwrap(), (503, 3));
}

#[tokio::test(start_paused = true)]
async fn requests_before_the_first_keys_share_one_fetch() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    source.delay(Duration::from_secs(1));
    let verifier = builder(&source).build().unwrap();
    assert!(!verifier.is_ready());
    let tokens = (0..100).map(|_| token(&key, &claims())).collect();
    assert_eq!(all(&api(verifier.layer()), tokens).await, [200; 100]);
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_246_an_outage_is_invisible_up_to_a_bound_and_then_503() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let (verifier, api) = ready(&source).await;
    let token = token(&key, &claims());
    source.answer(Answer::Down);
    for _ in 0..23 {
        sleep(HOUR).await;
        assert_eq!(ask(&api, &token).await.0, 200);
    }
    sleep(HOUR).await;
    assert!(!verifier.is_ready());
    let response = send(&api, "/", &[&format!("Bearer {token}")]).await;
    assert_eq!(response.status(), 503);
    let retry_after: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    // It is over when the source is back, by itself and within what was promised.
    source.publish(&[&key]);
    sleep(Duration::from_secs(retry_after)).await;
    settle().await;
    assert_eq!(ask(&api, &token).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn row_246_an_unknown_key_during_an_outage_is_503_and_not_401() {
    let [known, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&known]);
    let (_verifier, api) = ready(&source).await;
    source.answer(Answer::Down);
    for _ in 0..3 {
        assert_eq!(ask(&api, &token(&new, &claims())).await.0, 503);
        assert_eq!(ask(&api, &token(&known, &claims())).await.0, 200);
    }
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forged_signature_under_a_known_key_is_401_also_during_an_outage() {
    let [known, forger] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&known]);
    let (_verifier, api) = ready(&source).await;
    source.answer(Answer::Down);
    for _ in 0..3 {
        let (status, challenge) = ask(&api, &with_kid(&forger, known.kid())).await;
        assert_eq!(status, 401);
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(source.fetches(), 2);
    assert_eq!(ask(&api, &token(&known, &claims())).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_is_asked_less_and_less() {
    let source = Source::default();
    let _verifier = builder(&source).build().unwrap();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(source.pauses(), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_left_the_set_stops_verifying_with_the_next_fetch() {
    let [stolen, other] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&stolen, &other]);
    let (_verifier, api) = ready(&source).await;
    source.publish(&[&other]);
    assert_eq!(ask(&api, &token(&stolen, &claims())).await.0, 200);
    sleep(Duration::from_mins(5)).await;
    settle().await;
    assert_eq!(ask(&api, &token(&stolen, &claims())).await.0, 401);
    assert_eq!(ask(&api, &token(&other, &claims())).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_replaced_under_its_kid_is_found_within_the_request() {
    let old = key(Algorithm::Es256).with_kid("k".to_owned());
    let new = key(Algorithm::Es256).with_kid("k".to_owned());
    let source = Source::with(&[&old]);
    let (_verifier, api) = ready(&source).await;
    source.publish(&[&new]);
    assert_eq!(ask(&api, &token(&new, &claims())).await.0, 200);
    // Forged signatures do not cost more than unknown keys.
    let forged = (0..100).map(|_| token(&old, &claims())).collect();
    assert_eq!(all(&api, forged).await, [401; 100]);
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_source_says_how_long_keys_are_fresh_within_bounds() {
    for (max_age, pause) in [(60, 60), (0, 30), (86_400, 300)] {
        let source = Source::with(&[&key(Algorithm::Es256)]);
        source.max_age(max_age);
        let _verifier = builder(&source).build().unwrap();
        sleep(Duration::from_secs(2 * pause + 1)).await;
        assert_eq!(source.pauses(), [pause, pause], "max-age={max_age}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_247_row_249_one_bad_key_does_not_spoil_the_others() {
    let key = key(Algorithm::Es256);
    let good = key.public_jwk().to_json();
    let source = Source::default();
    let short = "r".repeat(171);
    source.answer(Answer::Set(format!(
        r#"{{"keys":[{{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}},{{"kty":"RSA","use":"enc"}},
           {{"kty":"RSA","n":"{short}","e":"AQAB"}},null,{good}]}}"#
    )));
    let (_verifier, api) = ready(&source).await;
    assert_eq!(ask(&api, &token(&key, &claims())).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn row_248_a_set_that_is_refused_leaves_the_keys_as_they_were() {
    let [key, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&key]);
    let (_verifier, api) = ready(&source).await;
    let private =
        set(&[&new]).replacen('{', r#"{"x":0,"#, 1).replace(r#""kty""#, r#""d":"AA","kty""#);
    let twice = set(&[&new.with_kid(key.kid().to_owned()), &key]);
    for text in [private, twice, String::new(), "<html>".to_owned()] {
        source.answer(Answer::Set(text));
        sleep(Duration::from_mins(6)).await;
        assert_eq!(ask(&api, &token(&key, &claims())).await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_one_that_failed() {
    let key = key(Algorithm::Es256);
    let source = Source::default();
    source.answer(Answer::Panic);
    let verifier = builder(&source).build().unwrap();
    let api = api(verifier.layer());
    assert_eq!(ask(&api, &token(&key, &claims())).await.0, 503);
    source.publish(&[&key]);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(ask(&api, &token(&key, &claims())).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    source.delay(HOUR);
    let verifier = builder(&source).build().unwrap();
    sleep(Duration::from_secs(5)).await;
    source.delay(Duration::ZERO);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(source.fetches(), 2);
    assert!(verifier.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_issuer_causes_no_fetch() {
    let [own, stranger] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let source = Source::with(&[&own]);
    let (_verifier, api) = ready(&source).await;
    let foreign = token(&stranger, &claims_with("iss", json!("https://other.example")));
    assert_eq!(ask(&api, &foreign).await.0, 401);
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_fetching_ends_with_the_last_verifier() {
    let source = Source::with(&[&key(Algorithm::Es256)]);
    let (verifier, api) = ready(&source).await;
    let clone = verifier.clone();
    drop((verifier, api));
    sleep(HOUR).await;
    let fetches = source.fetches();
    assert!(fetches > 10);
    drop(clone);
    settle().await;
    advance(HOUR).await;
    settle().await;
    assert_eq!((source.fetches(), source.owners()), (fetches, 1));
}
