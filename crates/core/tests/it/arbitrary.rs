//! Whatever the bytes are, they are read or refused; and what is read once is read again the same.

use proptest::prelude::*;
use tokenry_core::jose::claims::Claims;
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, Jwk, JwkSet, PreparedHeader, SigningKey};

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        let _ = Claims::parse(&bytes);
        let _ = JwkSet::parse(&bytes);
        let _ = PreparedHeader::from_json(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = Compact::parse(&text);
        let _ = Jwk::parse(&text);
        for algorithm in Algorithm::ALL {
            prop_assert!(SigningKey::from_pkcs8(algorithm, &bytes).is_err());
        }
    }

    #[test]
    fn no_nearly_good_json_makes_a_reader_panic(
        text in r#"\{("(alg|kty|crv|x|y|n|e|pub|use|kid|exp|aud|iss)":("(ES256|ML-DSA-44|RSA|EC|OKP|AKP|P-256|AQAB|[A-Za-z0-9_-]{0,50})"|[0-9]{1,20}|\[\]|null),?){0,6}\}"#,
    ) {
        let _ = Jwk::parse(&text);
        let _ = Claims::parse(text.as_bytes());
        let _ = JwkSet::parse(format!(r#"{{"keys":[{text}]}}"#).as_bytes());
    }

    #[test]
    fn a_prepared_header_is_one_our_reader_accepts(typ: String, kid in ".{0,60}") {
        let header = PreparedHeader::new("ES256", &typ, &kid).unwrap();
        let token = format!("{}.e30.AA", header.as_str());
        let parsed = Compact::parse(&token).unwrap();
        prop_assert_eq!(parsed.header().typ(), Some(&*typ));
        prop_assert_eq!(parsed.header().kid(), Some(&*kid));
    }
}
