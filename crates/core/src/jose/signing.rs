//! Private keys, what they sign, and how they are made (RFC 7515 §5.1, RFC 7518 §3, RFC 9964).

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::key::{MAX_RSA_BITS, PublicNumbers};
use super::{Algorithm, Jwk, JwkError, MAX_KID_LEN, PreparedHeader, base64url, ml_dsa};

/// Makes a new private key: RSA with 2048 bits, a random one of the algorithm's curve, or an ML-DSA seed.
pub fn generate(algorithm: Algorithm) -> Result<Pkcs8, KeyError> {
    let failed = |_| KeyError::Generation;
    let der = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => RsaKeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| pair.as_der())
            .map(|der| der.as_ref().to_vec()),
        Algorithm::Es256 => generate_ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => generate_ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDsa => Ed25519KeyPair::generate()
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|der| der.as_ref().to_vec()),
        Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => generate_ml_dsa(algorithm),
    };
    der.map(|der| Pkcs8(Zeroizing::new(der))).map_err(failed)
}

/// A private key as unencrypted PKCS#8 DER (RFC 5208), wiped when dropped.
#[derive(Clone)]
pub struct Pkcs8(Zeroizing<Vec<u8>>);

impl Pkcs8 {
    /// Takes over bytes, which are wiped with this value. They are looked at only by
    /// [`SigningKey::from_pkcs8`].
    pub fn from_bytes(der: Vec<u8>) -> Self {
        Self(Zeroizing::new(der))
    }

    /// The DER, to be sealed at once.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Pkcs8 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pkcs8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pkcs8(..)")
    }
}

/// A private key with its one algorithm and its `kid`. Shared by `Arc`, used from any thread.
pub struct SigningKey {
    pair: Pair,
    public: Jwk,
    kid: String,
    algorithm_name: &'static str,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

impl SigningKey {
    /// Reads a private key from PKCS#8 DER. Its `kid` is its thumbprint (RFC 7638).
    ///
    /// RSA keys below 2048 or above 8192 bits are refused, as are keys of another kind than the algorithm's, and
    /// ML-DSA keys without their seed.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let (pair, numbers) = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Rejected)?;
                let (n, e) = rsa_numbers(pair.public_key().as_ref()).ok_or(KeyError::Rejected)?;
                let numbers = PublicNumbers::rsa(n.to_vec(), e.to_vec()).map_err(JwkError::from)?;
                (Pair::Rsa(pair), numbers)
            }
            Algorithm::Es256 => {
                let (pair, x, y) = read_ec(&ECDSA_P256_SHA256_FIXED_SIGNING, der)?;
                (Pair::Ec(pair), PublicNumbers::P256 { x, y })
            }
            Algorithm::Es384 => {
                let (pair, x, y) = read_ec(&ECDSA_P384_SHA384_FIXED_SIGNING, der)?;
                (Pair::Ec(pair), PublicNumbers::P384 { x, y })
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Rejected)?;
                let x = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Rejected)?;
                (Pair::Ed25519(pair), PublicNumbers::Ed25519 { x })
            }
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => {
                let parameters = ml_dsa::signing(algorithm).ok_or(KeyError::Rejected)?;
                let pair = ml_dsa::from_pkcs8(parameters, der).ok_or(KeyError::Rejected)?;
                let key = pair.public_key().as_ref().to_vec();
                let numbers = PublicNumbers::ml_dsa(algorithm, key).map_err(JwkError::from)?;
                (Pair::MlDsa(pair), numbers)
            }
        };
        let public = Jwk::new(numbers, algorithm, None)?;
        let kid = public.thumbprint();
        let public = public.with_kid(kid.clone());
        Ok(Self { pair, public, kid, algorithm_name: algorithm.as_str() })
    }

    /// The same key under another `kid`, as imported ones have. At most [`MAX_KID_LEN`] bytes of it are kept.
    #[must_use]
    pub fn with_kid(mut self, mut kid: String) -> Self {
        kid.truncate(kid.floor_char_boundary(MAX_KID_LEN));
        self.public = self.public.with_kid(kid.clone());
        self.kid = kid;
        self
    }

    /// The same key with its algorithm written under another of its names (`Ed25519` for `EdDSA`).
    ///
    /// A name of another algorithm changes nothing.
    #[must_use]
    pub fn with_algorithm_name(mut self, name: &str) -> Self {
        if let Some(name) = self.algorithm().names().iter().copied().find(|known| *known == name) {
            self.algorithm_name = name;
            self.public = self.public.with_algorithm_name(name);
        }
        self
    }

    /// The one algorithm it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The identifier, never empty.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, with `kid`, `alg` and `use`.
    pub const fn public_jwk(&self) -> &Jwk {
        &self.public
    }

    /// The public half as a SubjectPublicKeyInfo in DER (RFC 5280 §4.1.2.7), for those who know no JWK.
    pub fn public_der(&self) -> Option<Vec<u8>> {
        let der = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::MlDsa(pair) => pair.public_key().as_der(),
        };
        der.ok().map(|der: PublicKeyX509Der<'_>| der.as_ref().to_vec())
    }

    /// The header for tokens of a type signed with this key, to be made once and kept.
    pub fn header(&self, typ: &str) -> PreparedHeader {
        PreparedHeader::encode(self.algorithm(), self.algorithm_name, typ, &self.kid)
    }

    /// As [`Self::header`], with the digest of the key's certificate (RFC 7515 §4.1.8), in base64url.
    pub fn header_with_certificate(&self, typ: &str, thumbprint: &str) -> PreparedHeader {
        let (algorithm, name) = (self.algorithm(), self.algorithm_name);
        PreparedHeader::encode_with_certificate(algorithm, name, typ, &self.kid, thumbprint)
    }

    /// Signs a message. ECDSA signatures are `R || S` (RFC 7518 §3.4), not DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.with_signature(message, <[u8]>::to_vec)
    }

    /// Appends the compact token of a header and its claims to `out`; on an error `out` is as before.
    ///
    /// The claims are not looked at: they are signed as they are.
    pub fn sign_compact(
        &self,
        header: &PreparedHeader,
        claims: &[u8],
        out: &mut String,
    ) -> Result<(), SignError> {
        if header.algorithm() != self.algorithm() {
            return Err(SignError::WrongHeader);
        }
        let start = out.len();
        // Base64 of the claims and of the signature, and two dots.
        let encoded = |len: usize| len.div_ceil(3) * 4;
        let rest = encoded(claims.len()) + encoded(self.signature_len()) + 2;
        out.reserve(header.as_str().len() + rest);
        out.push_str(header.as_str());
        out.push('.');
        base64url::encode_to(claims, out);
        let signature = self.with_signature(&out.as_bytes()[start..], base64url::encode);
        match signature {
            Ok(signature) => {
                out.push('.');
                out.push_str(&signature);
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// How many bytes a signature has.
    fn signature_len(&self) -> usize {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_modulus_len(),
            // RFC 7518 §3.4: two numbers of 384 bits at most.
            Pair::Ec(_) => 96,
            Pair::Ed25519(_) => 64,
            Pair::MlDsa(pair) => pair.algorithm().signature_len(),
        }
    }

    fn with_signature<T>(
        &self,
        message: &[u8],
        then: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, SignError> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut buffer = [0; MAX_RSA_BITS / 8];
                let signature = &mut buffer[..pair.public_modulus_len()];
                let padding = if self.algorithm() == Algorithm::Ps256 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                pair.sign(padding, &rng(), message, signature).map_err(|_| SignError::Failed)?;
                Ok(then(signature))
            }
            Pair::Ec(pair) => {
                pair.sign(&rng(), message).map(|s| then(s.as_ref())).map_err(|_| SignError::Failed)
            }
            Pair::Ed25519(pair) => {
                pair.try_sign(message).map(|s| then(s.as_ref())).map_err(|_| SignError::Failed)
            }
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; self.signature_len()];
                // RFC 9964 §5: "The ctx parameter MUST be the empty string", which is what the library signs with.
                pair.sign(message, &mut signature).map_err(|_| SignError::Failed)?;
                Ok(then(&signature))
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// Why a private key is not accepted or not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key could not be generated.
    #[error("the key could not be generated")]
    Generation,
    /// Not PKCS#8, not of the algorithm's kind, too short, or its numbers do not fit together.
    #[error("the private key is malformed, too short, or of another kind")]
    Rejected,
    /// The public half is not one that anybody should trust.
    #[error(transparent)]
    Public(#[from] JwkError),
}

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The cryptographic library refused.
    #[error("the signature could not be made")]
    Failed,
    /// The header names another algorithm than the key has.
    #[error("the header is for another algorithm")]
    WrongHeader,
}

fn generate_ml_dsa(algorithm: Algorithm) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let parameters = ml_dsa::signing(algorithm).ok_or(aws_lc_rs::error::Unspecified)?;
    PqdsaKeyPair::generate(parameters)?.to_pkcs8v1().map(|der| der.as_ref().to_vec())
}

fn generate_ec(
    curve: &'static EcdsaSigningAlgorithm,
) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    EcdsaKeyPair::generate(curve)?.to_pkcs8v1().map(|der| der.as_ref().to_vec())
}

fn read_ec<const N: usize>(
    curve: &'static EcdsaSigningAlgorithm,
    der: &[u8],
) -> Result<(EcdsaKeyPair, [u8; N], [u8; N]), KeyError> {
    let pair = EcdsaKeyPair::from_pkcs8(curve, der).map_err(|_| KeyError::Rejected)?;
    // SEC 1 §2.3.3: 0x04, then both coordinates in full length.
    let point = pair.public_key().as_ref().strip_prefix(&[0x04]).ok_or(KeyError::Rejected)?;
    let (x, y) = point.split_at_checked(N).ok_or(KeyError::Rejected)?;
    let x = x.try_into().map_err(|_| KeyError::Rejected)?;
    let y = y.try_into().map_err(|_| KeyError::Rejected)?;
    Ok((pair, x, y))
}

/// Reads `RSAPublicKey ::= SEQUENCE { n INTEGER, e INTEGER }` (RFC 8017 A.1.1), as AWS-LC has just written it.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = der_value(der, 0x30)?;
    let (n, after_n) = der_value(sequence, 0x02)?;
    let (e, after_e) = der_value(after_n, 0x02)?;
    let unsigned = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    (rest.is_empty() && after_e.is_empty()).then(|| (&n[unsigned(n)..], &e[unsigned(e)..]))
}

/// The contents of a DER value with this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let len = match *len {
            [a] => usize::from(a),
            [a, b] => usize::from(u16::from_be_bytes([a, b])),
            _ => return None,
        };
        (len, rest)
    };
    rest.split_at_checked(len)
}

#[expect(
    clippy::disallowed_methods,
    reason = "AWS-LC draws nonces and salts itself and ignores this argument, which its API still asks for"
)]
fn rng() -> SystemRandom {
    SystemRandom::new()
}
