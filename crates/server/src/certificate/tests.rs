//! Certificates read: what they say, and how proxies write them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

use super::*;

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["a.example".into(), "10.0.0.1".into()]).unwrap();
    params.subject_alt_names.extend([
        SanType::URI("spiffe://example/a".try_into().unwrap()),
        SanType::Rfc822Name("a@example.com".try_into().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ]);
    // What rcgen fills in has the wrong order.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params
        .distinguished_name
        .push(DnType::OrganizationName, DnValue::BmpString("Müller, Söhne".try_into().unwrap()));
    params.distinguished_name.push(DnType::CommonName, "billing");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2060, 1, 1));
    params
}

fn made() -> rcgen::Certificate {
    params().self_signed(&KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn row_085_a_certificate_is_read_with_all_of_its_names() {
    let made = made();
    let read = read(made.der()).unwrap();
    assert_eq!(read.subject, "CN=billing,O=Müller\\, Söhne,C=DE".parse().unwrap());
    assert_eq!(read.dns, ["a.example"]);
    assert_eq!(read.uris, ["spiffe://example/a"]);
    assert_eq!(read.emails, ["a@example.com"]);
    let addresses: Vec<String> = read.ips.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1", "2001:db8::1"]);
    assert_eq!(read.not_before, Timestamp::from_secs(1_577_836_800));
    assert_eq!(read.not_after, Timestamp::from_secs(2_840_140_800));
}

#[test]
fn row_090_a_thumbprint_is_the_digest_of_all_of_the_certificate() {
    let der = made().der().clone();
    let peer = PeerCertificate::new(vec![der.clone()]).unwrap();
    assert_eq!(peer.thumbprint().as_slice(), digest(&SHA256, &der).as_ref());
    assert_eq!(peer.read().unwrap().thumbprint, peer.thumbprint());
    assert!(PeerCertificate::new(Vec::new()).is_none());
}

#[test]
fn what_is_more_or_less_than_a_certificate_is_none() {
    let der = made().der().to_vec();
    for end in 0..der.len() {
        assert!(read(&der[..end]).is_none(), "{end}");
    }
    assert!(read(&[der.as_slice(), b"\0"].concat()).is_none());
}

#[test]
fn row_095_a_certificate_is_read_from_both_kinds_of_header() {
    let made = made();
    let rfc = format!(":{}:", BASE64_STANDARD.encode(made.der()));
    let mut escaped = String::new();
    for byte in made.pem().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    for good in [rfc.clone(), format!(" {rfc} "), escaped.clone(), escaped.replace("%2B", "+")] {
        assert_eq!(read_header(good.as_bytes()), Ok(Some(made.der().clone())), "{good}");
    }
    assert_eq!(read_header(b""), Ok(None));
    let base64 = rfc.trim_matches(':');
    for bad in [
        "x",
        ":",
        base64,
        &format!(":{base64}"),
        &format!("{base64}:"),
        &format!("{rfc},{rfc}"),
        ":%%%:",
        "-----BEGIN%20CERTIFICATE-----",
        "%",
        "%4",
        "%zz",
        &escaped.repeat(2),
        &escaped.replace("CERTIFICATE", "PUBLIC%20KEY"),
    ] {
        assert_eq!(read_header(bad.as_bytes()), Err(BadHeader), "{bad}");
    }
    assert_eq!(read_chain_header(b""), Ok(vec![]));
    let two = format!("{rfc}, {rfc}");
    assert_eq!(read_chain_header(two.as_bytes()), Ok(vec![made.der().clone(); 2]));
    assert_eq!(read_chain_header(format!("{rfc},").as_bytes()), Err(BadHeader));
}

#[test]
fn authorities_that_cannot_be_read_are_said() {
    use tokenry_core::realm::CertificatePolicy;
    let good = made().pem();
    let policy = |authorities: &[&str], lists: &[&str]| CertificatePolicy {
        authorities: authorities.iter().map(|&pem| pem.to_owned()).collect(),
        revocation_lists: lists.iter().map(|&pem| pem.to_owned()).collect(),
        origin: None,
    };
    let why =
        |authorities: &[&str], lists: &[&str]| Authorities::read(&policy(authorities, lists)).err();
    assert_eq!(why(&[&good, &good], &[]), None);
    assert_eq!(why(&[&good, ""], &[]), Some(BadAuthority::Certificate(2)));
    let broken = good.replace('M', "N");
    assert_eq!(why(&[&broken], &[]), Some(BadAuthority::Certificate(1)));
    assert_eq!(why(&[&good], &[&good]), Some(BadAuthority::RevocationList(1)));
}
