//! The master key, and what is derived from it (HKDF-SHA-256, RFC 5869).

use std::fmt;

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::client::SecretDigest;

/// The one secret of an installation: 32 random bytes.
///
/// All that the store holds and that must not be readable from it stands under a key derived from this one, each
/// purpose under its own.
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// The sealed bytes do not open: another key, another place, or changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sealed data does not open under this master key")]
pub struct NotSealedHere;

impl MasterKey {
    /// Takes the key's bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What client secrets are digested under.
    pub fn pepper(&self) -> Pepper {
        Pepper(hmac::Key::new(hmac::HMAC_SHA256, &*self.derive(&["client secret"])))
    }

    /// A value by which a store knows its master key, and from which nobody can learn it.
    pub fn check(&self) -> [u8; 32] {
        *self.derive(&["check"])
    }

    /// The key that the refresh tokens of a realm are sealed under.
    pub(crate) fn refresh_key(&self, realm: &str) -> Option<RefreshKeys> {
        let seal =
            UnboundKey::new(&AES_256_GCM_SIV, &*self.derive(&["refresh token", realm])).ok()?;
        let nonce = self.derive(&["refresh token successor", realm]);
        Some(RefreshKeys {
            seal: LessSafeKey::new(seal),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, &*nonce),
        })
    }

    /// The key of the nonces that a realm gives for DPoP proofs.
    pub(crate) fn nonce_key(&self, realm: &str) -> Zeroizing<[u8; 32]> {
        self.derive(&["dpop nonce", realm])
    }

    /// Seals a secret that is to be stored, for one purpose (such as `signing key` and its `kid`).
    ///
    /// AES-256-GCM under a key of that purpose; 12 bytes of nonce, the ciphertext, 16 bytes of tag.
    pub fn seal(&self, purpose: &[&str], nonce: [u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*self.derive(purpose)).ok()?);
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::empty(), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) sealed for the same purpose.
    pub fn open(
        &self,
        purpose: &[&str],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotSealedHere> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotSealedHere)?;
        let key =
            UnboundKey::new(&AES_256_GCM, &*self.derive(purpose)).map_err(|_| NotSealedHere)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let len = LessSafeKey::new(key)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut plain)
            .map_err(|_| NotSealedHere)?
            .len();
        plain.truncate(len);
        Ok(plain)
    }

    /// Derives 32 bytes for a purpose. Its parts are joined by a NUL, which no name contains.
    fn derive(&self, purpose: &[&str]) -> Zeroizing<[u8; 32]> {
        struct Len;
        impl KeyType for Len {
            fn len(&self) -> usize {
                32
            }
        }
        let info = purpose.join("\0");
        let mut out = Zeroizing::new([0; 32]);
        let salt = Salt::new(HKDF_SHA256, b"tokenry v1");
        // Expanding 32 bytes cannot fail: HKDF-SHA-256 gives up to 8160.
        if let Ok(okm) = salt.extract(&*self.0).expand(&[info.as_bytes()], Len) {
            let _ = okm.fill(&mut *out);
        }
        out
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What client secrets are digested under; held by the process, never by the store.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// The digest of a client secret.
    pub fn digest(&self, secret: &str) -> SecretDigest {
        let tag = hmac::sign(&self.0, secret.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        SecretDigest(digest)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

/// The keys of a realm's refresh tokens.
pub(crate) struct RefreshKeys {
    pub(crate) seal: LessSafeKey,
    pub(crate) nonce: hmac::Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_and_under_its_key() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal(&["signing key", "a"], [1; 12], b"private").unwrap();
        assert_eq!(&**key.open(&["signing key", "a"], &sealed).unwrap(), b"private");
        assert_eq!(key.open(&["signing key", "b"], &sealed).unwrap_err(), NotSealedHere);
        assert!(MasterKey::new([8; 32]).open(&["signing key", "a"], &sealed).is_err());
        let mut changed = sealed.clone();
        changed[15] ^= 1;
        assert!(key.open(&["signing key", "a"], &changed).is_err());
        assert!(key.open(&["signing key", "a"], &[]).is_err());
    }

    #[test]
    fn each_purpose_has_its_own_key() {
        let key = MasterKey::new([7; 32]);
        assert_ne!(key.derive(&["a", "b"]), key.derive(&["ab"]));
        assert_ne!(key.check(), *key.derive(&["client secret"]));
        assert_ne!(key.check(), [0; 32]);
    }
}
