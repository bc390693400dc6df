//! The agent's Unix socket: made for one user, and believed only if it is theirs.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::access::{Peer, is_trusted};
use super::agent::AgentFault;
use super::listen::Accept;
use super::server::AgentServer;

/// Between two attempts to connect while the agent's queue is full, which is a matter of microseconds.
const QUEUE_RETRY: Duration = Duration::from_millis(5);

/// The effective user of this process.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Connects, and sends nothing to whom it does not know.
pub(super) async fn connect(path: &Path, trusted: Option<u32>) -> Result<UnixStream, AgentFault> {
    let unreachable =
        |error: io::Error| AgentFault::unreachable(&path.display().to_string(), &error);
    let stream = loop {
        match UnixStream::connect(path).await {
            // Its queue is full (connect(2), EAGAIN): a thousand others start at this moment.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(QUEUE_RETRY).await;
            }
            connected => break connected.map_err(unreachable)?,
        }
    };
    let uid = stream.peer_cred().map_err(unreachable)?.uid();
    // Whoever made the socket gets our secrets: in a folder where anybody may write that could be anybody.
    if !is_believed(uid, own_user(), trusted) {
        return Err(AgentFault::Untrusted { place: path.display().to_string(), uid });
    }
    Ok(stream)
}

fn is_believed(uid: u32, own: u32, trusted: Option<u32>) -> bool {
    is_trusted(uid, own) || Some(uid) == trusted
}

/// Why an agent cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another one does.
    #[error("an agent is already running at {}", path.display())]
    Running {
        /// Where.
        path: PathBuf,
    },
    /// There is something that is no socket.
    #[error("{} is there, and is no socket", path.display())]
    NoSocket {
        /// What.
        path: PathBuf,
    },
    /// Others could put a socket of theirs in its place.
    #[error("the folder {} can be changed by other users", path.display())]
    Shared {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("{}: {cause}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A Unix socket on which an agent listens. It is removed with this value.
#[derive(Debug)]
pub struct AgentListener {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the agent lives, whatever becomes of the socket.
    _lock: File,
}

impl AgentListener {
    /// Listens at this path: a folder of its own (0700) where there is none, and a socket for the owner (0600).
    ///
    /// With `for_others` everybody can connect; who gets what is decided by who they are. A socket that a dead agent left
    /// is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind(path: &Path, for_others: bool) -> Result<Self, ListenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |cause| ListenError::Io { path, cause }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        make_folder(folder, for_others).map_err(at(folder))?;
        if is_shared(folder).map_err(at(folder))? {
            return Err(ListenError::Shared { path: folder.to_owned() });
        }
        let lock_path = lock_path(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ListenError::Running { path: path.to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(at(&lock_path)(cause)),
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(at(path))?;
        let mode = if for_others { 0o666 } else { 0o600 };
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at(path))?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentListener {
    fn drop(&mut self) {
        // The lock says that it is still ours. The lock's file stays: whoever removed it could part two agents that
        // hold it from a third that makes another.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Accept for AgentListener {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer::User { uid: credentials.uid(), gid: credentials.gid() };
        Ok((stream, peer))
    }
}

impl AgentServer {
    /// Serves the processes of this machine until `shutdown` is done, each as what it is by the operating system's word.
    pub async fn serve(&self, listener: AgentListener, shutdown: impl Future<Output = ()> + Send) {
        self.run(listener, shutdown).await;
    }
}

fn make_folder(folder: &Path, for_others: bool) -> io::Result<()> {
    let mode = if for_others { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(folder)
}

/// Whether somebody else could replace what lies in a folder.
fn is_shared(folder: &Path) -> io::Result<bool> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let metadata = std::fs::metadata(folder)?;
    // In a folder with the sticky bit only who owns a file may remove it, and clients look at the user.
    let writable = metadata.mode() & WRITABLE_BY_OTHERS != 0 && metadata.mode() & STICKY == 0;
    Ok(writable || !is_trusted(metadata.uid(), own_user()))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Removes the socket of an agent that is no more.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let at = |cause| ListenError::Io { path: path.to_owned(), cause };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // Somebody who does not know of the lock may listen there.
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ListenError::Running { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(at)
        }
        Err(error) => Err(at(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_another_user_is_believed_only_if_that_user_is_named() {
        for (uid, trusted, believed) in [
            (1000, None, true),
            (0, None, true),
            (1001, None, false),
            (1001, Some(1001), true),
            (1002, Some(1001), false),
        ] {
            assert_eq!(is_believed(uid, 1000, trusted), believed, "{uid} {trusted:?}");
        }
    }
}
