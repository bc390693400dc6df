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

/// The type that servers want which were there before assertions had one of their own (RFC 7519 §5.1).
const UNTYPED: &str = "JWT";

/// A key that a client authenticates with. Its headers are encoded once.
#[derive(Debug)]
pub struct AssertionKey {
    key: SigningKey,
    header: PreparedHeader,
    untyped: PreparedHeader,
}

impl AssertionKey {
    /// Assertions by this key, under its `kid`.
    pub fn new(key: SigningKey) -> Self {
        let (header, untyped) = (key.header(TYP), key.header(UNTYPED));
        Self { key, header, untyped }
    }

    /// Assertions by this key, under its `kid` and the digest of its certificate (DER): `x5t#S256` (RFC 7515 §4.1.8).
    pub fn of_certificate(key: SigningKey, certificate: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest);
        let header = key.header_with_certificate(TYP, &thumbprint);
        let untyped = key.header_with_certificate(UNTYPED, &thumbprint);
        Self { key, header, untyped }
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
        self.make_with(&self.header, client, issuer, now, random)
    }

    /// As [`Self::make`], for servers that want to be told that it is a `JWT`. Whoever else takes such a JWT from the
    /// same key could take this one for it (RFC 8725 §3.11).
    ///
    /// # Errors
    ///
    /// That it could not be signed.
    pub fn make_untyped(
        &self,
        client: &str,
        audience: &str,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Secret, SignError> {
        self.make_with(&self.untyped, client, audience, now, random)
    }

    fn make_with(
        &self,
        header: &PreparedHeader,
        client: &str,
        audience: &str,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Secret, SignError> {
        let claims = Claims {
            iss: client,
            sub: client,
            // One name and no other: an assertion for two could be passed on by one of them to the other.
            aud: audience,
            jti: BASE64_URL_SAFE_NO_PAD.encode(random),
            iat: now.as_secs(),
            exp: (now + LIFETIME).as_secs(),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| SignError::Failed)?;
        let mut assertion = String::new();
        self.key.sign_compact(header, &claims, &mut assertion)?;
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

    #[test]
    fn a_certificate_is_named_by_its_digest_and_a_plain_jwt_is_called_one() {
        let key = key(Algorithm::Ps256).with_kid("k1".to_owned());
        let key = AssertionKey::of_certificate(key, b"a certificate");
        let header = |assertion: &Secret| {
            let header = assertion.expose().split('.').next().unwrap();
            String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
        };
        // printf 'a certificate' | openssl dgst -sha256 -binary | basenc --base64url
        let thumbprint = "gazXYhQPppKhQoItL75NxvVLyqUB9oqzflru0Lr-TZk";
        assert_eq!(
            header(&key.make("billing", ISSUER, NOW, [1; 16]).unwrap()),
            format!(
                r#"{{"alg":"PS256","typ":"client-authentication+jwt","kid":"k1","x5t#S256":"{thumbprint}"}}"#
            )
        );
        assert_eq!(
            header(&key.make_untyped("billing", ISSUER, NOW, [1; 16]).unwrap()),
            format!(r#"{{"alg":"PS256","typ":"JWT","kid":"k1","x5t#S256":"{thumbprint}"}}"#)
        );
    }
}
