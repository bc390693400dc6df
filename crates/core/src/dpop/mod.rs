//! Proofs of possession (RFC 9449): a JWT that its sender signs for one request with a key of its own.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Timestamp;
use crate::assertion::Once;
use crate::family::FamilyId;
use crate::jose::claims::typ_is;
use crate::jose::jws::Compact;
use crate::jose::{Algorithm, Claims, VerifyingKey};

mod make;
mod nonce;
mod url;

pub use make::{ProofKey, Purpose};
pub use nonce::{NonceState, Nonces};

/// The type of a proof (§4.2).
const TYP: &str = "dpop+jwt";

/// How old a proof may be: a slow connection, and a clock that is somewhat late.
const MAX_AGE: Duration = Duration::from_secs(60);

/// How far in the future a proof may have been made: a clock that is fast.
const MAX_FUTURE: Duration = Duration::from_secs(30);

/// The longest `jti`, in bytes; what is remembered of it is a digest.
const MAX_JTI: usize = 256;

/// What a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The names under which the resource is known, as URLs; from configuration, never from the request.
    pub urls: &'a [&'a str],
    /// The access token that comes with it; `None` at the token endpoint.
    pub access_token: Option<&'a str>,
}

/// A proof that is good, but for what its receiver remembers: whether it is new, and whether its nonce is.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The SHA-256 thumbprint of the key (RFC 7638).
    pub key: [u8; 32],
    /// What it was signed with.
    pub algorithm: Algorithm,
    /// What it uses up.
    pub once: Once,
    /// The nonce it says it was given.
    pub nonce: Option<String>,
}

/// Why a proof is not good: for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadProof(pub &'static str);

/// Checks a proof (§4.3) as far as that can be done without memory.
pub fn check(proof: &[u8], expected: &Expected<'_>, now: Timestamp) -> Result<Proof, BadProof> {
    let text = std::str::from_utf8(proof).map_err(|_| BadProof("not a JWT"))?;
    let compact = Compact::parse(text).map_err(|_| BadProof("not a JWT"))?;
    let header = compact.header();
    if !typ_is(header.typ(), TYP) {
        return Err(BadProof("a token of another type"));
    }
    let jwk = compact.own_key().ok_or(BadProof("no public key in it"))?;
    let algorithm = header.algorithm();
    let jwk = jwk.for_algorithm(algorithm).map_err(|_| BadProof("a key of another algorithm"))?;
    let verified = compact.verify(&VerifyingKey::from(&jwk));
    let verified = verified.map_err(|_| BadProof("not signed by the key in it"))?;
    let claims = verified.claims().map_err(|_| BadProof("malformed claims"))?;

    let text = |name: &str| claims.other.get(name).and_then(Value::as_str);
    // "The htm claim matches the HTTP method": methods are case-sensitive (RFC 9110 §9.1).
    if text("htm") != Some(expected.method) {
        return Err(BadProof("for another method"));
    }
    let htu = text("htu").and_then(url::normalized).ok_or(BadProof("for no URL"))?;
    if !expected.urls.iter().any(|url| url::normalized(url).as_ref() == Some(&htu)) {
        return Err(BadProof("for another URL"));
    }
    if let Some(token) = expected.access_token
        && text("ath") != Some(&*hash(token))
    {
        return Err(BadProof("for another access token"));
    }
    let issued_at = claims.iat.ok_or(BadProof("no iat"))?;
    if issued_at + MAX_AGE < now || issued_at > now + MAX_FUTURE {
        return Err(BadProof("too old, or made in the future"));
    }
    let nonce = match claims.other.get("nonce") {
        None => None,
        Some(Value::String(nonce)) => Some(nonce.clone()),
        Some(_) => return Err(BadProof("a nonce that is no text")),
    };
    let key = jwk.thumbprint_bytes();
    let until = issued_at + MAX_AGE + Duration::from_secs(1);
    Ok(Proof { key, algorithm, once: Once { id: once(&key, &claims)?, until }, nonce })
}

/// `ath` (§4.2): the base64url of the SHA-256 of an access token.
pub fn hash(access_token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(sha256(access_token.as_bytes()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

/// What is remembered of a proof: 128 bits of the digest of its key and `jti`.
fn once(key: &[u8; 32], claims: &Claims) -> Result<FamilyId, BadProof> {
    let jti = claims.jti.as_deref().filter(|jti| (1..=MAX_JTI).contains(&jti.len()));
    let jti = jti.ok_or(BadProof("no jti"))?;
    let digest = sha256(&[b"proof:", &key[..], jti.as_bytes()].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Ok(FamilyId(id))
}

#[cfg(test)]
mod tests;
