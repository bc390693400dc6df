//! The authorities of a realm, and for which certificates they vouch (RFC 5280 §6).

use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use tokenry_core::Timestamp;
use tokenry_core::realm::CertificatePolicy;
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::PeerCertificate;

/// Who vouches for client certificates.
#[derive(Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// The revocation lists. Where an authority has several, each is in a group of its own: of one group only one is
    /// asked.
    revoked: Vec<Vec<CertRevocationList<'static>>>,
}

/// Why the authorities of a realm cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAuthority {
    /// Counted from the first.
    #[error("authority {0} is no certificate in PEM that can be used")]
    Certificate(usize),
    /// Counted from the first.
    #[error("revocation list {0} is no complete list in PEM (RFC 5280 §5)")]
    RevocationList(usize),
}

impl Authorities {
    /// Reads what a realm says of them.
    pub fn read(policy: &CertificatePolicy) -> Result<Self, BadAuthority> {
        let mut this = Self::default();
        for (i, pem) in (1..).zip(&policy.authorities) {
            let bad = || BadAuthority::Certificate(i);
            let before = this.anchors.len();
            for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let der = der.map_err(|_| bad())?;
                let anchor = anchor_from_trusted_cert(&der).map_err(|_| bad())?;
                this.anchors.push(anchor.to_owned());
            }
            if this.anchors.len() == before {
                return Err(bad());
            }
        }
        for (i, pem) in (1..).zip(&policy.revocation_lists) {
            let bad = || BadAuthority::RevocationList(i);
            let mut some = false;
            for der in CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()) {
                let der = der.map_err(|_| bad())?;
                this.add(OwnedCertRevocationList::from_der(&der).map_err(|_| bad())?.into());
                some = true;
            }
            if !some {
                return Err(bad());
            }
        }
        Ok(this)
    }

    fn add(&mut self, list: CertRevocationList<'static>) {
        let free = |group: &&mut Vec<CertRevocationList<'static>>| {
            group.iter().all(|other| other.issuer() != list.issuer())
        };
        match self.revoked.iter_mut().find(free) {
            Some(group) => group.push(list),
            None => self.revoked.push(vec![list]),
        }
    }

    /// Whether there is anybody.
    pub(crate) const fn are_none(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Whether one of them vouches at `now` for a client with this certificate, and has not revoked it.
    pub(crate) fn vouch_for(&self, certificate: &PeerCertificate, now: Timestamp) -> bool {
        let Some((own, between)) = certificate.split() else { return false };
        let Ok(own) = EndEntityCert::try_from(own) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        let verified = |revocation: Option<RevocationOptions<'_>>| {
            let usage = KeyUsage::client_auth();
            own.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &self.anchors,
                between,
                now,
                usage,
                revocation,
                None,
            )
            .is_ok()
        };
        if self.revoked.is_empty() {
            return verified(None);
        }
        self.revoked.iter().all(|group| {
            let lists: Vec<_> = group.iter().collect();
            // An authority without a list has revoked nothing.
            let options = RevocationOptionsBuilder::new(&lists)
                .map(|options| options.with_status_policy(UnknownStatusPolicy::Allow).build());
            options.is_ok_and(|options| verified(Some(options)))
        })
    }
}
