//! The APIs of the demo: an axum router behind the verifier, over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Extension, Router};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokenry_verifier::{AccessToken, Verifier};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Trouble;

/// Starts an API that tells each caller who it is; gives its address.
pub(super) async fn start(verifier: &Verifier, tls: &TlsAcceptor) -> Result<SocketAddr, Trouble> {
    let hello = |Extension(token): Extension<Arc<AccessToken>>| async move {
        format!("hello {}", token.subject().unwrap_or("nobody"))
    };
    let app = Router::new().fallback(hello).layer(verifier.layer().realm("demo"));
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    let listener = TlsListener { tcp, tls: tls.clone() };
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// TLS from a certificate and its key, both PEM.
pub(super) fn tls(certificate: &str, key: &str) -> Result<TlsAcceptor, Trouble> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// One handshake after the other is enough for an API with one caller.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.tls.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
