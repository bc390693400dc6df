//! The master key: 32 bytes as 64 hex digits or in base64, in a file of its owner's or in an environment variable.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use tokenry_core::MasterKey;
use zeroize::Zeroizing;

use super::{Config, MasterKeySource};
use crate::diagnostic::{Diagnostic, plain};

/// What a master key looks like.
const FORM: &str = "32 bytes as 64 hex digits or in base64";

/// The longest content that is looked at.
const MAX_LEN: u64 = 200;

/// Reads the master key that the configuration names.
pub(crate) fn load(config: &Config) -> Result<MasterKey, Diagnostic> {
    let at = &config.master_key.span;
    let text = match &config.master_key.value {
        MasterKeySource::File(path) => {
            let name = path.display();
            let unreadable = |e: std::io::Error| {
                config
                    .error(at, format!("the master key {name} cannot be read: {}", plain(&e)))
                    .help("`tokenry init` makes one; the store cannot be used without the one it was made with")
            };
            let metadata = std::fs::metadata(path).map_err(unreadable)?;
            // A pipe would be waited for until somebody writes to it, and could be read only once.
            if !metadata.is_file() {
                return Err(config.error(at, format!("the master key {name} is not a regular file")));
            }
            only_its_owner(&metadata).map_err(|mode| {
                config
                    .error(at, format!("the master key {name} can be read by others (mode {mode:03o})"))
                    .help(format!("chmod 600 {name}"))
            })?;
            if metadata.len() > MAX_LEN {
                return Err(config.error(at, format!("the master key {name} must be {FORM}")));
            }
            Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?)
        }
        MasterKeySource::Env(variable) => Zeroizing::new(std::env::var(variable).map_err(|_| {
            config.error(at, format!("the environment variable {variable}, which holds the master key, is not set"))
        })?),
    };
    parse(text.trim()).map(|key| MasterKey::new(*key)).ok_or_else(|| {
        config
            .error(at, format!("the master key must be {FORM}"))
            .help("`openssl rand -hex 32` makes one")
    })
}

/// Whether a file belongs to its owner alone; otherwise its mode.
#[cfg(unix)]
pub(crate) fn only_its_owner(metadata: &std::fs::Metadata) -> Result<(), u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(mode) }
}

/// Whether a file belongs to its owner alone, which cannot be seen here.
#[cfg(not(unix))]
pub(crate) const fn only_its_owner(_: &std::fs::Metadata) -> Result<(), u32> {
    Ok(())
}

/// A key of 32 bytes, as its owner writes it.
pub(crate) fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(match text.len() {
        64 => hex(text)?,
        44 => BASE64_STANDARD.decode(text).ok()?,
        43 => BASE64_URL_SAFE_NO_PAD.decode(text).ok()?,
        _ => return None,
    });
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

/// 32 bytes as 64 hex digits.
pub(crate) fn write(key: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_read_in_each_of_its_forms() {
        let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7).unwrap());
        assert_eq!(*parse(&write(&key)).unwrap(), key);
        assert_eq!(*parse(&write(&key).to_uppercase()).unwrap(), key);
        assert_eq!(*parse(&BASE64_STANDARD.encode(key)).unwrap(), key);
        assert_eq!(*parse(&BASE64_URL_SAFE_NO_PAD.encode(key)).unwrap(), key);
    }

    #[test]
    fn anything_else_is_no_master_key() {
        let zeros = "0".repeat(64);
        for text in ["", "secret", &zeros[..63], &"g".repeat(64), &"é".repeat(32), &"=".repeat(44)]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
