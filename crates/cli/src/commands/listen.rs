//! Where a command listens: a port, or a socket in the file system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use tokenry_client::proxy::Listener;
use tokio::net::TcpListener;

use crate::diagnostic::{Diagnostic, plain};

/// An address and port, or `unix:PATH`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(super) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("a path follows `unix:`".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "must be an address and port such as 127.0.0.1:9000, or unix:PATH".to_owned()
            }),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener that is there, and the file to remove when it is not.
pub(super) enum Bound {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Removed),
}

/// A file that is removed when this is dropped.
pub(super) struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listen {
    pub(super) const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    pub(super) async fn bind(&self) -> Result<Bound, Diagnostic> {
        let bound = match self {
            Self::Tcp(address) => TcpListener::bind(address)
                .await
                .and_then(|listener| Ok((listener.local_addr()?, listener)))
                .map(|(address, listener)| Bound::Tcp(listener, address)),
            #[cfg(unix)]
            Self::Unix(path) => bind_unix(path).await,
            #[cfg(not(unix))]
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Diagnostic::error(format!("{self} is in use by another process"))
                    .help("end that process, or choose another place")
            }
            _ => Diagnostic::error(format!("cannot listen on {self}: {}", plain(&error))),
        })
    }
}

/// A socket that only this user may connect to, from its first moment on: it is made in a folder of its own, and moved
/// to its place once its permissions are set. What an earlier process left there is replaced.
#[cfg(unix)]
async fn bind_unix(path: &Path) -> io::Result<Bound> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("there is a file that is no socket"));
        }
        Ok(_) if tokio::net::UnixStream::connect(path).await.is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(_) => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = tempfile::tempdir_in(parent.unwrap_or_else(|| Path::new(".")))?;
    let beginning = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&beginning)?;
    std::fs::set_permissions(&beginning, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&beginning, path)?;
    Ok(Bound::Unix(listener, Removed(path.to_owned())))
}

impl Bound {
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            #[cfg(unix)]
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    pub(super) fn into_tcp(self) -> Option<TcpListener> {
        match self {
            Self::Tcp(listener, _) => Some(listener),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }

    pub(super) fn into_listener(self) -> (Listener, Option<Removed>) {
        match self {
            Self::Tcp(listener, _) => (Listener::Tcp(listener), None),
            #[cfg(unix)]
            Self::Unix(listener, file) => (Listener::Unix(listener), Some(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_port_or_a_socket() {
        for good in ["127.0.0.1:9000", "[::1]:9000", "unix:/run/x", "unix:x"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        for wrong in ["", "9000", "localhost:9000", "unix:", "http://127.0.0.1:9000"] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_socket_is_its_owners_and_replaces_none_that_is_alive() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listen = Listen::Unix(path.clone());
        let bound = listen.bind().await.ok().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listen.bind().await.err().unwrap().message.contains("in use"));
        // One whose process is gone is replaced.
        let (listener, file) = bound.into_listener();
        drop(listener);
        assert!(path.exists());
        let bound = listen.bind().await.ok().unwrap();
        drop((bound, file));
        assert!(!path.exists() && std::fs::read_dir(place.path()).unwrap().count() == 0);
        std::fs::write(&path, "precious").unwrap();
        assert!(listen.bind().await.err().unwrap().message.contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
