//! A certificate for development, and the authority that signs it. The authority's key is thrown away.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokenry_core::Timestamp;
use zeroize::Zeroizing;

/// How long they are good: as long as systems accept for a certificate that people trust by hand (825 days).
const DAYS: i64 = 820;

/// PEM texts.
pub(crate) struct Certificates {
    /// The certificate of the authority.
    pub(crate) authority: String,
    /// The certificate of the server.
    pub(crate) certificate: String,
    /// Its private key.
    pub(crate) key: Zeroizing<String>,
}

/// Makes a certificate for localhost and further hosts.
pub(crate) fn make(hosts: &[String], now: Timestamp) -> Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Tokenry development authority");
    // Its own certificates only: no further authority below it.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    validity(&mut params, now);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(hosts.iter().map(|host| host.trim_matches(['[', ']']).to_owned()));
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, now);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(Certificates {
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
    })
}

/// From yesterday, for clocks that are a little late.
fn validity(params: &mut CertificateParams, now: Timestamp) {
    let today = i64::try_from(now.as_secs() / 86400).unwrap_or_default();
    let date = |days: i64| {
        let date = jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(days));
        let unsigned = |n: i8| u8::try_from(n).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), unsigned(date.month()), unsigned(date.day()))
    };
    params.not_before = date(today - 1);
    params.not_after = date(today + DAYS);
}
