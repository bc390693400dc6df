//! The keys that tokens are signed with: those the issuer publishes, and others.

use tokenry_core::jose::{Algorithm, Pkcs8, SigningKey, generate};

use super::ISSUERS;

/// A key with what the oracle needs to know of it.
pub(super) struct Key {
    pub(super) signing: SigningKey,
    /// The `kid` it is published under.
    pub(super) kid: Option<&'static str>,
    /// The issuer that publishes it.
    pub(super) issuer: Option<&'static str>,
    pub(super) algorithm: jsonwebtoken::Algorithm,
    pub(super) decoding: jsonwebtoken::DecodingKey,
}

/// The algorithms that are accepted, under all their names, and what the oracle calls them.
pub(super) const ACCEPTED: [(&str, jsonwebtoken::Algorithm); 4] = [
    ("EdDSA", jsonwebtoken::Algorithm::EdDSA),
    ("Ed25519", jsonwebtoken::Algorithm::EdDSA),
    ("ES256", jsonwebtoken::Algorithm::ES256),
    ("RS256", jsonwebtoken::Algorithm::RS256),
];

/// The private key of RFC 8037 appendix A.1. It is always the same, so that a token can be written down.
const ED25519: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

/// Version 0, Ed25519, and an octet string of 32 bytes (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// All keys.
pub(super) fn all() -> Vec<Key> {
    let [main, other] = ISSUERS.map(Some);
    let new = |algorithm| generate(algorithm).unwrap();
    let ed = Pkcs8::from_bytes([&PKCS8_PREFIX[..], &ED25519].concat());
    let rsa = new(Algorithm::Rs256);
    vec![
        Key::new(Algorithm::EdDsa, &ed, Some("ed"), main),
        Key::new(Algorithm::Es256, &new(Algorithm::Es256), Some("es"), main),
        Key::new(Algorithm::Rs256, &rsa, Some("rs"), main),
        Key::new(Algorithm::Es256, &new(Algorithm::Es256), None, main),
        // Published, but this algorithm is not accepted.
        Key::new(Algorithm::Es384, &new(Algorithm::Es384), Some("es384"), main),
        // Another issuer's, under the same name as one of the first issuer's.
        Key::new(Algorithm::EdDsa, &new(Algorithm::EdDsa), Some("ed"), other),
        // The issuer's own key, used for what it is not for.
        Key::new(Algorithm::Ps256, &rsa, Some("rs"), None),
        // A stranger's.
        Key::new(Algorithm::Es256, &new(Algorithm::Es256), Some("es"), None),
    ]
}

/// The key set that an issuer publishes.
pub(super) fn set(keys: &[Key], issuer: &str) -> String {
    let keys = keys.iter().filter(|key| key.issuer == Some(issuer));
    format!(r#"{{"keys":[{}]}}"#, keys.map(Key::jwk).collect::<Vec<_>>().join(","))
}

impl Key {
    fn new(
        algorithm: Algorithm,
        der: &Pkcs8,
        kid: Option<&'static str>,
        issuer: Option<&'static str>,
    ) -> Self {
        let signing = SigningKey::from_pkcs8(algorithm, der.as_bytes()).unwrap();
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_str(&signing.public_jwk().to_json()).unwrap();
        Self {
            signing,
            kid,
            issuer,
            algorithm: algorithm.as_str().parse().unwrap(),
            decoding: jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(),
        }
    }

    /// Whether an issuer's tokens may be signed with it.
    pub(super) fn is_good_for(&self, issuer: &str) -> bool {
        let accepted = ACCEPTED.iter().any(|(_, algorithm)| *algorithm == self.algorithm);
        self.issuer == Some(issuer) && accepted
    }

    /// The public half, under the name it is published with.
    pub(super) fn jwk(&self) -> String {
        let mut jwk: serde_json::Value =
            serde_json::from_str(&self.signing.public_jwk().to_json()).unwrap();
        match self.kid {
            Some(kid) => jwk["kid"] = kid.into(),
            None => drop(jwk.as_object_mut().unwrap().remove("kid")),
        }
        jwk.to_string()
    }
}
