//! Which certificate is whose.

use std::time::Duration;

use super::*;
use crate::client::{Credential, Proof};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const DAY: Duration = Duration::from_secs(86400);

fn certificate() -> Certificate {
    Certificate {
        thumbprint: [1; 32],
        subject: "CN=billing,O=Example".parse().unwrap(),
        dns: vec!["Billing.example".into(), "*.wild.example".into()],
        uris: vec!["spiffe://example/billing".into()],
        ips: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        emails: vec!["Billing@Example.com".into()],
        not_before: NOW - DAY,
        not_after: NOW + DAY,
    }
}

fn named(field: &str, value: &str) -> Result<CertificateName, BadName> {
    let given = |name: &str| (name == field).then_some(value);
    CertificateName::registered(&WrittenNames {
        subject_dn: given("subject_dn"),
        san_dns: given("san_dns"),
        san_uri: given("san_uri"),
        san_ip: given("san_ip"),
        san_email: given("san_email"),
    })
}

fn client(kinds: Vec<CredentialKind>) -> Arc<Client> {
    let credential = |(number, kind)| Credential {
        id: format!("cred-{number:03}"),
        label: String::new(),
        kind,
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: Timestamp::EPOCH,
    };
    let credentials = kinds.into_iter().enumerate().map(credential).collect();
    Arc::new(Client { credentials, ..Client::new("r", "billing", Timestamp::EPOCH) })
}

fn by_name(field: &str, value: &str) -> Arc<Client> {
    client(vec![CredentialKind::CertificateName { name: Box::new(named(field, value).unwrap()) }])
}

fn check(
    client: Option<&Arc<Client>>,
    vouched_for: bool,
    now: Timestamp,
) -> Result<String, Refusal> {
    let presented = PresentedCertificate { certificate: &certificate(), vouched_for };
    match authenticate(&presented, client, now)?.proof() {
        Proof::Credential(id) => Ok(id.clone()),
        other => panic!("{other:?} is no credential"),
    }
}

#[test]
fn row_085_row_086_a_certificate_is_the_clients_by_its_name_alone() {
    let cases = [
        ("subject_dn", "CN=billing,O=Example", true),
        ("subject_dn", "cn=BILLING, o=example", true),
        ("subject_dn", "O=Example,CN=billing", false),
        ("subject_dn", "CN=billing", false),
        ("san_dns", "billing.example", true),
        ("san_dns", "BILLING.example", true),
        ("san_dns", "a.wild.example", false),
        ("san_dns", "example", false),
        ("san_uri", "spiffe://example/billing", true),
        ("san_uri", "spiffe://example/Billing", false),
        ("san_uri", "spiffe://example/billing/", false),
        ("san_ip", "10.0.0.1", true),
        ("san_ip", "2001:DB8:0::1", true),
        ("san_ip", "::ffff:10.0.0.1", false),
        ("san_email", "Billing@example.COM", true),
        ("san_email", "billing@example.com", false),
        // A name is of its kind: that it is there as another is nothing.
        ("san_dns", "spiffe", false),
        ("san_uri", "dns:billing.example", false),
    ];
    for (field, value, good) in cases {
        let found = check(Some(&by_name(field, value)), true, NOW);
        let expected = if good { Ok("cred-000".into()) } else { Err(bad("not the client's")) };
        assert_eq!(found, expected, "{field} {value}");
    }
}

#[test]
fn row_086_a_name_is_good_only_if_an_authority_vouches_for_it() {
    let client = by_name("san_dns", "billing.example");
    let refused = check(Some(&client), false, NOW).unwrap_err();
    assert_eq!(refused, bad("no authority of the realm vouches for it"));
    assert_eq!(refused.code(), Refusal::UnknownClient.code());
    assert_eq!(check(None, true, NOW), Err(Refusal::UnknownClient));
}

#[test]
fn row_088_row_096_a_self_signed_certificate_is_the_very_one_and_in_its_time() {
    let own = client(vec![CredentialKind::SelfSigned { thumbprint: [1; 32] }]);
    let other = client(vec![CredentialKind::SelfSigned { thumbprint: [2; 32] }]);
    for vouched_for in [false, true] {
        assert_eq!(check(Some(&own), vouched_for, NOW), Ok("cred-000".into()));
        assert_eq!(check(Some(&other), vouched_for, NOW), Err(bad("not the client's")));
    }
    let end = NOW + DAY;
    let second = Duration::from_secs(1);
    for (now, good) in [
        (NOW - DAY, true),
        (NOW - DAY - second, false),
        (end, true),
        (end + Duration::from_millis(999), true),
        (end + second, false),
    ] {
        assert_eq!(check(Some(&own), false, now).is_ok(), good, "{now}");
    }
}

#[test]
fn row_052_a_disabled_client_and_an_expired_credential_get_nothing() {
    let own = by_name("san_ip", "10.0.0.1");
    let disabled = Arc::new(Client { enabled: false, ..(*own).clone() });
    assert_eq!(check(Some(&disabled), true, NOW), Err(Refusal::ClientDisabled));
    assert_eq!(
        check(Some(&disabled), false, NOW).unwrap_err(),
        bad("no authority of the realm vouches for it")
    );
    let mut expired = (*own).clone();
    expired.credentials[0].expires_at = Some(NOW);
    assert_eq!(check(Some(&Arc::new(expired)), true, NOW), Err(Refusal::SecretExpired));
}

#[test]
fn row_088_of_several_credentials_each_is_tried() {
    let kinds = vec![
        CredentialKind::PublicKey { jwk: "{}".into() },
        CredentialKind::SelfSigned { thumbprint: [2; 32] },
        CredentialKind::CertificateName {
            name: Box::new(named("san_dns", "billing.example").unwrap()),
        },
        CredentialKind::SelfSigned { thumbprint: [1; 32] },
    ];
    let several = client(kinds);
    assert_eq!(check(Some(&several), false, NOW), Ok("cred-003".into()));
    assert_eq!(check(Some(&several), true, NOW), Ok("cred-002".into()));
    assert!(has_certificates(&several));
    assert!(!has_certificates(&client(vec![CredentialKind::PublicKey { jwk: "{}".into() }])));
}

#[test]
fn row_087_a_registration_has_exactly_one_name() {
    let one = WrittenNames { san_dns: Some("a.example"), ..WrittenNames::default() };
    assert!(CertificateName::registered(&one).is_ok());
    let fields = |bits: u8| WrittenNames {
        subject_dn: (bits & 1 != 0).then_some("CN=a"),
        san_dns: (bits & 2 != 0).then_some("a.example"),
        san_uri: (bits & 4 != 0).then_some("urn:a"),
        san_ip: (bits & 8 != 0).then_some("10.0.0.1"),
        san_email: (bits & 16 != 0).then_some("a@example"),
    };
    for bits in 0..32_u8 {
        let registered = CertificateName::registered(&fields(bits));
        assert_eq!(registered.is_ok(), bits.count_ones() == 1, "{bits:05b}");
    }
}

#[test]
fn what_is_no_name_is_not_registered() {
    for (field, bad) in [
        ("subject_dn", "billing"),
        ("subject_dn", ""),
        ("san_dns", ""),
        ("san_dns", "*.example"),
        ("san_dns", "a b"),
        ("san_dns", "[::1]"),
        ("san_uri", "billing"),
        ("san_uri", "https://a.example/#b"),
        ("san_ip", "10.0.0"),
        ("san_ip", "10.0.0.0/8"),
        ("san_email", "billing"),
        ("san_email", "@example"),
        ("san_email", "a@"),
        ("san_email", "a b@example"),
    ] {
        assert!(named(field, bad).is_err(), "{field} {bad}");
    }
}

#[test]
fn a_name_is_stored_and_read_back() {
    for (field, value) in [
        ("subject_dn", "CN=Billing\\, Ltd,O=Example"),
        ("san_dns", "billing.example"),
        ("san_uri", "spiffe://example/billing"),
        ("san_ip", "2001:db8::1"),
        ("san_email", "a@Example"),
    ] {
        let kind = CredentialKind::CertificateName { name: Box::new(named(field, value).unwrap()) };
        let json = serde_json::to_string(&kind).unwrap();
        let again: CredentialKind = serde_json::from_str(&json).unwrap();
        assert_eq!(again, kind, "{json}");
        let CredentialKind::CertificateName { name } = again else { panic!("{json}") };
        assert_eq!(name.parameter(), format!("tls_client_auth_{field}"));
        assert_eq!(name.value(), value);
    }
    let kind = CredentialKind::SelfSigned { thumbprint: [7; 32] };
    let json = serde_json::to_string(&kind).unwrap();
    assert_eq!(serde_json::from_str::<CredentialKind>(&json).unwrap(), kind, "{json}");
}
