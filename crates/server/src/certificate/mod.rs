//! Client certificates (RFC 8705): read, and kept with the connection that they came with.
//!
//! The TLS handshake has seen that the peer has the key, and nothing else: any certificate does. Whose it is, and
//! whether somebody vouches for it, is decided for each request, by the realm that it is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use tokenry_core::Timestamp;
use tokenry_core::certificate::{Attribute, Certificate, DistinguishedName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

mod authorities;
mod header;

pub use authorities::{Authorities, BadAuthority};
pub use header::{BadHeader, read_chain_header, read_header};

/// The certificate that a peer has shown to be its own, with those that it has sent along.
///
/// It is read when a request asks for that, once for the whole connection.
#[derive(Debug)]
pub struct PeerCertificate {
    /// Its own first; never empty.
    chain: Vec<CertificateDer<'static>>,
    thumbprint: OnceLock<[u8; 32]>,
    read: OnceLock<Option<Certificate>>,
}

impl PeerCertificate {
    /// From what the peer has sent, its own first; `None` where it has sent nothing.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let new = Self { chain, thumbprint: OnceLock::new(), read: OnceLock::new() };
        (!new.chain.is_empty()).then_some(new)
    }

    /// Its own, and what may stand between it and an authority.
    fn split(&self) -> Option<(&CertificateDer<'static>, &[CertificateDer<'static>])> {
        self.chain.split_first()
    }

    /// `x5t#S256`.
    pub(crate) fn thumbprint(&self) -> [u8; 32] {
        *self.thumbprint.get_or_init(|| self.split().map_or([0; 32], |(own, _)| thumbprint(own)))
    }

    /// What the certificate says, if it can be read.
    pub(crate) fn read(&self) -> Option<&Certificate> {
        self.read.get_or_init(|| self.split().and_then(|(own, _)| read(own))).as_ref()
    }
}

fn thumbprint(der: &[u8]) -> [u8; 32] {
    let mut thumbprint = [0; 32];
    thumbprint.copy_from_slice(digest(&SHA256, der).as_ref());
    thumbprint
}

/// Reads a certificate (RFC 5280 §4.1) from DER; `None` where it is none, or has more to it.
pub fn read(der: &[u8]) -> Option<Certificate> {
    let (rest, parsed) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut certificate = Certificate {
        thumbprint: thumbprint(der),
        subject: subject(parsed.subject())?,
        dns: Vec::new(),
        uris: Vec::new(),
        ips: Vec::new(),
        emails: Vec::new(),
        not_before: timestamp(parsed.validity().not_before),
        not_after: timestamp(parsed.validity().not_after),
    };
    // Two of them, or one that cannot be read, and nobody knows what the certificate says.
    let names = parsed.subject_alternative_name().ok()?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(host) => certificate.dns.push((*host).to_owned()),
            GeneralName::URI(uri) => certificate.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(address) => certificate.emails.push((*address).to_owned()),
            GeneralName::IPAddress(bytes) => certificate.ips.extend(address(bytes)),
            _ => {}
        }
    }
    Some(certificate)
}

/// RFC 4514 §2.1: "starting with the last element of the sequence".
fn subject(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut relative = Vec::new();
    for set in name.iter_rdn() {
        relative.push(set.iter().map(attribute).collect::<Option<Vec<_>>>()?);
    }
    relative.reverse();
    Some(DistinguishedName::new(relative))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<Attribute> {
    let value = attribute.attr_value();
    let number = u8::try_from(value.tag().0).ok().filter(|number| *number < 0x1f)?;
    let tag = (value.class() as u8) << 6 | u8::from(value.header.constructed()) << 5 | number;
    Attribute::read(&attribute.attr_type().to_id_string(), tag, value.data)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or(v6).ok()
}

/// What was before 1970 begins with it.
fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
