//! Following a revocation feed: what ends when, and what becomes of tokens when the feed is lost.

mod http;
mod policy;
pub(crate) mod source;

use std::time::Duration;

use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::revocation::Ended;
use tokenry_verifier::{FeedMetrics, FeedSettings, Rejection, Verifier};
use tokio::time::{Instant, sleep};

use self::source::{Answer, Feed};
use crate::issuer::{self, START, Source, claims, claims_with, key};

const JTI: &str = "01234567-89ab-7fff-bfff-ffffffffffff";
const FAMILY: &str = "01234567-89ab-7fff-bfff-fffffffffffe";

/// A verifier that follows, and everything around it.
struct Scene {
    key: SigningKey,
    keys: Source,
    feed: Feed,
    verifier: Verifier,
    start: Instant,
}

impl Scene {
    /// One that was current a moment ago.
    async fn new() -> Self {
        let scene = Self::with(|settings| settings, 100).await;
        assert!(scene.metrics().following);
        scene
    }

    async fn with(settings: impl FnOnce(FeedSettings) -> FeedSettings, cache: usize) -> Self {
        Self::of(Feed::default(), settings, cache).await
    }

    async fn of(
        feed: Feed,
        settings: impl FnOnce(FeedSettings) -> FeedSettings,
        cache: usize,
    ) -> Self {
        let key = key(Algorithm::Es256);
        let keys = Source::with(&[&key]);
        // The lowest number: pauses are what they are at least.
        let settings = settings(FeedSettings::source(feed.clone()).randomness(|| 0.0));
        let verifier = issuer::builder(&keys).cache(cache).feed(settings).build().unwrap();
        let scene = Self { key, keys, feed, verifier, start: Instant::now() };
        settle().await;
        scene
    }

    fn token(&self, claims: &Value) -> String {
        issuer::token(&self.key, claims)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(START) + self.start.elapsed()
    }

    async fn verify(&self, token: &str) -> Result<(), Rejection> {
        self.verifier.verify(token, self.now()).await.map(|_| ())
    }

    /// Whether a token of this `jti` is refused.
    async fn refuses(&self, jti: &str) -> bool {
        let checked = self.verify(&self.token(&claims_with("jti", json!(jti)))).await;
        checked == Err(Rejection::Revoked)
    }

    fn metrics(&self) -> FeedMetrics {
        self.verifier.metrics().issuers[0].feed.clone().unwrap()
    }

    fn hits(&self) -> u64 {
        self.verifier.metrics().cache_hits
    }
}

/// Lets everything that can run run. Time stands as good as still.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn jti(i: usize) -> String {
    format!("01234567-89ab-7fff-bfff-{i:012x}")
}

fn token(i: usize) -> Ended {
    Ended::Token(jti(i).parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_revocation_ends_tokens_at_once() {
    let later = Timestamp::from_secs(START + 1);
    let mut hit = claims_with("jti", json!(JTI));
    hit["sid"] = json!(FAMILY);
    // Each with a token that it leaves alone.
    let kinds = |key: &SigningKey| {
        let ours = || "billing".to_owned();
        [
            (Ended::Token(JTI.parse().unwrap()), "jti", json!("j-2")),
            (Ended::Token(FAMILY.parse().unwrap()), "sid", json!("s-2")),
            (Ended::Client { id: ours(), not_before: later }, "client_id", json!("b")),
            (Ended::Subject { id: ours(), not_before: later }, "sub", json!("b")),
            (Ended::All { not_before: later }, "iat", json!(START + 1)),
            (Ended::Key(key.kid().to_owned()), "", Value::Null),
        ]
    };
    for cache in [100, 0] {
        for kind in 0..6 {
            let scene = Scene::with(|settings| settings, cache).await;
            let (ended, name, other) = kinds(&scene.key)[kind].clone();
            let mut spared = hit.clone();
            spared[name] = other;
            let token = scene.token(&hit);
            for _ in 0..2 {
                assert_eq!(scene.verify(&token).await, Ok(()), "{ended:?}");
            }
            assert_eq!(scene.hits(), u64::from(cache > 0), "remembered");
            scene.feed.revoke(ended.clone());
            settle().await;
            for _ in 0..2 {
                assert_eq!(scene.verify(&token).await, Err(Rejection::Revoked), "{ended:?}");
            }
            if !name.is_empty() {
                assert_eq!(scene.verify(&scene.token(&spared)).await, Ok(()), "{ended:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_lasts_as_long_as_a_token_may_be_good() {
    let scene = Scene::new().await;
    scene.feed.revoke_until(token(1), Timestamp::from_secs(START + 20));
    sleep(secs(29)).await;
    assert!(scene.refuses(&jti(1)).await, "within the leeway of ten seconds");
    sleep(secs(1)).await;
    assert!(!scene.refuses(&jti(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_withdrawn_has_the_keys_fetched_at_once() {
    let scene = Scene::new().await;
    // Requests may not ask again so soon.
    let unknown = issuer::token(&key(Algorithm::Es256), &claims());
    assert!(scene.verify(&unknown).await.is_err());
    sleep(secs(3)).await;
    assert_eq!(scene.keys.fetches(), 2);
    let new = key(Algorithm::Es256);
    scene.keys.publish(&[&new]);
    scene.feed.revoke(Ended::Key(scene.key.kid().to_owned()));
    settle().await;
    assert_eq!(scene.keys.fetches(), 3);
    assert_eq!(scene.verify(&issuer::token(&new, &claims())).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_are_withdrawn_are_few_fetches() {
    let scene = Scene::new().await;
    sleep(secs(3)).await;
    scene.keys.delay(secs(2));
    for i in 0..50 {
        scene.feed.revoke(Ended::Key(i.to_string()));
        settle().await;
    }
    assert_eq!(scene.keys.fetches(), 2, "one is under way");
    sleep(secs(60)).await;
    // It may have begun before the last of them was withdrawn.
    assert_eq!(scene.keys.fetches(), 3);
    assert_eq!(scene.keys.pauses(), [3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_cut_goes_on_where_it_was() {
    let scene = Scene::new().await;
    for i in 0..200 {
        scene.feed.revoke(token(i));
        match i % 4 {
            // Before anything was read of it, after it was read, and while nobody is connected.
            0 => scene.feed.cut(),
            1 => {
                settle().await;
                scene.feed.cut();
            }
            2 => settle().await,
            _ => sleep(secs(2)).await,
        }
    }
    sleep(secs(2)).await;
    for i in 0..200 {
        assert!(scene.refuses(&jti(i)).await, "{i}");
    }
    let metrics = scene.metrics();
    assert!(metrics.following);
    assert_eq!(metrics.received, 200, "nothing was told twice");
    assert!(metrics.reconnects >= 50, "{}", metrics.reconnects);
    assert_eq!(metrics.last_error.as_deref(), Some("the feed was closed"));
    let cursors = scene.feed.cursors();
    assert_eq!(cursors[0], None);
    assert!(cursors[1..].iter().all(Option::is_some), "{cursors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_costs_less_than_the_second_within_which_revocations_arrive() {
    let scene = Scene::with(|settings| settings.randomness(|| 0.999), 100).await;
    for i in 0..20 {
        sleep(secs(2)).await;
        scene.feed.cut();
        settle().await;
        let metrics = scene.metrics();
        assert!(!metrics.following && !metrics.overdue);
        scene.feed.revoke(token(i));
        sleep(Duration::from_millis(250)).await;
        assert!(scene.refuses(&jti(i)).await, "{i}");
        assert!(scene.metrics().following);
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_event_is_none() {
    let scene = Scene::new().await;
    let event =
        format!("id: 9-0\nevent: revoked\ndata: {{\"id\":\"{JTI}\",\"until\":9999999999}}\n");
    scene.feed.say(&event);
    scene.feed.cut();
    sleep(secs(1)).await;
    assert!(!scene.refuses(JTI).await);
    assert_eq!(scene.feed.cursors(), [None, None]);
    scene.feed.say(event + "\n");
    settle().await;
    assert!(scene.refuses(JTI).await);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_of_no_use_leads_to_everything() {
    let scene = Scene::new().await;
    scene.feed.revoke(token(0));
    settle().await;
    scene.feed.restore();
    scene.feed.mute(true);
    scene.feed.revoke(token(1));
    settle().await;
    scene.feed.cut();
    sleep(secs(1)).await;
    assert_eq!(scene.feed.cursors(), [None, Some("2-1".to_owned())]);
    scene.feed.restore();
    scene.feed.cut();
    sleep(secs(1)).await;
    let metrics = scene.metrics();
    assert_eq!(metrics.received, 4, "both once more");
    assert!(!metrics.following, "nothing has said yet that this was all");
    assert!(scene.refuses(&jti(0)).await && scene.refuses(&jti(1)).await);
    scene.feed.mute(false);
    sleep(secs(5)).await;
    assert!(scene.metrics().following);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_is_behind_until_everything_was_told() {
    let scene = Scene::new().await;
    scene.feed.revoke(token(0));
    settle().await;
    scene.feed.say("event: reset\ndata: {}\n\n");
    settle().await;
    assert!(!scene.metrics().following);
    assert!(scene.refuses(&jti(0)).await, "what is known stays known");
    scene.feed.mute(true);
    scene.feed.cut();
    sleep(secs(1)).await;
    assert_eq!(scene.feed.cursors(), [None, None]);
    // That may take as long as it takes.
    scene.feed.mute(false);
    sleep(secs(6)).await;
    scene.feed.mute(true);
    scene.feed.say("event: reset\ndata: {}\n\n");
    for i in 1..10 {
        sleep(secs(8)).await;
        scene.feed.revoke(token(i));
    }
    assert_eq!(scene.feed.tries(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_others_are_told_moves_the_cursor_on() {
    let scene = Scene::new().await;
    scene.feed.say("id: 7-0\nevent: current\ndata: {}\n\n");
    scene.feed.cut();
    sleep(secs(1)).await;
    assert_eq!(scene.feed.cursors(), [None, Some("7-0".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_and_the_feed_asked_for_anew() {
    let scene = Scene::new().await;
    scene.feed.mute(true);
    for i in 0..9 {
        sleep(secs(1)).await;
        // Other words do not count.
        scene.feed.revoke(token(i));
        scene.feed.say(": still here\n\n");
        assert!(scene.metrics().following, "{i}");
    }
    assert_eq!(scene.feed.tries(), 1);
    sleep(secs(1)).await;
    let metrics = scene.metrics();
    assert!(!metrics.following);
    assert_eq!(metrics.last_error.as_deref(), Some("the feed fell silent"));
    sleep(secs(1)).await;
    assert_eq!(scene.feed.cursors(), [None, Some("9-0".to_owned())]);
    scene.feed.mute(false);
    sleep(secs(5)).await;
    assert!(scene.metrics().following);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_never_stops_talking_is_silent_as_well() {
    let scene = Scene::new().await;
    scene.feed.mute(true);
    for _ in 0..16_000 {
        scene.feed.say(": a comment\n\n");
        settle().await;
    }
    assert!(!scene.metrics().following);
    assert!(scene.feed.tries() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_replay_is_waited_for() {
    let feed = Feed::default();
    feed.mute(true);
    let scene = Scene::of(feed, |settings| settings, 100).await;
    for i in 0..10 {
        sleep(secs(9)).await;
        scene.feed.revoke(token(i));
    }
    settle().await;
    assert_eq!(scene.feed.tries(), 1);
    assert!(!scene.metrics().following);
    assert!(scene.refuses(&jti(9)).await);
    sleep(secs(11)).await;
    assert_eq!(scene.feed.tries(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_was_missed() {
    for bad in [
        "id: 1-0\nevent: revoked\ndata: {\"until\":1,\"tenant\":\"x\"}\n\n".as_bytes(),
        b"\xff\n\n",
        &[b'x'; 20_000],
    ] {
        let scene = Scene::new().await;
        scene.feed.revoke(token(1));
        settle().await;
        scene.feed.mute(true);
        scene.feed.say(bad);
        settle().await;
        assert!(!scene.metrics().following);
        assert!(scene.metrics().last_error.is_some_and(|error| error.contains("event")));
        sleep(secs(1)).await;
        assert_eq!(scene.feed.cursors(), [None, None], "everything is asked for");
        assert!(scene.refuses(&jti(1)).await);
        assert!(!scene.metrics().following);
        scene.feed.mute(false);
        sleep(secs(5)).await;
        assert!(scene.metrics().following);
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_remember_more_is_behind() {
    let scene = Scene::new().await;
    scene.feed.revoke(token(0));
    settle().await;
    let until = Timestamp::from_secs(START + 100);
    for i in 1..100_000 {
        scene.verifier.refuse(&format!("r-{i}"), until).unwrap();
    }
    let of_client = scene.token(&claims_with("jti", json!("another")));
    assert!(scene.verify(&of_client).await.is_ok());
    scene.feed.revoke(token(1));
    settle().await;
    assert!(scene.metrics().overdue, "at once, since something is missing");
    // What ends more than a token finds room, and is heard on the same connection.
    let (id, not_before) = ("billing".to_owned(), Timestamp::from_secs(START + 1));
    scene.feed.revoke(Ended::Client { id, not_before });
    settle().await;
    assert_eq!(scene.verify(&of_client).await, Err(Rejection::Revoked));
    sleep(secs(60)).await;
    let metrics = scene.metrics();
    assert!(!metrics.following && metrics.overdue);
    assert_eq!(
        metrics.last_error.as_deref(),
        Some("more tokens are refused than can be remembered")
    );
    // From where it has still heard everything.
    let cursors = scene.feed.cursors();
    assert!(cursors.len() > 2 && cursors[1..].iter().all(|one| one.as_deref() == Some("1-0")));
    // Once there is room again, it hears all that it has missed.
    sleep(secs(90)).await;
    assert!(scene.metrics().following);
    assert!(scene.refuses(&jti(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_is_asked_less_and_less() {
    for (roll, first, last) in [(0.0, 50, 50), (0.5, 125, 2_500), (0.999, 249, 4_995)] {
        let feed = Feed::default();
        feed.answer(Answer::Down);
        let scene = Scene::of(feed, |settings| settings.randomness(move || roll), 100).await;
        sleep(secs(600)).await;
        let pauses: Vec<u128> = scene.feed.pauses().iter().map(Duration::as_millis).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        // Timers are of whole milliseconds.
        assert!(pauses[0].abs_diff(first) <= 1, "{pauses:?}");
        assert!(pauses.last().unwrap().abs_diff(last) <= 1, "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_once_is_asked_less_and_less() {
    let scene = Scene::with(|settings| settings.randomness(|| 0.5), 100).await;
    for _ in 0..600 {
        scene.feed.cut();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(scene.feed.tries() < 30, "{}", scene.feed.tries());
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_answers_decides_when_it_is_asked_again() {
    for (answer, pause) in [
        (Answer::Busy(7), 7),
        (Answer::Busy(3600), 60),
        (Answer::NoFeed, 300),
        // Given up after ten seconds.
        (Answer::Hang, 10),
        // After five.
        (Answer::Empty, 5),
    ] {
        let feed = Feed::default();
        feed.answer(answer);
        let scene = Scene::of(feed, |settings| settings, 100).await;
        sleep(secs(601)).await;
        let pauses = scene.feed.pauses();
        assert!(pauses.len() >= 2, "{pauses:?}");
        assert!(pauses.iter().all(|found| found.as_secs() == pause), "{pause}: {pauses:?}");
        assert!(!scene.metrics().following);
        scene.feed.answer(Answer::Feed);
        sleep(secs(pause)).await;
        assert!(scene.metrics().following);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_comes_again_soon_and_then_less_and_less() {
    let feed = Feed::default();
    feed.answer(Answer::NotAllowed);
    let scene = Scene::of(feed, |settings| settings, 100).await;
    sleep(secs(185)).await;
    let pauses: Vec<u64> = scene.feed.pauses().iter().map(Duration::as_secs).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 60]);
    scene.feed.answer(Answer::Feed);
    sleep(secs(76)).await;
    assert!(scene.metrics().following);
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_again_is_told_everything() {
    let scene = Scene::new().await;
    scene.feed.revoke(token(1));
    settle().await;
    scene.feed.answer(Answer::NotAllowed);
    scene.feed.cut();
    sleep(secs(1)).await;
    scene.feed.answer(Answer::Feed);
    sleep(secs(61)).await;
    assert_eq!(scene.feed.cursors(), [None, Some("1-0".to_owned()), None]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_one_that_failed() {
    let scene = Scene::new().await;
    scene.feed.answer(Answer::Panic);
    scene.feed.cut();
    sleep(secs(1)).await;
    let metrics = scene.metrics();
    assert!(!metrics.following);
    assert_eq!(metrics.last_error.as_deref(), Some("the source of the feed panicked"));
    scene.feed.answer(Answer::Feed);
    sleep(secs(1)).await;
    assert!(scene.metrics().following);
}

#[tokio::test(start_paused = true)]
async fn following_ends_with_the_last_verifier() {
    let Scene { feed, verifier, .. } = Scene::new().await;
    let clone = verifier.clone();
    drop(verifier);
    settle().await;
    assert!(feed.owners() > 1);
    drop(clone);
    settle().await;
    assert_eq!(feed.owners(), 1);
    let tries = feed.tries();
    sleep(secs(60)).await;
    assert_eq!(feed.tries(), tries);
}
