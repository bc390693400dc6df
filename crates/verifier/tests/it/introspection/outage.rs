//! An issuer that does not answer, or not soon.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use tokenry_core::jose::Algorithm;
use tokio::time::{Instant, sleep};

use super::{Reply, Word, active, all, api, metrics, settle, verifier};
use crate::issuer::{Source, ask, builder, claims, key, send, token};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn while_the_endpoint_hangs_all_other_tokens_are_as_fast_as_before() {
    let key = key(Algorithm::Es256);
    let word = Word::with("opaque", active());
    word.reply("dead", Reply::Says(serde_json::json!({ "active": false })));
    let settings = word.settings().ttl(HOUR).negative_ttl(HOUR);
    let verifier = builder(&Source::with(&[&key])).introspection(settings).build().unwrap();
    let api = api(&verifier);
    let [known, new] = ["a", "b"]
        .map(|jti| token(&key, &crate::issuer::claims_with("jti", serde_json::json!(jti))));
    settle().await;
    for (token, status) in [("opaque", 200), ("dead", 401), (&known, 200)] {
        assert_eq!(ask(&api, token).await.0, status);
    }
    word.delay(HOUR);
    let flood = {
        let api = api.clone();
        tokio::spawn(async move { all(&api, (0..500).map(|i| format!("x{i}"))).await })
    };
    settle().await;
    let start = Instant::now();
    for (token, status) in [("opaque", 200), ("dead", 401), (&known, 200), (&new, 200)] {
        assert_eq!(ask(&api, token).await.0, status);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(flood.await.unwrap(), [503; 500]);
    assert_eq!(start.elapsed().as_secs(), 2, "the deadline");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_questions_are_under_way_and_the_others_are_503_at_once() {
    let word = Word::default();
    word.delay(SECOND);
    let verifier = verifier(word.settings().max_concurrent(10));
    let api = api(&verifier);
    let mut statuses = all(&api, (0..100).map(|i| format!("x{i}"))).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 10].as_slice(), &[503; 90]].concat());
    assert_eq!((word.asked(), word.most()), (10, 10));
    // There is room again, and what was turned away is not held against a token.
    assert_eq!(all(&api, (90..100).map(|i| format!("x{i}"))).await, [401; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_at_its_deadline() {
    let word = Word::with("opaque", active());
    word.delay(HOUR);
    let verifier = verifier(word.settings().deadline(SECOND * 2));
    let api = api(&verifier);
    let start = Instant::now();
    assert_eq!(ask(&api, "opaque").await.0, 503);
    assert_eq!(start.elapsed(), SECOND * 2);
    // Its place is free for the next.
    word.delay(Duration::ZERO);
    assert_eq!(ask(&api, "opaque").await.0, 200);
    assert_eq!(metrics(&verifier).failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_no_outage() {
    let word = Word::default();
    word.reply("opaque", Reply::Down);
    let api = api(&word.verifier());
    for _ in 0..2 {
        assert_eq!(ask(&api, "opaque").await.0, 503);
    }
    word.reply("opaque", Reply::Says(active()));
    assert_eq!(ask(&api, "opaque").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_asked_less_and_less() {
    let word = Word::default();
    word.otherwise(Some(Reply::Down));
    let api = api(&word.verifier());
    let mut asked = Vec::new();
    for _ in 0..60 {
        for i in 0..20 {
            let token = format!("x{i}");
            let response = send(&api, "/", &[&format!("Bearer {token}")]).await;
            assert_eq!(response.status(), 503);
            let retry_after: u64 =
                response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!((1..=10).contains(&retry_after), "{retry_after}");
        }
        asked.push(word.take_asked().len());
        sleep(SECOND).await;
    }
    let at: Vec<usize> =
        asked.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, _)| i).collect();
    assert_eq!(asked[0], 3);
    assert_eq!(at, [0, 1, 3, 7, 15, 25, 35, 45, 55]);
    assert_eq!(asked.iter().sum::<usize>(), 3 + 8);

    word.otherwise(None);
    sleep(SECOND * 10).await;
    assert_eq!(
        all(&api, (0..50).map(|i| format!("y{i}"))).await.iter().filter(|s| **s == 401).count(),
        1
    );
    assert_eq!(all(&api, (0..50).map(|i| format!("z{i}"))).await, [401; 50]);
}

#[tokio::test(start_paused = true)]
async fn no_token_can_shut_out_the_others() {
    for reply in
        [Reply::Status(500), Reply::Status(400), Reply::Text("x".to_owned()), Reply::Panics]
    {
        let word = Word::default();
        word.otherwise(Some(reply));
        let api = api(&word.verifier());
        for i in 0..50 {
            assert_eq!(ask(&api, &format!("evil{i}")).await.0, 503);
        }
        word.reply("opaque", Reply::Says(active()));
        assert_eq!(ask(&api, "opaque").await.0, 200);
        // Nor is one such token a burden.
        word.take_asked();
        for _ in 0..50 {
            assert_eq!(ask(&api, "evil").await.0, 503);
        }
        assert_eq!(word.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_knows_us_not_is_not_asked_on_and_on() {
    for status in [401, 403, 404, 429, 502, 503] {
        let word = Word::default();
        word.otherwise(Some(Reply::Status(status)));
        let api = api(&word.verifier());
        assert_eq!(all(&api, (0..3).map(|i| format!("x{i}"))).await, [503; 3]);
        assert_eq!(all(&api, (0..50).map(|i| format!("y{i}"))).await, [503; 50]);
        assert_eq!(word.asked(), 3, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_jwt_needs_no_issuer_that_answers() {
    let key = key(Algorithm::Es256);
    let word = Word::default();
    word.otherwise(Some(Reply::Down));
    let verifier = builder(&Source::with(&[&key])).introspection(word.settings()).build().unwrap();
    assert_eq!(ask(&api(&verifier), &token(&key, &claims())).await.0, 200);
    assert_eq!(word.asked(), 0);
}
