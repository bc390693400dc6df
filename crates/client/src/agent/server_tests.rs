//! The agent, as programs see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokenry_core::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::testing::{OWN, OWNER, STRANGER, agent, builder, counting, keeper, lent, post, say};
use super::{Access, AgentServer, Peer};
use crate::testing::{Server, answer, builder_of, grant_alone, grant_bound, pass, refusal};
use crate::{Credentials, Provider};

const TOKEN: &str = "/v1/token";

/// What the secret of the right client is sent as (RFC 6749 §2.3.1).
fn is_right(authorization: Option<&http::HeaderValue>) -> bool {
    use base64::Engine as _;
    let right = base64::prelude::BASE64_STANDARD.encode("acme:right");
    authorization.is_some_and(|value| value.as_bytes().ends_with(right.as_bytes()))
}

/// Knows one secret.
fn knowing() -> Server {
    Server::new(|asked, n| {
        let right = is_right(asked.headers.get("authorization"));
        Ok(if right { grant_alone(n, 300) } else { refusal(401, "invalid_client") })
    })
}

#[tokio::test(start_paused = true)]
async fn a_thousand_processes_that_start_at_once_cause_one_token_request() {
    for ask in [json!({ "name": "billing" }), json!({ "keeper": lent("right") })] {
        let server = knowing();
        let built = Arc::new(AtomicUsize::new(0));
        let agent = counting(&server, &built)
            .named("billing", keeper(&server, "acme", "right"), Access::default())
            .build()
            .unwrap();
        let mut processes = JoinSet::new();
        for _ in 0..1000 {
            let (agent, ask) = (agent.clone(), ask.clone());
            processes.spawn(async move { post(&agent, OWN, TOKEN, &ask).await });
        }
        while let Some(answer) = processes.join_next().await {
            let (status, answer) = answer.unwrap();
            assert_eq!((status, answer["access_token"].as_str()), (200, Some("a1")), "{answer}");
        }
        assert_eq!(server.count(), 1);
        assert!(built.load(Ordering::Relaxed) <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_lends_another_secret_gets_no_token_of_the_right_one() {
    let server = knowing();
    let agent = agent(&server);
    let (status, _) = post(&agent, OWN, TOKEN, &json!({ "keeper": lent("right") })).await;
    assert_eq!(status, 200);
    let (status, answer) = post(&agent, OWN, TOKEN, &json!({ "keeper": lent("wrong") })).await;
    assert_eq!(status, 502, "{answer}");
    assert_eq!(answer["error"]["kind"], "refused");
    assert_eq!(answer["error"]["refusal"]["code"], "invalid_client");
    assert_eq!(server.count(), 2);
    // And who has it still does.
    let (status, _) = post(&agent, OWN, TOKEN, &json!({ "keeper": lent("right") })).await;
    assert_eq!((status, server.count()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn row_272_what_makes_another_token_makes_another_keeper() {
    let server = knowing();
    let agent = agent(&server);
    let with = |member: &str, value: &str| {
        let mut keeper = lent("right");
        keeper[member] = json!(value);
        json!({ "keeper": keeper })
    };
    let mut keepers = std::collections::BTreeSet::new();
    for ask in [
        json!({ "keeper": lent("right") }),
        with("scope", "a b"),
        with("resource", "https://r.example"),
        with("token_url", "https://other.example/token"),
    ] {
        let (_, answer) = post(&agent, OWN, TOKEN, &ask).await;
        keepers.insert(answer["keeper"].as_str().unwrap().to_owned());
    }
    assert_eq!(keepers.len(), 4);
    // The order of a scope's words makes none.
    let (_, answer) = post(&agent, OWN, TOKEN, &with("scope", "b a b")).await;
    assert!(keepers.contains(answer["keeper"].as_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_for_the_owner_for_root_and_for_who_is_named() {
    let server = knowing();
    let shared = Access { users: [1001].into(), groups: [2000].into() };
    let agent = builder(&server)
        .named("own", keeper(&server, "acme", "right"), Access::default())
        .named("shared", keeper(&server, "acme", "right"), shared)
        .build()
        .unwrap();
    let user = |uid, gid| Peer::User { uid, gid };
    for (peer, name, expected) in [
        (OWN, "own", 200),
        (user(0, 0), "own", 200),
        (STRANGER, "own", 403),
        (STRANGER, "shared", 200),
        (user(1002, 2000), "shared", 200),
        (user(1002, 1002), "shared", 403),
        (OWN, "none", 404),
    ] {
        let (status, answer) = post(&agent, peer, TOKEN, &json!({ "name": name })).await;
        assert_eq!(status, expected, "{peer:?} {name}");
        assert_eq!(answer["access_token"].is_string(), expected == 200, "{peer:?} {name}");
        let (status, _) =
            post(&agent, peer, "/v1/invalidate", &json!({ "name": name, "generation": 99 })).await;
        assert_eq!(status, expected, "{peer:?} {name}");
    }
    let (_, list) = say(&agent, STRANGER, "GET", "/v1/tokens", &[("host", "x")], "").await;
    assert!(list.contains("shared") && !list.contains("own"), "{list}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_asked_for_yet_is_listed_for_who_may_have_it() {
    let config: crate::KeeperConfig = serde_json::from_value(json!({
        "token_url": "https://as.example/token", "client_id": "acme", "client_secret": "env:S",
    }))
    .unwrap();
    let agent =
        AgentServer::builder(OWNER).configured("own", config, Access::default()).build().unwrap();
    for (peer, expected) in [(OWN, true), (STRANGER, false)] {
        let (_, list) = say(&agent, peer, "GET", "/v1/tokens", &[("host", "x")], "").await;
        assert_eq!(list.contains("own"), expected, "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn keepers_are_lent_by_the_owner_and_by_who_is_named_and_shared_by_neither() {
    let server = knowing();
    let ask = json!({ "keeper": lent("right") });
    let (status, _) = post(&agent(&server), STRANGER, TOKEN, &ask).await;
    assert_eq!((status, server.count()), (403, 0));
    let lenders = Access { users: [1001].into(), ..Access::default() };
    let agent = builder(&server).lending(lenders).build().unwrap();
    let (_, own) = post(&agent, OWN, TOKEN, &ask).await;
    let (_, theirs) = post(&agent, STRANGER, TOKEN, &ask).await;
    assert_ne!(own["keeper"], theirs["keeper"]);
    let (_, list) = say(&agent, STRANGER, "GET", "/v1/tokens", &[("host", "x")], "").await;
    let (own, theirs) = (own["keeper"].as_str().unwrap(), theirs["keeper"].as_str().unwrap());
    assert!(list.contains(theirs) && !list.contains(own), "{list}");
}

#[tokio::test(start_paused = true)]
async fn an_old_401_does_not_evict_the_new_token() {
    let server = knowing();
    let agent = agent(&server);
    let (_, first) = post(&agent, OWN, TOKEN, &json!({ "name": "billing" })).await;
    let refused = |answer: &serde_json::Value| {
        json!({
            "name": "billing",
            "refused": { "keeper": answer["keeper"], "generation": answer["generation"] },
        })
    };
    let (_, second) = post(&agent, OWN, TOKEN, &refused(&first)).await;
    assert_eq!((second["access_token"].as_str(), server.count()), (Some("a2"), 2));
    // Another process with the old one, and a generation of another run of the agent.
    for old in [first.clone(), json!({ "keeper": "another-run", "generation": 2 })] {
        let (_, answer) = post(&agent, OWN, TOKEN, &refused(&old)).await;
        assert_eq!((answer["access_token"].as_str(), server.count()), (Some("a2"), 2));
    }
    let ask = json!({ "name": "billing", "generation": 1 });
    let (_, answer) = post(&agent, OWN, "/v1/invalidate", &ask).await;
    assert_eq!(answer, json!({ "withdrawn": false }));
    let (_, answer) = post(&agent, OWN, "/v1/invalidate", &json!({ "name": "billing" })).await;
    assert_eq!(answer, json!({ "withdrawn": true }));
    let (_, answer) = post(&agent, OWN, TOKEN, &json!({ "name": "billing" })).await;
    assert_eq!((answer["access_token"].as_str(), server.count()), (Some("a3"), 3));
}

#[tokio::test(start_paused = true)]
async fn a_lent_token_is_withdrawn_by_who_could_have_lent_it() {
    let server = knowing();
    let agent = agent(&server);
    let invalidate = "/v1/invalidate";
    let lent_right = json!({ "keeper": lent("right") });
    let (status, _) = post(&agent, OWN, invalidate, &lent_right).await;
    assert_eq!((status, server.count()), (404, 0));
    post(&agent, OWN, TOKEN, &lent_right).await;
    let (status, _) = post(&agent, OWN, invalidate, &json!({ "keeper": lent("wrong") })).await;
    assert_eq!(status, 404);
    let (_, answer) = post(&agent, OWN, invalidate, &lent_right).await;
    assert_eq!(answer, json!({ "withdrawn": true }));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_is_told_that_the_token_is_pending() {
    let server = knowing();
    let agent = agent(&server);
    let ask = json!({ "name": "billing", "wait_ms": 5 });
    let (status, answer) = post(&agent, OWN, TOKEN, &ask).await;
    assert_eq!((status, answer), (202, json!({ "pending": true })));
    // The request goes on all the same.
    pass(Duration::from_millis(30)).await;
    let (status, _) = post(&agent, OWN, TOKEN, &json!({ "name": "billing", "wait_ms": 0 })).await;
    assert_eq!((status, server.count()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_made_to_wait_for_as_long_as_they_like() {
    let lender = |_, _| -> crate::BoxFuture<'static, _> { Box::pin(std::future::pending()) };
    let agent = AgentServer::builder(OWNER).lender(lender).build().unwrap();
    for wait in [json!(null), json!(3_600_000)] {
        let began = tokio::time::Instant::now();
        let ask = json!({ "keeper": lent("right"), "wait_ms": wait });
        assert_eq!(post(&agent, OWN, TOKEN, &ask).await.0, 202);
        assert_eq!(began.elapsed().as_secs(), 90);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_no_request() {
    let agent = agent(&knowing());
    for (length, expected) in [(8 * 1024, 200), (64 * 1024, 431)] {
        let field = "x".repeat(length);
        let headers = [("host", "a"), ("x", field.as_str())];
        assert_eq!(say(&agent, OWN, "GET", "/health", &headers, "").await.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_cannot_be_built_is_tried_once_for_all() {
    let server = knowing();
    let built = Arc::new(AtomicUsize::new(0));
    let agent = counting(&server, &built).build().unwrap();
    let ask = json!({ "keeper": { "client_id": "acme" } });
    let mut processes = JoinSet::new();
    for _ in 0..100 {
        let (agent, ask) = (agent.clone(), ask.clone());
        processes.spawn(async move { post(&agent, OWN, TOKEN, &ask).await.0 });
    }
    while let Some(status) = processes.join_next().await {
        assert_eq!(status.unwrap(), 422);
    }
    assert_eq!(built.load(Ordering::Relaxed), 1);
    pass(Duration::from_secs(3)).await;
    post(&agent, OWN, TOKEN, &ask).await;
    assert_eq!(built.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn one_user_takes_not_all_places_and_idle_keepers_make_room() {
    let server = knowing();
    let lenders = Access { users: [1001].into(), ..Access::default() };
    let agent = builder(&server).lending(lenders).build().unwrap();
    assert_eq!(post(&agent, OWN, TOKEN, &json!({ "keeper": lent("right") })).await.0, 200);
    let ask = |n: usize| {
        let mut keeper = lent("right");
        keeper["scope"] = json!(format!("s{n}"));
        json!({ "keeper": keeper })
    };
    for n in 0..256 {
        assert_eq!(post(&agent, STRANGER, TOKEN, &ask(n)).await.0, 200);
    }
    let (status, answer) = post(&agent, STRANGER, TOKEN, &ask(256)).await;
    assert_eq!((status, answer["error"]["kind"].as_str()), (503, Some("full")));
    assert_eq!(post(&agent, OWN, TOKEN, &ask(0)).await.0, 200);
    // The one that was idle for longest goes first.
    pass(Duration::from_secs(11 * 60)).await;
    assert_eq!(post(&agent, STRANGER, TOKEN, &ask(0)).await.0, 200);
    assert_eq!(post(&agent, STRANGER, TOKEN, &ask(256)).await.0, 200);
    let before = server.count();
    assert_eq!(post(&agent, STRANGER, TOKEN, &ask(0)).await.0, 200);
    assert_eq!(server.count(), before);
    // Who has too many makes room among their own.
    let lent_count = async || {
        let (_, metrics) = say(&agent, OWN, "GET", "/metrics", &[("host", "x")], "").await;
        metrics.lines().find_map(|l| l.strip_prefix("tokenry_agent_lent_keepers ")?.parse().ok())
    };
    assert_eq!(lent_count().await, Some(258));
    let (_, list) = say(&agent, OWN, "GET", "/v1/tokens", &[("host", "x")], "").await;
    assert_eq!(list.matches("\"keeper\":").count(), 258);
    let (_, list) = say(&agent, STRANGER, "GET", "/v1/tokens", &[("host", "x")], "").await;
    assert_eq!(list.matches("\"keeper\":").count(), 256);
    pass(Duration::from_secs(3 * 60 * 60)).await;
    assert_eq!(post(&agent, OWN, TOKEN, &ask(1)).await.0, 200);
    let (_, metrics) = say(&agent, OWN, "GET", "/metrics", &[("host", "x")], "").await;
    assert!(metrics.contains("tokenry_agent_lent_keepers 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_of_this_version_is_refused_without_repeating_it() {
    let server = knowing();
    let agent = agent(&server);
    let json = [("host", "localhost"), ("content-type", "application/json")];
    let plain = [("host", "localhost"), ("content-type", "text/plain")];
    let long = format!("{{\"name\":\"{}\"}}", "a".repeat(200 * 1024));
    for (method, path, headers, body) in [
        ("POST", TOKEN, json, "{}"),
        ("POST", TOKEN, json, r#"{"name":"billing","keeper":{}}"#),
        ("POST", TOKEN, json, r#"{"name":"billing","more":"canary"}"#),
        ("POST", TOKEN, json, r#"{"name":["canary"]}"#),
        ("POST", TOKEN, json, "canary"),
        ("POST", TOKEN, json, &long),
        // What a website may have a browser send to anybody.
        ("POST", TOKEN, plain, r#"{"name":"billing"}"#),
        ("GET", TOKEN, json, ""),
        ("GET", "/v1/nothing", json, ""),
    ] {
        let (status, answer) = say(&agent, OWN, method, path, &headers, body).await;
        assert_eq!(status, 400, "{method} {path} {answer}");
        assert!(!answer.contains("canary") && !answer.contains("aaaa"), "{answer}");
    }
    assert_eq!(server.count(), 0);
    let (status, body) = say(&agent, STRANGER, "GET", "/health", &json, "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_and_half_a_request_answered() {
    let agent = agent(&knowing());
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let served = agent.clone();
    let connection = tokio::spawn(async move { served.serve_connection(theirs, OWN).await });
    pass(Duration::from_secs(16)).await;
    assert!(connection.is_finished());
    let (mut half, theirs) = tokio::io::duplex(1024);
    tokio::spawn(async move { agent.serve_connection(theirs, OWN).await });
    half.write_all(
        b"POST /v1/token HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
          connection: close\r\ncontent-length: 9\r\n\r\n{",
    )
    .await
    .unwrap();
    let began = tokio::time::Instant::now();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 5);
    let mut rest = String::new();
    assert_eq!(ours.read_to_string(&mut rest).await.unwrap_or_default(), rest.len());
}

#[tokio::test(start_paused = true)]
async fn the_loopback_listener_wants_its_secret_and_its_own_name() {
    let server = knowing();
    let agent = builder(&server)
        .named("billing", keeper(&server, "acme", "right"), Access::default())
        .loopback(Secret::new("s3cret"), ["127.0.0.1:8791".to_owned()])
        .build()
        .unwrap();
    let named = r#"{"name":"billing"}"#;
    let kind = ("content-type", "application/json");
    let host = ("host", "127.0.0.1:8791");
    let right = ("authorization", "Bearer s3cret");
    let cases: [(&[(&str, &str)], u16); 8] = [
        (&[host, kind, right], 200),
        (&[host, kind, ("authorization", "bearer s3cret")], 200),
        (&[host, kind], 401),
        (&[host, kind, ("authorization", "Bearer s3cres")], 401),
        (&[host, kind, ("authorization", "Basic s3cret")], 401),
        // A website that has its name resolve to this machine (DNS rebinding).
        (&[("host", "evil.example:8791"), kind, right], 401),
        (&[host, kind, right, right], 401),
        (&[host, ("host", "evil.example"), kind, right], 401),
    ];
    for (headers, expected) in cases {
        let (status, answer) = say(&agent, Peer::Loopback, "POST", TOKEN, headers, named).await;
        assert_eq!(status, expected, "{headers:?} {answer}");
    }
    // Those who lend are users, and what they lent is shown to no one else.
    let ask = json!({ "keeper": lent("right") });
    assert_eq!(post(&agent, OWN, TOKEN, &ask).await.0, 200);
    let (_, list) = say(&agent, Peer::Loopback, "GET", "/v1/tokens", &[host, right], "").await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["tokens"].as_array().unwrap().len(), 1, "{list}");
    let lent = json!({ "keeper": lent("right") }).to_string();
    let headers = [host, kind, right];
    let (status, answer) = say(&agent, Peer::Loopback, "POST", TOKEN, &headers, &lent).await;
    assert_eq!(status, 403, "{answer}");
    // Nothing is open to who has no secret, and nothing at all where there is no secret.
    let (status, _) = say(&agent, Peer::Loopback, "GET", "/v1/tokens", &[host], "").await;
    assert_eq!(status, 401);
    let bare = AgentServer::builder(OWNER).build().unwrap();
    let (status, _) = say(&bare, Peer::Loopback, "POST", TOKEN, &[host, kind, right], named).await;
    assert_eq!(status, 401);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_bound_token_stays_in_the_agent() {
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let provider = Provider::at("https://as.example/token").unwrap();
    let credentials = Credentials::client("acme", Secret::new("right"));
    let bound = builder_of(provider, credentials, &server).dpop().build().unwrap();
    let plain_server = knowing();
    let agent = builder(&plain_server)
        .named("bound", bound, Access::default())
        .named("plain", keeper(&plain_server, "acme", "right"), Access::default())
        .build()
        .unwrap();
    let ask = json!({
        "name": "bound", "method": "GET", "url": "https://api.example/things?a=b", "nonce": "n-1",
    });
    let (status, answer) = post(&agent, OWN, "/v1/proof", &ask).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["token_type"], "DPoP");
    let expected = tokenry_core::dpop::Expected {
        method: "GET",
        urls: &["https://api.example/things"],
        access_token: answer["access_token"].as_str(),
    };
    let proof = answer["proof"].as_str().unwrap();
    let now = crate::testing::BEGINNING;
    let proof = tokenry_core::dpop::check(proof.as_bytes(), &expected, now).unwrap();
    assert_eq!(proof.nonce.as_deref(), Some("n-1"));
    for (member, value) in
        [("name", "plain"), ("url", "/things"), ("nonce", "a\nb"), ("method", "")]
    {
        let mut wrong = ask.clone();
        wrong[member] = json!(value);
        let (status, _) = post(&agent, OWN, "/v1/proof", &wrong).await;
        assert_eq!(status, 400, "{member}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_is_told_with_its_kind() {
    for (status, body, kind, expected) in [
        (400, r#"{"error":"unauthorized_client"}"#, "refused", 502),
        (503, "sorry", "transient", 503),
        (200, "<html>", "transient", 503),
    ] {
        let server = Server::new(move |_, _| Ok(answer(status, body)));
        let agent = agent(&server);
        let (status, answer) = post(&agent, OWN, TOKEN, &json!({ "name": "billing" })).await;
        assert_eq!((status, answer["error"]["kind"].as_str()), (expected, Some(kind)), "{answer}");
        assert!(answer["error"]["retry_in_ms"].is_u64(), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_listed_and_counted_without_their_text() {
    let server = knowing();
    let agent = agent(&server);
    post(&agent, OWN, TOKEN, &json!({ "name": "billing" })).await;
    let host = [("host", "localhost")];
    let (_, list) = say(&agent, OWN, "GET", "/v1/tokens", &host, "").await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let token = &list["tokens"][0];
    assert_eq!((token["name"].as_str(), token["phase"].as_str()), (Some("billing"), Some("good")));
    assert_eq!((token["generation"].as_u64(), token["asked"].as_u64()), (Some(1), Some(1)));
    assert!(token["expires_at"].is_u64() && !list.to_string().contains("\"a1\""), "{list}");
    let (_, metrics) = say(&agent, OWN, "GET", "/metrics", &host, "").await;
    assert!(metrics.contains("tokenry_agent_answers_total{outcome=\"given\"} 1\n"), "{metrics}");
    assert!(metrics.contains("tokenry_agent_asked_total{keeper=\"billing\"} 1\n"), "{metrics}");
    assert!(
        metrics.contains("outcome=\"token\"} 1\n") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    let (_, metrics) = say(&agent, STRANGER, "GET", "/metrics", &host, "").await;
    assert!(!metrics.contains("billing"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_keeper_of_the_file_is_built_when_it_is_asked_and_again_if_it_could_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provider.toml");
    let config = crate::KeeperConfig {
        provider: Some(path.display().to_string()),
        client_id: Some("acme".to_owned()),
        client_secret: vec![Secret::new("right").into()],
        ..Default::default()
    };
    let agent = AgentServer::builder(OWNER)
        .configured("billing", config, Access::default())
        .build()
        .unwrap();
    let ask = json!({ "name": "billing", "wait_ms": 100 });
    let (status, _) = post(&agent, STRANGER, TOKEN, &ask).await;
    assert_eq!(status, 403);
    let (_, list) = say(&agent, OWN, "GET", "/v1/tokens", &[("host", "x")], "").await;
    assert!(list.contains("billing"), "{list}");
    let (status, answer) = post(&agent, OWN, TOKEN, &ask).await;
    assert_eq!(status, 503, "{answer}");
    let text = "name = 'here'\n[obtain]\nurl = 'http://127.0.0.1:9/token'\ngrant = 'client_credentials'\n\
                client_authentication = 'basic'\n[api]\nhosts = []\n";
    std::fs::write(&path, text).unwrap();
    // For a moment nobody looks again.
    assert_eq!(post(&agent, OWN, TOKEN, &ask).await.0, 503);
    assert_eq!(post(&agent, OWN, "/v1/invalidate", &json!({ "name": "billing" })).await.0, 404);
    pass(Duration::from_secs(3)).await;
    post(&agent, OWN, TOKEN, &ask).await;
    let (_, list) = say(&agent, OWN, "GET", "/v1/tokens", &[("host", "x")], "").await;
    assert!(list.contains("\"provider\":\"here\""), "{list}");
}

#[tokio::test(start_paused = true)]
async fn files_are_read_for_who_can_read_those_of_the_agent_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "right").unwrap();
    let lenders = Access { users: [1001].into(), ..Access::default() };
    let agent = AgentServer::builder(OWNER).lending(lenders).build().unwrap();
    assert!(agent.is_for_others());
    let mut keeper = lent("right");
    // Nobody is there, so that a keeper that was built has no token.
    keeper["token_url"] = json!("https://127.0.0.1:1/token");
    keeper["client_secret"] = json!(format!("file:{}", path.display()));
    let ask = json!({ "keeper": keeper });
    let root = Peer::User { uid: 0, gid: 0 };
    for (peer, is_lendable) in [(OWN, true), (root, true), (STRANGER, false)] {
        let (_, answer) = post(&agent, peer, TOKEN, &ask).await;
        let kind = answer["error"]["kind"].as_str();
        assert_eq!(kind != Some("not_lendable"), is_lendable, "{peer:?} {answer}");
    }
}
