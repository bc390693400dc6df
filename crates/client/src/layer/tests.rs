use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};

use super::*;
use crate::testing::{Server, answer, builder, grant_alone, refusal};

/// What an API saw.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Vec<Seen>>>);

/// A host, and the `Authorization` it got.
type Seen = (String, Option<String>);

impl Api {
    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Sends a request through the layer to an API that answers as `status` says to each token.
    async fn call<B: Replay + Send + 'static>(
        &self,
        keeper: &Keeper,
        request: Request<B>,
        status: fn(&str) -> u16,
    ) -> Result<Response<()>, BearerError<Infallible>> {
        let seen = self.0.clone();
        let inner = service_fn(move |request: Request<B>| {
            let header = request
                .headers()
                .get(AUTHORIZATION)
                .map(|value| value.to_str().unwrap().to_owned());
            assert!(!request.headers().contains_key("dpop"));
            let status = status(header.as_deref().unwrap_or_default());
            let host = request.uri().host().unwrap_or_default().to_owned();
            seen.lock().unwrap().push((host, header));
            async move { Ok(Response::builder().status(status).body(()).unwrap()) }
        });
        BearerLayer::of_keeper(keeper).layer(inner).oneshot(request).await
    }
}

fn to(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::from("body")).unwrap()
}

fn sent(host: &str, header: &str) -> Seen {
    (host.to_owned(), Some(header.to_owned()))
}

const TUINLY: &str = "graphql.tuinly.com";
const GRAPHQL: &str = "https://graphql.tuinly.com/graphql";

#[tokio::test(start_paused = true)]
async fn the_token_replaces_what_the_caller_sent() {
    let keeper = builder("tuinly", &Server::granting(300)).build().unwrap();
    let api = Api::default();
    let mut request = to(GRAPHQL);
    request.headers_mut().append(AUTHORIZATION, "Basic one".parse().unwrap());
    request.headers_mut().append(AUTHORIZATION, "Basic two".parse().unwrap());
    request.headers_mut().insert("dpop", "a proof for another".parse().unwrap());
    api.call(&keeper, request, |_| 200).await.unwrap();
    assert_eq!(api.seen(), [sent(TUINLY, "Bearer a1")]);
}

#[tokio::test(start_paused = true)]
async fn row_273_a_token_goes_to_no_other_host() {
    let server = Server::granting(300);
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    for url in [
        "https://evil.example/graphql",
        "https://graphql.tuinly.com.evil.example/",
        "https://graphql.tuinly.com@evil.example/",
        "http://graphql.tuinly.com/graphql",
        "/graphql",
    ] {
        api.call(&keeper, to(url), |_| 401).await.unwrap();
    }
    assert_eq!(api.seen().len(), 5);
    assert!(api.seen().iter().all(|(_, header)| header.is_none()), "{:?}", api.seen());
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_401_is_one_new_token_and_one_more_try() {
    let server = Server::granting(300);
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let refuse_first = |token: &str| if token == "Bearer a1" { 401 } else { 200 };
    let response = api.call(&keeper, to(GRAPHQL), refuse_first).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(api.seen(), [sent(TUINLY, "Bearer a1"), sent(TUINLY, "Bearer a2")]);
    assert_eq!(server.requests()[1].refresh_token(), Some("r1"));
}

#[tokio::test(start_paused = true)]
async fn row_265_a_second_401_is_the_answer() {
    let server = Server::granting(300);
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let response = api.call(&keeper, to(GRAPHQL), |_| 401).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((api.seen().len(), server.count()), (2, 2));
    // An API that always refuses does not cost a token per call for long.
    for _ in 0..100 {
        api.call(&keeper, to(GRAPHQL), |_| 401).await.unwrap();
    }
    assert!(server.count() <= 4, "{} token requests", server.count());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_with_the_same_token_makes_no_loop() {
    let server = Server::new(|_, _| Ok(grant_alone(1, 300)));
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let response = api.call(&keeper, to(GRAPHQL), |_| 401).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((api.seen().len(), server.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn row_266_a_403_is_not_retried() {
    let server = Server::granting(300);
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let response = api.call(&keeper, to(GRAPHQL), |_| 403).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!((api.seen().len(), server.count()), (1, 1));
    assert!(keeper.try_token().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_be_sent_once_is_sent_once() {
    let server = Server::granting(300);
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let request = to(GRAPHQL).map(|body| body.boxed());
    let response = api.call(&keeper, request, |_| 401).await.unwrap();
    assert_eq!((response.status().as_u16(), api.seen().len()), (401, 1));
    // The token is gone all the same, so the next request gets another.
    assert!(keeper.try_token().is_none());
    api.call(&keeper, to(GRAPHQL), |_| 200).await.unwrap();
    assert_eq!(api.seen()[1], sent(TUINLY, "Bearer a2"));
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let server = Server::new(|_, _| Ok(refusal(401, "invalid_client")));
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let error = api.call(&keeper, to(GRAPHQL), |_| 200).await.unwrap_err();
    assert!(matches!(error, BearerError::Token(_)), "{error}");
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_401_without_a_successor_is_the_answer() {
    let server = Server::new(|_, n| match n {
        1 => Ok(grant_alone(n, 300)),
        _ => Ok(answer(503, "")),
    });
    let keeper = builder("tuinly", &server).build().unwrap();
    let api = Api::default();
    let response = api.call(&keeper, to(GRAPHQL), |_| 401).await.unwrap();
    assert_eq!((response.status().as_u16(), api.seen().len()), (401, 1));
}
