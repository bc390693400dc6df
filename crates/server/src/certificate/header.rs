//! A certificate that a proxy has put into a header, as the connection of the client ends there.
//!
//! Two ways of writing it are about: RFC 9440, and PEM encoded as in URLs (nginx's `$ssl_client_escaped_cert`). How
//! large it may be is settled by how large the head of a request may be.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// A header that says nothing that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a certificate, neither as RFC 9440 has it nor as PEM in URL encoding")]
pub struct BadHeader;

/// Reads the header of a certificate; `None` where it is empty: the client has shown none.
///
/// What it gives is DER that may be no certificate.
pub fn read_header(value: &[u8]) -> Result<Option<CertificateDer<'static>>, BadHeader> {
    match value.trim_ascii() {
        [] => Ok(None),
        [b':', ..] => byte_sequence(value).map(Some),
        escaped => pem(escaped).map(Some),
    }
}

/// Reads `Client-Cert-Chain` (RFC 9440 §2.3): what stands between the certificate and its authority.
pub fn read_chain_header(value: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadHeader> {
    if value.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    value.split(|b| *b == b',').map(byte_sequence).collect()
}

/// A Byte Sequence (RFC 9651 §3.3.5).
fn byte_sequence(value: &[u8]) -> Result<CertificateDer<'static>, BadHeader> {
    let inner = value.trim_ascii().strip_prefix(b":").and_then(|v| v.strip_suffix(b":"));
    let der = BASE64_STANDARD.decode(inner.ok_or(BadHeader)?).map_err(|_| BadHeader)?;
    Ok(der.into())
}

/// One certificate in PEM, with its line ends and more written as `%0A`.
fn pem(escaped: &[u8]) -> Result<CertificateDer<'static>, BadHeader> {
    let text = unescaped(escaped).ok_or(BadHeader)?;
    let mut certificates = CertificateDer::pem_slice_iter(&text);
    let Some(Ok(certificate)) = certificates.next() else { return Err(BadHeader) };
    certificates.next().is_none().then_some(certificate).ok_or(BadHeader)
}

/// RFC 3986 §2.1. A `+` is a `+`: base64 has it.
fn unescaped(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(&byte) = rest.next() {
        let mut digit = || {
            let digit = char::from(*rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        text.push(if byte == b'%' { digit()? << 4 | digit()? } else { byte });
    }
    Some(text)
}
