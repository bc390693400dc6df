use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;
use http_body_util::Channel;
use reqwest::Body;
use tokenry_core::Secret;

use super::*;
use crate::testing::{Server, builder, builder_of, grant_bound, refusal};
use crate::{Credentials, Provider};

/// What an API saw of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) token: String,
    pub(super) body: Option<Bytes>,
}

type Answers = dyn Fn(&Request, usize) -> http::Response<String> + Send + Sync;

/// An API at the end of the chain, which answers each request as it is told, by its number from 1.
#[derive(Clone)]
pub(super) struct Api {
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Answers>,
}

impl Api {
    pub(super) fn new(
        answers: impl Fn(&Request, usize) -> http::Response<String> + Send + Sync + 'static,
    ) -> Self {
        Self { seen: Arc::default(), answers: Arc::new(answers) }
    }

    pub(super) fn client(&self, middleware: BearerMiddleware) -> ClientWithMiddleware {
        let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new());
        client.with(middleware).with(self.clone()).build()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn tokens(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.token).collect()
    }
}

#[async_trait]
impl Middleware for Api {
    async fn handle(&self, request: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response> {
        let token = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap());
        let seen = Seen {
            method: request.method().clone(),
            url: request.url().to_string(),
            token: token.unwrap_or_default().to_owned(),
            body: request.body().and_then(Body::as_bytes).map(Bytes::copy_from_slice),
        };
        let n = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen);
            all.len()
        };
        Ok((self.answers)(&request, n).into())
    }
}

pub(super) fn answer(status: u16) -> http::Response<String> {
    http::Response::builder().status(status).body(String::new()).unwrap()
}

const GRAPHQL: &str = "https://graphql.tuinly.com/graphql";

fn tuinly(server: &Server) -> (Keeper, BearerMiddleware) {
    let keeper = builder("tuinly", server).build().unwrap();
    let middleware = BearerMiddleware::of_keeper(&keeper);
    (keeper, middleware)
}

#[tokio::test(start_paused = true)]
async fn row_265_a_401_is_one_new_token_and_one_more_try() {
    let (_keeper, middleware) = tuinly(&Server::granting(300));
    let api = Api::new(|_, n| answer(if n == 1 { 401 } else { 200 }));
    let request = api.client(middleware).post(GRAPHQL).header(AUTHORIZATION, "mine").body("body");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let seen = |token: &str| Seen {
        method: Method::POST,
        url: GRAPHQL.to_owned(),
        token: token.to_owned(),
        body: Some(Bytes::from("body")),
    };
    assert_eq!(api.seen(), [seen("Bearer a1"), seen("Bearer a2")]);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_second_401_is_the_answer() {
    let (_keeper, middleware) = tuinly(&Server::granting(300));
    let api = Api::new(|_, _| answer(401));
    assert_eq!(api.client(middleware).get(GRAPHQL).send().await.unwrap().status(), 401);
    assert_eq!(api.tokens(), ["Bearer a1", "Bearer a2"]);
}

#[tokio::test(start_paused = true)]
async fn row_266_a_403_is_not_retried() {
    let (keeper, middleware) = tuinly(&Server::granting(300));
    let api = Api::new(|_, _| answer(403));
    assert_eq!(api.client(middleware).get(GRAPHQL).send().await.unwrap().status(), 403);
    assert_eq!(api.tokens(), ["Bearer a1"]);
    assert!(keeper.try_token().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_once_and_the_token_withdrawn() {
    let (keeper, middleware) = tuinly(&Server::granting(300));
    let api = Api::new(|_, _| answer(401));
    let (_sender, stream) = Channel::<Bytes, Infallible>::new(1);
    let request = api.client(middleware).post(GRAPHQL).body(Body::wrap(stream));
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(api.tokens(), ["Bearer a1"]);
    assert!(keeper.try_token().is_none());
}

#[tokio::test(start_paused = true)]
async fn row_273_a_token_goes_to_no_other_host() {
    let server = Server::granting(300);
    let (_keeper, middleware) = tuinly(&server);
    let api = Api::new(|_, _| answer(401));
    let client = api.client(middleware);
    for url in [
        "https://evil.example/graphql",
        "https://graphql.tuinly.com.evil.example/",
        "https://graphql.tuinly.com@evil.example/",
        "http://graphql.tuinly.com/graphql",
    ] {
        assert_eq!(client.get(url).send().await.unwrap().status(), 401);
    }
    assert!(api.seen().len() == 4 && !api.tokens().iter().any(|token| token.contains("a1")));
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let (_keeper, middleware) = tuinly(&Server::new(|_, _| Ok(refusal(401, "invalid_client"))));
    let api = Api::new(|_, _| answer(200));
    let error = api.client(middleware).get(GRAPHQL).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error}") };
    assert!(matches!(error.downcast_ref(), Some(MiddlewareError::Token(_))), "{error}");
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_271_a_bound_token_goes_with_proofs_and_the_nonce_that_is_asked_for() {
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let hosts = AllowedHosts::new(["api.example"]);
    let provider = Provider::at("https://as.example/token").unwrap().with_api_hosts(hosts);
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    let keeper = builder_of(provider, credentials, &server).dpop().build().unwrap();
    let proofs = Arc::new(Mutex::new(Vec::new()));
    let log = proofs.clone();
    let api = Api::new(move |request, n| {
        log.lock().unwrap().push(request.headers()["dpop"].clone());
        let mut answer = answer(if n == 1 { 401 } else { 200 });
        if n == 1 {
            let headers = answer.headers_mut();
            headers.insert("dpop-nonce", "n1".parse().unwrap());
            let challenge = r#"DPoP error="use_dpop_nonce""#;
            headers.insert("www-authenticate", challenge.parse().unwrap());
        }
        answer
    });
    let client = api.client(BearerMiddleware::of_keeper(&keeper));
    assert_eq!(client.get("https://api.example/").send().await.unwrap().status(), 200);
    assert_eq!((api.tokens(), server.count()), (vec!["DPoP a1".to_owned(); 2], 1));
    let proofs = proofs.lock().unwrap();
    assert_ne!(proofs[0], proofs[1]);
}
