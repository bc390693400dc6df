//! What it does when it is told to do wrong.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use tokenry_core::Timestamp;
use tokenry_test_server::{ExpiresIn, Fault, Lost, RefreshPolicy, RetryAfter, TestServer};
use tokio::time::Instant;

use crate::{CREDENTIALS, SECOND, api, ask, asked, text};

#[tokio::test]
async fn faults_queue_and_last_as_long_as_they_were_told() {
    let server = TestServer::new();
    server.next(Fault::InternalError);
    server.for_requests(2, Fault::Html(502));
    server.until_cleared(Fault::InvalidClient);
    let mut got = Vec::new();
    for _ in 0..5 {
        got.push(ask(&server, CREDENTIALS).await.unwrap().status().as_u16());
    }
    assert_eq!(got, [500, 502, 502, 401, 401]);
    server.clear();
    assert_eq!(asked(&server, CREDENTIALS).await.0, 200);
}

#[tokio::test]
async fn a_lost_answer_was_processed_and_a_dropped_request_was_not() {
    let policy = RefreshPolicy::Rotate { grace: Duration::ZERO };
    let server = TestServer::builder().client("client", "secret").refresh(policy).build();
    for (fault, good_after) in [(Fault::Dropped, true), (Fault::AnswerLost, false)] {
        let (_, first) = asked(&server, CREDENTIALS).await;
        let token = text(&first, "refresh_token");
        let refresh = format!(
            "grant_type=refresh_token&client_id=client&client_secret=secret&refresh_token={token}"
        );
        server.next(fault);
        assert_eq!(ask(&server, &refresh).await.unwrap_err(), Lost);
        assert_eq!(asked(&server, &refresh).await.0 == 200, good_after);
    }
}

#[tokio::test(start_paused = true)]
async fn late_slow_and_absent_answers_take_their_time() {
    let server = TestServer::new();
    let began = Instant::now();
    server.next(Fault::Late(7 * SECOND));
    assert_eq!(asked(&server, CREDENTIALS).await.0, 200);
    assert_eq!(began.elapsed(), 7 * SECOND);

    server.next(Fault::SlowBody(SECOND));
    let began = Instant::now();
    let answer = ask(&server, CREDENTIALS).await.unwrap();
    // The first byte comes at once.
    assert_eq!(began.elapsed().as_secs(), answer.body().len() as u64 - 1);

    server.next(Fault::NoAnswer);
    tokio::time::timeout(3600 * SECOND, ask(&server, CREDENTIALS)).await.unwrap_err();
}

#[tokio::test]
async fn expires_in_says_anything() {
    let server = TestServer::new();
    let number = |text: &str| ExpiresIn::Number(text.to_owned());
    let cases = [
        (ExpiresIn::Absent, None),
        (ExpiresIn::Null, Some("null")),
        (number("0"), Some("0")),
        (number("-1"), Some("-1")),
        (number("299.9"), Some("299.9")),
        (number("1e400"), Some("1e400")),
        (ExpiresIn::Quoted, Some("\"300\"")),
        (ExpiresIn::Text("so\"on".to_owned()), Some("\"so\\\"on\"")),
    ];
    for (says, expected) in cases {
        server.next(Fault::ExpiresIn(says));
        let answer = ask(&server, CREDENTIALS).await.unwrap();
        let body = std::str::from_utf8(answer.body()).unwrap();
        match expected {
            None => assert!(!body.contains("expires_in"), "{body}"),
            Some(text) => assert!(body.contains(&format!(r#""expires_in":{text}"#)), "{body}"),
        }
    }
}

#[tokio::test]
async fn retry_after_comes_in_both_forms() {
    let beginning = Timestamp::from_secs(784_111_757);
    let server = TestServer::builder().client("client", "secret").beginning(beginning).build();
    server.next(Fault::TooManyRequests(RetryAfter::Seconds(20)));
    server.next(Fault::Unavailable(RetryAfter::Date(20)));
    server.next(Fault::Unavailable(RetryAfter::Absent));
    let mut got = Vec::new();
    for _ in 0..3 {
        let answer = ask(&server, CREDENTIALS).await.unwrap();
        let after =
            answer.headers().get(RETRY_AFTER).map(|after| after.to_str().unwrap().to_owned());
        got.push((answer.status().as_u16(), after));
    }
    let date = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    assert_eq!(got, [(429, Some("20".to_owned())), (503, Some(date)), (503, None)]);
}

#[tokio::test]
async fn bodies_are_not_what_they_should_be() {
    let server = TestServer::new();
    server.next(Fault::Truncated);
    let answer = ask(&server, CREDENTIALS).await.unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(answer.body()).is_err());
    server.next(Fault::TooLarge(1000));
    assert!(ask(&server, CREDENTIALS).await.unwrap().body().len() > 1000);
    server.next(Fault::BrokenBody);
    assert_eq!(ask(&server, CREDENTIALS).await.unwrap_err(), Lost);
    server.next(Fault::TokenType("mac".to_owned()));
    assert_eq!(text(&asked(&server, CREDENTIALS).await.1, "token_type"), "mac");
    server.next(Fault::ErrorAs200("invalid_scope".to_owned()));
    let (status, answer) = asked(&server, CREDENTIALS).await;
    assert_eq!((status, text(&answer, "error")), (200, "invalid_scope"));
    server.next(Fault::Redirect("https://elsewhere.test/".to_owned()));
    let answer = ask(&server, CREDENTIALS).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[LOCATION]),
        (307, &"https://elsewhere.test/".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_can_be_revoked_before_it_expires() {
    let server = TestServer::new();
    server.next(Fault::RevokedEarly(10 * SECOND));
    let (_, answer) = asked(&server, CREDENTIALS).await;
    let token = text(&answer, "access_token");
    assert_eq!(
        (server.good_for(token), api(&server, "/api", token).await),
        (Some(10 * SECOND), 200)
    );
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(
        (answer["expires_in"].as_u64(), api(&server, "/api", token).await),
        (Some(300), 401)
    );
}

#[tokio::test]
async fn the_api_has_faults_of_its_own() {
    let server = TestServer::new();
    server.next(Fault::ApiUnauthorized);
    server.next(Fault::ApiForbidden);
    server.next(Fault::InvalidGrant);
    let (status, answer) = asked(&server, CREDENTIALS).await;
    assert_eq!(status, 200, "a fault of refreshes leaves credentials alone");
    let token = text(&answer, "access_token");
    let got = [
        api(&server, "/api", token).await,
        api(&server, "/api", token).await,
        api(&server, "/api", token).await,
    ];
    assert_eq!(got, [401, 403, 200]);
}
