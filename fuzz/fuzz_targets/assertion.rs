//! Client assertions: headers and claims of any kind, signed by the client's own key or by nobody.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tokenry_core::assertion::{PresentedAssertion, Terms, authenticate};
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, SigningKey, generate};
use tokenry_core::{Client, Secret, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const ISSUER: &str = "https://auth.example";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let bytes = generate(Algorithm::EdDsa).expect("a key");
    SigningKey::from_pkcs8(Algorithm::EdDsa, bytes.as_bytes()).expect("the same key")
});

static CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| {
    let credential = Credential {
        id: "key-0001".into(),
        label: String::new(),
        kind: CredentialKind::PublicKey { jwk: KEY.public_jwk().to_json().into() },
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: Timestamp::EPOCH,
    };
    let client = Client::new("r", "billing", Timestamp::EPOCH);
    Arc::new(Client { credentials: vec![credential], ..client })
});

fuzz_target!(|data: &[u8]| {
    // Whatever nobody has signed is refused.
    let text = String::from_utf8_lossy(data);
    assert!(check(&text).is_none(), "nobody has signed it");

    // Whatever the client has signed is good only if it says all that it must.
    let mut signed = String::new();
    KEY.sign_compact(&KEY.header("JWT"), data, &mut signed).expect("a signature");
    if let Some(until) = check(&signed) {
        let compact = Compact::parse(&signed).expect("it was good");
        let says = |name: &str| compact.unverified_claim(name);
        assert_eq!(says("iss").as_deref(), Some("billing"));
        assert_eq!(says("sub").as_deref(), Some("billing"));
        assert!(says("jti").is_some_and(|jti| !jti.is_empty()));
        assert!(says("aud").is_none_or(|aud| aud == ISSUER));
        assert!(until > NOW && until.since(NOW).as_secs() <= 3600 + 60);
    }
});

/// Until when an assertion has to be remembered, if it is good.
fn check(text: &str) -> Option<Timestamp> {
    let presented = PresentedAssertion { assertion: Secret::new(text), client_id: None };
    let _ = presented.named();
    let checked = authenticate(
        &presented,
        Some(&CLIENT),
        None,
        &Terms { audiences: &[ISSUER], fapi: false },
        NOW,
    );
    checked.ok().map(|(_, once)| once.until)
}
