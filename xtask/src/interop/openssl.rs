//! What comes from elsewhere and no command of Tokenry makes: the key of another issuer, and client certificates.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::quietly;
use crate::Problem;

/// What each kind of certificate says that it is for (RFC 5280 §4.2.1).
const PROFILES: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = localhost
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
";

/// The bytes of both coordinates, with which the public key of P-256 ends.
const COORDINATES: usize = 64;

/// Names files of a folder.
pub(super) struct Openssl {
    folder: PathBuf,
}

impl Openssl {
    pub(super) fn new(folder: &Path) -> Result<Self, Problem> {
        let this = Self { folder: folder.to_owned() };
        let path = folder.join("openssl.cnf");
        std::fs::write(&path, PROFILES).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(this)
    }

    fn run(&self, line: &str) -> Result<(), Problem> {
        let mut command = Command::new("openssl");
        command.current_dir(&self.folder).args(line.split_whitespace());
        quietly(&mut command).map(|_| ())
    }

    /// A key for ES256 in `NAME.key`; its public half as a JWK set.
    pub(super) fn key(&self, name: &str) -> Result<String, Problem> {
        self.run(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"
        ))?;
        self.run(&format!("pkey -in {name}.key -pubout -outform DER -out {name}.der"))?;
        let path = self.folder.join(format!("{name}.der"));
        let der = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let at = der.len().checked_sub(COORDINATES).ok_or("`openssl` wrote no key of P-256")?;
        let (x, y) = der[at..].split_at(COORDINATES / 2);
        let (x, y) = (base64url(x), base64url(y));
        Ok(format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"{name}","x":"{x}","y":"{y}"}}]}}"#
        ))
    }

    /// A certificate in `NAME.pem` that vouches for itself; `profile` is what for.
    pub(super) fn self_signed(&self, name: &str, profile: &str) -> Result<(), Problem> {
        self.key(name)?;
        self.run(&format!(
            "req -config openssl.cnf -x509 -new -key {name}.key -subj /CN={name} -extensions {profile} \
             -days 2 -out {name}.pem"
        ))
    }

    /// A client certificate in `NAME.pem` that an authority vouches for.
    pub(super) fn signed(&self, name: &str, authority: &str) -> Result<(), Problem> {
        self.key(name)?;
        self.run(&format!(
            "req -config openssl.cnf -new -key {name}.key -subj /O=Example/CN={name} -out {name}.csr"
        ))?;
        self.run(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
             -extfile openssl.cnf -extensions client -days 2 -out {name}.pem"
        ))
    }
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=group.len() {
            let index = (bits >> (18 - 6 * digit)) & 0x3f;
            text.extend(ALPHABET.get(index as usize).map(|letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_rfc() {
        // RFC 7515, appendix C, and RFC 4648 §10.
        assert_eq!(base64url(&[3, 236, 255, 224, 193]), "A-z_4ME");
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v")] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }
}
