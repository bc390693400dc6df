//! Lists that cannot be had.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use serde_json::json;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    BoxFuture, FetchError, IntrospectionSettings, IntrospectionSource, Rejection,
};
use tokio::time::{Instant, sleep};

use super::{House, Lists, Reply, SECOND, URI, is_unavailable, list, settle};
use crate::issuer::{START, Source, api, builder, claims, key, send, token};

#[tokio::test(start_paused = true)]
async fn row_193_an_outage_is_invisible_until_the_list_expires_and_then_503() {
    let house = House::with(&[5]).await;
    let (good, revoked) = (house.token(0), house.token(5));
    assert_eq!(house.ask(&good).await, Ok(()));
    house.lists.reply(Reply::Down);
    // 300 seconds and ten of leeway.
    for _ in 0..61 {
        sleep(SECOND * 5).await;
        assert_eq!(house.ask(&good).await, Ok(()));
        assert_eq!(house.ask(&revoked).await, Err(Rejection::Revoked));
    }
    sleep(SECOND * 5).await;
    for token in [&good, &revoked] {
        assert!(is_unavailable(&house.ask(token).await));
    }
    let api = api(house.verifier.layer());
    let response = send(&api, "/", &[&format!("Bearer {good}")]).await;
    assert_eq!(response.status(), 503);
    let retry_after: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&retry_after), "{retry_after}");
    // It is over when the list is back, by itself and within what was promised.
    house.publish(&json!({}), &[5]);
    sleep(SECOND * retry_after as u32).await;
    settle().await;
    assert_eq!(house.ask(&good).await, Ok(()));
    assert_eq!(house.ask(&revoked).await, Err(Rejection::Revoked));
}

#[tokio::test(start_paused = true)]
async fn row_193_a_clock_that_is_set_back_makes_no_list_last_longer() {
    let house = House::with(&[]).await;
    let token = house.token(0);
    let start = house.verifier.now();
    assert_eq!(house.ask(&token).await, Ok(()));
    house.lists.reply(Reply::Down);
    sleep(SECOND * 300).await;
    assert!(house.verifier.verify(&token, start + SECOND).await.is_ok());
    house.verifier.forget_all();
    sleep(SECOND * 11).await;
    let asked = house.verifier.verify(&token, start + SECOND).await;
    assert!(is_unavailable(&asked.map(drop)));
}

#[tokio::test(start_paused = true)]
async fn row_193_while_a_list_is_old_tokens_are_remembered_for_moments() {
    let house = House::with(&[]).await;
    let token = house.token(0);
    assert_eq!(house.ask(&token).await, Ok(()));
    house.lists.reply(Reply::Down);
    sleep(SECOND * 100).await;
    assert!(!house.hits(&token).await);
    assert!(house.hits(&token).await);
    sleep(SECOND * 5).await;
    assert!(!house.hits(&token).await);
    // And not beyond the end of the list.
    sleep(SECOND * 203).await;
    assert!(!house.hits(&token).await);
    sleep(SECOND * 2).await;
    assert!(is_unavailable(&house.ask(&token).await));
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_without_an_end_is_used_for_a_while_and_one_with_a_far_end_for_a_day() {
    let day = Duration::from_hours(24);
    for (exp, good_for) in [(json!(null), SECOND * 360), (json!(START + 864_000), day)] {
        let house = House::with(&[]).await;
        house.publish(&json!({ "exp": exp }), &[]);
        let token = house.token(0);
        assert_eq!(house.ask(&token).await, Ok(()));
        house.lists.reply(Reply::Down);
        let step = good_for / 60;
        for _ in 0..59 {
            sleep(step.min(SECOND * 100)).await;
            assert_eq!(house.ask(&token).await, Ok(()), "{exp}");
        }
        if good_for < day {
            sleep(step).await;
            assert!(is_unavailable(&house.ask(&token).await), "{exp}");
            continue;
        }
        // Asked in between, so that it is not let go.
        while house.ask(&token).await.is_ok() {
            sleep(SECOND * 100).await;
        }
        let lived = house.verifier.now().since(tokenry_core::Timestamp::from_secs(START));
        assert!((day..day + SECOND * 200).contains(&lived), "{lived:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_fetched_less_and_less() {
    let house = House::with(&[]).await;
    house.lists.reply(Reply::Down);
    for _ in 0..150 {
        assert!(is_unavailable(&house.ask(&house.token(0)).await));
        sleep(SECOND).await;
    }
    assert_eq!(house.lists.pauses(), [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(house.metrics().failed, 9);
    // Nobody asks any more.
    sleep(SECOND * 1000).await;
    let fetches = house.lists.fetches();
    assert!(fetches < 16, "{fetches}");
}

#[tokio::test(start_paused = true)]
async fn row_193_that_there_is_no_such_list_is_remembered() {
    for status in [404, 410] {
        let house = House::with(&[]).await;
        house.lists.reply(Reply::Status(status));
        for _ in 0..29 {
            assert!(is_unavailable(&house.ask(&house.token(0)).await));
            sleep(SECOND).await;
        }
        assert_eq!(house.lists.fetches(), 1, "{status}");
        house.publish(&json!({}), &[]);
        sleep(SECOND * 2).await;
        assert_eq!(house.ask(&house.token(0)).await, Ok(()));
        assert_eq!(house.lists.fetches(), 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_one_that_failed() {
    let house = House::with(&[]).await;
    house.lists.reply(Reply::Panics);
    assert!(is_unavailable(&house.ask(&house.token(0)).await));
    house.publish(&json!({}), &[]);
    sleep(SECOND * 2).await;
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
    assert_eq!(house.metrics().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_list_but_not_for_long_and_a_source_that_hangs_is_given_up() {
    let house = House::with(&[]).await;
    house.lists.delay(Duration::from_hours(1));
    let start = Instant::now();
    assert!(is_unavailable(&house.ask(&house.token(0)).await));
    assert_eq!(start.elapsed().as_secs(), 3);
    sleep(SECOND * 5 + SECOND / 2).await;
    assert_eq!(house.metrics().failed, 1);
    house.lists.delay(Duration::ZERO);
    sleep(SECOND * 2).await;
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_no_list_with_it() {
    let house = House::with(&[]).await;
    house.lists.delay(SECOND);
    let (verifier, token) = (house.verifier.clone(), house.token(0));
    let asked = tokio::spawn(async move { verifier.verify(&token, verifier.now()).await });
    settle().await;
    asked.abort();
    sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(house.ask(&house.token(1)).await, Ok(()));
    assert_eq!((start.elapsed(), house.lists.fetches()), (Duration::ZERO, 1));
}

/// An issuer that calls every token active, or none.
struct Word(bool);

impl IntrospectionSource for Word {
    fn introspect<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<bytes::Bytes, FetchError>> {
        let active = json!({ "active": self.0, "token_type": "Bearer" });
        Box::pin(async move { Ok(active.to_string().into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_without_its_list_the_issuer_is_asked_where_it_may_be() {
    let key = key(Algorithm::Es256);
    let mut claims = claims();
    claims["status"] = json!({ "status_list": { "idx": 5, "uri": URI } });
    let text = token(&key, &claims);
    for (active, reply, expected) in [
        (true, Reply::Down, Ok(())),
        (false, Reply::Down, Err(Rejection::Inactive)),
        // Its list is there, and is what counts.
        (true, Reply::List(list(&key, &json!({}), &[5])), Err(Rejection::Revoked)),
        (false, Reply::List(list(&key, &json!({}), &[])), Ok(())),
    ] {
        let lists = Lists::default();
        lists.reply(reply);
        let verifier = builder(&Source::with(&[&key]))
            .status_lists(lists.settings())
            .introspection(IntrospectionSettings::source(Word(active)))
            .build()
            .unwrap();
        settle().await;
        for _ in 0..2 {
            let asked = verifier.verify(&text, verifier.now()).await.map(drop);
            assert_eq!(asked, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_where_the_issuer_is_asked_about_every_token_no_list_is_looked_at() {
    let key = key(Algorithm::Es256);
    let mut claims = claims();
    claims["status"] = json!({ "status_list": { "idx": 5, "uri": URI } });
    let text = token(&key, &claims);
    let lists = Lists::with(list(&key, &json!({}), &[5]));
    let verifier = builder(&Source::with(&[&key]))
        .status_lists(lists.settings())
        .introspection(IntrospectionSettings::source(Word(true)).always())
        .build()
        .unwrap();
    settle().await;
    for _ in 0..2 {
        assert!(verifier.verify(&text, verifier.now()).await.is_ok());
        // What is remembered is looked at again.
        verifier.refuse("another", verifier.now() + SECOND).unwrap();
    }
    assert_eq!(lists.fetches(), 0);
}
