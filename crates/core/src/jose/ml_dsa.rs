//! ML-DSA (FIPS 204) as JOSE has it (RFC 9964 §5): which parameters an algorithm stands for.

use aws_lc_rs::signature::{
    ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING,
    PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
};

use super::Algorithm;

/// What signs with an algorithm; `None` for one that is not ML-DSA.
pub(super) const fn signing(algorithm: Algorithm) -> Option<&'static PqdsaSigningAlgorithm> {
    match algorithm {
        Algorithm::MlDsa44 => Some(&ML_DSA_44_SIGNING),
        Algorithm::MlDsa65 => Some(&ML_DSA_65_SIGNING),
        Algorithm::MlDsa87 => Some(&ML_DSA_87_SIGNING),
        Algorithm::Rs256
        | Algorithm::Ps256
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}

/// What verifies signatures of it; `None` for one that is not ML-DSA.
pub(super) const fn verification(
    algorithm: Algorithm,
) -> Option<&'static PqdsaVerificationAlgorithm> {
    match algorithm {
        Algorithm::MlDsa44 => Some(&ML_DSA_44),
        Algorithm::MlDsa65 => Some(&ML_DSA_65),
        Algorithm::MlDsa87 => Some(&ML_DSA_87),
        Algorithm::Rs256
        | Algorithm::Ps256
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}

/// Reads a private key that is its seed (RFC 9881 §6).
///
/// RFC 9964 §4 knows no expanded keys: one made by somebody else need not be the expansion of any seed, and what it
/// signs may give it away.
pub(super) fn from_pkcs8(
    parameters: &'static PqdsaSigningAlgorithm,
    der: &[u8],
) -> Option<PqdsaKeyPair> {
    let pair = PqdsaKeyPair::from_pkcs8(parameters, der).ok()?;
    // It can be written again only where the seed is known.
    pair.to_pkcs8v1().is_ok().then_some(pair)
}
