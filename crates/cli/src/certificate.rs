//! The server's certificate as its clients see it: whether it can be used, how long it is good, and for which names.

use std::path::PathBuf;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokenry_core::Timestamp;
use tokenry_server::Tls;

use crate::config::{Config, TlsFiles, master_key};
use crate::diagnostic::{Diagnostic, Diagnostics, plain};
use crate::document::At;
use crate::edge;

/// How long before its end a certificate is worth a warning: authorities that renew by themselves do it at 30 days,
/// and people need a week.
const SOON: Duration = Duration::from_secs(14 * 86400);

/// A certificate with its key, as the files hold them.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Ready to shake hands.
    pub(crate) tls: Tls,
    /// The chain, the server's own certificate first.
    chain: Vec<CertificateDer<'static>>,
}

/// Reads the certificate and its key, if there are to be any.
pub(crate) fn load(config: &Config) -> Result<Option<Loaded>, Diagnostics> {
    let Some(files) = &config.tls else { return Ok(None) };
    let mut diagnostics = Diagnostics::default();
    let mut read = |at: &At<PathBuf>, what: &str| {
        std::fs::read(&at.value)
            .map_err(|error| {
                let message =
                    format!("the {what} {} cannot be read: {}", at.value.display(), plain(&error));
                diagnostics.push(config.error(&at.span, message));
            })
            .ok()
    };
    let certificate = read(&files.certificate, "certificate");
    let key = read(&files.key, "key").map(zeroize::Zeroizing::new);
    let (Some(certificate), Some(key)) = (certificate, key) else { return Err(diagnostics) };
    let tls = if files.asks { Tls::from_pem_asking } else { Tls::from_pem };
    let tls = tls(&certificate, &key).map_err(|error| {
        let at = match error {
            tokenry_server::TlsError::NoKey => &files.key.span,
            _ => &files.certificate.span,
        };
        config.error(at, error.to_string())
    })?;
    let chain = CertificateDer::pem_slice_iter(&certificate).filter_map(Result::ok).collect();
    Ok(Some(Loaded { tls, chain }))
}

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Validity {
    /// For now.
    Good,
    /// Until then, which is soon.
    Ends(Timestamp),
    /// Since then it is not good any more.
    Expired(Timestamp),
    /// From then on.
    Begins(Timestamp),
}

impl Loaded {
    /// How long the chain is good: as long as the first of its certificates that ends.
    fn validity(&self, now: Timestamp) -> Validity {
        let each = self.chain.iter().map(|certificate| validity(certificate, now));
        let rank = |validity: &Validity| match validity {
            Validity::Expired(_) => 0,
            Validity::Begins(_) => 1,
            Validity::Ends(_) => 2,
            Validity::Good => 3,
        };
        each.min_by_key(rank).unwrap_or(Validity::Good)
    }

    /// What is to be said about how long it is good: an error where clients refuse it.
    pub(crate) fn aging(&self, config: &Config, now: Timestamp) -> Option<Diagnostic> {
        let at = &config.tls.as_ref()?.certificate;
        let name = at.value.display();
        const HELP: &str = "put a new one in its place; a running server takes it over by itself";
        match self.validity(now) {
            Validity::Good => None,
            Validity::Expired(end) => {
                let message = format!("the certificate {name} has expired on {}", edge::date(end));
                Some(config.error(&at.span, message).help(HELP))
            }
            Validity::Begins(begin) => {
                let message =
                    format!("the certificate {name} is not good before {}", edge::date(begin));
                Some(config.error(&at.span, message).help("is the clock of this machine right?"))
            }
            Validity::Ends(end) => {
                let message = format!("the certificate {name} expires on {}", edge::date(end));
                Some(config.warning(&at.span, message).help(HELP))
            }
        }
    }

    /// Whether clients that ask for this host accept it.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let Some(own) = self.chain.first() else { return false };
        let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']'])) else { return false };
        ParsedCertificate::try_from(own).is_ok_and(|own| verify_server_name(&own, &name).is_ok())
    }
}

/// The warning about a key that others can read.
pub(crate) fn exposed_key(config: &Config) -> Option<Diagnostic> {
    let TlsFiles { key, .. } = config.tls.as_ref()?;
    let metadata = std::fs::metadata(&key.value).ok()?;
    let mode = master_key::only_its_owner(&metadata).err()?;
    let name = key.value.display();
    let message = format!("the key {name} can be read by others (mode {mode:03o})");
    Some(config.warning(&key.span, message).help(format!("chmod 600 {name}")))
}

/// Asks the verifier that clients use, with nobody to trust: it looks at the dates first.
fn validity(certificate: &CertificateDer<'_>, now: Timestamp) -> Validity {
    let at = |now: Timestamp| {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let roots = RootCertStore::empty();
        match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms) {
            Err(rustls::Error::InvalidCertificate(why)) => Some(why),
            _ => None,
        }
    };
    let timestamp = |time: UnixTime| Timestamp::from_secs(time.as_secs());
    match (at(now), at(now + SOON)) {
        (Some(CertificateError::ExpiredContext { not_after, .. }), _) => {
            Validity::Expired(timestamp(not_after))
        }
        (Some(CertificateError::NotValidYetContext { not_before, .. }), _) => {
            Validity::Begins(timestamp(not_before))
        }
        (_, Some(CertificateError::ExpiredContext { not_after, .. })) => {
            Validity::Ends(timestamp(not_after))
        }
        _ => Validity::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::init::certificates;

    /// When the certificate is made.
    const MADE: Timestamp = Timestamp::from_secs(20_000 * 86400);
    const DAY: Duration = Duration::from_secs(86400);

    fn loaded() -> Loaded {
        let made = certificates::make(&["auth.example".to_owned()], MADE).unwrap();
        let tls = Tls::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
        let chain = made.certificate + &made.authority;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
        Loaded { tls, chain: chain.unwrap() }
    }

    #[test]
    fn a_certificate_begins_is_good_ends_soon_and_expires() {
        let loaded = loaded();
        // Made good from the day before to 820 days later, at midnight.
        let (begin, end) = (Timestamp::from_secs(19_999 * 86400), MADE + DAY * 820);
        assert_eq!(loaded.validity(MADE), Validity::Good);
        assert_eq!(loaded.validity(MADE + DAY * 805), Validity::Good);
        assert_eq!(loaded.validity(MADE + DAY * 807), Validity::Ends(end));
        assert_eq!(loaded.validity(MADE + DAY * 821), Validity::Expired(end));
        assert_eq!(loaded.validity(Timestamp::from_secs(19_998 * 86400)), Validity::Begins(begin));
    }

    #[test]
    fn a_certificate_is_for_its_names_alone() {
        let loaded = loaded();
        for host in ["localhost", "127.0.0.1", "[::1]", "auth.example"] {
            assert!(loaded.is_for(host), "{host}");
        }
        for host in ["other.example", "127.0.0.2", "", "a b"] {
            assert!(!loaded.is_for(host), "{host}");
        }
    }
}
