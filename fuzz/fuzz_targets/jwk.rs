//! Public keys and sets of them (RFC 7517).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenry_core::jose::{Jwk, JwkSet, VerifyingKey};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        key(text);
    }
    set(data);
});

fn key(text: &str) {
    let Ok(key) = Jwk::parse(text) else { return };
    assert_eq!(VerifyingKey::from(&key).algorithm(), key.algorithm());
    let json = serde_json::to_string(&key).expect("a key is JSON");
    let again = Jwk::parse(&json).expect("what we write we read");
    assert_eq!(again.thumbprint(), key.thumbprint());
    assert_eq!((again.kid(), again.algorithm()), (key.kid(), key.algorithm()));
    assert_eq!(serde_json::to_string(&again).expect("a key is JSON"), json);

    let members: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        assert!(members.get(private).is_none(), "{private} was written");
    }
}

fn set(data: &[u8]) {
    let Ok(set) = JwkSet::parse(data) else { return };
    let again = JwkSet::parse(set.to_json().as_bytes()).expect("what we write we read");
    assert_eq!(again.keys(), set.keys());
    assert!(again.skipped().is_empty(), "we wrote a key that cannot be used");
    for kid in set.keys().iter().filter_map(Jwk::kid) {
        let of_that_name = set.keys().iter().filter(|key| key.kid() == Some(kid)).count();
        assert_eq!(of_that_name, 1, "{kid} is two keys");
    }
}
