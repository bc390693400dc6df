//! TLS: the only place that names rustls types.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::NoClientAuth;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::PeerCertificate;
use crate::socket::Socket;

/// A certificate with its key, ready to shake hands: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
///
/// Clones are one: a certificate that is replaced in one of them is replaced in all.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM certificate in what was given.
    #[error("the certificate file holds no PEM certificate")]
    NoCertificate,
    /// No PEM private key in what was given.
    #[error("the key file holds no PEM private key")]
    NoKey,
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// From a certificate chain and its private key, both PEM.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::build(certificates, key, Arc::new(NoClientAuth))
    }

    /// The same, and every client is asked for a certificate.
    ///
    /// It need not have one, and any will do, as long as it has the key (RFC 8705 §6.1): what it is worth is for the
    /// realm to say. People see their browser ask for a certificate, so this is for where machines connect.
    pub fn from_pem_asking(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let algorithms = default_provider().signature_verification_algorithms;
        Self::build(certificates, key, Arc::new(AnyCertificate(algorithms)))
    }

    fn build(
        certificates: &[u8],
        key: &[u8],
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|_| TlsError::NoCertificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// From now on shakes hands with the certificate and key of `other`. Connections that are open stay as they are.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    pub(crate) async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

/// Whether the two agreed on HTTP/2.
pub(crate) fn h2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The certificate of the client, if it was asked for one and has one.
pub(crate) fn certificate(stream: &TlsStream<Socket>) -> Option<PeerCertificate> {
    PeerCertificate::new(stream.get_ref().1.peer_certificates()?.to_vec())
}

/// The most that a client may send as its certificate and what belongs to it, in bytes: ten of usual size. It is kept
/// as long as the connection.
const MAX_CHAIN: usize = 16 * 1024;

/// Takes every certificate of which the client has the key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None, so that clients do not look for one of a certain authority.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let length: usize = between.iter().chain([own]).map(|der| der.len()).sum();
        if length > MAX_CHAIN {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, own, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}
