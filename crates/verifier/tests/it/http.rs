//! Key sets over HTTP and TLS, from a server made here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokenry_core::Timestamp;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    FetchError, Fetched, HttpConfigError, HttpKeySource, HttpKeySourceBuilder, KeySource, Verifier,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::issuer::{API, ISSUER, START, claims, key, set, token};

pub(crate) const METADATA: &str = "/.well-known/oauth-authorization-server/realms/main";
const OPENID: &str = "/realms/main/.well-known/openid-configuration";

/// A server for `id.example`: what it answers by path, where it is, and whom to trust for it.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) pem: String,
}

type Pages = Vec<(&'static str, u16, &'static str, String)>;

impl Server {
    async fn start(pages: Pages) -> Self {
        let pages: HashMap<_, _> = pages.into_iter().map(|(p, s, h, b)| (p, (s, h, b))).collect();
        let pages = Arc::new(pages);
        Self::serve(move |request| answer(pages.clone(), request)).await
    }

    /// A server that answers so.
    pub(crate) async fn serve<A, F>(answer: A) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let certified = rcgen::generate_simple_self_signed(["id.example".to_owned()]).unwrap();
        let pem = certified.cert.pem();
        let private = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answered = answer(request.map(Body::new));
                        async { Ok::<_, Infallible>(answered.await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { addr, pem }
    }

    fn client(&self) -> HttpKeySourceBuilder {
        HttpKeySource::builder()
            .with_root_certificates(self.pem.clone())
            .connect_to("id.example", self.addr)
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.client().build().unwrap().fetch(ISSUER).await
    }
}

async fn answer(
    pages: Arc<HashMap<&'static str, (u16, &'static str, String)>>,
    request: Request<Body>,
) -> Response<Body> {
    let response = match pages.get(request.uri().path()) {
        None => Response::builder().status(404).body(Body::empty()),
        Some((status, header, body)) => {
            let (name, value) = header.split_once(": ").unwrap();
            Response::builder().status(*status).header(name, value).body(body.clone().into())
        }
    };
    response.unwrap()
}

fn metadata(issuer: &str, jwks_uri: &str) -> String {
    json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string()
}

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn keys_are_found_through_the_metadata_and_a_token_verified() {
    let key = key(Algorithm::Es256);
    let server = Server::start(vec![
        (METADATA, 200, JSON, metadata(ISSUER, "https://id.example/keys")),
        ("/keys", 200, "cache-control: public, max-age=77", set(&[&key])),
    ])
    .await;
    let fetched = server.fetch().await.unwrap();
    assert_eq!(fetched.max_age.unwrap().as_secs(), 77);

    let verifier = Verifier::builder(ISSUER)
        .audience(API)
        .with_root_certificates(server.pem.clone())
        .connect_to("ID.example", server.addr)
        .build()
        .unwrap();
    let token = verifier.verify(&token(&key, &claims()), Timestamp::from_secs(START)).await;
    assert_eq!(token.unwrap().client_id(), Some("billing"));
}

#[tokio::test]
async fn an_issuer_that_knows_only_openid_connect_is_found() {
    let server = Server::start(vec![
        (METADATA, 400, JSON, "{}".to_owned()),
        (OPENID, 200, JSON, metadata(ISSUER, "https://id.example/keys")),
        ("/keys", 200, JSON, set(&[])),
    ])
    .await;
    assert_eq!(server.fetch().await.unwrap().body, set(&[]));
}

#[tokio::test]
async fn row_269_metadata_that_name_another_issuer_are_refused() {
    let server = Server::start(vec![
        (
            METADATA,
            200,
            JSON,
            metadata("https://id.example/realms/other", "https://id.example/keys"),
        ),
        ("/keys", 200, JSON, set(&[])),
    ])
    .await;
    assert!(matches!(server.fetch().await, Err(FetchError::Metadata(_))));
}

#[tokio::test]
async fn an_address_in_the_clear_is_not_asked() {
    let server =
        Server::start(vec![(METADATA, 200, JSON, metadata(ISSUER, "http://id.example/keys"))])
            .await;
    assert!(matches!(server.fetch().await, Err(FetchError::Address(_))));
    for uri in ["http://id.example/keys", "/keys", "", "file:///etc/passwd", "https://"] {
        let refused = server.client().jwks_uri(uri).build().map(|_| ());
        assert!(matches!(refused, Err(HttpConfigError::JwksUri(_))), "{uri}");
    }
    assert!(server.client().jwks_uri("http://id.example/keys").allow_plain_http().build().is_ok());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(vec![
        ("/old", 302, "location: https://id.example/keys", String::new()),
        ("/keys", 200, JSON, set(&[])),
    ])
    .await;
    let source = server.client().jwks_uri("https://id.example/old").build().unwrap();
    assert!(matches!(source.fetch(ISSUER).await, Err(FetchError::Status(302))));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Server::start(vec![("/keys", 200, JSON, " ".repeat(300 * 1024))]).await;
    let source = server.client().jwks_uri("https://id.example/keys").build().unwrap();
    assert!(matches!(source.fetch(ISSUER).await, Err(FetchError::BodyTooLong)));
}

#[tokio::test]
async fn row_268_a_certificate_nobody_vouches_for_is_refused() {
    let server = Server::start(vec![("/keys", 200, JSON, set(&[]))]).await;
    let stranger = Server::start(Vec::new()).await;
    let source = HttpKeySource::builder()
        .with_root_certificates(stranger.pem)
        .connect_to("id.example", server.addr)
        .jwks_uri("https://id.example/keys");
    let refused = source.build().unwrap().fetch(ISSUER).await;
    assert!(matches!(refused, Err(FetchError::Connection(_))));

    let other_name = HttpKeySource::builder()
        .with_root_certificates(server.pem.clone())
        .connect_to("other.example", server.addr)
        .jwks_uri("https://other.example/keys");
    let refused = other_name.build().unwrap().fetch(ISSUER).await;
    assert!(matches!(refused, Err(FetchError::Connection(_))));
}

#[test]
fn root_certificates_that_are_none_are_refused() {
    for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = HttpKeySource::builder().with_root_certificates(pem).build().map(|_| ());
        assert_eq!(refused, Err(HttpConfigError::RootCertificates), "{pem:?}");
    }
}
