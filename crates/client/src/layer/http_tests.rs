//! The layer around hyper's client: HTTP/1.1, HTTP/2, upgrades, redirects.

use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONNECTION, LOCATION, UPGRADE};
use http::{HeaderMap, Version};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Empty, Full};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;

use super::network::{Answer, Network, answer, authorization};
use super::*;
use crate::testing::{Server, builder};
use crate::{REPLAY_LIMIT, ReplayLayer};

const GRAPHQL: &str = "https://graphql.tuinly.com/graphql";
const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What the server got: the token, the body, and its trailers.
type Seen = Arc<Mutex<Vec<(String, Bytes, Option<HeaderMap>)>>>;

fn keeper() -> Keeper {
    builder("tuinly", &Server::granting(300)).build().unwrap()
}

/// A server that reads requests whole, and refuses the token `a1`.
fn reading(version: Version, seen: &Seen) -> Network {
    let seen = seen.clone();
    Network::new(version, move |request| {
        let seen = seen.clone();
        async move {
            let token = authorization(&request);
            let status = if token == "Bearer a1" { 401 } else { 200 };
            let Ok(body) = request.into_body().collect().await else { return answer(400, "") };
            let trailers = body.trailers().cloned();
            seen.lock().unwrap().push((token, body.to_bytes(), trailers));
            answer(status, "answer")
        }
    })
}

/// A body in pieces of 1000 bytes, and then trailers.
fn streamed(pieces: usize) -> BoxBody<Bytes, std::io::Error> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for _ in 0..pieces {
            // Nobody wants more of a body that is not sent again.
            let Ok(()) = sender.send_data(Bytes::from(vec![b'x'; 1000])).await else { return };
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "1".parse().unwrap());
        let _gone = sender.send(Frame::trailers(trailers)).await;
    });
    body.boxed()
}

#[tokio::test(start_paused = true)]
async fn row_265_a_401_is_one_more_try_over_both_versions() {
    for version in BOTH {
        let seen = Seen::default();
        let api = BearerLayer::of_keeper(&keeper()).layer(reading(version, &seen).client());
        let request = Request::post(GRAPHQL).body(Full::from("body")).unwrap();
        let response = api.oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        let body = || Bytes::from("body");
        let expected = [("Bearer a1".into(), body(), None), ("Bearer a2".into(), body(), None)];
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_sent_again_with_its_trailers() {
    for version in BOTH {
        let seen = Seen::default();
        let client = reading(version, &seen).client();
        let keeper = keeper();
        let layers = ServiceBuilder::new().layer(ReplayLayer::new());
        let api = layers.layer(BearerLayer::of_keeper(&keeper)).service(client);
        let mut request = Request::put(GRAPHQL).body(streamed(50)).unwrap();
        request.headers_mut().insert("trailer", "checksum".parse().unwrap());
        assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
        let seen = seen.lock().unwrap();
        let tokens: Vec<_> = seen.iter().map(|(token, ..)| token.as_str()).collect();
        assert_eq!(tokens, ["Bearer a1", "Bearer a2"]);
        for (token, body, trailers) in seen.iter() {
            assert_eq!(body.len(), 50_000, "{version:?}");
            let trailers = trailers.as_ref().and_then(|trailers| trailers.get("checksum"));
            assert!(trailers.is_some(), "{version:?} {token}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_beyond_the_limit_is_sent_once() {
    for version in BOTH {
        let seen = Seen::default();
        let client = reading(version, &seen).client();
        let keeper = keeper();
        let layers = ServiceBuilder::new().layer(ReplayLayer::new());
        let api = layers.layer(BearerLayer::of_keeper(&keeper)).service(client);
        let pieces = REPLAY_LIMIT / 1000 + 1;
        let request = Request::put(GRAPHQL).body(streamed(pieces)).unwrap();
        assert_eq!(api.oneshot(request).await.unwrap().status(), 401);
        assert_eq!(seen.lock().unwrap().len(), 1);
        assert!(keeper.try_token().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_refused_at_its_beginning_goes_on_in_the_next_request() {
    for version in BOTH {
        let seen = Seen::default();
        let network = {
            let seen = seen.clone();
            Network::new(version, move |request| {
                let seen = seen.clone();
                async move {
                    if authorization(&request) == "Bearer a1" {
                        // It holds on to what it does not read, as servers do for a while.
                        let mut body = request.into_body();
                        assert_eq!(
                            body.frame().await.unwrap().unwrap().into_data().unwrap(),
                            "one "
                        );
                        tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
                        return answer(401, "");
                    }
                    let token = authorization(&request);
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    seen.lock().unwrap().push((token, body, None));
                    answer(200, "")
                }
            })
        };
        let keeper = keeper();
        let layers = ServiceBuilder::new().layer(ReplayLayer::new());
        let api = layers.layer(BearerLayer::of_keeper(&keeper)).service(network.client());
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
        let request = Request::put(GRAPHQL).body(body).unwrap();
        let response = tokio::spawn(api.oneshot(request));
        sender.send_data(Bytes::from("one ")).await.unwrap();
        // Until then the body hangs in the first request.
        while keeper.try_token().is_none_or(|token| token.generation() < 2) {
            tokio::task::yield_now().await;
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
        }
        sender.send_data(Bytes::from("two")).await.unwrap();
        drop(sender);
        assert_eq!(response.await.unwrap().unwrap().status(), 200, "{version:?}");
        let expected = ("Bearer a2".to_owned(), Bytes::from("one two"), None);
        assert_eq!(*seen.lock().unwrap(), [expected], "{version:?}");
    }
}

/// A server that lets those in who have the token `a2`, and gives back what they say.
async fn echo(request: Request<hyper::body::Incoming>) -> Answer {
    let is_handshake = request.extensions().get::<Protocol>().is_some()
        || request.headers().get(UPGRADE).is_some_and(|protocol| protocol == "websocket");
    if authorization(&request) != "Bearer a2" || !is_handshake {
        return answer(401, "");
    }
    let mut answer = answer(200, "");
    if request.version() == Version::HTTP_11 {
        *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(CONNECTION, "upgrade".parse().unwrap());
        answer.headers_mut().insert(UPGRADE, "websocket".parse().unwrap());
    }
    tokio::spawn(async move {
        let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut said = [0; 5];
        io.read_exact(&mut said).await.unwrap();
        io.write_all(&said).await.unwrap();
    });
    answer
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_is_made_again_and_upgrades_the_connection() {
    for version in BOTH {
        let keeper = keeper();
        let client = Network::new(version, echo).client();
        let api = BearerLayer::of_keeper(&keeper).layer(client);
        let mut request = Request::get(GRAPHQL).body(Empty::<Bytes>::new()).unwrap();
        if version == Version::HTTP_2 {
            // RFC 8441 §4.
            *request.method_mut() = http::Method::CONNECT;
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        } else {
            request.headers_mut().insert(CONNECTION, "upgrade".parse().unwrap());
            request.headers_mut().insert(UPGRADE, "websocket".parse().unwrap());
        }
        let response = api.oneshot(request).await.unwrap();
        assert!(matches!(response.status().as_u16(), 101 | 200), "{version:?}");
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        io.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        io.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello", "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_273_each_redirect_is_judged_by_itself() {
    // What each URL redirects to, and whether it gets a token.
    let hops = [
        ("https://graphql.tuinly.com/graphql", "https://evil.example/one", true),
        ("https://evil.example/one", "https://graphql.tuinly.com/two", false),
        ("https://graphql.tuinly.com/two", "http://graphql.tuinly.com:8080/three", true),
        ("http://graphql.tuinly.com:8080/three", "https://graphql.tuinly.com/four", false),
        ("https://graphql.tuinly.com/four", "", true),
    ];
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let url = request.uri().to_string();
        let (_, target, _) = hops.into_iter().find(|(from, ..)| *from == url).unwrap();
        log.lock().unwrap().push((url, !authorization(&request).is_empty()));
        let mut answer = Response::new(Full::<Bytes>::default());
        if !target.is_empty() {
            *answer.status_mut() = http::StatusCode::TEMPORARY_REDIRECT;
            answer.headers_mut().insert(LOCATION, target.parse().unwrap());
        }
        async { Ok::<_, std::convert::Infallible>(answer) }
    });
    let keeper = keeper();
    let layers = ServiceBuilder::new().layer(FollowRedirectLayer::new());
    let api = layers.layer(BearerLayer::of_keeper(&keeper)).service(inner);
    let request = Request::get(GRAPHQL).body(Full::default()).unwrap();
    assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
    let expected = hops.map(|(url, _, has_token)| (url.to_owned(), has_token));
    assert_eq!(*seen.lock().unwrap(), expected);
}
