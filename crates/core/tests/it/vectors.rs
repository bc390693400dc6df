//! Foreign test vectors: Wycheproof's for JWS and JWK, the cookbook of RFC 7520, and RFC 8037.

use serde_json::Value;
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, Jwk, JwkSet, VerifyingKey};

/// Valid tokens we refuse, each for a rule of ours.
const REFUSED_BY_US: &[(std::ops::RangeInclusive<u64>, &str)] = &[
    (1..=1, "HMAC is not supported"),
    (264..=271, "RS384 and RS512 are not supported"),
    (320..=328, "PS384 and PS512 are not supported"),
    (346..=347, "PS384 under a key for PS256; ES512 is not supported"),
    (348..=348, "HMAC is not supported"),
    (350..=351, "PS384 under a key for PS256; ES512 is not supported"),
    (352..=377, "HMAC is not supported"),
];

/// The tokens of supported algorithms that must be accepted: none may fall out unnoticed.
const ACCEPTED: usize = 16;

#[test]
fn wycheproof_tokens_are_judged_as_expected() {
    let Some(file) = read("wycheproof_json_web_signature.json") else { return };
    let (mut seen, mut accepted) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = Jwk::from_value(&group["public"]).map(VerifyingKey::from);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            let token = text(&test["jws"]);
            let ours = key.as_ref().is_ok_and(|key| verifies(&token, key));
            let refused_by_us = REFUSED_BY_US.iter().any(|(ids, _)| ids.contains(&id));
            let expected = test["result"] == "valid" && !refused_by_us;
            assert_eq!(ours, expected, "{id} {} {}", group["comment"], test["comment"]);
            seen += 1;
            accepted += usize::from(ours);
        }
    }
    assert_eq!((seen, accepted), (401, ACCEPTED));
}

#[test]
fn row_248_wycheproof_key_sets_are_judged_as_expected() {
    let Some(file) = read("wycheproof_json_web_key.json") else { return };
    let (mut seen, mut accepted) = (0, Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let public = group.get("public").unwrap_or_else(|| &group["private"]);
        let set = JwkSet::parse(public.to_string().as_bytes());
        for test in group["tests"].as_array().unwrap() {
            let token = text(&test["jws"]);
            let key = Compact::parse(&token).ok().and_then(|token| {
                set.as_ref().ok()?.find(token.header().kid()?).map(VerifyingKey::from)
            });
            if key.is_some_and(|key| verifies(&token, &key)) {
                assert_eq!(test["result"], "valid", "{} {}", test["tcId"], test["comment"]);
                accepted.push(test["tcId"].as_u64().unwrap());
            }
            seen += 1;
        }
    }
    // The other valid ones (2, 13, 14, 15) are HMAC.
    assert_eq!((seen, accepted), (26, vec![5]));
}

#[test]
fn the_cookbook_of_rfc_7520_is_judged_as_expected() {
    for (file, supported) in [
        ("rfc7520_4_1.rsa_v15_signature.json", true),
        // PS384 and ES512, which we do not have.
        ("rfc7520_4_2.rsa-pss_signature.json", false),
        ("rfc7520_4_3.ecdsa_signature.json", false),
    ] {
        let Some(example) = read(file) else { return };
        let key = public_half(&example["input"]["key"]);
        let token = example["output"]["compact"].as_str().unwrap();
        let verifies = Jwk::from_value(&key).is_ok_and(|key| verifies(token, &key.into()));
        assert_eq!(verifies, supported, "{file}");
    }
    let Some(key) = read("rfc7520_3_3.rsa_public_key.json") else { return };
    assert_eq!(Jwk::from_value(&key).unwrap().algorithm(), Algorithm::Rs256);
    let Some(key) = read("rfc7520_3_1.ec_public_key.json") else { return };
    assert!(Jwk::from_value(&key).is_err());
}

#[test]
fn the_example_of_rfc_8037_verifies() {
    let Some(example) = read("rfc8037_ed25519.json") else { return };
    let key = VerifyingKey::from(Jwk::from_value(&public_half(&example["input"]["key"])).unwrap());
    let token = example["output"]["compact"].as_str().unwrap();
    let parsed = Compact::parse(token).unwrap();
    assert_eq!(parsed.verify(&key).unwrap().payload(), b"Example of Ed25519 signing");
}

fn verifies(token: &str, key: &VerifyingKey) -> bool {
    Compact::parse(token).is_ok_and(|token| token.verify(key).is_ok())
}

/// A token, or what the JSON serialization of one looks like when it is sent in its place.
fn text(jws: &Value) -> String {
    jws.as_str().map_or_else(|| jws.to_string(), str::to_owned)
}

fn public_half(key: &Value) -> Value {
    let mut key = key.clone();
    let members = key.as_object_mut().unwrap();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        members.remove(private);
    }
    key
}

/// The vectors lie beside the repository. Without them nothing is proven: said aloud here, an error in CI.
fn read(file: &str) -> Option<Value> {
    let path = format!("{}/../../../shared/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) if std::env::var_os("CI").is_none() => {
            println!("SKIPPED: no test vectors at {path}");
            None
        }
        Err(error) => panic!("no test vectors at {path}: {error}"),
    }
}
