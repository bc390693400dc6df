//! A refresh token in a file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokenry_core::{Secret, Timestamp};

use super::{RefreshTokenStore, StoreError, StoredRefreshToken};

/// The version of what is written.
const VERSION: u32 = 2;

/// The version before: one token, and whether it was presented.
const FIRST_VERSION: u32 = 1;

/// The longest refresh tokens in common use, encrypted ones, have a few kilobytes.
const FILE_LIMIT: u64 = 64 * 1024;

/// A file that holds the refresh token of one keeper, and those that it has still to revoke, readable by its owner alone (0600).
///
/// It is replaced as a whole: a new file in the same directory is written and synchronized, takes the place of the old
/// one, and then the directory is synchronized. So its directory must be writable, and no other process may use it.
pub struct RefreshTokenFile {
    path: PathBuf,
    /// Whose the token is.
    owner: String,
    disk: Box<dyn Disk>,
    /// An operation of a runtime that has ended may still be on its way.
    alone: Mutex<()>,
}

/// What is done to a disk, in the order in which it is done.
pub(super) trait Disk: Send + Sync {
    /// Makes a file of this name, readable by its owner alone, and writes it.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<File>;
    /// Waits until the content of a file is on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives a file the name of another, which is no more.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Waits until the names in a directory are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's disk.
pub(super) struct Os;

impl Disk for Os {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        // Never through a link, and never into a file that somebody else has open.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(content)?;
        Ok(file)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        // Other systems than Unix have no way to ask for it.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }
}

#[derive(Serialize)]
struct Writing<'a> {
    version: u32,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    presented_at: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    abandoned: Vec<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    version: u32,
    owner: String,
    refresh_token: Option<String>,
    presented: Option<bool>,
    presented_at: Option<u64>,
    #[serde(default)]
    abandoned: Vec<String>,
}

impl Reading {
    /// What was stored, if a keeper wrote it so.
    fn stored(self) -> Option<StoredRefreshToken> {
        let presented_at = match (self.version, self.presented, self.presented_at) {
            (VERSION, None, at) => at.map(Timestamp::from_millis),
            // When it was is not known, so it is long ago.
            (FIRST_VERSION, Some(presented), None) => presented.then_some(Timestamp::from_secs(0)),
            _ => return None,
        };
        let token = self.refresh_token.map(Secret::new);
        let abandoned: Vec<_> = self.abandoned.into_iter().map(Secret::new).collect();
        let is_whole = token.iter().chain(&abandoned).all(|token| !token.is_empty())
            && (token.is_some() || (presented_at.is_none() && !abandoned.is_empty()));
        is_whole.then_some(StoredRefreshToken { token, presented_at, abandoned })
    }
}

impl RefreshTokenFile {
    /// The file at this path. `owner` tells whose token it is: one of another owner is not used.
    pub fn new(path: impl Into<PathBuf>, owner: impl Into<String>) -> Self {
        Self::on(Box::new(Os), path.into(), owner.into())
    }

    pub(super) fn on(disk: Box<dyn Disk>, path: PathBuf, owner: String) -> Self {
        Self { path, owner, disk, alone: Mutex::new(()) }
    }

    fn read(&self) -> io::Result<Option<Secret>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        // One byte more than allowed, which then is not JSON of ours.
        file.take(FILE_LIMIT + 1).read_to_string(&mut text)?;
        Ok(Some(Secret::new(text)))
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let new = self.beside();
        // What a process that died left behind.
        self.remove(&new)?;
        let renamed = self.disk.create(&new, content).and_then(|file| {
            // Without it, the name could be on the disk before the content is.
            self.disk.sync(&file)?;
            self.disk.rename(&new, &self.path)
        });
        if let Err(error) = renamed {
            // It holds a token. That it is not there is what counts; why it was not written is what is told.
            let _ = self.remove(&new);
            return Err(error);
        }
        self.disk.sync_directory(self.directory())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The new file, in the same directory: a name can only be exchanged within a file system.
    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn io(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            // Not UTF-8.
            ErrorKind::InvalidData => StoreError::Corrupt { path: self.place() },
            _ => StoreError::Io { path: self.place(), cause: error.to_string() },
        }
    }
}

impl fmt::Debug for RefreshTokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RefreshTokenStore for RefreshTokenFile {
    fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(text) = self.read().map_err(|error| self.io(&error))? else { return Ok(None) };
        // The parser's own words are not told: they repeat what it has read.
        let read = serde_json::from_str::<Reading>(text.expose());
        let corrupt = || StoreError::Corrupt { path: self.place() };
        let read = read.map_err(|_| corrupt())?;
        let is_ours = read.owner == self.owner;
        let stored = read.stored().ok_or_else(corrupt)?;
        if !is_ours {
            return Err(StoreError::Foreign { path: self.place() });
        }
        Ok(Some(stored))
    }

    fn save(&self, token: &StoredRefreshToken) -> Result<(), StoreError> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let content = Writing {
            version: VERSION,
            owner: &self.owner,
            refresh_token: token.token.as_ref().map(Secret::expose),
            presented_at: token.presented_at.map(Timestamp::as_millis),
            abandoned: token.abandoned.iter().map(Secret::expose).collect(),
        };
        let content = serde_json::to_string(&content).map(Secret::new);
        let content = content.map_err(|error| StoreError::Other(error.to_string()))?;
        self.replace(content.expose().as_bytes()).map_err(|error| self.io(&error))
    }

    fn clear(&self) -> Result<(), StoreError> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = || match self.disk.remove(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.disk.sync_directory(self.directory()),
        };
        clear().map_err(|error| self.io(&error))
    }
}
