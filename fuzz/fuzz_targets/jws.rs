//! Compact tokens (RFC 7515) and their claims (RFC 7519).
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, Claims, SigningKey, VerifyingKey};

/// The private key of RFC 8037 appendix A.1, in PKCS#8.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let seed = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let der = [&PKCS8_PREFIX[..], &seed.expect("base64url")].concat();
    SigningKey::from_pkcs8(Algorithm::EdDsa, &der).expect("a private key")
});
static PUBLIC: LazyLock<VerifyingKey> = LazyLock::new(|| VerifyingKey::from(KEY.public_jwk()));

/// Version 0, Ed25519, and an octet string of 32 bytes (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = std::str::from_utf8(data) {
        read(token);
    }
    signed(data);
});

/// A text that may be a token.
fn read(token: &str) {
    let Ok(compact) = Compact::parse(token) else { return };
    let _ = compact.unverified_claim("iss");
    let Ok(verified) = compact.verify(&PUBLIC) else { return };
    assert_eq!(verified.header().algorithm(), PUBLIC.algorithm());
    // There is one way to write a token, so two texts are two tokens.
    let payload = BASE64_URL_SAFE_NO_PAD.encode(verified.payload());
    assert_eq!(token.split('.').nth(1), Some(payload.as_str()));
    let _ = verified.claims();
}

/// Anything may stand in a token; if it is read as claims, they are those that stand there.
fn signed(payload: &[u8]) {
    // Longer payloads do not fit a token of 16 KiB.
    if payload.len() > 8 * 1024 {
        return;
    }
    let mut token = String::new();
    KEY.sign_compact(&KEY.header("at+jwt"), payload, &mut token).expect("a signature");
    let compact = Compact::parse(&token).expect("what we write we read");
    let verified = compact.verify(&PUBLIC).expect("our own signature");
    assert_eq!(verified.payload(), payload);
    if let Ok(claims) = verified.claims() {
        same_as_another_reader(&claims, payload);
    }

    let last = token.pop().expect("a signature");
    token.push(if last == 'A' { 'Q' } else { 'A' });
    assert!(
        Compact::parse(&token).is_err()
            || Compact::parse(&token).is_ok_and(|forged| forged.verify(&PUBLIC).is_err()),
        "a changed signature was accepted"
    );
}

fn same_as_another_reader(claims: &Claims, payload: &[u8]) {
    let json: Value = serde_json::from_slice(payload).expect("claims are JSON");
    let text = |name| json.get(name).and_then(Value::as_str);
    assert_eq!(claims.iss.as_deref(), text("iss"));
    assert_eq!(claims.sub.as_deref(), text("sub"));
    assert_eq!(claims.jti.as_deref(), text("jti"));
    assert_eq!(claims.client_id.as_deref(), text("client_id"));
    assert_eq!(claims.scope.as_deref(), text("scope"));
    for (name, at) in [("exp", claims.exp), ("nbf", claims.nbf), ("iat", claims.iat)] {
        // Where a date was left out it does not stand in the text either, in whatever form.
        assert_eq!(at.map(|at| Value::from(at.as_secs())).as_ref(), json.get(name), "{name}");
        assert!(at.is_none_or(|at| at.as_secs() <= Claims::MAX_SECS), "{name}");
    }
}
