//! One upstream, whose requests all get the token.

use tokenry_core::Secret;

use super::*;
use crate::testing::{grant_bound, refusal};
use crate::{Credentials, Error, Provider, Token, TokenSource};

#[tokio::test(start_paused = true)]
async fn the_token_replaces_what_the_program_sent() {
    let net = Net::answering(|_, _| ok());
    let fields = [
        "Authorization: Basic one",
        "authorization: Basic two",
        "DPoP: mine",
        "Proxy-Authorization: Basic three",
        "Connection: authorization, x-secret",
        "X-Secret: one",
        "X-Other: two",
    ];
    let (status, answer) = ask(&reverse(&net), "GET /v1/x?y=z", &fields, "").await;
    assert_eq!(status, 200);
    assert!(answer.ends_with("answer"), "{answer}");
    let seen = net.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].to.as_str(), seen[0].target.as_str()),
        ("https://api.example", "/v1/x?y=z")
    );
    assert_eq!(seen[0].authorization(), "Bearer a1");
    assert_eq!(seen[0].field("host"), Some("api.example"));
    assert_eq!(seen[0].field("via"), Some("1.1 tokenry"));
    assert_eq!(seen[0].field("x-other"), Some("two"));
    for gone in ["dpop", "proxy-authorization", "connection", "x-secret"] {
        assert_eq!(seen[0].field(gone), None, "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_265_a_401_is_one_new_token_and_one_more_try() {
    let net = Net::answering(|seen, _| match seen.authorization() {
        "Bearer a1" => status(401),
        _ => ok(),
    });
    let proxy = reverse(&net);
    let (status, _) = ask(&proxy, "POST /x", &["Content-Type: text/plain"], "the body").await;
    assert_eq!(status, 200);
    let seen = net.seen();
    let tokens: Vec<_> = seen.iter().map(Seen::authorization).collect();
    assert_eq!(tokens, ["Bearer a1", "Bearer a2"]);
    for seen in &seen {
        assert_eq!((&seen.method, &seen.body[..]), (&Method::POST, &b"the body"[..]));
        assert_eq!(seen.field("content-type"), Some("text/plain"));
        assert_eq!(seen.field("content-length"), Some("8"));
    }
    assert_eq!((proxy.counts().requests, proxy.counts().repeated), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn row_265_a_second_401_is_the_answer() {
    let net = Net::answering(|_, _| status(401));
    let proxy = reverse(&net);
    let (status, answer) = ask(&proxy, "GET /x", &[], "").await;
    assert_eq!((status, net.seen().len()), (401, 2));
    assert!(answer.ends_with("answer"));
    assert_eq!(proxy.counts().unauthorized, 1);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_body_is_sent_again_as_long_as_all_of_it_was_kept() {
    const LIMIT: usize = 64 * 1024;
    for (length, expected) in [(LIMIT, (200, 2)), (LIMIT + 1, (401, 1))] {
        for chunked in [false, true] {
            let server = Server::granting(300);
            let keeper = keeper(&server);
            let net = Net::answering(|seen, _| match seen.authorization() {
                "Bearer a1" => status(401),
                _ => ok(),
            });
            let upstream = Upstream::new("https://api.example").unwrap();
            let proxy = Proxy::reverse(upstream, keeper.clone(), net.clone()).build();
            let body = "b".repeat(length);
            let (head, body) = if chunked {
                (
                    "Transfer-Encoding: chunked".to_owned(),
                    format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
                )
            } else {
                (format!("Content-Length: {length}"), body)
            };
            let request = format!(
                "PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n\r\n{body}"
            );
            let answer = raw(&proxy, request).await;
            assert_eq!((status_of(&answer), net.seen().len()), expected, "{length} {chunked}");
            assert!(net.seen().iter().all(|seen| seen.body.len() == length));
            // The token is gone all the same, so that the next request gets another.
            if expected.1 == 1 {
                assert!(keeper.try_token().is_none());
                assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 200);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_266_a_403_is_not_retried() {
    let net = Net::answering(|_, _| status(403));
    assert_eq!(ask(&reverse(&net), "GET /", &[], "").await.0, 403);
    assert_eq!(net.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_267_a_redirect_is_the_programs_to_follow() {
    for code in [301, 302, 303, 307, 308] {
        let net = Net::answering(move |_, _| {
            let mut answer = status(code);
            let elsewhere = HeaderValue::from_static("https://evil.example/x");
            answer.headers_mut().insert("location", elsewhere);
            answer
        });
        let (status, answer) = ask(&reverse(&net), "POST /", &[], "body").await;
        assert_eq!((status, net.dialled().len(), net.seen().len()), (code, 1, 1));
        assert!(answer.contains("location: https://evil.example/x\r\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let secret = Server::new(|_, _| Ok(refusal(401, "invalid_client")));
    let net = Net::answering(|_, _| ok());
    let upstream = || Upstream::new("https://api.example").unwrap();
    let proxy = Proxy::reverse(upstream(), keeper(&secret), net.clone()).build();
    let (status, answer) = ask(&proxy, "GET /", &["Authorization: Basic mine"], "").await;
    assert_eq!(status, 502);
    assert!(
        answer.contains("proxy-status: tokenry; error=destination_unavailable\r\n"),
        "{answer}"
    );
    assert!(answer.contains(r#"{"error":"no_token","error_description":"no token: "#), "{answer}");
    assert!(!answer.contains("secret-1"));
    assert!(net.dialled().is_empty());
    assert_eq!(proxy.counts().without_token, 1);

    let held_back = Failing(|| Error::HeldBack { retry_in: Duration::from_millis(1_500) });
    let proxy = Proxy::reverse(upstream(), held_back, net.clone()).build();
    let (status, answer) = ask(&proxy, "GET /", &[], "").await;
    assert_eq!(status, 503);
    assert!(answer.contains("retry-after: 2\r\n"), "{answer}");
    assert!(net.dialled().is_empty());
}

struct Failing(fn() -> Error);

impl TokenSource for Failing {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(std::future::ready(Err((self.0)())))
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_no_program_of_this_machine_gets_nothing() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    for (fields, expected) in [
        (&["Host: evil.example:9000"][..], 421),
        (&["Host: localhost", "Host: evil.example"], 400),
        (&["Host: me@localhost"], 400),
        (&["Host: localhost:9000", "Origin: https://evil.example"], 403),
        (&["Host: localhost:9000", "Origin: null"], 403),
        (&["Host: localhost:9000", "Sec-Fetch-Site: cross-site"], 403),
    ] {
        assert_eq!(ask(&proxy, "GET /", fields, "").await.0, expected, "{fields:?}");
    }
    assert_eq!(ask(&proxy, "GET http://evil.example/", &[], "").await.0, 421);
    assert_eq!(ask(&proxy, "CONNECT localhost:443", &[], "").await.0, 405);
    assert_eq!(ask(&proxy, "TRACE /", &[], "").await.0, 405);
    assert_eq!(ask(&proxy, "OPTIONS *", &[], "").await.0, 400);
    assert!(net.dialled().is_empty());
    assert_eq!(proxy.counts().refused, 10);
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_have_a_name_and_a_page_or_be_out_of_reach_of_browsers() {
    let net = Net::answering(|_, _| ok());
    let builder = || {
        let upstream = Upstream::new("https://api.example").unwrap();
        Proxy::reverse(upstream, keeper(&Server::granting(300)), net.clone())
    };
    let named = builder().name("Tokens.Internal").origin("https://App.example").build();
    for (proxy, fields, expected) in [
        (&named, &["Host: tokens.internal:80"][..], 200),
        (&named, &["Host: evil.example"], 421),
        (&named, &["Host: localhost", "Origin: https://app.example"], 200),
        (&named, &["Host: localhost", "Origin: https://evil.example"], 403),
        (&builder().private().build(), &["Host: evil.example"], 200),
        (&builder().build(), &["Host: tokens.internal"], 421),
    ] {
        assert_eq!(ask(proxy, "GET /", fields, "").await.0, expected, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_273_the_upstream_is_asked_whatever_the_request_says() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    for (target, seen) in [
        ("//evil.example/x", "//evil.example/x"),
        ("/@evil.example/", "/@evil.example/"),
        ("/http://evil.example/", "/http://evil.example/"),
        ("http://localhost:1/x?y", "/x?y"),
        ("/%2f%2fevil.example", "/%2f%2fevil.example"),
    ] {
        let fields = ["X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"];
        assert_eq!(ask(&proxy, &format!("GET {target}"), &fields, "").await.0, 200, "{target}");
        assert_eq!(net.seen().last().unwrap().target, seen);
    }
    let to: Vec<_> = net
        .seen()
        .into_iter()
        .map(|seen| (seen.to.clone(), seen.field("host").unwrap().to_owned()))
        .collect();
    assert!(to.iter().all(|(to, host)| to == "https://api.example" && host == "api.example"));
}

#[tokio::test(start_paused = true)]
async fn row_271_the_proxy_proves_possession_for_programs_that_cannot() {
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let provider = Provider::at("https://as.example/token").unwrap();
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    let keeper = testing::builder_of(provider, credentials, &server).dpop().build().unwrap();
    let net = Net::answering(|_, n| match n {
        1 => {
            let mut answer = status(401);
            let challenge = HeaderValue::from_static(r#"DPoP error="use_dpop_nonce""#);
            answer.headers_mut().insert("www-authenticate", challenge);
            answer.headers_mut().insert("dpop-nonce", HeaderValue::from_static("n1"));
            answer
        }
        _ => ok(),
    });
    let upstream = Upstream::new("https://api.example/v1").unwrap();
    let proxy = Proxy::reverse(upstream, keeper, net.clone()).build();
    let (status, _) = ask(&proxy, "PUT /x?y=z", &["DPoP: mine"], "body").await;
    assert_eq!(status, 200);
    let nonces: Vec<_> = net
        .seen()
        .iter()
        .map(|seen| {
            assert_eq!(seen.authorization(), "DPoP a1");
            let expected = tokenry_core::dpop::Expected {
                method: "PUT",
                urls: &["https://api.example/v1/x"],
                access_token: Some("a1"),
            };
            let proof = seen.field("dpop").unwrap().as_bytes();
            tokenry_core::dpop::check(proof, &expected, testing::BEGINNING).unwrap().nonce
        })
        .collect();
    assert_eq!(nonces, [None, Some("n1".to_owned())]);
    assert_eq!(server.count(), 1);
}
