//! The layer below tonic's client.

use std::sync::Mutex;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, Version};
use http_body_util::{BodyExt, Empty, Full};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::network::{Answer, Network, authorization};
use super::*;
use crate::testing::{Server, builder};
use crate::{ReplayBody, ReplayLayer};

/// Messages as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

fn head(status: Option<Code>) -> http::response::Builder {
    let head = Response::builder().header("content-type", "application/grpc");
    match status {
        Some(code) => head.header("grpc-status", i32::from(code)),
        None => head,
    }
}

/// A status and no message.
fn refusal(code: Code) -> Answer {
    head(Some(code)).body(Empty::new().boxed_unsync()).unwrap()
}

/// A message, and then the status.
fn message(code: Code) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", i32::from(code).into());
    let message = Full::from(&b"\0\0\0\0\x05hello"[..]);
    let body = message.with_trailers(async { Some(Ok(trailers)) });
    head(None).body(body.boxed_unsync()).unwrap()
}

/// A service that answers each token as it is told, and all that it saw.
struct Api {
    seen: Arc<Mutex<Vec<(String, Bytes)>>>,
    keeper: Keeper,
    channel: Channel,
}

impl Api {
    async fn new(answers: fn(&str) -> Answer) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let network = Network::new(Version::HTTP_2, move |request| {
            let log = log.clone();
            async move {
                let token = authorization(&request);
                let body = request.into_body().collect().await.unwrap().to_bytes();
                log.lock().unwrap().push((token.clone(), body));
                answers(&token)
            }
        });
        let endpoint = Channel::from_static("http://api.localhost");
        let channel = endpoint.connect_with_connector(network).await.unwrap();
        let keeper = builder("tuinly", &Server::granting(300)).build().unwrap();
        Self { seen, keeper, channel }
    }

    /// One call, and all messages of its answer.
    async fn call(&self) -> Result<Vec<Bytes>, (Vec<Bytes>, Status)> {
        let hosts = AllowedHosts::new(["api.localhost"]);
        let service = ServiceBuilder::new()
            .layer(ReplayLayer::new())
            .layer(BearerLayer::new(self.keeper.clone(), hosts).for_grpc())
            .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
            .service(self.channel.clone());
        let mut client = Grpc::with_origin(service, "http://api.localhost".parse().unwrap());
        client.ready().await.unwrap();
        let request = tonic::Request::new(Bytes::from("question"));
        let path = PathAndQuery::from_static("/orders.Orders/Get");
        let response = client.server_streaming(request, path, Raw).await;
        let mut stream = response.map_err(|status| (Vec::new(), status))?.into_inner();
        let mut messages = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return Ok(messages),
                Err(status) => return Err((messages, status)),
            }
        }
    }

    fn tokens(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().for_each(|(_, body)| assert_eq!(body, &b"\0\0\0\0\x08question"[..]));
        seen.iter().map(|(token, _)| token.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn row_265_unauthenticated_without_messages_is_one_more_call() {
    let refuse_first = |token: &str| match token {
        "Bearer a1" => refusal(Code::Unauthenticated),
        _ => message(Code::Ok),
    };
    let api = Api::new(refuse_first).await;
    assert_eq!(api.call().await.unwrap(), ["hello"]);
    assert_eq!(api.tokens(), ["Bearer a1", "Bearer a2"]);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_second_unauthenticated_is_the_answer() {
    let api = Api::new(|_| refusal(Code::Unauthenticated)).await;
    let (messages, status) = api.call().await.unwrap_err();
    assert_eq!((messages.len(), status.code()), (0, Code::Unauthenticated));
    assert_eq!(api.tokens(), ["Bearer a1", "Bearer a2"]);
}

#[tokio::test(start_paused = true)]
async fn unauthenticated_after_a_message_withdraws_the_token_and_is_the_answer() {
    let api = Api::new(|_| message(Code::Unauthenticated)).await;
    let (messages, status) = api.call().await.unwrap_err();
    assert_eq!((messages.len(), status.code()), (1, Code::Unauthenticated));
    assert_eq!(api.tokens(), ["Bearer a1"]);
    assert!(api.keeper.try_token().is_none());
    api.call().await.unwrap_err();
    assert_eq!(api.tokens(), ["Bearer a1", "Bearer a2"]);
}

#[tokio::test(start_paused = true)]
async fn row_266_no_other_status_costs_a_token() {
    for answers in [
        |_: &str| refusal(Code::PermissionDenied),
        |_: &str| message(Code::PermissionDenied),
        |_: &str| refusal(Code::Unavailable),
        |_: &str| message(Code::Ok),
    ] {
        let api = Api::new(answers).await;
        let _status = api.call().await;
        assert_eq!(api.tokens(), ["Bearer a1"]);
        assert!(api.keeper.try_token().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_of_grpc_has_a_status_of_grpc() {
    for (kind, calls) in [
        (Some("application/grpc"), 2),
        (Some("Application/gRPC-Web+proto"), 2),
        (Some("application/json"), 1),
        (None, 1),
    ] {
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let inner = service_fn(move |_: Request<Full<Bytes>>| {
            *count.lock().unwrap() += 1;
            let mut answer = Response::builder().header("grpc-status", "16");
            if let Some(kind) = kind {
                answer = answer.header("content-type", kind);
            }
            async move { Ok::<_, std::convert::Infallible>(answer.body(()).unwrap()) }
        });
        let keeper = builder("tuinly", &Server::granting(300)).build().unwrap();
        let request = Request::post("https://graphql.tuinly.com/").body(Full::default()).unwrap();
        BearerLayer::of_keeper(&keeper).layer(inner).oneshot(request).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), calls, "{kind:?}");
    }
}
