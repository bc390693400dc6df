//! JWTs about which the issuer is asked as well.

use std::time::Duration;

use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{Rejection, Verifier};
use tokio::time::sleep;

use super::{Reply, Word, active, active_but, all, api, settle};
use crate::issuer::{
    API, ISSUER, START, Source, ask, builder, claims, claims_with, forge, key, token,
};

const NOW: Timestamp = Timestamp::from_secs(START);

async fn asking(key: &SigningKey, word: &Word) -> Verifier {
    let source = Source::with(&[key]);
    let verifier = builder(&source).introspection(word.settings().always()).build().unwrap();
    settle().await;
    verifier
}

#[tokio::test(start_paused = true)]
async fn a_jwt_is_let_in_when_it_is_good_and_the_issuer_says_so() {
    let key = key(Algorithm::Es256);
    let jwt = token(&key, &claims());
    let word = Word::with(&jwt, active_but(&json!({ "scope": "other" })));
    let verifier = asking(&key, &word).await;
    let api = api(&verifier);
    assert_eq!(all(&api, vec![jwt.clone(); 100]).await, [200; 100]);
    assert_eq!(ask(&api, &jwt).await.0, 200);
    assert_eq!(word.asked(), 1);
    let found = verifier.verify(&jwt, NOW).await.unwrap();
    assert_eq!(found.scope().as_str(), "read write", "as signed");

    word.reply(&jwt, Reply::Says(json!({ "active": false })));
    sleep(Duration::from_secs(10)).await;
    for _ in 0..10 {
        assert_eq!(ask(&api, &jwt).await.0, 401);
    }
    assert_eq!(word.asked(), 2);
    word.otherwise(Some(Reply::Down));
    let other = token(&key, &claims_with("jti", json!("j-2")));
    assert_eq!(ask(&api, &other).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_makes_up_tokens_shuts_out_those_that_are_signed() {
    let key = key(Algorithm::Es256);
    let jwt = token(&key, &claims());
    // By taking all the room.
    let word = Word::with(&jwt, active());
    word.delay(Duration::from_secs(1));
    let settings = word.settings().always().max_concurrent(1);
    let builder = builder(&Source::with(&[&key]));
    let verifier = builder.introspection(settings).build().unwrap();
    settle().await;
    let router = api(&verifier);
    let tokens = (0..10).map(|i| format!("x{i}")).chain([jwt.clone()]);
    let statuses = all(&router, tokens).await;
    assert_eq!(statuses.iter().filter(|it| **it == 401).count(), 1, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&200));
    // By having the issuer say that there were too many.
    let word = Word::with(&jwt, active());
    word.otherwise(Some(Reply::Status(429)));
    let router = api(&asking(&key, &word).await);
    assert_eq!(all(&router, (0..10).map(|i| format!("x{i}"))).await, [503; 10]);
    assert_eq!(ask(&router, "another").await.0, 503);
    assert_eq!(ask(&router, &jwt).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn row_183_row_234_row_244_nobody_is_asked_about_a_jwt_that_is_bad_by_itself() {
    let [own, stranger] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let word = Word::default();
    word.otherwise(Some(Reply::Says(active())));
    let verifier = asking(&own, &word).await;
    let api = api(&verifier);
    let said = json!({ "iss": ISSUER, "aud": API, "iat": START, "token_introspection": active() });
    let header = |typ: &str| json!({"alg": "ES256", "typ": typ, "kid": own.kid()}).to_string();
    let answer =
        forge(&own, header("token-introspection+jwt").as_bytes(), said.to_string().as_bytes());
    let id_token = forge(&own, header("JWT").as_bytes(), claims().to_string().as_bytes());
    for bad in [
        answer,
        id_token,
        token(&stranger, &claims()),
        token(&own, &claims_with("exp", json!(START - 100))),
        token(&own, &claims_with("aud", json!("https://other.example"))),
        format!("{}=", token(&own, &claims())),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ] {
        assert_eq!(ask(&api, &bad).await.0, 401, "{bad}");
    }
    assert_eq!(word.asked(), 0);
    assert_eq!(ask(&api, &token(&own, &claims())).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_both_say_must_not_differ() {
    let key = key(Algorithm::Es256);
    let jwt = token(&key, &claims());
    let nothing_more: Value = json!({ "active": true });
    for (says, expected) in [
        (active(), Ok(())),
        (nothing_more, Ok(())),
        (active_but(&json!({ "aud": "https://other.example" })), Err(Rejection::WrongAudience)),
        (active_but(&json!({ "iss": "https://other.example" })), Err(Rejection::WrongIssuer)),
        (active_but(&json!({ "exp": START - 10 })), Err(Rejection::Expired)),
        (active_but(&json!({ "nbf": START + 11 })), Err(Rejection::NotYetValid)),
        (active_but(&json!({ "token_type": "Refresh" })), Err(Rejection::WrongType)),
        (active_but(&json!({ "cnf": { "jkt": "x" } })), Err(Rejection::UnknownConfirmation)),
    ] {
        let verifier = asking(&key, &Word::with(&jwt, says.clone())).await;
        assert_eq!(verifier.verify(&jwt, NOW).await.map(|_| ()), expected, "{says}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_jwt_ends_with_the_sooner_of_both() {
    let key = key(Algorithm::Es256);
    let (sooner, later) = (START + 5, START + 500);
    for (own, said) in [(sooner, later), (later, sooner)] {
        let jwt = token(&key, &claims_with("exp", json!(own)));
        let word = Word::with(&jwt, active_but(&json!({ "exp": said })));
        let settings = word.settings().always().ttl(Duration::from_mins(5));
        let verifier = builder(&Source::with(&[&key])).introspection(settings).build().unwrap();
        settle().await;
        for (secs, is_good) in [(START, true), (START + 14, true), (START + 15, false)] {
            let found = verifier.verify(&jwt, Timestamp::from_secs(secs)).await;
            assert_eq!(found.is_ok(), is_good, "{own} {said} {secs}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_leaves_ends_what_the_issuer_has_confirmed() {
    let [old, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let jwt = token(&old, &claims());
    let word = Word::with(&jwt, active());
    let source = Source::with(&[&old]);
    let settings = word.settings().always().ttl(Duration::from_hours(1));
    let verifier = builder(&source).introspection(settings).build().unwrap();
    settle().await;
    let api = api(&verifier);
    assert_eq!(ask(&api, &jwt).await.0, 200);
    source.publish(&[&new]);
    sleep(Duration::from_mins(5)).await;
    settle().await;
    assert_eq!(ask(&api, &jwt).await.0, 401);
}
