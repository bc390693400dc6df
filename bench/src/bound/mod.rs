//! The bound: a minimal server that reads the form and the Basic header and signs a token, and does nothing else.
//!
//! No router, no storage, no checks, no log: what a server in Rust could do at best.

mod token;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::problem::{Doing as _, Problem, Result};
use token::Signer;

/// The same issuer as that of the realm it is compared with.
const ISSUER: &str = "https://localhost/es256";

/// What it answers with.
enum Kind {
    /// A token signed for this request.
    Sign(Box<Signer>),
    /// The same answer every time, without a look at the request.
    Fixed(Bytes),
}

/// `bound KIND [--tls CERTIFICATE KEY]`: serves on a port of its choice, which it prints, until it is killed.
pub(crate) async fn run(args: &[String]) -> Result<()> {
    let (kind, tls) = match args {
        [kind] => (kind, None),
        [kind, option, certificate, key] if option == "--tls" => {
            (kind, Some(acceptor(certificate, key)?))
        }
        _ => return Err(Problem::new("usage: bound KIND [--tls CERTIFICATE KEY]")),
    };
    let kind = Rc::new(match (kind.as_str(), kind.strip_prefix("fixed-")) {
        // The answer to one request, as large as those that are signed.
        (_, Some(algorithm)) => {
            let answer = Signer::new(algorithm)?.answer(ISSUER, "bench", "read write");
            Kind::Fixed(Bytes::from(answer.ok_or_else(|| Problem::new("no signature"))?))
        }
        (algorithm, None) => Kind::Sign(Box::new(Signer::new(algorithm)?)),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    tokio::task::LocalSet::new().run_until(accept(listener, kind, tls)).await
}

/// An access token such as the bound answers with.
pub(crate) fn access_token() -> Result<String> {
    let answer = Signer::new("ES256")?.answer(ISSUER, "bench", "read write");
    let answer = answer.ok_or_else(|| Problem::new("no signature"))?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    Ok(answer["access_token"].as_str().unwrap_or_default().to_owned())
}

async fn accept(listener: TcpListener, kind: Rc<Kind>, tls: Option<TlsAcceptor>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let kind = Rc::clone(&kind);
        match tls.clone() {
            None => drop(tokio::task::spawn_local(serve(stream, kind))),
            Some(tls) => drop(tokio::task::spawn_local(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, kind).await;
                }
            })),
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, kind: Rc<Kind>) {
    let service = service_fn(|request| {
        let kind = Rc::clone(&kind);
        async move {
            let answer = match &*kind {
                Kind::Fixed(answer) => Some(answer.clone()),
                Kind::Sign(signer) => sign(signer, request).await,
            };
            Ok::<_, Infallible>(response(answer))
        }
    });
    // A connection that breaks is the load's affair.
    // hyper would make a buffer for each request to see whether the peer is still there.
    let mut http = http1::Builder::new();
    http.half_close(true).writev(false);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Reads what a token request says, and signs.
async fn sign(signer: &Signer, request: Request<Incoming>) -> Option<Bytes> {
    let (parts, body) = request.into_parts();
    let basic = parts.headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Basic ")?;
    let credentials = String::from_utf8(BASE64_STANDARD.decode(basic).ok()?).ok()?;
    let (client, _secret) = credentials.split_once(':')?;
    let body = body.collect().await.ok()?.to_bytes();
    let mut scope = "read write".to_owned();
    let mut grant = None;
    for pair in body.split(|byte| *byte == b'&') {
        let pair = std::str::from_utf8(pair).ok()?;
        match pair.split_once('=')? {
            ("grant_type", value) => grant = Some(decoded(value)?),
            ("scope", value) => scope = decoded(value)?,
            _ => {}
        }
    }
    if grant? != "client_credentials" {
        return None;
    }
    signer.answer(ISSUER, client, &scope).map(Bytes::from)
}

/// A value of a form.
fn decoded(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn response(answer: Option<Bytes>) -> Response<Full<Bytes>> {
    let Some(answer) = answer else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let mut response = Response::new(Full::new(answer));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
    headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    response
}

/// rustls as it comes: nothing but the provider and the certificate is chosen.
fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).doing(certificate)?;
    let chain = chain.collect::<std::result::Result<_, _>>().doing(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).doing(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
