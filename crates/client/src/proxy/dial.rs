//! How connections to upstreams are opened.

use std::io;
use std::sync::Arc;

use http::Uri;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::Destination;
use crate::BoxFuture;
use crate::transport::Dial as Tcp;

/// A stream of bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that was opened.
pub struct Dialled {
    /// The connection: within TLS, if the destination is one of https.
    pub stream: Box<dyn Stream>,
    /// Whether HTTP/2 was agreed on (ALPN).
    pub http2: bool,
}

/// Opens connections.
pub trait Dial: Send + Sync + 'static {
    /// A connection to this destination, in TLS if it is one of https. Offers HTTP/2 only if `http2` says so.
    fn dial<'a>(&'a self, to: &'a Destination, http2: bool) -> BoxFuture<'a, io::Result<Dialled>>;
}

/// Over TCP and TLS. [`HttpTransport::dialer`](crate::HttpTransport::dialer) makes one.
#[derive(Clone)]
pub struct Dialer {
    tcp: Tcp,
    /// Offers HTTP/1.1 alone.
    http1: TlsConnector,
    /// Offers HTTP/2 as well.
    http2: TlsConnector,
}

impl Dialer {
    pub(crate) fn new(tcp: Tcp, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Self { tcp, http1, http2: TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self, to: &Destination, http2: bool) -> io::Result<Dialled> {
        let target = format!("http://{}:{}/", to.host(), to.port());
        let target: Uri = target.parse().map_err(io::Error::other)?;
        let stream = self.tcp.clone().call(target).await.map_err(innermost)?.into_inner();
        if !to.is_https() {
            return Ok(Dialled { stream: Box::new(stream), http2: false });
        }
        let host = to.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = if http2 { &self.http2 } else { &self.http1 };
        let stream = tls.connect(name, stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Dialled { stream: Box::new(stream), http2 })
    }
}

/// The operating system's own error, which has a kind.
fn innermost(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(io) => io::Error::new(io.kind(), io.to_string()),
        None => io::Error::other(cause.to_string()),
    }
}

impl Dial for Dialer {
    fn dial<'a>(&'a self, to: &'a Destination, http2: bool) -> BoxFuture<'a, io::Result<Dialled>> {
        Box::pin(self.connect(to, http2))
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}
