use serde_json::json;

use super::*;
use crate::jose::{SigningKey, generate};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const URL: &str = "https://auth.example/token";

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().as_bytes()).unwrap()
}

fn good() -> Value {
    json!({ "jti": "1", "htm": "POST", "htu": URL, "iat": NOW.as_secs() })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn jwk(key: &SigningKey) -> Value {
    serde_json::from_str(&key.public_jwk().to_json()).unwrap()
}

fn header(key: &SigningKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm().as_str(), "jwk": jwk(key) })
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn at_token_endpoint(proof: &str) -> Result<Proof, BadProof> {
    let expected = Expected { method: "POST", urls: &[URL], access_token: None };
    check(proof.as_bytes(), &expected, NOW)
}

#[test]
fn row_194_row_200_a_good_proof_names_its_key_whatever_its_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let proof = at_token_endpoint(&signed(&key, &header(&key), &good())).unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(proof.key), key.public_jwk().thumbprint());
        assert_eq!((proof.algorithm, proof.nonce), (algorithm, None));
        assert!(proof.once.until > NOW + MAX_AGE);
    }
}

#[test]
fn row_198_row_203_row_204_row_205_row_206_row_208_what_a_proof_must_say() {
    let key = key(Algorithm::Es256);
    let now = NOW.as_secs();
    let cases = [
        ("good", good(), true),
        ("no jti", without("jti"), false),
        ("no htm", without("htm"), false),
        ("no htu", without("htu"), false),
        ("no iat", without("iat"), false),
        ("another method", with("htm", json!("GET")), false),
        ("the method in lower case", with("htm", json!("post")), false),
        ("another URL", with("htu", json!("https://auth.example/introspect")), false),
        ("another host", with("htu", json!("https://other.example/token")), false),
        ("plain http", with("htu", json!("http://auth.example/token")), false),
        ("a query", with("htu", json!("https://auth.example/token?a=b")), true),
        ("a fragment", with("htu", json!("https://auth.example/token#a")), true),
        ("the same otherwise", with("htu", json!("HTTPS://Auth.Example:443/a/../token")), true),
        ("an hour ago", with("iat", json!(now - 3600)), false),
        ("in an hour", with("iat", json!(now + 3600)), false),
        ("10 seconds ago", with("iat", json!(now - 10)), true),
        ("in 8 seconds", with("iat", json!(now + 8)), true),
        ("a time that is text", with("iat", json!(now.to_string())), false),
        ("a jti of 10 kB", with("jti", json!("a".repeat(10_000))), false),
        ("an empty jti", with("jti", json!("")), false),
        ("a nonce", with("nonce", json!("n")), true),
        ("a nonce that is a number", with("nonce", json!(1)), false),
    ];
    for (case, claims, is_good) in cases {
        let checked = at_token_endpoint(&signed(&key, &header(&key), &claims));
        assert_eq!(checked.is_ok(), is_good, "{case}: {checked:?}");
    }
}

#[test]
fn row_199_row_200_row_201_row_202_what_its_header_must_say() {
    let key = key(Algorithm::Es256);
    let changed = |name: &str, value: Value| {
        let mut header = header(&key);
        header[name] = value;
        header
    };
    let missing = |name: &str| {
        let mut header = header(&key);
        header.as_object_mut().unwrap().remove(name);
        header
    };
    let mut private = jwk(&key);
    private["d"] = json!("AAAA");
    let mut for_encryption = jwk(&key);
    for_encryption["use"] = json!("enc");
    let cases = [
        ("good", header(&key), true),
        ("application/", changed("typ", json!("application/dpop+jwt")), true),
        ("upper case", changed("typ", json!("DPoP+JWT")), true),
        ("no typ", missing("typ"), false),
        ("another typ", changed("typ", json!("JWT")), false),
        ("no alg", missing("alg"), false),
        ("none", changed("alg", json!("none")), false),
        ("HS256", changed("alg", json!("HS256")), false),
        ("another algorithm", changed("alg", json!("ES384")), false),
        ("no key", missing("jwk"), false),
        ("a key that is text", changed("jwk", json!("a")), false),
        ("a private key", changed("jwk", private), false),
        ("a key for encryption", changed("jwk", for_encryption), false),
        ("a symmetric key", changed("jwk", json!({ "kty": "oct", "k": "AAAA" })), false),
        ("another key", changed("jwk", jwk(&self::key(Algorithm::Es256))), false),
        ("an extension", changed("crit", json!(["a"])), false),
    ];
    for (case, header, is_good) in cases {
        let checked = at_token_endpoint(&signed(&key, &header, &good()));
        assert_eq!(checked.is_ok(), is_good, "{case}: {checked:?}");
    }
}

#[test]
fn row_197_row_201_what_is_no_proof() {
    let key = key(Algorithm::Es256);
    let good = signed(&key, &header(&key), &good());
    let mut tampered = good.clone().into_bytes();
    let last = tampered.len() - 10;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    for bad in ["", "x", "a.b.c", &format!("{good}, {good}"), &format!("{good},{good}")] {
        assert!(at_token_endpoint(bad).is_err(), "{bad}");
    }
    assert!(at_token_endpoint(&String::from_utf8(tampered).unwrap()).is_err());
    let expected = Expected { method: "POST", urls: &[URL], access_token: None };
    assert!(check(b"\xff", &expected, NOW).is_err());
}

#[test]
fn row_209_at_a_resource_the_proof_is_for_the_access_token() {
    let key = key(Algorithm::EdDsa);
    let at_resource = |claims: &Value| {
        let proof = signed(&key, &header(&key), claims);
        let expected = Expected { method: "POST", urls: &[URL], access_token: Some("token") };
        check(proof.as_bytes(), &expected, NOW).is_ok()
    };
    // The SHA-256 of `token`, computed elsewhere.
    assert_eq!(hash("token"), "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A");
    assert!(at_resource(&with("ath", json!(hash("token")))));
    assert!(!at_resource(&with("ath", json!(hash("other")))));
    assert!(!at_resource(&good()));
}

#[test]
fn row_207_a_proof_is_known_again_by_its_key_and_jti() {
    let (one, two) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let once = |key: &SigningKey, claims: &Value| {
        at_token_endpoint(&signed(key, &header(key), claims)).unwrap().once.id
    };
    assert_eq!(once(&one, &good()), once(&one, &good()));
    assert_ne!(once(&one, &good()), once(&two, &good()));
    assert_ne!(once(&one, &good()), once(&one, &with("jti", json!("2"))));
}
