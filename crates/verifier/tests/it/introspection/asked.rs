//! What is asked, and how often.

use std::time::Duration;

use serde_json::json;
use tokenry_core::Timestamp;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    BuildError, IntrospectionMetrics, IntrospectionSettings, Rejection, Verifier,
};
use tokio::time::{Instant, advance, sleep};

use super::{Reply, Word, active, active_but, all, api, metrics, settle, verifier};
use crate::issuer::{API, ISSUER, START, ask, claims_with, key, token};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: &str = "https://other.example";

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_with_one_token_are_one_question() {
    let word = Word::with("opaque", active());
    word.delay(SECOND);
    let verifier = word.verifier();
    let api = api(&verifier);
    assert_eq!(all(&api, vec!["opaque".to_owned(); 1000]).await, [200; 1000]);
    assert_eq!(word.asked(), 1);
    assert_eq!(all(&api, vec!["dead".to_owned(); 1000]).await, [401; 1000]);
    assert_eq!(word.asked(), 2);
    word.otherwise(Some(Reply::Down));
    assert_eq!(all(&api, vec!["down".to_owned(); 1000]).await, [503; 1000]);
    assert_eq!(word.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_nobody_with_it() {
    let word = Word::with("opaque", active());
    word.delay(SECOND);
    let verifier = word.verifier();
    let api = api(&verifier);
    let first = {
        let api = api.clone();
        tokio::spawn(async move { ask(&api, "opaque").await.0 })
    };
    settle().await;
    let second = {
        let api = api.clone();
        tokio::spawn(async move { ask(&api, "opaque").await.0 })
    };
    settle().await;
    first.abort();
    assert_eq!(second.await.unwrap(), 200);
    assert_eq!(word.asked(), 1);

    // Nor is the answer lost when there is no other.
    let alone = {
        let api = api.clone();
        tokio::spawn(async move { ask(&api, "dead").await.0 })
    };
    settle().await;
    alone.abort();
    sleep(SECOND).await;
    assert_eq!(ask(&api, "dead").await.0, 401);
    assert_eq!(word.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_good_token_is_asked_about_again_after_its_time() {
    let word = Word::with("opaque", active());
    let verifier = word.verifier();
    let api = api(&verifier);
    for round in 1..=3 {
        for _ in 0..10 {
            assert_eq!(ask(&api, "opaque").await.0, 200);
            assert_eq!(word.asked(), round);
            sleep(SECOND).await;
        }
    }
    assert_eq!(verifier.metrics().cache_hits, 27);
    // So late is it refused.
    assert_eq!(ask(&api, "opaque").await.0, 200);
    word.reply("opaque", Reply::Says(json!({ "active": false })));
    sleep(SECOND * 9).await;
    assert_eq!(ask(&api, "opaque").await.0, 200);
    sleep(SECOND).await;
    assert_eq!(ask(&api, "opaque").await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_question_and_not_from_the_answer() {
    let word = Word::with("opaque", active());
    word.delay(SECOND * 2);
    let api = api(&word.verifier());
    assert_eq!(ask(&api, "opaque").await.0, 200);
    sleep(SECOND * 7).await;
    assert_eq!(ask(&api, "opaque").await.0, 200);
    assert_eq!(word.asked(), 1);
    sleep(SECOND).await;
    assert_eq!(ask(&api, "opaque").await.0, 200);
    assert_eq!(word.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_ends_with_the_token_and_with_a_clock_set_back() {
    let word = Word::with("opaque", active_but(&json!({ "exp": START + 5 })));
    let verifier = verifier(word.settings().ttl(SECOND * 60));
    let at = |secs| Timestamp::from_secs(secs);
    for (secs, good, asked) in [
        (START, true, 1),
        // The leeway is 10 seconds.
        (START + 14, true, 1),
        (START + 15, false, 2),
        (START, true, 2),
        (START - 59, true, 2),
        (START - 61, true, 3),
    ] {
        let found = verifier.verify("opaque", at(secs)).await;
        assert_eq!((found.is_ok(), word.asked()), (good, asked), "{secs}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_asked_about_once_and_good_again_when_it_is() {
    let word = Word::default();
    let verifier = word.verifier();
    let api = api(&verifier);
    for _ in 0..10 {
        assert_eq!(all(&api, vec!["opaque".to_owned(); 100]).await, [401; 100]);
        sleep(SECOND).await;
    }
    assert_eq!(word.asked(), 1);
    let IntrospectionMetrics { asked, spared, .. } = metrics(&verifier);
    assert_eq!((asked, spared), (1, 900), "those at the same time have waited for the first");
    word.reply("opaque", Reply::Says(active()));
    assert_eq!(ask(&api, "opaque").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn every_reason_to_refuse_is_remembered() {
    let word = Word::with("opaque", active_but(&json!({ "aud": OTHER })));
    let api = api(&word.verifier());
    for _ in 0..100 {
        assert_eq!(ask(&api, "opaque").await.0, 401);
    }
    assert_eq!(word.asked(), 1);
    // What will be otherwise soon, not for long.
    word.reply("early", Reply::Says(active_but(&json!({ "nbf": START + 11 }))));
    assert_eq!(ask(&api, "early").await.0, 401);
    assert_eq!(ask(&api, "early").await.0, 401);
    sleep(SECOND).await;
    assert_eq!(ask(&api, "early").await.0, 200);
    assert_eq!(word.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn with_no_time_to_remember_every_request_is_a_question() {
    let word = Word::with("opaque", active());
    let verifier = verifier(word.settings().ttl(Duration::ZERO).negative_ttl(Duration::ZERO));
    let api = api(&verifier);
    for _ in 0..3 {
        assert_eq!(ask(&api, "opaque").await.0, 200);
        assert_eq!(ask(&api, "dead").await.0, 401);
    }
    assert_eq!(word.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn tokens_made_up_do_not_push_out_good_ones() {
    let word = Word::default();
    let good: Vec<String> = (0..50).map(|i| format!("good-{i}")).collect();
    for token in &good {
        word.reply(token, Reply::Says(active()));
    }
    let verifier = verifier(word.settings().ttl(SECOND * 60));
    let api = api(&verifier);
    assert_eq!(all(&api, good.clone()).await, [200; 50]);
    for round in 0..200 {
        all(&api, (0..50).map(|i| format!("bad-{round}-{i}"))).await;
    }
    assert_eq!(word.take_asked().len(), 50 + 10_000);
    assert_eq!(all(&api, good).await, [200; 50]);
    assert_eq!(word.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_is_forgotten_when_told_so() {
    let word = Word::with("opaque", active());
    let verifier = word.verifier();
    let api = api(&verifier);
    type Forget = fn(&Verifier);
    let ways: [Forget; 2] = [
        |verifier| ["opaque", "dead"].iter().for_each(|token| verifier.forget(token)),
        Verifier::forget_all,
    ];
    for forget in ways {
        for (token, status) in [("opaque", 200), ("dead", 401)] {
            assert_eq!(ask(&api, token).await.0, status);
            assert_eq!(ask(&api, token).await.0, status);
        }
        assert_eq!(word.take_asked(), ["opaque", "dead"]);
        forget(&verifier);
    }

    for token in ["opaque", "dead"] {
        ask(&api, token).await;
    }
    assert_eq!(word.take_asked(), ["opaque", "dead"]);
    verifier.forget_all();

    // Also what is being said right now: that may be of before.
    word.delay(SECOND);
    for forget in ways {
        for (token, status) in [("opaque", 200), ("dead", 401)] {
            let waiting = {
                let api = api.clone();
                tokio::spawn(async move { ask(&api, token).await.0 })
            };
            settle().await;
            forget(&verifier);
            let again = ask(&api, token);
            assert_eq!((waiting.await.unwrap(), again.await.0), (status, status));
            assert_eq!(word.take_asked(), [token, token]);
            forget(&verifier);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_what_is_remembered_and_what_is_still_called_active() {
    let word = Word::with("opaque", active());
    let verifier = word.verifier();
    let api = api(&verifier);
    assert_eq!(ask(&api, "opaque").await.0, 200);
    verifier.refuse("j-1", Timestamp::from_secs(START + 3600)).unwrap();
    for _ in 0..10 {
        let (status, challenge) = ask(&api, "opaque").await;
        assert_eq!(status, 401);
        assert!(challenge.contains("was revoked"), "{challenge}");
    }
    assert_eq!(word.asked(), 2);
    // One of another token costs no question.
    word.reply("other", Reply::Says(active_but(&json!({ "jti": "j-2" }))));
    assert_eq!(ask(&api, "other").await.0, 200);
    verifier.refuse("j-3", Timestamp::from_secs(START + 3600)).unwrap();
    assert_eq!(ask(&api, "other").await.0, 200);
    assert_eq!(word.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_during_the_question_counts() {
    let word = Word::with("opaque", active());
    word.delay(SECOND);
    let verifier = word.verifier();
    let api = api(&verifier);
    let waiting = {
        let api = api.clone();
        tokio::spawn(async move { ask(&api, "opaque").await.0 })
    };
    settle().await;
    verifier.refuse("j-1", Timestamp::from_secs(START + 3600)).unwrap();
    assert_eq!(waiting.await.unwrap(), 401);
    assert_eq!(ask(&api, "opaque").await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn row_239_row_243_what_cannot_be_a_token_is_never_shown_to_anybody() {
    let word = Word::default();
    word.otherwise(Some(Reply::Says(active())));
    let verifier = word.verifier();
    let now = Timestamp::from_secs(START);
    let signed = token(&key(Algorithm::Es256), &claims_with("iss", json!(OTHER)));
    let jwe = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkExMjhHQ00ifQ.AA.AA.AA.AA";
    let long = "a".repeat(16 * 1024 + 1);
    let texts = [
        "",
        "a b",
        "a\r\nb",
        "a&b",
        "{\"a\":1}",
        "\u{e4}",
        &long,
        jwe,
        "eyJhbGciOiJub25lIn0.e30.",
        &signed,
        &format!("{signed}="),
        &format!("{signed}.AA"),
        signed.rsplit_once('.').unwrap().0,
    ];
    for text in texts {
        let refused = verifier.verify(text, now).await.unwrap_err();
        assert_eq!(refused.status(), 401, "{text:.80}");
    }
    assert_eq!(word.take_asked(), [""; 0]);
    assert!(verifier.verify("a.b", now).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_prefix_spares_questions() {
    let word = Word::with("tka_good", active());
    word.reply("tkb_good", Reply::Says(active()));
    let settings = word.settings().opaque_prefix("tka_").opaque_prefix("tkb_");
    let api = api(&verifier(settings));
    assert_eq!(ask(&api, "tka_good").await.0, 200);
    assert_eq!(ask(&api, "tkb_good").await.0, 200);
    for text in ["x", "TKA_good", "tka", "xtka_good"] {
        assert_eq!(ask(&api, text).await.0, 401);
    }
    assert_eq!(word.take_asked(), ["tka_good", "tkb_good"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_shown_to_its_own_issuer_alone() {
    let (one, two) = (Word::with("a_1", active()), Word::default());
    let key = key(Algorithm::Es256);
    let build = |a: IntrospectionSettings, b: IntrospectionSettings| {
        crate::issuer::builder(&crate::issuer::Source::with(&[&key]))
            .introspection(a)
            .issuer(OTHER)
            .audience(API)
            .introspection(b)
            .key_source(crate::issuer::Source::default())
            .build()
    };
    let unclear = Err(BuildError::OpaquePrefix(ISSUER.to_owned(), OTHER.to_owned()));
    for (a, b) in [
        (&[][..], &[][..]),
        (&["a_"], &[]),
        (&[], &["b_"]),
        (&["a_"], &["a_"]),
        (&["a_"], &["a_b_"]),
        (&["c_", "a_b_"], &["b_", "a_"]),
        (&["a_"], &[""]),
    ] {
        let with = |word: &Word, prefixes: &[&str]| {
            prefixes
                .iter()
                .fold(word.settings(), |settings, prefix| settings.opaque_prefix(*prefix))
        };
        assert_eq!(build(with(&one, a), with(&two, b)).map(|_| ()), unclear, "{a:?} {b:?}");
    }
    let verifier =
        build(one.settings().opaque_prefix("a_"), two.settings().opaque_prefix("b_")).unwrap();
    let now = Timestamp::from_secs(START);
    assert!(verifier.verify("a_1", now).await.is_ok());
    assert_eq!(verifier.verify("a_2", now).await, Err(Rejection::Inactive));
    assert!(matches!(verifier.verify("c_1", now).await, Err(Rejection::Malformed(_))));
    assert_eq!(one.take_asked(), ["a_1", "a_2"]);
    assert_eq!(two.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_counted() {
    let word = Word::with("opaque", active());
    word.reply("down", Reply::Down);
    word.reply("text", Reply::Text("x".to_owned()));
    let verifier = word.verifier();
    let api = api(&verifier);
    for token in ["opaque", "opaque", "dead", "dead", "dead", "down", "text"] {
        ask(&api, token).await;
    }
    let IntrospectionMetrics { asked, failed, spared, .. } = metrics(&verifier);
    assert_eq!((asked, failed, spared), (4, 2, 2));
    let all = verifier.metrics();
    assert_eq!((all.accepted, all.refused, all.unavailable, all.cache_hits), (2, 3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_waits_for_nothing() {
    let word = Word::with("opaque", active());
    let api = api(&word.verifier());
    assert_eq!(ask(&api, "opaque").await.0, 200);
    word.delay(Duration::from_hours(1));
    advance(SECOND).await;
    let start = Instant::now();
    assert_eq!(ask(&api, "opaque").await.0, 200);
    assert_eq!(start.elapsed(), Duration::ZERO);
}
