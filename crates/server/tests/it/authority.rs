//! An authority for client certificates, and clients with certificates of it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokenry_core::Realm;
use tokenry_core::certificate::{CertificateName, WrittenNames};
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::realm::CertificatePolicy;
use tokenry_server::Peer;
use tokenry_server::certificate::PeerCertificate;

use crate::house::{START, realm};

/// Somebody who signs certificates.
pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn authority_below(name: &str, above: &Authority) -> Authority {
    CertifiedIssuer::signed_by(authority_params(name), KeyPair::generate().unwrap(), above).unwrap()
}

/// The certificate of `CN=billing,O=Example`, `billing.example`, good in 2023, when the tests' clock starts.
pub(crate) fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["billing.example".into()]).unwrap();
    // What rcgen fills in has the wrong order.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "billing");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(7));
    params
}

pub(crate) fn signed(params: &CertificateParams, by: &Authority) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

pub(crate) fn self_signed() -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params().self_signed(&key).unwrap(), key)
}

/// A list on which are certificates with these numbers.
pub(crate) fn revocation_list(of: &Authority, numbers: &[u64]) -> String {
    let revoked = |number: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*number),
        revocation_time: date_time_ymd(2023, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2023, 1, 1),
        next_update: date_time_ymd(2024, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: numbers.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(of).unwrap().pem().unwrap()
}

/// The realm, where these authorities vouch for clients.
pub(crate) fn realm_of(authorities: &[&Authority], revocation_lists: Vec<String>) -> Realm {
    let authorities = authorities.iter().map(|authority| authority.pem()).collect();
    let policy = CertificatePolicy { authorities, revocation_lists, origin: None };
    Realm { certificates: Some(policy), ..realm() }
}

pub(crate) fn credential(id: &str, kind: CredentialKind) -> Credential {
    Credential {
        id: id.into(),
        label: String::new(),
        kind,
        not_before: tokenry_core::Timestamp::EPOCH,
        expires_at: None,
        created_at: START,
    }
}

/// A client is who has `CN=billing,O=Example` in its certificate.
pub(crate) fn by_subject(subject: &str) -> Credential {
    let written = WrittenNames { subject_dn: Some(subject), ..WrittenNames::default() };
    let name = Box::new(CertificateName::registered(&written).unwrap());
    credential("name-001", CredentialKind::CertificateName { name })
}

/// A client is who has this very certificate.
pub(crate) fn by_itself(certificate: &Certificate) -> Credential {
    let thumbprint = tokenry_server::certificate::read(certificate.der()).unwrap().thumbprint;
    credential("self-001", CredentialKind::SelfSigned { thumbprint })
}

/// Somebody on this machine who has shown to have the key of a certificate.
pub(crate) fn peer(chain: &[&Certificate]) -> Peer {
    let chain = chain.iter().map(|certificate| certificate.der().clone()).collect();
    let certificate = PeerCertificate::new(chain).map(Arc::new);
    Peer { certificate, ..Peer::from(std::net::IpAddr::from([127, 0, 0, 1])) }
}
