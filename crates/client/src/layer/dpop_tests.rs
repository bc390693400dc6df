//! Tokens that are bound to a key, on their way to APIs (RFC 9449 §7, §9).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Full};
use tokenry_core::dpop::{self as proofs, Expected, Proof};
use tokenry_core::{Secret, Timestamp};
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::dpop::DPOP;
use crate::testing::{BEGINNING, Server, builder_of, grant_bound, pass};
use crate::{Credentials, Provider};

const URL: &str = "https://api.example/v1/things?a=b";

/// What an API saw: the token, and what proved it.
#[derive(Clone)]
struct Seen {
    authorization: String,
    proof: Option<Proof>,
}

/// An API that answers each request as it is told, by its number from 1.
#[derive(Clone)]
struct Api {
    began: Instant,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: fn(&Seen, usize) -> Response<()>,
}

impl Api {
    fn new(answers: fn(&Seen, usize) -> Response<()>) -> Self {
        Self { began: Instant::now(), seen: Arc::default(), answers }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn nonces(&self) -> Vec<Option<String>> {
        self.seen().into_iter().map(|seen| seen.proof.unwrap().nonce).collect()
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<()> {
        let now: Timestamp = BEGINNING + self.began.elapsed();
        let header = request.headers().get(AUTHORIZATION);
        let authorization = header.map(|value| value.to_str().unwrap().to_owned());
        let authorization = authorization.unwrap_or_default();
        let sent: Vec<_> = request.headers().get_all(DPOP).iter().collect();
        assert!(sent.len() <= 1);
        let url = request.uri().to_string();
        let expected = Expected {
            method: request.method().as_str(),
            urls: &[&url],
            access_token: authorization.strip_prefix("DPoP "),
        };
        let check =
            |proof: &&http::HeaderValue| proofs::check(proof.as_bytes(), &expected, now).unwrap();
        let proof = sent.first().map(check);
        let seen = Seen { authorization, proof };
        let mut all = self.seen.lock().unwrap();
        all.push(seen.clone());
        (self.answers)(&seen, all.len())
    }

    async fn call<B: Replay + Send + 'static>(
        &self,
        layer: &BearerLayer,
        request: Request<B>,
    ) -> Result<Response<()>, BearerError<Infallible>> {
        let api = self.clone();
        let inner = service_fn(move |request: Request<B>| {
            let answer = api.answer(&request);
            async move { Ok(answer) }
        });
        layer.layer(inner).oneshot(request).await
    }
}

fn to(url: &str) -> Request<Full<Bytes>> {
    Request::put(url).body(Full::from("body")).unwrap()
}

fn answer(status: u16, nonce: Option<&str>) -> Response<()> {
    let mut answer = Response::builder().status(status);
    if let Some(nonce) = nonce {
        answer = answer.header("dpop-nonce", nonce);
    }
    answer.body(()).unwrap()
}

fn wish(nonce: &str) -> Response<()> {
    let mut answer = answer(401, Some(nonce));
    let challenge = r#"DPoP error="use_dpop_nonce", algs="ES256""#;
    answer.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
    answer
}

fn bound() -> (Server, BearerLayer) {
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let hosts = AllowedHosts::new(["*.example"]);
    let provider = Provider::at("https://as.example/token").unwrap().with_api_hosts(hosts);
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    let keeper = builder_of(provider, credentials, &server).dpop().build().unwrap();
    let layer = BearerLayer::of_keeper(&keeper);
    (server, layer)
}

#[tokio::test(start_paused = true)]
async fn row_271_each_request_to_an_api_carries_a_proof_for_its_token() {
    let (server, layer) = bound();
    let api = Api::new(|_, _| answer(200, None));
    for _ in 0..3 {
        // Whatever the caller had there.
        let mut request = to(URL);
        request.headers_mut().append(DPOP, "one".parse().unwrap());
        request.headers_mut().append(DPOP, "two".parse().unwrap());
        api.call(&layer, request).await.unwrap();
    }
    let seen = api.seen();
    assert!(seen.iter().all(|seen| seen.authorization == "DPoP a1"));
    let proofs: Vec<_> = seen.into_iter().map(|seen| seen.proof.unwrap()).collect();
    assert_eq!(proofs.iter().map(|proof| proof.once.id.0).collect::<BTreeSet<_>>().len(), 3);
    // It is the key that the token was asked for with.
    assert_eq!(proofs[0].key, server.requests()[0].proof().key);
}

#[tokio::test(start_paused = true)]
async fn row_271_a_wish_for_a_nonce_is_one_more_try_with_the_same_token() {
    let (server, layer) = bound();
    let api = Api::new(|_, n| if n == 1 { wish("n1") } else { answer(200, None) });
    let response = api.call(&layer, to(URL)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(api.nonces(), [None, Some("n1".to_owned())]);
    assert!(api.seen().iter().all(|seen| seen.authorization == "DPoP a1"));
    assert_eq!(server.count(), 1);

    // Once, and no more.
    let api = Api::new(|_, n| wish(&format!("n{n}")));
    let response = api.call(&layer, to(URL)).await.unwrap();
    assert_eq!((response.status().as_u16(), api.seen().len(), server.count()), (401, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn row_215_the_newest_nonce_of_each_origin_is_used_next_time() {
    let (_server, layer) = bound();
    let api = Api::new(|_, n| answer(if n == 2 { 404 } else { 200 }, Some(&format!("n{n}"))));
    for _ in 0..3 {
        api.call(&layer, to(URL)).await.unwrap();
    }
    api.call(&layer, to("https://other.example/")).await.unwrap();
    api.call(&layer, to("https://API.example:443/elsewhere")).await.unwrap();
    // The token endpoint has nonces of its own, even at the same origin.
    let some = |nonce: &str| Some(nonce.to_owned());
    assert_eq!(api.nonces(), [None, some("n1"), some("n2"), None, some("n3")]);
}

#[tokio::test(start_paused = true)]
async fn row_271_a_body_that_can_be_sent_once_is_sent_once_and_the_nonce_kept() {
    let (server, layer) = bound();
    let api = Api::new(|_, n| if n == 1 { wish("n1") } else { answer(200, None) });
    let once = to(URL).map(|body| body.boxed());
    assert_eq!(api.call(&layer, once).await.unwrap().status(), 401);
    assert_eq!(api.call(&layer, to(URL)).await.unwrap().status(), 200);
    assert_eq!(api.nonces(), [None, Some("n1".to_owned())]);
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_271_a_nonce_and_then_another_token_are_three_requests_at_most() {
    let (server, layer) = bound();
    let api = Api::new(|_, n| match n {
        1 => wish("n1"),
        2 => answer(401, None),
        _ => answer(200, None),
    });
    assert_eq!(api.call(&layer, to(URL)).await.unwrap().status(), 200);
    let tokens: Vec<_> = api.seen().into_iter().map(|seen| seen.authorization).collect();
    assert_eq!(tokens, ["DPoP a1", "DPoP a1", "DPoP a2"]);
    assert_eq!(server.count(), 2);
    let api = Api::new(|_, n| if n % 2 == 1 { answer(401, None) } else { wish("n") });
    assert_eq!(api.call(&layer, to(URL)).await.unwrap().status(), 401);
    assert_eq!(api.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn row_271_a_bad_proof_does_not_cost_the_token() {
    let (server, layer) = bound();
    let api = Api::new(|_, _| {
        let mut answer = answer(401, None);
        let challenge = r#"DPoP error="invalid_dpop_proof""#;
        answer.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        answer
    });
    for _ in 0..2 {
        assert_eq!(api.call(&layer, to(URL)).await.unwrap().status(), 401);
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!((api.seen().len(), server.count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn row_273_neither_token_nor_proof_go_to_another_host() {
    let (server, layer) = bound();
    let api = Api::new(|_, _| wish("n1"));
    for url in ["https://evil.test/", "http://api.example/v1", "/v1"] {
        api.call(&layer, to(url)).await.unwrap();
    }
    let nothing = |seen: &Seen| seen.authorization.is_empty() && seen.proof.is_none();
    assert!(api.seen().len() == 3 && api.seen().iter().all(nothing));
    assert_eq!(server.count(), 0);
}
