//! The real thing: names resolved here, TLS by rustls, one request per connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::Url;
use super::{Fetch, FetchError, FetchRules};

/// How long all of it may take: name, connection, TLS, answer. A key set comes from memory or a cache.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long one address may take to accept a connection, so that time is left for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many addresses of a host are tried. All are checked.
const MAX_TRIES: usize = 4;

/// The longest body: 20 keys with certificate chains fit.
const MAX_BODY: usize = 64 * 1024;

/// The most that is read before the body begins.
const MAX_HEAD: usize = 16 * 1024;

/// Fetches over HTTPS, from public addresses and those that the operator has allowed.
#[derive(Debug)]
pub struct HttpsFetch {
    rules: FetchRules,
    resolver: Arc<dyn Resolve>,
    /// Made when it is needed: that reads the authorities that the operating system trusts, and most never need it.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl HttpsFetch {
    /// Fetches by these rules.
    pub fn new(rules: FetchRules) -> Self {
        Self::with_resolver(rules, Arc::new(System))
    }

    pub(super) fn with_resolver(rules: FetchRules, resolver: Arc<dyn Resolve>) -> Self {
        Self { rules, resolver, tls: OnceCell::new() }
    }

    async fn get(&self, url: &Url) -> Result<Bytes, FetchError> {
        // Checked here, and connected to: the name is not asked for again, since the answer might be another then.
        let addresses = self.addresses(url).await?;
        let tls = Arc::clone(self.tls.get_or_try_init(|| self.tls()).await?);
        let stream = connect(&addresses, url.port).await?;
        let stream = TlsConnector::from(tls)
            .connect(url.name.clone(), stream)
            .await
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        ask(url, stream).await
    }

    /// The addresses of the host, if all of them may be connected to.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match url.host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let resolved = self.resolver.resolve(&url.host).await;
                resolved.map_err(|_| FetchError::Unresolved)?
            }
        };
        // One that is not public spoils all: an honest host has none, and an attacker could have them take turns.
        match addresses.iter().find(|address| !self.rules.admit(&url.host, **address)) {
            Some(address) => Err(FetchError::NotPublic(*address)),
            None if addresses.is_empty() => Err(FetchError::Unresolved),
            None => Ok(addresses),
        }
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, FetchError> {
        let authorities = self.rules.authorities.clone();
        // It reads files.
        let made = tokio::task::spawn_blocking(move || {
            let provider = Arc::new(default_provider());
            // The one error there is: nobody to trust. What the operator named was checked when it was read.
            let verifier = Verifier::new_with_extra_roots(authorities, Arc::clone(&provider))
                .map_err(|_| FetchError::NoAuthorities)?;
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| FetchError::Tls(error.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        });
        made.await.unwrap_or_else(|_| Err(FetchError::Tls("the task has ended".to_owned())))
    }
}

impl Default for HttpsFetch {
    /// Fetches from public addresses alone, and trusts whom the operating system trusts.
    fn default() -> Self {
        Self::new(FetchRules::default())
    }
}

#[async_trait]
impl Fetch for HttpsFetch {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let url = Url::parse(url)?;
        timeout(TIMEOUT, self.get(&url)).await.unwrap_or(Err(FetchError::Timeout))
    }
}

/// Asks the name service.
#[async_trait]
pub(super) trait Resolve: Send + Sync + std::fmt::Debug {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// A connection to the first of the addresses that takes one.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, FetchError> {
    let mut failure = io::ErrorKind::AddrNotAvailable;
    for address in addresses.iter().take(MAX_TRIES) {
        let address = SocketAddr::new(*address, port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error.kind(),
            Err(_) => failure = io::ErrorKind::TimedOut,
        }
    }
    Err(FetchError::Connect(failure))
}

/// One request, and the body of the answer.
async fn ask(url: &Url, stream: TlsStream<TcpStream>) -> Result<Bytes, FetchError> {
    let request = Request::get(url.path.as_str())
        .header(HOST, &url.authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("tokenry/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::MalformedUrl)?;
    let http = |error: hyper::Error| FetchError::Http(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    // Ends with this function, whichever way it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    // What type it says to be of is not looked at: the body is taken for what was asked for, or is refused.
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => FetchError::TooLong,
        Err(error) => FetchError::Http(error.to_string()),
    })?;
    Ok(body.to_bytes())
}
