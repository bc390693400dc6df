//! The transport over TCP and TLS.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt;
use tower_service::Service;

use super::{Pieces, Streaming, Transport, TransportError};
use crate::hosts::is_protected;
use crate::proxy::Dialer;
use crate::token::BoxFuture;

/// A connection, with TLS, takes a few round trips; 10 s is a lost packet or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From the request to the last byte of the answer. A token endpoint that needs longer is down.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest tokens, with every role of a large company, have tens of kilobytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// Token requests are minutes apart: a connection that is idle for longer only costs the server a socket.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer that does not end is held before it is read: more than any event of a revocation feed.
const STREAM_BUFFER: usize = 64 * 1024;

/// Sends requests over HTTP/1.1 or HTTP/2, and TLS.
///
/// It never follows redirects, never sends in the clear except to this machine, and reads answers whole, up to a
/// limit. Clones share connections.
///
/// It is also a [`Service`], so that [`BearerLayer`](crate::BearerLayer) can wrap it for small API calls.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client<HttpsConnector<Dial>, Full<Bytes>>,
    /// Opens a connection for each request.
    streams: Client<HttpsConnector<Dial>, Full<Bytes>>,
    dialer: Dialer,
    has_client_certificate: bool,
    timeout: Duration,
    body_limit: usize,
}

impl HttpTransport {
    /// Settings of one.
    pub fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder {
            roots: None,
            certificate: None,
            overrides: BTreeMap::new(),
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            body_limit: BODY_LIMIT,
        }
    }

    /// One that trusts what the operating system trusts.
    ///
    /// # Errors
    ///
    /// That the operating system's certificates cannot be read.
    pub fn new() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// What opens the connections of a [proxy](crate::proxy), with the same certificates and addresses.
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    async fn exchange(self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let host = protected_host(request.uri())?;
        let limit = self.body_limit;
        let exchange = async {
            let answer = self.client.request(request.map(Full::new)).await;
            let response = answer.map_err(|error| no_answer(host.clone(), &error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    TransportError::TooLong { limit }
                } else {
                    TransportError::Broken { host: host.clone(), cause: root_cause(&*error) }
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(TransportError::Timeout { after: self.timeout }))
    }
}

/// The host of a URL that may be asked.
fn protected_host(uri: &Uri) -> Result<String, TransportError> {
    let host = uri.host().unwrap_or_default();
    if is_protected(uri) {
        return Ok(host.to_owned());
    }
    let scheme = uri.scheme_str().unwrap_or("?");
    Err(TransportError::InTheClear { url: format!("{scheme}://{host}") })
}

fn no_answer(host: String, error: &legacy::Error) -> TransportError {
    let cause = root_cause(error);
    if error.is_connect() {
        TransportError::Connect { host, cause }
    } else {
        TransportError::Broken { host, cause }
    }
}

impl Streaming for HttpTransport {
    fn open(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Box<dyn Pieces>>, TransportError>> {
        Box::pin(async move {
            let host = protected_host(request.uri())?;
            let answer = self.streams.request(request.map(Full::new)).await;
            let answer = answer.map_err(|error| no_answer(host.clone(), &error))?;
            Ok(answer.map(|body| Box::new(Arriving { host, body }) as Box<dyn Pieces>))
        })
    }
}

/// An answer that does not end.
struct Arriving {
    host: String,
    body: Incoming,
}

impl Pieces for Arriving {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async {
            while let Some(frame) = self.body.frame().await {
                let frame = frame.map_err(|error| TransportError::Broken {
                    host: self.host.clone(),
                    cause: root_cause(&error),
                })?;
                // Trailers say nothing here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None)
        })
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(self.clone().exchange(request))
    }

    fn has_client_certificate(&self) -> bool {
        self.has_client_certificate
    }

    fn streaming(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Service<Request<Bytes>> for HttpTransport {
    type Response = Response<Bytes>;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Response<Bytes>, TransportError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}

impl std::fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTransport")
            .field("timeout", &self.timeout)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`HttpTransport`].
#[derive(Debug)]
pub struct HttpTransportBuilder {
    roots: Option<Vec<CertificateDer<'static>>>,
    certificate: Option<ClientCertificate>,
    overrides: BTreeMap<String, SocketAddr>,
    connect_timeout: Duration,
    timeout: Duration,
    body_limit: usize,
}

/// What the client shows to a server that asks for a certificate.
struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// Why a transport cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The root certificates are not PEM, or hold no certificate.
    #[error("root certificates: {0}")]
    Roots(String),
    /// The client's certificate or its key is not PEM, or is not there.
    #[error("client certificate: {0}")]
    ClientCertificate(String),
    /// TLS cannot be set up, or the client's key is not that of its certificate.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl HttpTransportBuilder {
    /// Trusts the certificates in this PEM text, and no others: not those of the operating system.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Roots`] if it is no PEM, or holds no certificate.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, ConfigError> {
        let roots = certificates(pem).map_err(ConfigError::Roots)?;
        self.roots.get_or_insert_default().extend(roots);
        Ok(self)
    }

    /// Shows this certificate to servers that ask for one (RFC 8705): its chain, its own first, and its private key.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ClientCertificate`] if either is no PEM, or there is none.
    pub fn client_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        let chain = certificates(chain).map_err(ConfigError::ClientCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            ConfigError::ClientCertificate(match error {
                pem::Error::NoItemsFound => "no private key in the PEM text".to_owned(),
                // Its own words may repeat a line of what is a key.
                _ => "the private key is not PEM".to_owned(),
            })
        })?;
        self.certificate = Some(ClientCertificate { chain, key });
        Ok(self)
    }

    /// Connects to this address whenever a URL names this host, whatever port the URL says.
    ///
    /// The name stays what the certificate has to be for, and what the `Host` header says.
    #[must_use]
    pub fn connect_to(mut self, host: &str, address: SocketAddr) -> Self {
        self.overrides.insert(host.to_ascii_lowercase(), address);
        self
    }

    /// How long connecting may take. 10 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a request may take, with connecting and reading the answer. 30 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an answer may be, in bytes. 1 MiB by default.
    #[must_use]
    pub fn body_limit(mut self, limit: usize) -> Self {
        self.body_limit = limit;
        self
    }

    /// The transport.
    ///
    /// # Errors
    ///
    /// That a certificate cannot be used, that the operating system's cannot be read, or that the client's key is not
    /// that of its certificate.
    pub fn build(self) -> Result<HttpTransport, ConfigError> {
        let (timeout, body_limit) = (self.timeout, self.body_limit);
        let has_client_certificate = self.certificate.is_some();
        let (dial, config) = self.connecting()?;
        let dialer = Dialer::new(dial.clone(), config.clone());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(dial);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        let window = u32::try_from(STREAM_BUFFER).unwrap_or(u32::MAX);
        let streams = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(STREAM_BUFFER)
            .http2_initial_stream_window_size(window)
            .http2_initial_connection_window_size(window)
            .build(connector);
        Ok(HttpTransport { client, streams, dialer, has_client_certificate, timeout, body_limit })
    }

    /// How connections are opened, and what TLS is like on them.
    fn connecting(self) -> Result<(Dial, ClientConfig), ConfigError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = match self.roots {
            None => config.with_platform_verifier()?,
            Some(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(root)?;
                }
                config.with_root_certificates(store)
            }
        };
        let config = match self.certificate {
            None => config.with_no_client_auth(),
            Some(ClientCertificate { chain, key }) => config.with_client_auth_cert(chain, key)?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.connect_timeout));
        Ok((Dial { tcp, overrides: Arc::new(self.overrides) }, config))
    }
}

/// Opens TCP connections, some of them to an address of our choice.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    tcp: HttpConnector,
    overrides: Arc<BTreeMap<String, SocketAddr>>,
}

impl Service<Uri> for Dial {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = uri.host().and_then(|host| self.overrides.get(&host.to_ascii_lowercase()));
        let target = address.and_then(|address| format!("http://{address}/").parse().ok());
        self.tcp.call(target.unwrap_or(uri))
    }
}

/// The certificates in a PEM text, of which there must be one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(none) if none.is_empty() => Err("no certificate in the PEM text".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// The innermost error, which is the one that says something.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
