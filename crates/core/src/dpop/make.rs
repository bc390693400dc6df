//! Making proofs, for clients (RFC 9449 §4.2).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::{TYP, hash};
use crate::Timestamp;
use crate::jose::{PreparedHeader, SignError, SigningKey};

/// A key that proves possession. Its header, which carries the public half, is encoded once.
#[derive(Debug)]
pub struct ProofKey {
    key: SigningKey,
    header: PreparedHeader,
}

/// What a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The URL of the request. Query and fragment are left out of the proof.
    pub url: &'a str,
    /// The access token that goes with it; `None` at the token endpoint.
    pub access_token: Option<&'a str>,
    /// The newest nonce of the server, if it has given one.
    pub nonce: Option<&'a str>,
}

impl ProofKey {
    /// Proofs by this key.
    ///
    /// # Errors
    ///
    /// [`SignError::WrongHeader`] if no header can be made for it, which no key of ours brings about.
    pub fn new(key: SigningKey) -> Result<Self, SignError> {
        let mut jwk = serde_json::to_value(key.public_jwk()).map_err(|_| SignError::WrongHeader)?;
        // A receiver goes by the key itself, and each proof is as much shorter.
        if let Some(members) = jwk.as_object_mut() {
            members.retain(|name, _| !["kid", "use"].contains(&name.as_str()));
        }
        let alg = jwk.get("alg").and_then(Value::as_str).unwrap_or_default();
        let header = json!({ "typ": TYP, "alg": alg, "jwk": jwk }).to_string();
        let header =
            PreparedHeader::from_json(header.as_bytes()).map_err(|_| SignError::WrongHeader)?;
        Ok(Self { key, header })
    }

    /// The key's thumbprint (RFC 7638), which is the `jkt` of tokens that are bound to it (§6.1).
    pub fn thumbprint(&self) -> String {
        self.key.public_jwk().thumbprint()
    }

    /// A proof for one request. `random` makes its `jti`, so it must be new each time.
    ///
    /// # Errors
    ///
    /// That it could not be signed.
    pub fn make(
        &self,
        purpose: &Purpose<'_>,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<String, SignError> {
        // "without query and fragment parts"
        let url = purpose.url;
        let claims = Claims {
            jti: BASE64_URL_SAFE_NO_PAD.encode(random),
            htm: purpose.method,
            htu: &url[..url.find(['?', '#']).unwrap_or(url.len())],
            iat: now.as_secs(),
            ath: purpose.access_token.map(hash),
            nonce: purpose.nonce,
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| SignError::Failed)?;
        let mut proof = String::new();
        self.key.sign_compact(&self.header, &claims, &mut proof)?;
        Ok(proof)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: String,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::super::{Expected, check};
    use super::*;
    use crate::jose::{Algorithm, generate, jws::Compact};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn key(algorithm: Algorithm) -> ProofKey {
        let der = generate(algorithm).unwrap();
        ProofKey::new(SigningKey::from_pkcs8(algorithm, der.as_bytes()).unwrap()).unwrap()
    }

    fn purpose(url: &str) -> Purpose<'_> {
        Purpose { method: "POST", url, access_token: None, nonce: None }
    }

    #[test]
    fn row_271_what_is_made_is_what_is_checked_whatever_the_algorithm() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let purpose = Purpose {
                method: "GET",
                url: "https://api.example:8443/a%20b?c=d#e",
                access_token: Some("token"),
                nonce: Some("n-1"),
            };
            let proof = key.make(&purpose, NOW, [7; 16]).unwrap();
            let expected = Expected {
                method: "GET",
                urls: &["https://api.example:8443/a%20b"],
                access_token: Some("token"),
            };
            let checked = check(proof.as_bytes(), &expected, NOW).unwrap();
            assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(checked.key), key.thumbprint());
            assert_eq!(checked.nonce.as_deref(), Some("n-1"));
            let other = Expected { access_token: Some("other"), ..expected };
            assert!(check(proof.as_bytes(), &other, NOW).is_err());
        }
    }

    #[test]
    fn row_271_each_random_number_is_another_proof() {
        let key = key(Algorithm::Es256);
        let expected =
            Expected { method: "POST", urls: &["https://as.example/token"], access_token: None };
        let once = |random| {
            let proof = key.make(&purpose("https://as.example/token"), NOW, random).unwrap();
            check(proof.as_bytes(), &expected, NOW).unwrap().once.id
        };
        assert_eq!(once([1; 16]), once([1; 16]));
        assert_ne!(once([1; 16]), once([2; 16]));
    }

    #[test]
    fn a_proof_says_no_more_than_it_has_to() {
        let key = key(Algorithm::Es256);
        let proof = key.make(&purpose("https://as.example/token?a=b"), NOW, [1; 16]).unwrap();
        let compact = Compact::parse(&proof).unwrap();
        assert_eq!((compact.header().typ(), compact.header().kid()), (Some("dpop+jwt"), None));
        let payload = proof.split('.').nth(1).unwrap();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        assert_eq!(
            String::from_utf8(payload).unwrap(),
            r#"{"jti":"AQEBAQEBAQEBAQEBAQEBAQ","htm":"POST","htu":"https://as.example/token","iat":1000000}"#
        );
    }
}
