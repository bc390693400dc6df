//! Client certificates that tokens are bound to (RFC 8705 §3).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The certificate with which the client made the connection, as its SHA-256.
///
/// Put it into the extensions of each request where TLS ends. Nothing else may: a header that says so can be sent by
/// anybody, unless a proxy of yours removes it from all that comes in. Whether the certificate is one to trust is not
/// asked here; that the client has its key, the handshake has shown.
///
/// ```
/// use tokenry_verifier::ClientCertificate;
///
/// fn of_connection(tls: &rustls::ServerConnection) -> Option<ClientCertificate> {
///     Some(ClientCertificate::from_der(tls.peer_certificates()?.first()?))
/// }
///
/// fn mark<B>(request: &mut http::Request<B>, tls: &rustls::ServerConnection) {
///     if let Some(certificate) = of_connection(tls) {
///         request.extensions_mut().insert(certificate);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate([u8; 32]);

impl ClientCertificate {
    /// From the certificate itself, in DER; the first of the chain.
    pub fn from_der(certificate: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(sha256)
    }

    /// From the SHA-256 of its DER, as some proxies tell it.
    pub const fn from_sha256(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// Whether it is the certificate with this SHA-256 (`x5t#S256`). Takes always the same time.
    pub fn is(&self, sha256: &[u8; 32]) -> bool {
        verify_slices_are_equal(&self.0, sha256).is_ok()
    }
}
