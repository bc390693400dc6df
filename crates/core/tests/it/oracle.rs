//! Held against another implementation: what one signs the other verifies, and a changed token neither.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{self, Algorithm, SigningKey, VerifyingKey};

/// The algorithms of both; ML-DSA the other does not know yet, so that is held against Wycheproof's signatures.
fn both_have() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.as_str().starts_with("ML-DSA"))
}

/// RSA signs slowly; the others make up for it.
const fn rounds(algorithm: Algorithm) -> u64 {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => 150,
        _ => 1000,
    }
}

#[test]
fn tokens_go_both_ways_between_two_implementations() {
    for algorithm in both_have() {
        let parties = Parties::new(algorithm);
        for seed in 0..rounds(algorithm) {
            let claims = claims(seed);
            let mut ours = String::new();
            let text = serde_json::to_vec(&claims).unwrap();
            parties
                .signing
                .sign_compact(&parties.signing.header("at+jwt"), &text, &mut ours)
                .unwrap();
            assert_eq!(parties.read_by_theirs(&ours), Some(claims.clone()), "{algorithm} {seed}");
            let theirs = parties.signed_by_theirs(&claims);
            assert_eq!(parties.read_by_ours(&theirs), Some(claims), "{algorithm} {seed}");
        }
    }
}

#[test]
fn a_token_changed_in_one_character_is_refused() {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n";
    for algorithm in both_have() {
        let parties = Parties::new(algorithm);
        for seed in 0..rounds(algorithm) {
            let mut random = Random(seed + 1);
            let token = parties.signed_by_theirs(&claims(seed));
            let mut changed = token.clone().into_bytes();
            let at = random.below(changed.len());
            match random.below(4) {
                0 => drop(changed.remove(at)),
                1 => changed.insert(at, alphabet[random.below(alphabet.len())]),
                _ => changed[at] = alphabet[random.below(alphabet.len())],
            }
            let changed = String::from_utf8(changed).unwrap();
            if changed != token {
                assert_eq!(parties.read_by_ours(&changed), None, "{algorithm} {seed} at {at}");
            }
        }
    }
}

struct Parties {
    signing: SigningKey,
    verifying: VerifyingKey,
    algorithm: jsonwebtoken::Algorithm,
    encoding: jsonwebtoken::EncodingKey,
    decoding: jsonwebtoken::DecodingKey,
}

impl Parties {
    fn new(algorithm: Algorithm) -> Self {
        let der = jose::generate(algorithm).unwrap();
        let signing = SigningKey::from_pkcs8(algorithm, der.as_bytes()).unwrap();
        let body = BASE64_STANDARD.encode(der.as_bytes());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let encoding = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes())
            }
            Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_str(&signing.public_jwk().to_json()).unwrap();
        Self {
            verifying: VerifyingKey::from(signing.public_jwk()),
            signing,
            algorithm: algorithm.as_str().parse().unwrap(),
            encoding: encoding.unwrap(),
            decoding: jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(),
        }
    }

    fn signed_by_theirs(&self, claims: &Value) -> String {
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }

    fn read_by_theirs(&self, token: &str) -> Option<Value> {
        let mut validation = jsonwebtoken::Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.decoding, &validation).ok().map(|data| data.claims)
    }

    fn read_by_ours(&self, token: &str) -> Option<Value> {
        let parsed = Compact::parse(token).ok()?;
        let claims = parsed.verify(&self.verifying).ok()?.claims().ok()?;
        Some(Value::Object(claims.other))
    }
}

/// Claims with private names only, so that all of them come back in one piece.
fn claims(seed: u64) -> Value {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let members = (0..random.below(6)).map(|i| {
        let value = match random.below(5) {
            0 => json!(random.next()),
            1 => json!(random.next().is_multiple_of(2)),
            2 => json!(null),
            3 => json!([{ "x": random.below(9) }, "\u{0}\n\"\\"]),
            _ => {
                let chars = ['a', 'é', '\u{1f600}', '"', '\\', '\u{7f}', '.', ' '];
                json!((0..random.below(40)).map(|_| chars[random.below(8)]).collect::<String>())
            }
        };
        (format!("m{i}"), value)
    });
    Value::Object(members.collect())
}

/// xorshift64: the same tokens in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}
