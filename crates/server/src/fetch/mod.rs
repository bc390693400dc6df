//! Fetching what others publish, without being led to where only this machine may go (RFC 8725bis §3.10).
//!
//! The URL is written by whoever registered a client, and the name service answers as its owner likes. Therefore: https
//! alone, every address that the name has must be public, the connection goes to the very address that was checked, the
//! certificate must be that of the host, no redirect is followed, and everything has a limit.

mod address;
mod https;
#[cfg(test)]
mod tests;
mod url;

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use address::{Allowed, NotAllowable};
pub use https::HttpsFetch;
pub use url::is_fetchable;

/// Fetches what a URL names.
#[async_trait]
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// The body of what the URL names, of whatever type.
    ///
    /// # Errors
    ///
    /// That it may not be fetched, or is not to be had.
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError>;
}

/// Why something was not fetched.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    // The URL is not one to fetch from.
    /// Not an absolute URL with a host, or one of more than 2,048 bytes.
    #[error("not a URL with a host")]
    MalformedUrl,
    /// Anything but https.
    #[error("not an https URL")]
    NotHttps,
    /// A URL with a user name before the host.
    #[error("a URL with a user name")]
    UserInfo,
    /// A URL with a fragment.
    #[error("a URL with a fragment")]
    Fragment,

    // The host is not one to connect to.
    /// The name service does not know the host, or does not answer.
    #[error("the name of the host is not resolved")]
    Unresolved,
    /// The host has an address that is not public, and the operator has not allowed it.
    #[error("the host has the address {0}, which is not public")]
    NotPublic(IpAddr),
    /// None of the host's addresses takes a connection.
    #[error("no connection: {0}")]
    Connect(io::ErrorKind),
    /// The operating system has no certificates of authorities, and the operator named none.
    #[error("there are no certificates of authorities to trust")]
    NoAuthorities,
    /// No TLS connection; most often the certificate is not good for the host.
    #[error("tls: {0}")]
    Tls(String),

    // The answer is not one to take.
    /// A redirect. It would lead where nobody has agreed to go.
    #[error("answered {0}, a redirect, which is not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("answered {0}")]
    Status(u16),
    /// More than 64 KiB.
    #[error("the answer is too long")]
    TooLong,
    /// Not HTTP, or cut off.
    #[error("http: {0}")]
    Http(String),
    /// Everything together took more than 5 seconds.
    #[error("it took too long")]
    Timeout,
}

/// What the operator has agreed to beyond the public network and its authorities. By default: nothing.
#[derive(Clone, Debug, Default)]
pub struct FetchRules {
    allow: Vec<Allowed>,
    authorities: Vec<CertificateDer<'static>>,
}

/// What was given as certificates is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the file holds no PEM certificate that can be trusted")]
pub struct NotCertificates;

impl FetchRules {
    /// Also connects to these, though they are not public.
    #[must_use]
    pub fn allow(mut self, allowed: impl IntoIterator<Item = Allowed>) -> Self {
        self.allow.extend(allowed);
        self
    }

    /// Also trusts these certificates of authorities (PEM, one or several), beside those of the operating system.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, NotCertificates> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|_| NotCertificates)?;
        let usable =
            |one: &CertificateDer<'static>| RootCertStore::empty().add(one.clone()).is_ok();
        // An empty file would trust nobody more: better said at the start than with every fetch.
        if found.is_empty() || !found.iter().all(usable) {
            return Err(NotCertificates);
        }
        self.authorities.extend(found);
        Ok(self)
    }

    /// Whether to connect to this address of this host.
    fn admit(&self, host: &str, address: IpAddr) -> bool {
        address::is_public(address) || self.allow.iter().any(|one| one.admits(host, address))
    }
}
