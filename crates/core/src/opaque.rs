//! Opaque access tokens: random, and known to the store alone.
//!
//! The text is [`PREFIX`] and the base64url of 48 bytes: 16 by which the token is found, which are its `jti`, and 256
//! random bits. The store holds the SHA-256 of the latter (RFC 6749 §10.3): who reads it has no token.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::family::FamilyId;
use crate::{Secret, Timestamp};

/// What every opaque access token begins with, so that secret scanners find a leaked one.
pub const PREFIX: &str = "tka_";

/// What a store holds of an opaque token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredToken {
    /// The SHA-256 of its secret part.
    pub digest: [u8; 32],
    /// What a JWT would say in its place.
    pub claims: String,
    /// When it ceases to be good, and need not be held any more.
    pub expires_at: Timestamp,
}

/// An opaque token as presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpaqueToken {
    /// By which it is found.
    pub id: FamilyId,
    digest: [u8; 32],
}

impl OpaqueToken {
    /// Makes the text of a token, and what is stored of it.
    pub fn make(id: FamilyId, random: &[u8; 32]) -> (Secret, Self) {
        let text = BASE64_URL_SAFE_NO_PAD.encode([&id.0[..], random].concat());
        (Secret::new(format!("{PREFIX}{text}")), Self { id, digest: sha256(random) })
    }

    /// Reads the text of a token. `None`: it is none of ours, by its form.
    pub fn read(text: &str) -> Option<Self> {
        // 48 bytes have 64 characters; nothing longer is decoded.
        let body = text.strip_prefix(PREFIX).filter(|body| body.len() == 64)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(body).ok()?;
        let (id, secret) = bytes.split_first_chunk::<16>()?;
        Some(Self { id: FamilyId(*id), digest: sha256(secret) })
    }

    /// What is stored of it.
    pub fn stored(&self, claims: String, expires_at: Timestamp) -> StoredToken {
        StoredToken { digest: self.digest, claims, expires_at }
    }

    /// Whether it is the one that was stored.
    pub fn is(&self, stored: &StoredToken) -> bool {
        verify_slices_are_equal(&self.digest, &stored.digest).is_ok()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_152_the_store_holds_nothing_from_which_a_token_could_be_made() {
        let id = FamilyId([7; 16]);
        let random: [u8; 32] = std::array::from_fn(|i| i as u8);
        let (text, made) = OpaqueToken::make(id, &random);
        assert_eq!(text.expose().len(), PREFIX.len() + 64);
        let read = OpaqueToken::read(text.expose()).unwrap();
        assert_eq!(read, made);
        let stored = made.stored("{}".into(), Timestamp::from_secs(1));
        assert!(read.is(&stored));
        assert_ne!(stored.digest, random);
        // Each of the 256 bits is in the text and in the digest.
        for at in 0..random.len() {
            let mut other = random;
            other[at] ^= 1;
            let (other_text, other) = OpaqueToken::make(id, &other);
            assert!(other_text != text && !other.is(&stored), "byte {at}");
        }
        let text = text.expose();
        for bad in ["", "tka_", &text[1..], &text[..text.len() - 1], &format!("{text}A"), "tka_%"] {
            assert_eq!(OpaqueToken::read(bad), None, "{bad}");
        }
    }
}
