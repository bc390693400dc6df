//! Private keys in PEM (RFC 7468 §10).

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokenry_core::jose::{Algorithm, SigningKey};

use super::{KeeperConfigError, field};
use crate::secret::{ReadSecret as _, SecretSource};

/// The first of these that a key can be is what it is taken for.
const BY_KIND: [Algorithm; 7] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Rs256,
    Algorithm::MlDsa44,
    Algorithm::MlDsa65,
    Algorithm::MlDsa87,
];

/// The key that a source holds, of this algorithm or of its kind's.
pub(super) async fn read(
    name: &'static str,
    source: &SecretSource,
    algorithm: Option<&str>,
) -> Result<SigningKey, KeeperConfigError> {
    let pem = source.read().await?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes())
        // Its own words may repeat a line of what is a key.
        .map_err(|_| field(name, "not a private key: PKCS #8 in PEM, BEGIN PRIVATE KEY"))?;
    let der = der.secret_pkcs8_der();
    match algorithm {
        Some(wanted) => {
            let algorithm = wanted
                .parse()
                .map_err(|_| field("private_key_algorithm", format!("unknown: {wanted:?}")))?;
            SigningKey::from_pkcs8(algorithm, der)
                .map(|key| key.with_algorithm_name(wanted))
                .map_err(|_| field(name, format!("not a key for {wanted}")))
        }
        None => BY_KIND
            .into_iter()
            .find_map(|algorithm| SigningKey::from_pkcs8(algorithm, der).ok())
            .ok_or_else(|| field(name, "a key of no kind that is known")),
    }
}
