//! Connections to the issuer. Types of rustls stay in here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::BoxFuture;
use crate::keys::HttpConfigError;

/// Connects with TLS, or without where plain HTTP is allowed.
pub(super) type Connector = HttpsConnector<Dial>;

/// Half of the time a fetch may take: the other half is for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// Trusts these certificates, or with none what the operating system trusts.
pub(super) fn connector(
    roots: Option<&[u8]>,
    dial: Dial,
    allow_plain_http: bool,
) -> Result<Connector, HttpConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| HttpConfigError::Tls(e.to_string()))?;
    let config = match roots {
        None => config
            .with_platform_verifier()
            .map_err(|e| HttpConfigError::Tls(e.to_string()))?
            .with_no_client_auth(),
        Some(pem) => config.with_root_certificates(root_store(pem)?).with_no_client_auth(),
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    let builder = if allow_plain_http { builder.https_or_http() } else { builder.https_only() };
    Ok(builder.enable_all_versions().wrap_connector(dial))
}

fn root_store(pem: &[u8]) -> Result<RootCertStore, HttpConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| HttpConfigError::RootCertificates)?;
        store.add(certificate).map_err(|_| HttpConfigError::RootCertificates)?;
    }
    // An empty file would trust nobody: better said at the start than with every fetch.
    if store.is_empty() { Err(HttpConfigError::RootCertificates) } else { Ok(store) }
}

/// Opens TCP connections, to other addresses than the name service says for some hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Dial {
    pub(super) overrides: Arc<BTreeMap<String, SocketAddr>>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let overrides = self.overrides.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_ascii_lowercase();
            let tls = uri.scheme_str() != Some("http");
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let connect = async {
                match overrides.get(&host) {
                    Some(addr) => TcpStream::connect(addr).await,
                    // An IPv6 address stands in brackets in a URI, and without them everywhere else.
                    None => TcpStream::connect((host.trim_matches(['[', ']']), port)).await,
                }
            };
            timeout(CONNECT_TIMEOUT, connect)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map(TokioIo::new)
        })
    }
}
