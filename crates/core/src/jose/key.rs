//! The keys that verify, and the numbers they are made of (RFC 7518 §6.2, §6.3, RFC 8037 §2, RFC 9964 §3).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::{Algorithm, ml_dsa, roca};

/// A public key ready to verify: parsed once, used for any number of signatures, cheap to clone.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    pub(super) const fn new(
        kid: Option<String>,
        algorithm: Algorithm,
        parsed: ParsedPublicKey,
    ) -> Self {
        Self { kid, algorithm, parsed }
    }

    /// The identifier, if the key has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm it verifies.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks a signature made with `algorithm`, which must be the key's own.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if algorithm != self.algorithm {
            return Err(BadSignature);
        }
        self.parsed.verify_sig(message, signature).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The signature is not one of this key under this algorithm over this message.
///
/// Deliberately without a cause: what is wrong with a forged signature helps only its forger.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct BadSignature;

/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used".
pub(super) const MIN_RSA_BITS: usize = 2048;
/// Above this a verification takes so long that the key itself is an attack; AWS-LC stops here too.
pub(super) const MAX_RSA_BITS: usize = 8192;
/// Exponents in use are 65537 and 3. Long ones make a verification as slow as a signature.
const MAX_RSA_EXPONENT_BITS: usize = 32;

/// The public numbers, in the lengths their kind requires.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum PublicNumbers {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    P256 {
        x: [u8; 32],
        y: [u8; 32],
    },
    P384 {
        x: [u8; 48],
        y: [u8; 48],
    },
    Ed25519 {
        x: [u8; 32],
    },
    /// The algorithm is a part of the key (RFC 9964 §3).
    MlDsa {
        algorithm: Algorithm,
        key: Vec<u8>,
    },
}

impl PublicNumbers {
    /// An RSA key: big-endian without leading zeros (RFC 7518 §6.3.1).
    pub(super) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, RsaFlaw> {
        let bits = bit_len(&n);
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(RsaFlaw::Size);
        }
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        // e = 1 is the identity: every message is its own signature.
        if !odd(&e) || !(2..=MAX_RSA_EXPONENT_BITS).contains(&bit_len(&e)) {
            return Err(RsaFlaw::Exponent);
        }
        if !odd(&n) || roca::has_fingerprint(&n) {
            return Err(RsaFlaw::Modulus);
        }
        Ok(Self::Rsa { n, e })
    }

    /// An ML-DSA key, which is bytes of one length (RFC 9964 §5). Any bytes of that length are a key.
    pub(super) fn ml_dsa(algorithm: Algorithm, key: Vec<u8>) -> Result<Self, MlDsaFlaw> {
        let parameters = ml_dsa::signing(algorithm).ok_or(MlDsaFlaw::Algorithm)?;
        if key.len() != parameters.public_key_len() {
            return Err(MlDsaFlaw::Length);
        }
        Ok(Self::MlDsa { algorithm, key })
    }

    /// Whether these numbers can be used with the algorithm at all.
    pub(super) fn suits(&self, algorithm: Algorithm) -> bool {
        if let Self::MlDsa { algorithm: own, .. } = self {
            return *own == algorithm;
        }
        matches!(
            (self, algorithm),
            (Self::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Self::P256 { .. }, Algorithm::Es256)
                | (Self::P384 { .. }, Algorithm::Es384)
                | (Self::Ed25519 { .. }, Algorithm::EdDsa)
        )
    }

    /// The parsed key; `None` when the point is not on its curve, or the algorithm is of another kind.
    pub(super) fn parse(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        match (self, algorithm) {
            (Self::Rsa { n, e }, Algorithm::Rs256) => RsaPublicKeyComponents { n, e }
                .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                .ok(),
            (Self::Rsa { n, e }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256).ok()
            }
            (Self::P256 { x, y }, Algorithm::Es256) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed(x, y)).ok()
            }
            (Self::P384 { x, y }, Algorithm::Es384) => {
                ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, uncompressed(x, y)).ok()
            }
            (Self::Ed25519 { x }, Algorithm::EdDsa) => ParsedPublicKey::new(&ED25519, x).ok(),
            (Self::MlDsa { algorithm: own, key }, algorithm) if *own == algorithm => {
                ParsedPublicKey::new(ml_dsa::verification(algorithm)?, key).ok()
            }
            _ => None,
        }
    }
}

/// Why an RSA key is not one to trust.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RsaFlaw {
    Size,
    Exponent,
    Modulus,
}

/// Why bytes are not an ML-DSA key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MlDsaFlaw {
    Algorithm,
    Length,
}

/// SEC 1 §2.3.3, the form in which a point is handed over.
fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut point = Vec::with_capacity(1 + x.len() + y.len());
    point.push(0x04);
    point.extend_from_slice(x);
    point.extend_from_slice(y);
    point
}

/// The length in bits of a big-endian number without leading zero bytes; zero for one with them.
fn bit_len(number: &[u8]) -> usize {
    match number.first() {
        None | Some(0) => 0,
        Some(first) => number.len() * 8 - first.leading_zeros() as usize,
    }
}
