//! The real thing against sockets of this machine.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::https::Resolve;
use super::*;

const HOST: &str = "keys.example";

/// A server that answers every request with the same bytes, or never.
struct Server {
    port: u16,
    authority: String,
    /// What it was asked, one text per request.
    asked: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(certified: &str, answer: Option<Vec<u8>>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new([certified.to_owned()]).unwrap();
        let own = own.signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), answer, tell));
        Self { port, authority: authority.pem(), asked }
    }

    async fn answering(answer: &str) -> Self {
        Self::start(HOST, Some(answer.into())).await
    }

    fn url(&self) -> String {
        format!("https://{HOST}:{}/jwks?a=b", self.port)
    }

    fn rules(&self) -> FetchRules {
        FetchRules::default().with_authorities(self.authority.as_bytes()).unwrap()
    }

    /// As an operator has it who has allowed the host.
    fn fetch(&self) -> HttpsFetch {
        HttpsFetch::with_resolver(self.rules().allow([HOST.parse().unwrap()]), Names::loopback())
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    answer: Option<Vec<u8>>,
    tell: mpsc::UnboundedSender<String>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = tls.accept(stream).await else { continue };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        tell.send(String::from_utf8(request).unwrap()).unwrap();
        match &answer {
            // The other side may have seen enough, and be gone.
            Some(answer) => drop(stream.write_all(answer).await),
            None => std::future::pending().await,
        }
        let _ = stream.shutdown().await;
    }
}

/// A name service that gives one answer after the other, and the last again and again.
#[derive(Debug)]
struct Names {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(Self { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
    }

    fn loopback() -> Arc<Self> {
        Self::of(&[&["127.0.0.1"]])
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let count = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.get(count).or_else(|| self.answers.last());
        answer.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn what_an_allowed_host_publishes_is_fetched() {
    let mut server = Server::answering(GOOD).await;
    assert_eq!(server.fetch().fetch(&server.url()).await, Ok(Bytes::from_static(b"{}")));
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /jwks?a=b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {HOST}:{}\r\n", server.port)), "{asked}");
    assert!(asked.contains("accept: application/jwk-set+json, application/json\r\n"), "{asked}");
}

#[tokio::test]
async fn row_170_a_host_that_is_not_public_is_not_connected_to() {
    let mut server = Server::answering(GOOD).await;
    let loopback = "127.0.0.1".parse().unwrap();
    let port = server.port;
    let urls = [
        server.url(),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
    ];
    for url in urls {
        let fetch = HttpsFetch::with_resolver(server.rules(), Names::loopback());
        let refused = fetch.fetch(&url).await.unwrap_err();
        assert!(matches!(refused, FetchError::NotPublic(_)), "{url}: {refused}");
    }
    // With the name service of this machine.
    for host in ["localhost", "127.1", "0x7f.1", "2130706433", "0"] {
        let url = format!("https://{host}:{port}/");
        let refused = HttpsFetch::new(server.rules()).fetch(&url).await.unwrap_err();
        let kind = matches!(
            refused,
            FetchError::NotPublic(_) | FetchError::Unresolved | FetchError::MalformedUrl
        );
        assert!(kind, "{url}: {refused}");
    }
    // One address that is not public among others, first or last.
    for answer in [&["127.0.0.1", "192.0.9.1"], &["192.0.9.1", "127.0.0.1"]] {
        let fetch = HttpsFetch::with_resolver(server.rules(), Names::of(&[answer]));
        let refused = fetch.fetch(&server.url()).await;
        assert_eq!(refused, Err(FetchError::NotPublic(loopback)));
    }
    assert!(server.asked.try_recv().is_err());
}

#[tokio::test]
async fn row_170_the_address_that_was_checked_is_the_one_connected_to() {
    let server = Server::answering(GOOD).await;
    // The name service changes its mind between check and connection.
    let names = Names::of(&[&["127.0.0.1"], &["127.9.9.9"]]);
    let rules = server.rules().allow(["127.0.0.1".parse().unwrap()]);
    let fetch = HttpsFetch::with_resolver(rules, names.clone());
    assert!(fetch.fetch(&server.url()).await.is_ok());
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    let second = fetch.fetch(&server.url()).await;
    assert_eq!(second, Err(FetchError::NotPublic("127.9.9.9".parse().unwrap())));
}

#[tokio::test]
async fn row_170_no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let mut server = Server::answering(&format!(
            "HTTP/1.1 {status} Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
        let refused = server.fetch().fetch(&server.url()).await;
        assert_eq!(refused, Err(FetchError::Redirect(status)));
        assert!(server.asked.recv().await.is_some());
        assert!(server.asked.try_recv().is_err());
    }
}

#[tokio::test]
async fn row_170_only_a_short_answer_of_status_200_is_taken() {
    const MOST: usize = 64 * 1024;
    let with_length = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "a".repeat(length))
    };
    let chunked = |length: usize| {
        let body = "a".repeat(length);
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    let until_close = |length: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(length));
    let status = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
    let cases = [
        ("as long as may be", with_length(MOST), None),
        ("a byte more", with_length(MOST + 1), Some(FetchError::TooLong)),
        ("chunks", chunked(MOST), None),
        ("too long in chunks", chunked(MOST + 1), Some(FetchError::TooLong)),
        ("until the end", until_close(MOST), None),
        ("too long until the end", until_close(MOST + 1), Some(FetchError::TooLong)),
        ("created", status(201), Some(FetchError::Status(201))),
        ("not found", status(404), Some(FetchError::Status(404))),
        ("broken", status(500), Some(FetchError::Status(500))),
    ];
    for (case, answer, expected) in cases {
        let server = Server::answering(&answer).await;
        assert_eq!(server.fetch().fetch(&server.url()).await.err(), expected, "{case}");
    }
    let huge_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(MOST));
    let cut_off = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_owned();
    for (case, answer) in [("huge", huge_head), ("cut", cut_off), ("ssh", "SSH-2.0\r\n".to_owned())]
    {
        let server = Server::answering(&answer).await;
        let refused = server.fetch().fetch(&server.url()).await;
        assert!(matches!(refused, Err(FetchError::Http(_))), "{case}: {refused:?}");
    }
}

#[tokio::test]
async fn row_170_a_slow_answer_is_not_waited_for() {
    let mut server = Server::start(HOST, None).await;
    let (fetch, url) = (server.fetch(), server.url());
    let fetching = tokio::spawn(async move { fetch.fetch(&url).await });
    // From here on nothing comes any more: time may pass at once.
    server.asked.recv().await.unwrap();
    tokio::time::pause();
    let paused_at = tokio::time::Instant::now();
    assert_eq!(fetching.await.unwrap(), Err(FetchError::Timeout));
    let waited = paused_at.elapsed();
    assert!(waited <= Duration::from_secs(6), "{waited:?}");
}

#[tokio::test]
async fn the_certificate_must_be_of_the_host_and_from_an_authority_that_is_trusted() {
    let server = Server::start("other.example", Some(GOOD.into())).await;
    let refused = server.fetch().fetch(&server.url()).await;
    assert!(matches!(refused, Err(FetchError::Tls(_))), "{refused:?}");

    let (server, stranger) = (Server::answering(GOOD).await, Server::answering(GOOD).await);
    let rules = stranger.rules().allow([HOST.parse().unwrap()]);
    let fetch = HttpsFetch::with_resolver(rules, Names::loopback());
    let refused = fetch.fetch(&server.url()).await;
    assert!(matches!(refused, Err(FetchError::Tls(_))), "{refused:?}");
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_told_apart_from_one_that_is_unknown() {
    let server = Server::answering(GOOD).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("https://{HOST}:{}/", closed.port());
    let refused = server.fetch().fetch(&url).await;
    assert_eq!(refused, Err(FetchError::Connect(io::ErrorKind::ConnectionRefused)));
    for names in [Names::of(&[]), Names::of(&[&[]])] {
        let fetch = HttpsFetch::with_resolver(server.rules(), names);
        assert_eq!(fetch.fetch(&server.url()).await, Err(FetchError::Unresolved));
    }
}

#[tokio::test]
async fn an_address_that_takes_no_connection_gives_way_to_the_next() {
    let server = Server::answering(GOOD).await;
    let rules = server.rules().allow([HOST.parse().unwrap()]);
    let names = Names::of(&[&["127.0.0.9", "127.0.0.1"]]);
    assert!(HttpsFetch::with_resolver(rules, names).fetch(&server.url()).await.is_ok());
}

#[test]
fn authorities_are_certificates() {
    for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = FetchRules::default().with_authorities(bad.as_bytes());
        assert_eq!(refused.err(), Some(NotCertificates), "{bad}");
    }
}
