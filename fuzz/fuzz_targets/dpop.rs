//! DPoP proofs: headers and claims of any kind, signed by the key in them or by nobody.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokenry_core::Timestamp;
use tokenry_core::dpop::{self, Expected, Nonces, Proof};
use tokenry_core::jose::{Algorithm, SigningKey, generate};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const URL: &str = "https://auth.example/token";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let bytes = generate(Algorithm::EdDsa).expect("a key");
    SigningKey::from_pkcs8(Algorithm::EdDsa, bytes.as_bytes()).expect("the same key")
});

static HEADER: LazyLock<String> = LazyLock::new(|| {
    format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{}}}"#, KEY.public_jwk().to_json())
});

fuzz_target!(|data: &[u8]| {
    assert!(check(data).is_none(), "nobody has signed it");

    // Under a good header it is good only if it says all that it must.
    if let Some(proof) = check(signed(HEADER.as_bytes(), data).as_bytes()) {
        let claims: Value = serde_json::from_slice(data).expect("it was good");
        assert_eq!(claims["htm"], "POST");
        assert!(claims["jti"].as_str().is_some_and(|jti| (1..=256).contains(&jti.len())));
        let iat = claims["iat"].as_u64().expect("it was good");
        assert!(iat.abs_diff(NOW.as_secs()) <= 60);
        assert!(proof.once.until > NOW);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(proof.key), KEY.public_jwk().thumbprint());
    }

    // Under a header of its own it may be good for this key alone.
    let claims = format!(r#"{{"jti":"1","htm":"POST","htu":"{URL}","iat":{}}}"#, NOW.as_secs());
    if let Some(proof) = check(signed(data, claims.as_bytes()).as_bytes()) {
        let header: Value = serde_json::from_slice(data).expect("it was good");
        assert!(header["jwk"].get("d").is_none() && header.get("crit").is_none());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(proof.key), KEY.public_jwk().thumbprint());
    }

    // No text is a nonce of ours but our own.
    let text = String::from_utf8_lossy(data);
    let nonces = Nonces::new(&[7; 32]);
    if nonces.state(&text, NOW) != dpop::NonceState::Bad {
        assert!(
            (0..600)
                .any(|ago| nonces.make(Timestamp::from_secs(NOW.as_secs() + 150 - ago)) == text)
        );
    }
});

fn signed(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let input = format!("{header}.{claims}");
    let signature = KEY.sign(input.as_bytes()).expect("a signature");
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn check(proof: &[u8]) -> Option<Proof> {
    let expected = Expected { method: "POST", urls: &[URL], access_token: None };
    dpop::check(proof, &expected, NOW).ok()
}
