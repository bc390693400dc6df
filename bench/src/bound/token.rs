//! The token that the bound signs: the header and claims of Tokenry's, written by hand.

use std::fmt::Write as _;

use aws_lc_rs::rand::SecureRandom as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::clock::unix_seconds;
use crate::problem::{Problem, Result};

/// As long as a SHA-256 thumbprint in base64url, which Tokenry names its keys by.
const KID: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

/// A key, prepared once, with the header that it writes.
pub(crate) struct Signer {
    key: Key,
    header: String,
    random: SystemRandom,
}

enum Key {
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    /// A new key of an algorithm.
    pub(crate) fn new(algorithm: &str) -> Result<Self> {
        let failed = |_| Problem::new("no key could be made");
        let key = match algorithm {
            "RS256" => {
                Key::Rs256(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?))
            }
            "ES256" => Key::Es256(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
            ),
            "EdDSA" => Key::EdDsa(Ed25519KeyPair::generate().map_err(failed)?),
            other => return Err(Problem::new(format!("the bound knows no algorithm `{other}`"))),
        };
        let header = format!(r#"{{"alg":"{algorithm}","typ":"at+jwt","kid":"{KID}"}}"#);
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        #[expect(clippy::disallowed_methods, reason = "the bound draws each token's jti")]
        let random = SystemRandom::new();
        Ok(Self { key, header, random })
    }

    /// The answer to one request: a token, and what stands around it.
    pub(crate) fn answer(&self, issuer: &str, client: &str, scope: &str) -> Option<String> {
        let mut jti = [0; 16];
        self.random.fill(&mut jti).ok()?;
        let mut claims = String::with_capacity(512);
        let now = unix_seconds();
        write!(
            claims,
            r#"{{"iss":"{issuer}","sub":"{client}","aud":"{issuer}","exp":{},"iat":{now},"jti":""#,
            now + 300
        )
        .ok()?;
        uuid(&jti, &mut claims);
        write!(claims, r#"","client_id":"{client}","scope":"{scope}"}}"#).ok()?;

        let mut answer = String::with_capacity(1536);
        answer.push_str(r#"{"access_token":""#);
        let start = answer.len();
        answer.push_str(&self.header);
        answer.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&claims, &mut answer);
        let input = &answer.as_bytes()[start..];
        match &self.key {
            Key::Rs256(key) => {
                let mut signature = [0; 256];
                key.sign(&RSA_PKCS1_SHA256, &self.random, input, &mut signature).ok()?;
                answer.push('.');
                BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut answer);
            }
            Key::Es256(key) => {
                let signature = key.sign(&self.random, input).ok()?;
                answer.push('.');
                BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut answer);
            }
            Key::EdDsa(key) => {
                let signature = key.sign(input);
                answer.push('.');
                BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut answer);
            }
        }
        answer.push_str(r#"","token_type":"Bearer","expires_in":300,"scope":""#);
        answer.push_str(scope);
        answer.push_str("\"}");
        Some(answer)
    }
}

/// 16 bytes as a UUID.
fn uuid(bytes: &[u8; 16], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_what_a_server_signs() {
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            let answer = Signer::new(algorithm).ok().unwrap();
            let answer = answer.answer("https://a.example", "c", "read").unwrap();
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let token = answer["access_token"].as_str().unwrap();
            let parts: Vec<Vec<u8>> =
                token.split('.').map(|p| BASE64_URL_SAFE_NO_PAD.decode(p).unwrap()).collect();
            let header: serde_json::Value = serde_json::from_slice(&parts[0]).unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
            assert_eq!(header["alg"], algorithm);
            assert_eq!(claims["aud"], "https://a.example");
            assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
            assert_eq!(parts[2].len(), if algorithm == "RS256" { 256 } else { 64 });
        }
    }
}
