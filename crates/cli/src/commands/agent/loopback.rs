//! The agent's port for containers, and its secret.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokenry_core::Secret;
use tokio::net::TcpListener;

use crate::diagnostic::{Diagnostic, plain};
use crate::edge;

/// Random bytes of the secret.
const SECRET_LEN: usize = 32;

/// A port that is bound, and the secret that whoever asks there has to show.
pub(super) struct Loopback {
    pub(super) listener: TcpListener,
    pub(super) url: String,
    pub(super) secret: Secret,
    pub(super) secret_file: PathBuf,
    address: SocketAddr,
}

impl Loopback {
    /// Binds the port, and writes a new secret to the file.
    pub(super) async fn open(wanted: SocketAddr, secret_file: &Path) -> Result<Self, Diagnostic> {
        if !wanted.ip().is_loopback() {
            let text =
                format!("{wanted} is not this machine alone: tokens would travel in the clear");
            return Err(Diagnostic::error(text).help("such as 127.0.0.1:8791"));
        }
        let unbound = |error: std::io::Error| {
            Diagnostic::error(format!("cannot listen on {wanted}: {}", plain(&error)))
        };
        let listener = TcpListener::bind(wanted).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let secret = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(edge::random::<SECRET_LEN>()?));
        replace(secret_file, &secret).map_err(|error| {
            let path = secret_file.display();
            Diagnostic::error(format!("{path} cannot be written: {}", plain(&error)))
        })?;
        let (url, secret_file) = (format!("http://{address}"), secret_file.to_owned());
        Ok(Self { listener, url, secret, secret_file, address })
    }

    /// What it may be called by whoever asks.
    pub(super) fn hosts(&self) -> [String; 2] {
        [self.address.to_string(), format!("localhost:{}", self.address.port())]
    }
}

/// Replaces a file by one that only its owner can read: whoever looks sees one secret or the other.
fn replace(path: &Path, secret: &Secret) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    if !folder.exists() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    // It is 0600 from its beginning.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(secret.expose().as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_of_this_machine_has_a_secret_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenry/agent.secret");
        let open = || Loopback::open("127.0.0.1:0".parse().unwrap(), &file);
        let first = open().await.unwrap();
        let read = || std::fs::read_to_string(&file).unwrap();
        assert_eq!(read(), first.secret.expose());
        assert_eq!(read().len(), 43);
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        }
        let second = open().await.unwrap();
        assert!(second.secret != first.secret && read() == second.secret.expose());
        for elsewhere in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
            assert!(
                Loopback::open(elsewhere.parse().unwrap(), &file).await.is_err(),
                "{elsewhere}"
            );
        }
    }
}
