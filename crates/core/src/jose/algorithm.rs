//! The signature algorithms (RFC 7518 §3, RFC 8037, RFC 9864, RFC 9964).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signature algorithm. All are asymmetric; there is no way to name `none` or an HMAC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519, named `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
    EdDsa,
    /// ML-DSA-44 (FIPS 204, RFC 9964), which a quantum computer does not break; signatures of 2,420 bytes.
    MlDsa44,
    /// ML-DSA-65; signatures of 3,309 bytes.
    MlDsa65,
    /// ML-DSA-87; signatures of 4,627 bytes.
    MlDsa87,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] = [
        Self::Rs256,
        Self::Ps256,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
    ];

    /// The name in `alg`. Ed25519 is `EdDSA` here, since more verifiers know that name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// Whether FAPI 2.0 admits it (§5.4.1).
    pub const fn is_of_fapi(self) -> bool {
        matches!(self, Self::Ps256 | Self::Es256 | Self::EdDsa)
    }

    /// Every name the algorithm is read under, the one it is written under first.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Rs256 => &["RS256"],
            Self::Ps256 => &["PS256"],
            Self::Es256 => &["ES256"],
            Self::Es384 => &["ES384"],
            Self::EdDsa => &["EdDSA", "Ed25519"],
            Self::MlDsa44 => &["ML-DSA-44"],
            Self::MlDsa65 => &["ML-DSA-65"],
            Self::MlDsa87 => &["ML-DSA-87"],
        }
    }

    /// Every name of every algorithm, for those who list what is read.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().flat_map(|algorithm| algorithm.names().iter().copied())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        // RFC 7515 §4.1.1: "The "alg" value is a case-sensitive ASCII string".
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.names().contains(&name))
            .ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = Algorithm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a signature algorithm, such as \"ES256\"")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Algorithm, E> {
                name.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// The name is not that of a signature algorithm this crate has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown signature algorithm")]
pub struct UnknownAlgorithm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_read_under_the_name_it_is_written() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(algorithm.names()[0], algorithm.as_str());
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(serde_json::from_str::<Algorithm>(&json).unwrap(), algorithm);
        }
    }

    #[test]
    fn row_154_both_names_of_ed25519_are_read() {
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDsa));
        assert_eq!("EdDSA".parse(), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn row_234_none_hmac_and_other_cases_are_no_algorithms() {
        for name in [
            "none",
            "None",
            "NONE",
            "noNE",
            "",
            "HS256",
            "rs256",
            "ES256 ",
            "ed25519",
            "ES512",
            "ML-DSA",
            "ml-dsa-44",
            "HashML-DSA-44",
        ] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
