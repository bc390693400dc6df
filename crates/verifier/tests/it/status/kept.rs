//! How long a list is believed, and what becomes of tokens that are remembered.

use std::pin::pin;
use std::task::{Context, Waker};

use serde_json::json;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::Rejection;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{House, Lists, Reply, SECOND, URI, list, settle};
use crate::issuer::{START, key};

#[tokio::test(start_paused = true)]
async fn row_193_a_thousand_requests_with_tokens_of_one_list_are_one_fetch() {
    let house = House::with(&[]).await;
    house.lists.delay(SECOND);
    let mut requests = JoinSet::new();
    for idx in 0..1000 {
        let (verifier, token) = (house.verifier.clone(), house.token(idx % 64));
        requests.spawn(async move { verifier.verify(&token, verifier.now()).await.is_ok() });
    }
    assert_eq!(requests.join_all().await, [true; 1000]);
    assert_eq!(house.lists.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_is_fetched_again_before_its_ttl_ends_and_not_sooner() {
    for (ttl, pause) in [(json!(60), 48), (json!(100), 80), (json!(null), 48)] {
        let house = House::with(&[]).await;
        house.publish(&json!({ "ttl": ttl, "exp": START + 100_000 }), &[]);
        for _ in 0..5 * pause {
            assert_eq!(house.ask(&house.token(0)).await, Ok(()));
            sleep(SECOND).await;
        }
        assert_eq!(house.lists.pauses()[..4], [pause; 4], "{ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_ttl_is_obeyed_within_bounds() {
    for (ttl, pause) in [(1, 4), (86_400, 240)] {
        let house = House::with(&[]).await;
        house.publish(&json!({ "ttl": ttl, "exp": START + 100_000 }), &[]);
        for _ in 0..3 * pause {
            assert_eq!(house.ask(&house.token(0)).await, Ok(()));
            sleep(SECOND).await;
        }
        assert_eq!(house.lists.pauses()[..2], [pause; 2], "{ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_that_ends_before_its_ttl_is_fetched_before_that() {
    let house = House::with(&[]).await;
    // With the leeway it is good for 50 seconds.
    house.publish(&json!({ "exp": START + 40 }), &[]);
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
    sleep(SECOND * 39).await;
    house.publish(&json!({}), &[]);
    assert_eq!(house.lists.fetches(), 1);
    sleep(SECOND * 2).await;
    assert_eq!(house.lists.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_193_nobody_waits_for_a_list_that_is_fetched_again() {
    let house = House::with(&[]).await;
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
    house.lists.delay(SECOND * 7);
    for _ in 0..60 {
        let before = house.verifier.now();
        assert_eq!(house.ask(&house.token(1)).await, Ok(()));
        assert_eq!(house.verifier.now(), before);
        sleep(SECOND).await;
    }
    assert_eq!(house.lists.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_revocation_ends_tokens_that_are_remembered_with_the_next_fetch() {
    let house = House::with(&[]).await;
    let [doomed, other] = [house.token(5), house.token(6)];
    for token in [&doomed, &other] {
        assert!(!house.hits(token).await && house.hits(token).await);
    }
    house.publish(&json!({}), &[5]);
    sleep(SECOND * 47).await;
    assert!(house.hits(&doomed).await, "nobody has looked");
    sleep(SECOND).await;
    settle().await;
    assert_eq!(house.lists.fetches(), 2);
    assert_eq!(house.ask(&doomed).await, Err(Rejection::Revoked));
    // The others are looked at once more, and not verified again.
    assert!(house.hits(&other).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_its_list_is_waited_for_is_refused() {
    let house = House::with(&[]).await;
    house.lists.delay(SECOND);
    let (verifier, token) = (house.verifier.clone(), house.token(0));
    let asked = tokio::spawn(async move { verifier.verify(&token, verifier.now()).await });
    settle().await;
    house.verifier.refuse("j-1", house.verifier.now() + SECOND * 100).unwrap();
    assert_eq!(asked.await.unwrap(), Err(Rejection::Revoked));
}

#[tokio::test(start_paused = true)]
async fn row_193_a_suspended_token_is_good_again_with_its_list() {
    let house = House::with(&[5]).await;
    let token = house.token(5);
    assert_eq!(house.ask(&token).await, Err(Rejection::Revoked));
    house.publish(&json!({}), &[]);
    sleep(SECOND * 48).await;
    settle().await;
    assert_eq!(house.ask(&token).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_that_says_the_same_has_no_token_looked_at_again() {
    let house = House::with(&[5]).await;
    let token = house.token(0);
    assert_eq!(house.ask(&token).await, Ok(()));
    sleep(SECOND * 50).await;
    assert_eq!(house.lists.fetches(), 2);
    assert!(house.hits(&token).await);
    // So late it is looked up again, which keeps its list in use.
    sleep(SECOND * 10).await;
    assert!(!house.hits(&token).await);
    assert!(house.hits(&token).await);
}

#[tokio::test(start_paused = true)]
async fn row_193_an_older_list_does_not_take_back_a_revocation() {
    let house = House::with(&[]).await;
    house.publish(&json!({ "iat": START + 5 }), &[5]);
    let [revoked, other] = [house.token(5), house.token(6)];
    assert_eq!(house.ask(&revoked).await, Err(Rejection::Revoked));
    // As of a cache on the way.
    house.publish(&json!({ "iat": START + 4, "exp": START + 600 }), &[]);
    for _ in 0..30 {
        sleep(SECOND * 10).await;
        assert_eq!(house.ask(&revoked).await, Err(Rejection::Revoked));
        assert_eq!(house.ask(&other).await, Ok(()));
    }
    assert_eq!(house.metrics().failed, 0);
    assert_eq!(house.lists.pauses()[..3], [48, 5, 5]);
    // What is at hand has ended: an issuer whose clock was set back goes on.
    sleep(SECOND * 16).await;
    assert_eq!(house.ask(&revoked).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_remembered_costs_what_all_others_cost() {
    let house = House::with(&[]).await;
    let text = house.token(0);
    assert_eq!(house.ask(&text).await, Ok(()));
    let now = house.verifier.now();
    let mut context = Context::from_waker(Waker::noop());
    let mut measure = || {
        allocation_counter::measure(|| {
            for _ in 0..8 {
                let mut asked = pin!(house.verifier.verify(&text, now));
                assert!(asked.as_mut().poll(&mut context).is_ready());
            }
        })
    };
    assert_eq!(measure().count_total, 0);
    // Also where it has to be looked at again.
    house.verifier.refuse("another", now + SECOND).unwrap();
    assert_eq!(measure().count_total, 0);
    assert_eq!(house.verifier.metrics().cache_hits, 16);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_is_held_as_long_as_tokens_name_it() {
    let house = House::with(&[]).await;
    house.publish(&json!({ "exp": START + 100_000 }), &[]);
    let token = house.token(0);
    for _ in 0..10 {
        assert_eq!(house.ask(&token).await, Ok(()));
        sleep(SECOND * 50).await;
    }
    assert!((10..=11).contains(&house.lists.fetches()), "{}", house.lists.fetches());
    sleep(SECOND * 200).await;
    let fetches = house.lists.fetches();
    assert_eq!(house.metrics().held, 0);
    sleep(SECOND * 1000).await;
    assert_eq!(house.lists.fetches(), fetches);
    // And it comes back.
    assert_eq!(house.ask(&token).await, Ok(()));
    assert_eq!((house.lists.fetches(), house.metrics().held), (fetches + 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_fetching_ends_with_the_last_verifier() {
    let house = House::with(&[]).await;
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
    let House { lists, verifier, .. } = house;
    lists.delay(SECOND);
    sleep(SECOND * 48 + SECOND / 2).await;
    assert_eq!(lists.fetches(), 2, "one is under way");
    drop(verifier);
    settle().await;
    assert_eq!(std::sync::Arc::strong_count(&lists.0), 1);
    sleep(SECOND * 1000).await;
    assert_eq!((lists.fetches(), std::sync::Arc::strong_count(&lists.0)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_has_the_list_fetched_and_not_more_than_once_a_second() {
    let key = key(Algorithm::Es256);
    let lists = Lists::with(list(&key, &json!({ "exp": START + 300 }), &[]));
    let house = House::of(key, lists).await;
    let token = house.token(0);
    assert_eq!(house.ask(&token).await, Ok(()));
    sleep(SECOND * 2).await;
    let later = house.verifier.now() + SECOND * 1000;
    for _ in 0..50 {
        let asked = house.verifier.verify(&token, later).await;
        assert!(super::is_unavailable(&asked.map(drop)));
    }
    assert_eq!(house.lists.fetches(), 2);
    house.lists.reply(Reply::List(list(&house.key, &json!({ "exp": START + 2000 }), &[])));
    sleep(SECOND).await;
    assert!(house.verifier.verify(&token, later).await.is_ok());
    assert!(URI.ends_with('1'));
}

#[tokio::test(start_paused = true)]
async fn a_request_at_the_moment_of_a_regular_fetch_causes_no_second_one() {
    // Which of the two comes first is drawn by lot, so that it takes some rounds to see both.
    for _ in 0..50 {
        let house = House::with(&[]).await;
        let token = house.token(0);
        assert_eq!(house.ask(&token).await, Ok(()));
        sleep(SECOND * 48).await;
        let later = house.verifier.now() + SECOND * 1000;
        assert!(house.verifier.verify(&token, later).await.is_err());
        settle().await;
        assert_eq!(house.lists.fetches(), 2);
    }
}
