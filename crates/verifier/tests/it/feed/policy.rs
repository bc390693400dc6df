//! What becomes of tokens while a follower is behind, and who is told.

use axum::http::header::RETRY_AFTER;
use serde_json::json;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{BuildError, FeedSettings, Rejection, Verifier, WhenBehind};
use tokio::time::sleep;

use super::source::{Answer, Feed};
use super::{Duration, Scene, jti, secs, settle, token};
use crate::issuer::{API, ISSUER, api, claims, claims_with, key, send};
use crate::log::Log;

async fn refusing(feed: Feed) -> Scene {
    Scene::of(feed, |settings| settings.when_behind(WhenBehind::Refuse), 100).await
}

fn behind(checked: &Result<(), Rejection>) -> bool {
    matches!(checked, Err(Rejection::FeedBehind { .. }))
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_tokens_are_good_until_they_expire() {
    let feed = Feed::default();
    feed.answer(Answer::Down);
    let scene = Scene::of(feed, |settings| settings, 100).await;
    let token = scene.token(&claims());
    for _ in 0..5 {
        assert_eq!(scene.verify(&token).await, Ok(()));
        assert!(scene.verifier.is_ready());
        let metrics = scene.metrics();
        assert!(!metrics.following && metrics.overdue);
        sleep(secs(60)).await;
    }
    assert_eq!(scene.hits(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_refuses_is_closed_until_the_feed_was_heard() {
    let feed = Feed::default();
    feed.mute(true);
    feed.revoke(token(1));
    let scene = refusing(feed).await;
    let good = scene.token(&claims());
    assert!(behind(&scene.verify(&good).await));
    assert!(!scene.verifier.is_ready());
    // What is known to be bad is bad.
    assert!(scene.refuses(&jti(1)).await);
    let stranger = crate::issuer::token(&key(Algorithm::Es256), &claims());
    assert_eq!(scene.verify(&stranger).await, Err(Rejection::UnknownKey));
    scene.feed.mute(false);
    sleep(secs(5)).await;
    assert_eq!(scene.verify(&good).await, Ok(()));
    assert!(scene.verifier.is_ready());
}

#[tokio::test(start_paused = true)]
async fn who_refuses_does_so_after_a_grace_and_for_remembered_tokens_too() {
    let scene = refusing(Feed::default()).await;
    let good = scene.token(&claims());
    assert_eq!(scene.verify(&good).await, Ok(()));
    scene.feed.answer(Answer::Down);
    scene.feed.cut();
    settle().await;
    assert_eq!(scene.metrics().behind_for, Some(Duration::from_millis(2)));
    sleep(Duration::from_millis(14_990)).await;
    assert_eq!(scene.verify(&good).await, Ok(()));
    assert!(!scene.metrics().overdue);
    sleep(Duration::from_millis(10)).await;
    assert!(behind(&scene.verify(&good).await));
    assert!(behind(&scene.verify(&scene.token(&claims_with("jti", json!("new")))).await));
    assert!(scene.metrics().overdue);
    assert!(!scene.verifier.is_ready());
    let unavailable = scene.verifier.metrics().unavailable;
    assert_eq!(unavailable, 2);
    // And back.
    scene.feed.revoke(token(1));
    scene.feed.answer(Answer::Feed);
    sleep(secs(1)).await;
    assert_eq!(scene.verify(&good).await, Ok(()));
    assert!(scene.refuses(&jti(1)).await);
    let metrics = scene.metrics();
    assert!(metrics.following && !metrics.overdue && metrics.behind_for.is_none());
    // A token that was looked at since costs no more than a look.
    let hits = scene.hits();
    assert_eq!(scene.verify(&good).await, Ok(()));
    assert_eq!(scene.hits(), hits + 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_refuses_nobody() {
    let scene = refusing(Feed::default()).await;
    let good = scene.token(&claims());
    for _ in 0..100 {
        scene.feed.cut();
        sleep(Duration::from_millis(20)).await;
        assert_eq!(scene.verify(&good).await, Ok(()));
        sleep(secs(2)).await;
    }
    // Nor does silence, if the next connection is better.
    scene.feed.mute(true);
    sleep(secs(11)).await;
    assert!(!scene.metrics().following);
    assert_eq!(scene.verify(&good).await, Ok(()));
    scene.feed.mute(false);
    sleep(secs(6)).await;
    assert!(scene.metrics().following);
    assert_eq!(scene.verify(&good).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_says_nothing_counts_from_what_it_said_last() {
    let scene = refusing(Feed::default()).await;
    let good = scene.token(&claims());
    scene.feed.mute(true);
    scene.feed.answer(Answer::Hang);
    sleep(Duration::from_millis(9_990)).await;
    assert!(scene.metrics().following);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(scene.metrics().behind_for.map(|it| it.as_secs()), Some(10));
    sleep(Duration::from_millis(4_980)).await;
    assert_eq!(scene.verify(&good).await, Ok(()));
    sleep(Duration::from_millis(20)).await;
    assert!(behind(&scene.verify(&good).await));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_a_part_alone_is_behind_and_says_so_once() {
    let log = Log::keep();
    let feed = Feed::default();
    feed.mute(true);
    feed.revoke(token(1));
    let scene = refusing(feed).await;
    let good = scene.token(&claims());
    for said in ["{\"everything\":false}", "{}", "{\"everything\":false}"] {
        sleep(secs(4)).await;
        scene.feed.say(format!("id: 7-0\nevent: current\ndata: {said}\n\n"));
        settle().await;
        let metrics = scene.metrics();
        assert!(!metrics.following && metrics.overdue && metrics.current_at.is_none());
        assert!(metrics.last_error.unwrap().contains("of its own tokens alone"));
        assert!(behind(&scene.verify(&good).await));
        assert!(scene.refuses(&jti(1)).await, "what it was told counts");
    }
    assert_eq!(log.text().matches("of its own tokens alone").count(), 1);
    assert_eq!(scene.feed.tries(), 1);
    // Once it may hear all, on a new connection, it goes on from there.
    scene.feed.mute(false);
    scene.feed.cut();
    sleep(secs(6)).await;
    assert!(scene.metrics().following);
    assert_eq!(scene.verify(&good).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_503_and_when_to_come_again() {
    for (answer, expected) in [(Answer::Busy(20), 19), (Answer::NotAllowed, 4), (Answer::Hang, 1)] {
        let feed = Feed::default();
        feed.answer(answer);
        let scene = refusing(feed).await;
        sleep(secs(1)).await;
        let api = api(scene.verifier.layer());
        let good = format!("Bearer {}", scene.token(&claims()));
        let response = send(&api, "/", &[&good]).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], expected.to_string());
        assert!(response.headers().get("www-authenticate").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_how_a_follower_stands() {
    let scene = Scene::new().await;
    let before = scene.metrics();
    assert_eq!((before.reconnects, before.received), (0, 0));
    assert_eq!(before.current_at.map(tokenry_core::Timestamp::as_secs), Some(1_800_000_000));
    assert_eq!(before.last_error, None);
    sleep(secs(6)).await;
    assert_eq!(scene.metrics().current_at.unwrap().as_secs(), 1_800_000_005);
    scene.feed.answer(Answer::Down);
    scene.feed.cut();
    sleep(secs(60)).await;
    let metrics = scene.metrics();
    assert!(metrics.reconnects > 1);
    assert_eq!(metrics.behind_for.unwrap().as_secs(), 61, "it was current a second before");
    assert_eq!(metrics.last_error.as_deref(), Some("refused"));
    assert_eq!(metrics.current_at.unwrap().as_secs(), 1_800_000_005);
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_once_that_it_is_behind_and_once_that_it_is_back() {
    let log = Log::keep();
    let told = |level: &str, text: &str| {
        log.text().lines().filter(|line| line.contains(level) && line.contains(text)).count()
    };
    let scene = Scene::new().await;
    // Not of a cut that mends.
    scene.feed.cut();
    sleep(secs(2)).await;
    assert_eq!(told("WARN", "revocation feed"), 0);
    scene.feed.answer(Answer::Down);
    scene.feed.cut();
    sleep(secs(600)).await;
    assert_eq!(told("WARN", "revocation feed"), 1);
    assert_eq!(told("WARN", "\"refused\""), 1);
    // Something else is wrong now.
    scene.feed.answer(Answer::NoFeed);
    sleep(secs(3600)).await;
    assert_eq!(told("WARN", "revocation feed"), 2);
    assert_eq!(told("WARN", "the issuer has no revocation feed"), 1);
    assert_eq!(told("INFO", "followed again"), 0);
    scene.feed.answer(Answer::Feed);
    sleep(secs(3600)).await;
    assert_eq!(told("WARN", "revocation feed"), 2);
    assert_eq!(told("INFO", "the revocation feed is followed again"), 1);
    // A feed that hangs from the start is told of as well.
    let feed = Feed::default();
    feed.mute(true);
    let _scene = Scene::of(feed, |settings| settings, 100).await;
    sleep(secs(15)).await;
    assert_eq!(told("WARN", "revocation feed"), 3);
}

#[tokio::test(start_paused = true)]
async fn the_feed_of_one_issuer_closes_nothing_of_another() {
    let feed = Feed::default();
    feed.answer(Answer::Down);
    let [mine, other] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let keys = crate::issuer::Source::with(&[&mine]);
    let settings = FeedSettings::source(feed).when_behind(WhenBehind::Refuse);
    let verifier = crate::issuer::builder(&keys)
        .feed(settings)
        .issuer("https://other.example")
        .audience(API)
        .key_source(Other(crate::issuer::set(&[&other])))
        .build()
        .unwrap();
    settle().await;
    let now = verifier.now();
    let good = crate::issuer::token(&other, &claims_with("iss", json!("https://other.example")));
    assert!(verifier.verify(&good, now).await.is_ok());
    let refused = verifier.verify(&crate::issuer::token(&mine, &claims()), now).await;
    assert!(behind(&refused.map(|_| ())));
    let metrics = verifier.metrics();
    assert!(metrics.issuers[0].feed.is_some() && metrics.issuers[1].feed.is_none());
}

/// Keys of the other issuer.
struct Other(String);

impl tokenry_verifier::KeySource for Other {
    fn fetch<'a>(
        &'a self,
        _: &'a str,
    ) -> tokenry_verifier::BoxFuture<
        'a,
        Result<tokenry_verifier::Fetched, tokenry_verifier::FetchError>,
    > {
        let body = self.0.clone().into();
        Box::pin(async { Ok(tokenry_verifier::Fetched { body, max_age: None }) })
    }
}

#[tokio::test]
async fn settings_that_lead_nowhere_are_refused() {
    let build = |settings| {
        Verifier::builder(ISSUER).audience(API).feed(settings).build().map(|_| ()).unwrap_err()
    };
    assert_eq!(build(FeedSettings::client("", "s")), BuildError::NoFeedClient);
    assert_eq!(build(FeedSettings::client("c", "")), BuildError::NoFeedClient);
    for url in ["", "/feed", "http://id.example/feed", "https://u:p@id.example/feed", "https://"] {
        let settings = FeedSettings::client("c", "s").endpoint(url);
        assert_eq!(build(settings), BuildError::FeedEndpoint, "{url}");
    }
    let shown = format!("{:?}", FeedSettings::client("c", "hidden").endpoint("https://u:hidden@h"));
    assert!(shown.contains("\"c\"") && !shown.contains("hidden"), "{shown}");
}
