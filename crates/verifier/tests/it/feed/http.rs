//! A feed over real connections: chunked, cut in the middle of an event, refused.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Request, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokenry_core::jose::Algorithm;
use tokenry_core::revocation::{Event, Revocation};
use tokenry_core::{Secret, Timestamp};
use tokenry_verifier::{ClientSecret, FeedMetrics, FeedSettings, Verifier, VerifierBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::token;
use crate::issuer::{API, ISSUER, START, Source, key};
use crate::log::Log;

const METADATA: &str = "/.well-known/oauth-authorization-server/realms/main";
const FEED: &str = "https://id.example/realms/main/revocations";
const SECRET: &str = "s3cr3t+of:billing";

/// A server for `id.example` that answers metadata by itself, and hands over all other requests.
struct Server {
    addr: SocketAddr,
    pem: String,
    asked: UnboundedReceiver<Asked>,
}

/// A request that waits for its answer.
struct Asked {
    head: String,
    stream: TlsStream<TcpStream>,
}

/// A listener, how it speaks TLS, and whom to trust for it.
async fn listen(alpn: &[u8]) -> (TcpListener, TlsAcceptor, String) {
    let certified = rcgen::generate_simple_self_signed(["id.example".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], private)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener, TlsAcceptor::from(Arc::new(config)), certified.cert.pem())
}

impl Server {
    async fn start(metadata: serde_json::Value) -> Self {
        let (listener, acceptor, pem) = listen(b"http/1.1").await;
        let addr = listener.local_addr().unwrap();
        let (to_test, asked) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(socket).await else { continue };
                let mut request = Asked { head: String::new(), stream };
                request.read().await;
                if request.head.starts_with(&format!("get {METADATA} ")) {
                    request.refuse("200 OK", "content-type: application/json", &metadata).await;
                } else {
                    to_test.send(request).unwrap();
                }
            }
        });
        Self { addr, pem, asked }
    }

    fn verifier(&self, settings: FeedSettings) -> Verifier {
        builder(self.addr, &self.pem).feed(settings.randomness(|| 0.0)).build().unwrap()
    }

    async fn next(&mut self) -> Asked {
        patiently(self.asked.recv()).await.unwrap()
    }
}

fn builder(addr: SocketAddr, pem: &str) -> VerifierBuilder {
    Verifier::builder(ISSUER)
        .audience(API)
        .key_source(Source::with(&[&key(Algorithm::Es256)]))
        .clock(|| Timestamp::from_secs(START))
        .with_root_certificates(pem)
        .connect_to("id.example", addr)
}

impl Asked {
    async fn read(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        self.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    }

    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn refuse(mut self, status: &str, header: &str, body: &serde_json::Value) {
        let body = body.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\n\r\n");
        self.write(&(head + &body)).await;
        // The connection is the client's alone, and it goes when it has read the answer.
        let _ = self.stream.read(&mut [0]).await;
    }

    async fn begin(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    }

    /// In chunks that know nothing about events.
    async fn say(&mut self, text: &str) {
        for piece in text.as_bytes().chunks(13) {
            let piece = std::str::from_utf8(piece).unwrap();
            self.write(&format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        }
    }

    fn cursor(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("last-event-id: "))
    }
}

fn revoked(i: usize) -> String {
    let until = Timestamp::from_secs(START + 100);
    let revocation = Revocation { ended: token(i), until };
    Event::Revoked { cursor: format!("{i}-7"), revocation }.encode()
}

fn current(cursor: &str) -> String {
    Event::Current { cursor: Some(cursor.to_owned()), everything: true }.encode()
}

fn metrics(verifier: &Verifier) -> FeedMetrics {
    verifier.metrics().issuers[0].feed.clone().unwrap()
}

/// What takes this long does not come.
async fn patiently<T>(doing: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), doing).await.unwrap()
}

async fn until(verifier: &Verifier, there: impl Fn(&FeedMetrics) -> bool) {
    patiently(async {
        while !there(&metrics(verifier)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn with_feed() -> serde_json::Value {
    json!({"issuer": ISSUER, "jwks_uri": "https://id.example/k", "revocation_feed_endpoint": FEED})
}

#[tokio::test]
async fn a_feed_is_found_followed_and_taken_up_where_it_was_cut() {
    let mut server = Server::start(with_feed()).await;
    let verifier = server.verifier(FeedSettings::client("bill:ing", SECRET));
    let mut first = server.next().await;
    assert!(first.head.starts_with("get /realms/main/revocations http/1.1\r\n"), "{}", first.head);
    assert!(first.head.contains("\r\naccept: text/event-stream\r\n"), "{}", first.head);
    let pair = BASE64_STANDARD.encode("bill%3Aing:s3cr3t%2Bof%3Abilling").to_ascii_lowercase();
    assert!(first.head.contains(&format!("\r\nauthorization: basic {pair}\r\n")), "{}", first.head);
    assert_eq!(first.cursor(), None);
    first.begin().await;
    first.say(&(revoked(1) + &revoked(2) + &current("2-7"))).await;
    until(&verifier, |feed| feed.following).await;
    assert_eq!(metrics(&verifier).received, 2);

    // In the middle of an event, and of a chunk.
    first.say(&revoked(3)[..20]).await;
    first.write("ff\r\nid: 9-7\n").await;
    drop(first);
    let mut second = server.next().await;
    assert_eq!(second.cursor(), Some("2-7"));
    assert!(!metrics(&verifier).following);
    assert_eq!(metrics(&verifier).received, 2);
    second.begin().await;
    second.say(&(revoked(3) + &current("3-7"))).await;
    until(&verifier, |feed| feed.following).await;
    let feed = metrics(&verifier);
    assert_eq!((feed.received, feed.reconnects), (3, 1));
    assert_eq!(verifier.metrics().issuers[0].revocations, 3);

    // As a server says goodbye.
    second.write("0\r\n\r\n").await;
    assert_eq!(server.next().await.cursor(), Some("3-7"));
    assert_eq!(metrics(&verifier).last_error.as_deref(), Some("the feed was closed"));
}

#[tokio::test]
async fn what_is_answered_instead_of_a_feed_is_said_without_secrets() {
    let log = Log::keep();
    let none = json!({});
    for (status, header, expected) in [
        ("401 Unauthorized", "x: y", "this client follow the feed: status 401"),
        ("400 Bad Request", "x: y", "this client follow the feed: status 400"),
        ("403 Forbidden", "x: y", "this client follow the feed: status 403"),
        ("404 Not Found", "x: y", "the issuer has no revocation feed"),
        ("503 Service Unavailable", "retry-after: 9", "status 503"),
        ("302 Found", "location: https://id.example/elsewhere", "status 302"),
        ("200 OK", "content-type: text/html", "not text/event-stream"),
    ] {
        let mut server = Server::start(with_feed()).await;
        let verifier = server.verifier(FeedSettings::client("billing", SECRET));
        server.next().await.refuse(status, header, &none).await;
        until(&verifier, |feed| feed.last_error.is_some()).await;
        let error = metrics(&verifier).last_error.unwrap();
        assert!(error.contains(expected), "{error}");
        let log = log.text();
        assert!(log.contains(&error), "the log is looked at");
        let pair = BASE64_STANDARD.encode("billing:s3cr3t%2Bof%3Abilling");
        for hidden in [SECRET, "s3cr3t", &pair] {
            assert!(!log.contains(hidden));
            assert!(!format!("{verifier:?}{error}").contains(hidden));
        }
    }
}

/// A secret that is whatever stands here.
fn changing(now: &Arc<Mutex<Result<String, &'static str>>>) -> ClientSecret {
    let now = Arc::clone(now);
    ClientSecret::read_by(move || {
        let read = now.lock().unwrap().clone().map(Secret::new);
        Box::pin(std::future::ready(read))
    })
}

#[tokio::test]
async fn a_secret_is_read_for_every_connection_and_used_as_it_was_where_it_cannot_be() {
    let now = Arc::new(Mutex::new(Err("the vault is sealed")));
    let mut server = Server::start(with_feed()).await;
    let settings = FeedSettings::client("billing", changing(&now)).randomness(|| 0.0);
    let verifier = server.verifier(settings);
    until(&verifier, |feed| feed.last_error.is_some()).await;
    let error = metrics(&verifier).last_error.unwrap();
    assert_eq!(error, "the client's secret cannot be read: the vault is sealed");
    let mut open = None;
    for (secret, expected) in
        [(Ok("one"), "one"), (Ok("two"), "two"), (Err("sealed again"), "two"), (Ok(""), "two")]
    {
        *now.lock().unwrap() = secret.map(str::to_owned);
        drop(open.take());
        let asked = open.insert(server.next().await);
        let pair = BASE64_STANDARD.encode(format!("billing:{expected}")).to_ascii_lowercase();
        assert!(asked.head.contains(&format!("basic {pair}\r\n")), "{expected}: {}", asked.head);
    }
}

#[tokio::test]
async fn an_issuer_whose_metadata_name_no_feed_has_none() {
    let metadata = json!({"issuer": ISSUER, "jwks_uri": "https://id.example/k"});
    let mut server = Server::start(metadata).await;
    let verifier = server.verifier(FeedSettings::client("billing", SECRET));
    until(&verifier, |feed| feed.last_error.is_some()).await;
    let error = metrics(&verifier).last_error.unwrap();
    assert_eq!(error, "the issuer has no revocation feed");
    // Unless somebody knows better.
    let settings = FeedSettings::client("billing", SECRET).endpoint("https://id.example/feed");
    let _verifier = server.verifier(settings);
    assert!(server.next().await.head.starts_with("get /feed http/1.1\r\n"));
}

#[tokio::test]
async fn no_connection_is_used_again() {
    let (listener, acceptor, pem) = listen(b"h2").await;
    let addr = listener.local_addr().unwrap();
    let settings = FeedSettings::client("billing", SECRET).endpoint(FEED).randomness(|| 0.0);
    let _verifier = builder(addr, &pem).feed(settings).build().unwrap();
    let (to_test, mut asked) = unbounded_channel();
    tokio::spawn(async move {
        for connection in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(socket).await.unwrap();
            let to_test = to_test.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                to_test.send(connection).unwrap();
                // It ends at once; the connection does not.
                let body = http_body_util::Full::new(Bytes::from(current("1-7")));
                let response = Response::builder().header("content-type", "text/event-stream");
                std::future::ready(Ok::<_, Infallible>(response.body(body).unwrap()))
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    for expected in 0..3 {
        assert_eq!(patiently(asked.recv()).await, Some(expected));
    }
}
