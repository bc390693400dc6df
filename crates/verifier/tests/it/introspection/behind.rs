//! An issuer that is asked while its revocation feed is lost.

use std::time::Duration;

use serde_json::json;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{
    BuildError, FeedSettings, IntrospectionSettings, Rejection, Verifier, WhenBehind,
};
use tokio::time::sleep;

use super::{Reply, Word, active, settle};
use crate::feed::source::{Answer, Feed};
use crate::issuer::{ISSUER, Source, builder, claims, key, token};

/// Longer than a feed may be silent.
const LOST: Duration = Duration::from_secs(16);

async fn following(
    key: &SigningKey,
    feed: &Feed,
    settings: IntrospectionSettings,
    policy: WhenBehind,
) -> Verifier {
    let verifier = builder(&Source::with(&[key]))
        .feed(FeedSettings::source(feed.clone()).randomness(|| 0.0).when_behind(policy))
        .introspection(settings)
        .build()
        .unwrap();
    settle().await;
    verifier
}

async fn lose(feed: &Feed) {
    feed.answer(Answer::Down);
    feed.cut();
    sleep(LOST).await;
}

async fn verify(verifier: &Verifier, token: &str) -> Result<(), Rejection> {
    verifier.verify(token, verifier.now()).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn while_the_feed_is_lost_the_issuer_is_asked_about_each_token() {
    let key = key(Algorithm::Es256);
    let (jwt, feed) = (token(&key, &claims()), Feed::default());
    let word = Word::with(&jwt, active());
    let verifier = following(&key, &feed, word.settings(), WhenBehind::Introspect).await;
    // As long as it is there, nobody is.
    assert_eq!(verify(&verifier, &jwt).await, Ok(()));
    assert_eq!(word.asked(), 0);
    lose(&feed).await;
    // Also about what is remembered, and once.
    for _ in 0..3 {
        assert_eq!(verify(&verifier, &jwt).await, Ok(()));
        assert_eq!(word.asked(), 1);
    }
    word.reply(&jwt, Reply::Says(json!({ "active": false })));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(verify(&verifier, &jwt).await, Err(Rejection::Inactive));
    let new = token(&key, &crate::issuer::claims_with("jti", json!("j-2")));
    word.reply(&new, Reply::Down);
    assert!(matches!(verify(&verifier, &new).await, Err(Rejection::Unavailable { .. })));
    word.take_asked();
    feed.answer(Answer::Feed);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(verify(&verifier, &new).await, Ok(()));
    assert_eq!(word.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_was_asked_about_needs_no_feed() {
    let key = key(Algorithm::Es256);
    let (jwt, feed) = (token(&key, &claims()), Feed::default());
    let word = Word::with("opaque", active());
    word.reply(&jwt, Reply::Says(active()));
    let settings = || word.settings().ttl(LOST * 2);
    let some = following(&key, &feed, settings(), WhenBehind::Refuse).await;
    let all = following(&key, &feed, settings().always(), WhenBehind::Refuse).await;
    for verifier in [&some, &all] {
        assert_eq!(verify(verifier, &jwt).await, Ok(()));
        assert_eq!(verify(verifier, "opaque").await, Ok(()));
    }
    lose(&feed).await;
    assert!(matches!(verify(&some, &jwt).await, Err(Rejection::FeedBehind { .. })));
    assert!(!some.is_ready() && all.is_ready());
    word.take_asked();
    // What is remembered, and what is new.
    for (verifier, token) in [(&some, "opaque"), (&all, "opaque"), (&all, &jwt)] {
        assert_eq!(verify(verifier, token).await, Ok(()));
        assert_eq!(word.take_asked(), [""; 0]);
        verifier.forget(token);
        assert_eq!(verify(verifier, token).await, Ok(()));
        assert_eq!(word.take_asked(), [token]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_ask_has_to_say_how() {
    let feed = FeedSettings::source(Feed::default()).when_behind(WhenBehind::Introspect);
    let refused = builder(&Source::default()).feed(feed).build().map(|_| ());
    assert_eq!(refused, Err(BuildError::NoIntrospection(ISSUER.to_owned())));
}
