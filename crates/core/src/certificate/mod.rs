//! Client authentication by a certificate (RFC 8705 §2): `tls_client_auth` and `self_signed_tls_client_auth`.
//!
//! Here a certificate is what somebody else has read of it. Whoever made the connection has seen that the client has
//! its key; whether an authority vouches for it has been found out as well.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::{AuthenticatedClient, CredentialKind};
use crate::grant::is_absolute;
use crate::realm::is_host;
use crate::{Client, Refusal, Timestamp};

mod distinguished_name;

pub use distinguished_name::{Attribute, BadName, DistinguishedName};

/// The longest name other than a distinguished one, in bytes.
const MAX_LEN: usize = 500;

/// A client certificate: what of it decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The SHA-256 of its DER: `x5t#S256`.
    pub thumbprint: [u8; 32],
    /// Its subject.
    pub subject: DistinguishedName,
    /// The host names among its alternative names.
    pub dns: Vec<String>,
    /// The URIs among them.
    pub uris: Vec<String>,
    /// The addresses among them.
    pub ips: Vec<IpAddr>,
    /// The mail addresses among them.
    pub emails: Vec<String>,
    /// Good from here on.
    pub not_before: Timestamp,
    /// Good until here, this second included.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Whether it is good at `now`, as far as it says so itself.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let now = now.trunc_to_secs();
        self.not_before <= now && now <= self.not_after
    }
}

/// The name that a certificate must have to be a client's: one of the five of RFC 8705 §2.1.2.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// `tls_client_auth_subject_dn`
    SubjectDn(DistinguishedName),
    /// `tls_client_auth_san_dns`, in lower case
    SanDns(String),
    /// `tls_client_auth_san_uri`
    SanUri(String),
    /// `tls_client_auth_san_ip`
    SanIp(IpAddr),
    /// `tls_client_auth_san_email`
    SanEmail(String),
}

/// The five names as a registration has them, of which there must be one.
#[derive(Clone, Copy, Debug, Default)]
pub struct WrittenNames<'a> {
    /// `tls_client_auth_subject_dn`
    pub subject_dn: Option<&'a str>,
    /// `tls_client_auth_san_dns`
    pub san_dns: Option<&'a str>,
    /// `tls_client_auth_san_uri`
    pub san_uri: Option<&'a str>,
    /// `tls_client_auth_san_ip`
    pub san_ip: Option<&'a str>,
    /// `tls_client_auth_san_email`
    pub san_email: Option<&'a str>,
}

impl WrittenNames<'_> {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        let Self { subject_dn, san_dns, san_uri, san_ip, san_email } = self;
        [subject_dn, san_dns, san_uri, san_ip, san_email].iter().all(|name| name.is_none())
    }
}

impl CertificateName {
    /// "A client using the tls_client_auth authentication method MUST use exactly one of the below metadata
    /// parameters" (RFC 8705 §2.1.2).
    pub fn registered(written: &WrittenNames<'_>) -> Result<Self, BadName> {
        let WrittenNames { subject_dn, san_dns, san_uri, san_ip, san_email } = *written;
        let given = [subject_dn, san_dns, san_uri, san_ip, san_email];
        if given.iter().flatten().count() > 1 {
            return Err(BadName("a client has one name in its certificate, not several"));
        }
        let read = [
            subject_dn.map(|name| name.parse().map(Self::SubjectDn)),
            san_dns.map(dns),
            san_uri.map(uri),
            san_ip.map(ip),
            san_email.map(email),
        ];
        let none = Err(BadName("a client has a name in its certificate: one of five"));
        read.into_iter().flatten().next().unwrap_or(none)
    }

    /// The metadata parameter (RFC 8705 §2.1.2).
    pub const fn parameter(&self) -> &'static str {
        match self {
            Self::SubjectDn(_) => "tls_client_auth_subject_dn",
            Self::SanDns(_) => "tls_client_auth_san_dns",
            Self::SanUri(_) => "tls_client_auth_san_uri",
            Self::SanIp(_) => "tls_client_auth_san_ip",
            Self::SanEmail(_) => "tls_client_auth_san_email",
        }
    }

    /// Its value.
    pub fn value(&self) -> String {
        match self {
            Self::SubjectDn(name) => name.to_string(),
            Self::SanDns(name) | Self::SanUri(name) | Self::SanEmail(name) => name.clone(),
            Self::SanIp(address) => address.to_string(),
        }
    }

    /// Whether a certificate has this name.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        match self {
            Self::SubjectDn(name) => *name == certificate.subject,
            // To the letter: a certificate for `*.example` is for none of the hosts below it here.
            Self::SanDns(host) => certificate.dns.iter().any(|own| own.eq_ignore_ascii_case(host)),
            Self::SanUri(uri) => certificate.uris.contains(uri),
            Self::SanIp(address) => certificate.ips.contains(address),
            Self::SanEmail(address) => certificate.emails.iter().any(|own| same(own, address)),
        }
    }
}

fn dns(host: &str) -> Result<CertificateName, BadName> {
    let host = host.to_ascii_lowercase();
    let good = is_host(&host) && !host.starts_with('[');
    good.then_some(CertificateName::SanDns(host)).ok_or(BadName("not a host name"))
}

fn uri(uri: &str) -> Result<CertificateName, BadName> {
    let good = uri.len() <= MAX_LEN && is_absolute(uri);
    good.then(|| CertificateName::SanUri(uri.to_owned()))
        .ok_or(BadName("not an absolute URI without a fragment"))
}

fn ip(address: &str) -> Result<CertificateName, BadName> {
    address.parse().map(CertificateName::SanIp).map_err(|_| BadName("not an IP address"))
}

fn email(address: &str) -> Result<CertificateName, BadName> {
    let halves = address.rsplit_once('@');
    let good = address.len() <= MAX_LEN
        && address.bytes().all(|b| b.is_ascii_graphic())
        && halves.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
    good.then(|| CertificateName::SanEmail(address.to_owned())).ok_or(BadName("not a mail address"))
}

/// RFC 5280 §7.5: the local part exactly, the host without regard to case.
fn same(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((a, a_host)), Some((b, b_host))) => a == b && a_host.eq_ignore_ascii_case(b_host),
        _ => false,
    }
}

/// A certificate as presented.
#[derive(Clone, Copy, Debug)]
pub struct PresentedCertificate<'a> {
    /// The certificate, whose key the client has.
    pub certificate: &'a Certificate,
    /// Whether one of the realm's authorities vouches for it, now.
    pub vouched_for: bool,
}

/// Whether a client proves itself with certificates, so that one that it presents is to be looked at.
pub fn has_certificates(client: &Client) -> bool {
    let of_certificate = |kind: &CredentialKind| {
        matches!(kind, CredentialKind::CertificateName { .. } | CredentialKind::SelfSigned { .. })
    };
    client.credentials.iter().any(|credential| of_certificate(&credential.kind))
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::BadCertificate(why)
}

/// Checks a certificate against the client that the request names.
pub fn authenticate(
    presented: &PresentedCertificate<'_>,
    client: Option<&Arc<Client>>,
    now: Timestamp,
) -> Result<AuthenticatedClient, Refusal> {
    let client = client.ok_or(Refusal::UnknownClient)?;
    let PresentedCertificate { certificate, vouched_for } = *presented;
    let mut why = bad("not the client's");
    for credential in &client.credentials {
        let (is_own, good) = match &credential.kind {
            CredentialKind::CertificateName { name } => (
                name.matches(certificate),
                vouched_for.then_some(()).ok_or(bad("no authority of the realm vouches for it")),
            ),
            // RFC 8705 §2.2: no chain is asked for, which leaves nobody else to say that it has expired.
            CredentialKind::SelfSigned { thumbprint } => (
                *thumbprint == certificate.thumbprint,
                certificate.is_live(now).then_some(()).ok_or(bad("not good at this time")),
            ),
            _ => continue,
        };
        if !is_own {
            continue;
        }
        match good {
            Err(refusal) => why = refusal,
            Ok(()) if !credential.is_live(now) => why = Refusal::SecretExpired,
            Ok(()) if !client.enabled => return Err(Refusal::ClientDisabled),
            Ok(()) => return Ok(AuthenticatedClient::by_certificate(client, &credential.id)),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests;
