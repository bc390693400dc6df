//! JSON Object Signing, the part machines need (RFC 7515, 7517, 7518, 7519, 7638, 8037, 9864).
//!
//! A token is read in an order that cannot be changed, since each step makes the value the next one needs:
//!
//! 1. [`jws::Compact::parse`] splits the text and reads the header. Nothing in it is believed yet.
//! 2. [`jws::Compact::verify`] checks the signature with a [`VerifyingKey`] and leaves a [`jws::Verified`].
//! 3. [`jws::Verified::claims`] reads the [`claims::Claims`].
//!
//! What this module does not do: encryption (JWE), symmetric algorithms, `none`, the JSON serialization, keys or
//! key addresses carried by a token (`jwk`, `jku`, `x5c`, `x5u` are never followed), extensions (`crit`, `b64`).
//!
//! One key has one algorithm. A key set that offers a key for two is refused, and so is a token whose header
//! names another than its key has.
//!
//! ```
//! use tokenry_core::jose::{self, Algorithm, SigningKey, VerifyingKey, jws::Compact};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SigningKey::from_pkcs8(Algorithm::Es256, jose::generate(Algorithm::Es256)?.as_bytes())?;
//! let mut token = String::new();
//! key.sign_compact(&key.header("at+jwt"), br#"{"iss":"https://id.example"}"#, &mut token)?;
//!
//! let public = VerifyingKey::from(key.public_jwk());
//! let parsed = Compact::parse(&token)?;
//! let verified = parsed.verify(&public)?;
//! assert_eq!(verified.claims()?.iss.as_deref(), Some("https://id.example"));
//! # Ok(())
//! # }
//! ```

pub mod claims;
pub mod jws;

mod algorithm;
pub(crate) mod base64url;
mod header;
pub mod json;
mod jwk;
mod jwk_set;
mod key;
mod ml_dsa;
mod roca;
mod signing;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::Claims;
pub use header::{HeaderError, PreparedHeader};
pub use jwk::{Jwk, JwkError};
pub use jwk_set::{JwkSet, JwkSetError};
pub use key::{BadSignature, VerifyingKey};
pub use signing::{KeyError, Pkcs8, SignError, SigningKey, generate};

/// The longest `kid` read or written. Thumbprints have 43 characters, the longest of big providers about 90.
pub const MAX_KID_LEN: usize = 256;
