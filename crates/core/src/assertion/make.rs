//! Making assertions, for clients (RFC 7523 §3, as its revision has it).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;

use super::TYP;
use crate::jose::{PreparedHeader, SignError, SigningKey};
use crate::{Secret, Timestamp};

/// How long an assertion of ours is good: it is sent at once, and servers remember it for as long.
const LIFETIME: Duration = Duration::from_secs(60);

/// A key that a client authenticates with. Its header is encoded once.
#[derive(Debug)]
pub struct AssertionKey {
    key: SigningKey,
    header: PreparedHeader,
}

impl AssertionKey {
    /// Assertions by this key, under its `kid`.
    pub fn new(key: SigningKey) -> Self {
        let header = key.header(TYP);
        Self { key, header }
    }

    /// An assertion of a client for one request to the server of this issuer. `random` makes its `jti`, so it must be
    /// new each time.
    ///
    /// # Errors
    ///
    /// That it could not be signed.
    pub fn make(
        &self,
        client: &str,
        issuer: &str,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Secret, SignError> {
        let claims = Claims {
            iss: client,
            sub: client,
            // The issuer and no other name: an assertion for two could be passed on by one of them to the other.
            aud: issuer,
            jti: BASE64_URL_SAFE_NO_PAD.encode(random),
            iat: now.as_secs(),
            exp: (now + LIFETIME).as_secs(),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| SignError::Failed)?;
        let mut assertion = String::new();
        self.key.sign_compact(&self.header, &claims, &mut assertion)?;
        Ok(Secret::new(assertion))
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{PresentedAssertion, Terms, authenticate};
    use super::*;
    use crate::Client;
    use crate::client::{Credential, CredentialKind};
    use crate::jose::{Algorithm, generate, jws::Compact};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const ISSUER: &str = "https://as.example";

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().as_bytes()).unwrap()
    }

    fn credential(key: &SigningKey) -> Credential {
        Credential {
            id: "c1".to_owned(),
            label: String::new(),
            kind: CredentialKind::PublicKey { jwk: key.public_jwk().to_json().into() },
            not_before: Timestamp::EPOCH,
            expires_at: None,
            created_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn row_270_what_is_made_authenticates_the_client_at_this_issuer_alone() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let credential = credential(&key);
            let client =
                Client { credentials: vec![credential], ..Client::new("r", "billing", NOW) };
            let client = Arc::new(client);
            let key = AssertionKey::new(key);
            let assertion = key.make("billing", ISSUER, NOW, [7; 16]).unwrap();
            let presented = PresentedAssertion { assertion, client_id: None };
            assert_eq!(presented.named().unwrap(), "billing");
            let at = |issuer: &str, now| {
                let terms = Terms { audiences: &[issuer], fapi: algorithm.is_of_fapi() };
                authenticate(&presented, Some(&client), None, &terms, now)
            };
            assert!(at(ISSUER, NOW).is_ok(), "{algorithm:?}");
            assert!(at("https://other.example", NOW).is_err());
            assert!(at(ISSUER, NOW + LIFETIME * 2).is_err());
        }
    }

    #[test]
    fn row_270_it_says_its_type_its_key_and_a_minute() {
        let key = key(Algorithm::Es256).with_kid("k1".to_owned());
        let assertion = AssertionKey::new(key).make("billing", ISSUER, NOW, [1; 16]).unwrap();
        let compact = Compact::parse(assertion.expose()).unwrap();
        assert_eq!(compact.header().typ(), Some("client-authentication+jwt"));
        assert_eq!(compact.header().kid(), Some("k1"));
        let payload = assertion.expose().split('.').nth(1).unwrap();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        assert_eq!(
            String::from_utf8(payload).unwrap(),
            r#"{"iss":"billing","sub":"billing","aud":"https://as.example","jti":"AQEBAQEBAQEBAQEBAQEBAQ","iat":1000000,"exp":1000060}"#
        );
    }
}
