//! The rules of JOSE, row by row, on tokens and keys made here.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::claims::{Audience, Claims, ClaimsError, typ_is};
use tokenry_core::jose::jws::{Compact, JwsError, MAX_TOKEN_LEN};
use tokenry_core::jose::{
    self, Algorithm, HeaderError, Jwk, JwkError, JwkSet, JwkSetError, KeyError, PreparedHeader,
    SignError, SigningKey, VerifyingKey,
};

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, jose::generate(algorithm).unwrap().as_bytes()).unwrap()
}

/// A token with any header and payload, signed by `key`.
fn forge(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(header),
        BASE64_URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// What becomes of a token with this header, correctly signed by an ES256 key.
fn with_header(header: &[u8]) -> Result<(), JwsError> {
    let key = key(Algorithm::Es256);
    let token = forge(&key, header, b"{}");
    Compact::parse(&token)?.verify(&VerifyingKey::from(key.public_jwk()))?;
    Ok(())
}

#[test]
fn every_algorithm_signs_what_it_verifies() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let mut out = "Bearer ".to_owned();
        key.sign_compact(&key.header("at+jwt"), br#"{"sub":"a"}"#, &mut out).unwrap();
        let token = out.strip_prefix("Bearer ").unwrap();
        let parsed = Compact::parse(token).unwrap();
        assert_eq!(parsed.header().algorithm(), algorithm);
        assert_eq!(parsed.header().typ(), Some("at+jwt"));
        assert_eq!(parsed.header().kid(), Some(key.kid()));
        assert_eq!(parsed.unverified_claim("sub").as_deref(), Some("a"));
        let verified = parsed.verify(&VerifyingKey::from(key.public_jwk())).unwrap();
        assert_eq!(verified.payload(), br#"{"sub":"a"}"#);
        assert_eq!(verified.claims().unwrap().sub.as_deref(), Some("a"));

        let stranger =
            SigningKey::from_pkcs8(algorithm, jose::generate(algorithm).unwrap().as_bytes());
        let stranger = VerifyingKey::from(stranger.unwrap().public_jwk());
        assert_eq!(parsed.verify(&stranger).unwrap_err(), JwsError::BadSignature);
    }
}

#[test]
fn private_keys_do_not_show_in_debug_output() {
    let der = jose::generate(Algorithm::Es256).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Es256, der.as_bytes()).unwrap();
    assert_eq!(format!("{der:?}"), "Pkcs8(..)");
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey {{ kid: {:?}, algorithm: Es256, .. }}", key.kid())
    );
}

#[test]
fn a_key_of_another_kind_is_refused() {
    for made in Algorithm::ALL {
        let der = jose::generate(made).unwrap();
        for asked in Algorithm::ALL {
            let rsa = |a| matches!(a, Algorithm::Rs256 | Algorithm::Ps256);
            let fits = made == asked || (rsa(made) && rsa(asked));
            let read = SigningKey::from_pkcs8(asked, der.as_bytes());
            assert_eq!(read.is_ok(), fits, "{made} as {asked}");
        }
    }
    for garbage in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x00", &[0xff; 200]] {
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, garbage).is_err());
    }
}

#[test]
fn a_header_is_used_only_with_its_own_algorithm() {
    let ec = key(Algorithm::Es256);
    let mut out = "before".to_owned();
    let header = PreparedHeader::new("RS256", "JWT", "k").unwrap();
    assert_eq!(ec.sign_compact(&header, b"{}", &mut out), Err(SignError::WrongHeader));
    assert_eq!(out, "before");
}

#[test]
fn a_header_in_anothers_manner_is_kept_byte_for_byte() {
    let text = br#"{"alg":"RS256","typ" : "JWT","kid" : "k1"}"#;
    let header = PreparedHeader::from_json(text).unwrap();
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(header.as_str()).unwrap(), text);
    for (bad, error) in [
        (r#"{"typ":"JWT"}"#, HeaderError::Algorithm),
        (r#"{"alg":"none"}"#, HeaderError::Algorithm),
        (r#"{"alg":"ES256","crit":["x"]}"#, HeaderError::Extension),
        (r#"{"alg":"ES256","alg":"ES256"}"#, HeaderError::NotAnObject),
        ("[]", HeaderError::NotAnObject),
    ] {
        assert_eq!(PreparedHeader::from_json(bad.as_bytes()), Err(error), "{bad}");
    }
}

#[test]
fn row_145_ecdsa_signatures_are_two_numbers_of_full_length() {
    for (algorithm, len) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96)] {
        let key = key(algorithm);
        // One in 256 numbers starts with a zero byte; DER would drop it.
        for message in 0..600_u32 {
            assert_eq!(key.sign(&message.to_be_bytes()).unwrap().len(), len);
        }
    }
}

#[test]
fn row_146_short_rsa_keys_are_refused() {
    let der = BASE64_STANDARD.decode(RSA_1024).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let refused = SigningKey::from_pkcs8(algorithm, &der).unwrap_err();
        assert!(matches!(refused, KeyError::Rejected | KeyError::Public(JwkError::RsaSize)));
    }
}

#[test]
fn row_147_a_token_is_three_parts_of_base64url() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let mut token = String::new();
        key.sign_compact(&key.header("at+jwt"), &[0xfb; 100], &mut token).unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
    }
}

#[test]
fn row_154_a_key_writes_either_name_of_ed25519() {
    let der = jose::generate(Algorithm::EdDsa).unwrap();
    for name in ["EdDSA", "Ed25519"] {
        let key = SigningKey::from_pkcs8(Algorithm::EdDsa, der.as_bytes())
            .unwrap()
            .with_algorithm_name(name);
        let mut token = String::new();
        key.sign_compact(&key.header("at+jwt"), b"{}", &mut token).unwrap();
        let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["alg"], name);
        let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        assert_eq!(
            (&jwk["kty"], &jwk["crv"], &jwk["alg"]),
            (&json!("OKP"), &json!("Ed25519"), &json!(name))
        );
        let verifying = VerifyingKey::from(Jwk::from_value(&jwk).unwrap());
        assert!(Compact::parse(&token).unwrap().verify(&verifying).is_ok());
    }
}

#[test]
fn row_156_a_published_set_has_public_members_only() {
    let keys: Vec<Jwk> = Algorithm::ALL.map(|a| key(a).public_jwk().clone()).into();
    let set: Value = serde_json::from_str(&JwkSet::new(keys).unwrap().to_json()).unwrap();
    for key in set["keys"].as_array().unwrap() {
        let mut names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["alg", "e", "kid", "kty", "n", "use"],
            "EC" => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            "AKP" => &["alg", "kid", "kty", "pub", "use"],
            _ => &["alg", "crv", "kid", "kty", "use", "x"],
        };
        assert_eq!(names, expected);
    }
}

#[test]
fn row_157_a_published_key_says_what_it_is_for() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["alg"], algorithm.as_str());
        assert_eq!(jwk["kid"], key.public_jwk().thumbprint());
        let imported = key.with_kid("from-elsewhere".to_owned());
        assert_eq!(
            (imported.kid(), imported.public_jwk().kid()),
            ("from-elsewhere", Some("from-elsewhere"))
        );
        assert_eq!(imported.public_jwk().thumbprint(), jwk["kid"]);
    }
}

#[test]
fn row_158_coordinates_have_full_length() {
    // One key in 128 has a coordinate that starts with a zero byte.
    let padded = (0..20_000).map(|_| key(Algorithm::Es256).public_jwk().to_json()).find(|json| {
        let jwk: Value = serde_json::from_str(json).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        assert_eq!(x.len(), 32);
        x[0] == 0
    });
    let mut jwk: Value = serde_json::from_str(&padded.unwrap()).unwrap();
    assert!(Jwk::from_value(&jwk).is_ok());
    let x = BASE64_URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    jwk["x"] = BASE64_URL_SAFE_NO_PAD.encode(&x[1..]).into();
    assert_eq!(Jwk::from_value(&jwk), Err(JwkError::Member("x")));
    jwk["x"] = BASE64_URL_SAFE_NO_PAD.encode([&[0], &x[..]].concat()).into();
    assert_eq!(Jwk::from_value(&jwk), Err(JwkError::Member("x")));
}

#[test]
fn row_232_times_are_whole_seconds_of_this_era() {
    for bad in [
        "\"1\"",
        "1.5",
        "1.0",
        "1e3",
        "-1",
        "-0",
        "253402300800",
        "18446744073709551616",
        "1e400",
        "null",
        "true",
        "[1]",
        "{}",
    ] {
        for claim in ["exp", "nbf", "iat"] {
            let refused = Claims::parse(format!("{{\"{claim}\":{bad}}}").as_bytes()).unwrap_err();
            assert!(
                matches!(refused, ClaimsError::Malformed(_) | ClaimsError::NotJson),
                "{claim}={bad}"
            );
        }
    }
    let claims = Claims::parse(br#"{"exp":253402300799,"iat":0}"#).unwrap();
    assert_eq!(claims.exp, Some(Timestamp::from_secs(253_402_300_799)));
    assert_eq!((claims.iat, claims.nbf), (Some(Timestamp::EPOCH), None));
}

#[test]
fn claims_are_read_by_name_and_the_rest_is_kept() {
    let claims = Claims::parse(
        br#"{"iss":"i","sub":"s","aud":["a","b"],"jti":"j","client_id":"c","scope":"x  y","cnf":{"jkt":"t"},"realm":{"roles":[]}}"#,
    )
    .unwrap();
    assert_eq!(claims.iss.as_deref(), Some("i"));
    assert_eq!(claims.scopes().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(claims.cnf.unwrap()["jkt"], "t");
    assert_eq!(Value::Object(claims.other), json!({"realm":{"roles":[]}}));
    for bad in [
        r#"{"iss":1}"#,
        r#"{"aud":[1]}"#,
        r#"{"aud":{}}"#,
        r#"{"scope":["a"]}"#,
        r#"{"cnf":"x"}"#,
        r#"{"sub":null}"#,
    ] {
        assert!(matches!(Claims::parse(bad.as_bytes()), Err(ClaimsError::Malformed(_))), "{bad}");
    }
}

#[test]
fn an_audience_is_a_string_or_a_list() {
    let one = Audience::One("a".to_owned());
    let many = Audience::Many(vec!["a".to_owned(), "b".to_owned()]);
    assert!(one.contains("a") && many.contains("b") && !many.contains("A") && !one.contains("a/"));
    assert_eq!((one.sole(), many.sole()), (Some("a"), None));
    assert_eq!(Audience::Many(vec!["a".to_owned()]).sole(), Some("a"));
    assert_eq!(Audience::Many(Vec::new()).sole(), None);
}

#[test]
fn row_229_types_are_compared_as_media_types() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(typ_is(Some(typ), "at+jwt"), "{typ}");
    }
    for typ in [
        None,
        Some("JWT"),
        Some("at+jwt "),
        Some("text/at+jwt"),
        Some("application/"),
        Some("application/application/at+jwt"),
        Some(""),
    ] {
        assert!(!typ_is(typ, "at+jwt"), "{typ:?}");
    }
}

#[test]
fn row_234_a_public_key_is_never_a_secret() {
    for alg in ["none", "None", "noNE", "HS256", "HS512", "es256", ""] {
        let header = json!({ "alg": alg }).to_string();
        assert_eq!(with_header(header.as_bytes()), Err(JwsError::UnsupportedAlgorithm), "{alg}");
    }
    assert_eq!(with_header(b"{}"), Err(JwsError::NoAlgorithm));
    assert_eq!(with_header(br#"{"alg":1}"#), Err(JwsError::HeaderMember("alg")));
    let unsigned = format!("{}.e30.", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    assert_eq!(Compact::parse(&unsigned).unwrap_err(), JwsError::UnsupportedAlgorithm);
}

#[test]
fn row_235_the_key_decides_the_algorithm() {
    let der = jose::generate(Algorithm::Rs256).unwrap();
    let rs256 = SigningKey::from_pkcs8(Algorithm::Rs256, der.as_bytes()).unwrap();
    let ps256 = SigningKey::from_pkcs8(Algorithm::Ps256, der.as_bytes()).unwrap();
    let mut token = String::new();
    ps256.sign_compact(&ps256.header("at+jwt"), b"{}", &mut token).unwrap();
    let refused = Compact::parse(&token).unwrap();
    let refused = refused.verify(&VerifyingKey::from(rs256.public_jwk())).unwrap_err();
    assert_eq!(refused, JwsError::AlgorithmMismatch);
    assert_eq!(with_header(br#"{"alg":"ES384"}"#), Err(JwsError::AlgorithmMismatch));
}

#[test]
fn row_236_one_key_has_one_algorithm() {
    let der = jose::generate(Algorithm::Rs256).unwrap();
    let [rs256, ps256] = [Algorithm::Rs256, Algorithm::Ps256]
        .map(|a| SigningKey::from_pkcs8(a, der.as_bytes()).unwrap().public_jwk().clone());
    let both = vec![rs256.clone(), ps256.with_kid("other".to_owned())];
    assert_eq!(JwkSet::new(both), Err(JwkSetError::TwoAlgorithms));

    // Without "alg" an RSA key is for RS256, unless something else settled it; then it stays so.
    let mut json: Value = serde_json::from_str(&rs256.to_json()).unwrap();
    json.as_object_mut().unwrap().remove("alg");
    let open = Jwk::from_value(&json).unwrap();
    assert_eq!(open.algorithm(), Algorithm::Rs256);
    let settled = open.clone().for_algorithm(Algorithm::Ps256).unwrap();
    assert_eq!(settled.algorithm(), Algorithm::Ps256);
    assert_eq!(settled.for_algorithm(Algorithm::Rs256), Err(JwkError::AlgorithmMismatch));
    assert_eq!(rs256.for_algorithm(Algorithm::Ps256), Err(JwkError::AlgorithmMismatch));
    assert_eq!(open.for_algorithm(Algorithm::Es256), Err(JwkError::AlgorithmMismatch));
}

#[test]
fn row_237_extensions_are_refused() {
    for extension in [
        r#""crit":["exp"],"exp":1"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""b64":false,"crit":["b64"]"#,
    ] {
        let header = format!(r#"{{"alg":"ES256",{extension}}}"#);
        assert_eq!(with_header(header.as_bytes()), Err(JwsError::CriticalExtension), "{header}");
    }
}

#[test]
fn row_238_repeated_members_are_refused() {
    assert_eq!(with_header(br#"{"alg":"ES256","alg":"ES256"}"#), Err(JwsError::DuplicateMember));
    assert_eq!(
        with_header(br#"{"alg":"ES256","x":{"y":1,"y":1}}"#),
        Err(JwsError::DuplicateMember)
    );
    assert_eq!(Claims::parse(br#"{"exp":1,"exp":2}"#), Err(ClaimsError::Duplicate));
    assert_eq!(Claims::parse(br#"{"a":{"b":1,"\u0062":1}}"#), Err(ClaimsError::Duplicate));
}

#[test]
fn row_239_a_token_has_one_form() {
    let key = key(Algorithm::Es256);
    let good = forge(&key, br#"{"alg":"ES256"}"#, br#"{"a":"???>>>"}"#);
    assert!(Compact::parse(&good).is_ok());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    assert!(payload.contains(['-', '_']), "the payload shows the alphabet: {payload}");
    for (text, error) in [
        (format!("{header}.{payload}"), JwsError::NotThreeParts),
        (format!("{good}."), JwsError::NotThreeParts),
        (format!("{good}.a"), JwsError::NotThreeParts),
        (String::new(), JwsError::NotThreeParts),
        ("..".to_owned(), JwsError::HeaderNotJson),
        (format!(" {good}"), JwsError::NotBase64Url),
        (format!("{good}\n"), JwsError::NotBase64Url),
        (format!("{header}. {payload}.{signature}"), JwsError::NotBase64Url),
        (format!("{header}.{payload}=.{signature}"), JwsError::NotBase64Url),
        (format!("{good}=="), JwsError::NotBase64Url),
        (good.replace('-', "+").replace('_', "/"), JwsError::NotBase64Url),
        (
            json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
            JwsError::NotThreeParts,
        ),
        (format!("{{{good}}}"), JwsError::NotBase64Url),
        ("a".repeat(MAX_TOKEN_LEN + 1), JwsError::TooLong),
    ] {
        assert_eq!(Compact::parse(&text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn row_239_a_character_has_no_spare_bits() {
    let key = key(Algorithm::Es256);
    let token = forge(&key, br#"{"alg":"ES256"}"#, b"{}");
    // 64 bytes leave four bits of the last character unused: 15 other characters would decode to the same.
    let (rest, last) = token.split_at(token.len() - 1);
    let verifying = VerifyingKey::from(key.public_jwk());
    let accepted = ('0'..='z')
        .chain(['-'])
        .filter(|c| {
            Compact::parse(&format!("{rest}{c}")).is_ok_and(|t| t.verify(&verifying).is_ok())
        })
        .collect::<String>();
    assert_eq!(accepted, last);
}

#[test]
fn row_240_a_token_brings_no_key_of_its_own() {
    let attacker = key(Algorithm::Es256);
    let own = key(Algorithm::Es256);
    let jwk: Value = serde_json::from_str(&attacker.public_jwk().to_json()).unwrap();
    let header = json!({"alg": "ES256", "jwk": jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "x5c": ["MIIB"]});
    let token = forge(&attacker, header.to_string().as_bytes(), b"{}");
    let parsed = Compact::parse(&token).unwrap();
    assert_eq!(
        parsed.verify(&VerifyingKey::from(own.public_jwk())).unwrap_err(),
        JwsError::BadSignature
    );
    assert!(!format!("{:?}", parsed.header()).contains("evil"));
    assert!(with_header(header.to_string().as_bytes()).is_ok());
}

#[test]
fn row_241_a_long_kid_is_refused() {
    let header = |len| json!({"alg": "ES256", "kid": "k".repeat(len)}).to_string();
    assert_eq!(with_header(header(jose::MAX_KID_LEN).as_bytes()), Ok(()));
    assert_eq!(with_header(header(jose::MAX_KID_LEN + 1).as_bytes()), Err(JwsError::KidTooLong));
    assert_eq!(with_header(br#"{"alg":"ES256","kid":1}"#), Err(JwsError::HeaderMember("kid")));
    assert_eq!(with_header(br#"{"alg":"ES256","kid":"' OR 1=1 --/../../etc"}"#), Ok(()));
}

#[test]
fn row_242_only_plain_utf8_is_read() {
    for header in [
        &b"\xef\xbb\xbf{\"alg\":\"ES256\"}"[..],
        b"{\"alg\":\"ES256\",\"x\":\"\xff\"}",
        b"{\0\"\0a\0",
        b"",
        b"[]",
        b"\"ES256\"",
    ] {
        assert_eq!(with_header(header), Err(JwsError::HeaderNotJson), "{header:?}");
    }
    assert_eq!(Claims::parse(b"\xef\xbb\xbf{}"), Err(ClaimsError::NotJson));
    assert_eq!(Claims::parse(b"{\"a\":\"\xc3\"}"), Err(ClaimsError::NotJson));
}

#[test]
fn row_243_an_encrypted_token_is_refused_unread() {
    let text = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIiwiemlwIjoiREVGIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(Compact::parse(text).unwrap_err(), JwsError::NotThreeParts);
}

#[test]
fn row_247_a_key_nobody_knows_does_not_spoil_the_set() {
    let good = key(Algorithm::Es256);
    let enc = json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e", "n": "AQAB", "e": "AQAB"});
    let twice = r#"{"kty":"EC","kty":"EC"}"#;
    let others = [
        (
            json!({"kty": "AKP", "alg": "SLH-DSA-SHA2-128s", "pub": "AA"}).to_string(),
            JwkError::UnsupportedAlgorithm,
        ),
        (
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}).to_string(),
            JwkError::Member("pub"),
        ),
        (json!({"kty": "OKP", "crv": "X25519", "x": "AA"}).to_string(), JwkError::UnsupportedKind),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}).to_string(),
            JwkError::UnsupportedKind,
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}).to_string(),
            JwkError::Member("x"),
        ),
        (enc.to_string(), JwkError::NotForVerifying),
        (twice.to_owned(), JwkError::DuplicateMember),
        ("7".to_owned(), JwkError::NotAnObject),
        ("{}".to_owned(), JwkError::Member("kty")),
    ];
    let list: Vec<&str> = others.iter().map(|(json, _)| json.as_str()).collect();
    let text = format!(r#"{{"keys":[{},{}],"x":1}}"#, list.join(","), good.public_jwk().to_json());
    let set = JwkSet::parse(text.as_bytes()).unwrap();
    assert_eq!(set.keys(), [good.public_jwk().clone()]);
    assert_eq!(set.find(good.kid()), Some(good.public_jwk()));
    assert_eq!(set.skipped(), others.map(|(_, error)| error));
}

#[test]
fn keys_for_another_use_are_read_where_that_use_is_meant() {
    let with_use = |usage: &str| {
        let jwk = key(Algorithm::Es256).public_jwk().to_json();
        jwk.replace(r#""use":"sig""#, &format!(r#""use":"{usage}""#))
    };
    let text = format!(
        r#"{{"keys":[{},{},{}]}}"#,
        with_use("jwt-svid"),
        with_use("x509-svid"),
        with_use("sig")
    );
    let count = |set: JwkSet| (set.keys().len(), set.skipped().to_vec());
    let other = JwkError::NotForVerifying;
    assert_eq!(count(JwkSet::parse(text.as_bytes()).unwrap()), (1, vec![other, other]));
    let set = JwkSet::parse_for(text.as_bytes(), "jwt-svid").unwrap();
    assert_eq!(count(set), (2, vec![other]));
    let private = text.replace(r#""kty""#, r#""d":"AA","kty""#);
    let refused = JwkSet::parse_for(private.as_bytes(), "jwt-svid");
    assert_eq!(refused, Err(JwkSetError::PrivateKey));
}

#[test]
fn row_248_a_private_key_or_an_ambiguous_kid_refuses_the_set() {
    let good = key(Algorithm::Es256).public_jwk().to_json();
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let text = format!(r#"{{"keys":[{good},{{"kty":"?","{member}":"AA"}}]}}"#);
        assert_eq!(JwkSet::parse(text.as_bytes()), Err(JwkSetError::PrivateKey), "{member}");
    }
    let pair =
        [(); 2].map(|()| key(Algorithm::Es256).public_jwk().clone().with_kid("k".to_owned()));
    assert_eq!(JwkSet::new(pair.into()), Err(JwkSetError::DuplicateKid));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[]} x"#] {
        assert_eq!(JwkSet::parse(text.as_bytes()), Err(JwkSetError::NotAKeySet), "{text}");
    }
    let many = format!(r#"{{"keys":[{}0]}}"#, "0,".repeat(JwkSet::MAX_KEYS));
    assert_eq!(JwkSet::parse(many.as_bytes()), Err(JwkSetError::TooManyKeys));
    assert_eq!(
        JwkSet::parse(" ".repeat(JwkSet::MAX_LEN + 1).as_bytes()),
        Err(JwkSetError::TooLong)
    );
}

#[test]
fn row_249_weak_rsa_keys_are_refused() {
    let good: Value = serde_json::from_str(&key(Algorithm::Rs256).public_jwk().to_json()).unwrap();
    assert!(Jwk::from_value(&good).is_ok());
    let n = BASE64_URL_SAFE_NO_PAD.decode(good["n"].as_str().unwrap()).unwrap();
    let encode = |bytes: &[u8]| Value::from(BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let mut even = n.clone();
    even[255] &= 0xfe;
    for (member, value, error) in [
        ("n", encode(&n[..128]), JwkError::RsaSize),
        ("n", encode(&[&[0], &n[..]].concat()), JwkError::RsaSize),
        ("n", encode(&[0xff; 1025]), JwkError::RsaSize),
        ("n", encode(&even), JwkError::RsaModulus),
        ("n", encode(b""), JwkError::RsaSize),
        ("n", format!("{}=", good["n"].as_str().unwrap()).into(), JwkError::Member("n")),
        ("n", Value::Null, JwkError::Member("n")),
        ("e", encode(&[1]), JwkError::RsaExponent),
        ("e", encode(&[2]), JwkError::RsaExponent),
        ("e", encode(b""), JwkError::RsaExponent),
        ("e", encode(&[1, 0, 0, 0, 1]), JwkError::RsaExponent),
        ("e", encode(&[0, 1, 0, 1]), JwkError::RsaExponent),
        ("alg", "ES256".into(), JwkError::AlgorithmMismatch),
        ("alg", "RS512".into(), JwkError::UnsupportedAlgorithm),
        ("use", "enc".into(), JwkError::NotForVerifying),
        ("use", 1.into(), JwkError::Member("use")),
        ("key_ops", json!(["encrypt"]), JwkError::NotForVerifying),
        ("key_ops", json!("verify"), JwkError::Member("key_ops")),
        ("kid", "".into(), JwkError::Kid),
        ("kid", "k".repeat(jose::MAX_KID_LEN + 1).into(), JwkError::Kid),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert_eq!(Jwk::from_value(&bad), Err(error), "{member} {}", bad[member]);
    }
}

#[test]
fn the_thumbprints_of_the_standards_are_ours() {
    let rsa =
        json!({"kty": "RSA", "n": RFC_7638_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    assert_eq!(
        Jwk::from_value(&rsa).unwrap().thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let okp =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(
        Jwk::from_value(&okp).unwrap().thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

/// RFC 7638 §3.1.
const RFC_7638_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

/// A private RSA key of 1024 bits, made for this test: no library here would make one.
const RSA_1024: &str = "MIICXAIBAAKBgQC9SqOJrOp2BpEhUNY03PkRYOruAR37C4tscajl41y7uX2q3RfiUie9PRTG/Hu6/TQldbdvR9Z+SFDmEKq7YUQa6DJ00zSsKS2mQQ4XyRYlOApCWHA/CXNdut19M1y0L0JthWuGlO24ZCRxE+E2HW1gJqZDGczADQSOWkVg9iQq4wIDAQABAoGAfrabOQtevHly56l0a1jNBjwpp/9pcWduAr8nQBTuO+BU5m8wkNlMLtrXsMjNjwP2x2jAzaZ6SHjiZtAbamoXKwAP+xMjryZb0UlA378QRWg6jT+X2PsKrhdkUPjUkLw00vjP10/vznIitv/FcUwGWxUWH5gLzMX+smOYn95GAukCQQDwS+vJW29ue5Xwe9m6+7609HqWX2VuVyeeZoTD1ipK+pz/CAyiz5zrjRij+vema2CvWzRSBkfsHCJon8CBUF9HAkEAyalr6HLj8HNQJwLqf/wK4idjb9oTnvmi8dvgxFCj/oq6Di1HB0CY9BacwnpTZLFe/6+hfYBb+vVQvnK0kLt9hQJBANy4f/5W1IYhUtqwiJBuSQAiSK/zNFIkECo5dN4FzJdOmALSO/kYxsS+t9F35x6gJxErr2Vgi5PfS+PaSZL+ZmUCQA8YmbVa9GlJmJRzCW7vRTlMzYrP/mwGMAZ++UJ47u3dILRy+0A1u715+94rHhcJmBz33tTwSPJubs7y80VqY6kCQFuGq1yExeavvgHWtK5Gov38Xg1rHcMDjXrllU2OVRdKhqBDst8WgnNdFTl54nEnwwdOhP0cYLiyA6JXGTyS+KM=";
