//! What it does when nothing is wrong.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use tokenry_test_server::{Endpoint, RefreshPolicy, TestServer};

use crate::{CREDENTIALS, SECOND, api, ask, asked, form, text};

fn refreshing(policy: RefreshPolicy) -> TestServer {
    TestServer::builder().client("client", "secret").refresh(policy).build()
}

fn refresh(token: &str) -> String {
    format!("grant_type=refresh_token&client_id=client&client_secret=secret&refresh_token={token}")
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_it_expires_by_either_clock() {
    let server = TestServer::new();
    let (status, first) = asked(&server, CREDENTIALS).await;
    assert_eq!((status, &first["expires_in"]), (200, &300.into()));
    let (_, second) = asked(&server, CREDENTIALS).await;
    assert_ne!(first["access_token"], second["access_token"]);
    let token = text(&first, "access_token");
    tokio::time::advance(100 * SECOND).await;
    server.clock().wind(199 * SECOND);
    assert_eq!((server.is_good(token), api(&server, "/api", token).await), (true, 200));
    server.clock().wind(SECOND);
    assert_eq!((server.is_good(token), api(&server, "/api", token).await), (false, 401));
}

#[tokio::test]
async fn who_it_does_not_know_gets_no_token() {
    let server = TestServer::new();
    let answers = [
        (
            "grant_type=client_credentials&client_id=client&client_secret=wrong",
            401,
            "invalid_client",
        ),
        (
            "grant_type=client_credentials&client_id=other&client_secret=secret",
            401,
            "invalid_client",
        ),
        ("grant_type=client_credentials&client_id=client", 401, "invalid_client"),
        ("grant_type=client_credentials", 401, "invalid_client"),
        ("grant_type=password&username=user&password=wrong", 400, "invalid_grant"),
        ("grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"),
        ("grant_type=magic", 400, "unsupported_grant_type"),
        ("", 400, "invalid_request"),
    ];
    for (parameters, status, error) in answers {
        let (got, answer) = asked(&server, parameters).await;
        assert_eq!((got, text(&answer, "error")), (status, error), "{parameters}");
    }
    let (status, _) = asked(&server, "grant_type=password&username=user&password=password").await;
    assert_eq!(status, 200);
    let mut basic = form("grant_type=client_credentials");
    basic.headers_mut().insert(AUTHORIZATION, "Basic Y2xpZW50OnNlY3JldA==".parse().unwrap());
    assert_eq!(server.answer(basic).await.unwrap().status(), 200);
    let mut json = form(CREDENTIALS);
    json.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    assert_eq!(server.answer(json).await.unwrap().status(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_rotates_is_good_once_and_its_thief_ends_the_family() {
    let server = refreshing(RefreshPolicy::Rotate { grace: Duration::ZERO });
    let (_, first) = asked(&server, CREDENTIALS).await;
    let (status, second) = asked(&server, &refresh(text(&first, "refresh_token"))).await;
    assert_eq!((status, server.living_families()), (200, 1));
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert!(server.is_good(text(&first, "access_token")));
    let (status, answer) = asked(&server, &refresh(text(&first, "refresh_token"))).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    assert_eq!(asked(&server, &refresh(text(&second, "refresh_token"))).await.0, 400);
    assert!(!server.is_good(text(&second, "access_token")));
    assert_eq!(server.living_families(), 0);
}

#[tokio::test(start_paused = true)]
async fn within_the_grace_a_used_refresh_token_brings_the_same_successor() {
    let server = refreshing(RefreshPolicy::Rotate { grace: 10 * SECOND });
    let (_, first) = asked(&server, CREDENTIALS).await;
    let again = refresh(text(&first, "refresh_token"));
    let (_, second) = asked(&server, &again).await;
    tokio::time::advance(9 * SECOND).await;
    let (_, third) = asked(&server, &again).await;
    assert_eq!(second["refresh_token"], third["refresh_token"]);
    assert_ne!(second["access_token"], third["access_token"]);
    tokio::time::advance(SECOND).await;
    assert_eq!(asked(&server, &again).await.0, 400);
    assert_eq!(server.living_families(), 0);
}

#[tokio::test]
async fn without_rotation_a_refresh_token_stays_good() {
    for (policy, brings) in [(RefreshPolicy::Reissue, true), (RefreshPolicy::Keep, false)] {
        let server = refreshing(policy);
        let (_, first) = asked(&server, CREDENTIALS).await;
        for _ in 0..2 {
            let (status, next) = asked(&server, &refresh(text(&first, "refresh_token"))).await;
            assert_eq!((status, next["refresh_token"].is_string()), (200, brings), "{policy:?}");
        }
    }
    let (_, answer) = asked(&refreshing(RefreshPolicy::Never), CREDENTIALS).await;
    assert!(answer["refresh_token"].is_null());
}

#[tokio::test]
async fn the_api_asks_for_the_scope_that_the_query_names() {
    let server = TestServer::new();
    let (_, answer) = asked(&server, &format!("{CREDENTIALS}&scope=read+write")).await;
    assert_eq!(text(&answer, "scope"), "read write");
    let token = text(&answer, "access_token");
    assert_eq!(api(&server, "/api/things?scope=read", token).await, 200);
    assert_eq!(api(&server, "/api/things?scope=admin", token).await, 403);
    server.revoke_access_tokens();
    assert_eq!(api(&server, "/api", token).await, 401);
    assert_eq!(api(&server, "/elsewhere", token).await, 404);
}

#[tokio::test]
async fn it_remembers_what_it_was_asked_and_shows_no_secret() {
    let server = TestServer::new();
    let (_, answer) = asked(&server, CREDENTIALS).await;
    let token = text(&answer, "access_token");
    api(&server, "/api", token).await;
    let requests = server.requests();
    assert_eq!((requests.len(), server.token_requests(), server.api_requests()), (2, 1, 1));
    assert_eq!(requests[0].parameter("client_secret"), Some("secret"));
    assert_eq!((requests[0].endpoint(), requests[0].status()), (Endpoint::Token, Some(200)));
    let shown = format!("{server:?} {requests:?}");
    assert!(!shown.contains("secret") && !shown.contains(token), "{shown}");
    assert!(!format!("{:?}", TestServer::builder().client("a", "hidden")).contains("hidden"));
}

#[tokio::test]
async fn metadata_name_the_host_that_was_asked() {
    let server = TestServer::new();
    let request = Request::get("https://as.test/.well-known/oauth-authorization-server");
    let answer = server.answer(request.body(Bytes::new()).unwrap()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(text(&answer, "issuer"), "https://as.test");
    assert_eq!(text(&answer, "token_endpoint"), "https://as.test/token");
    assert!(ask(&server, CREDENTIALS).await.is_ok());
}
