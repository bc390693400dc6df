//! Which store an operator asks for, and what may be in the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sqlite::{self, Sqlite};
use crate::{Memory, Store};

/// Opens the store that `url` names; a new one is made where there is none, an old one brought up to date.
///
/// | URL | is |
/// | --- | --- |
/// | `memory:` | a store that is forgotten when the process ends |
/// | `sqlite:tokenry.db` | a SQLite file, from the working directory |
/// | `sqlite:/var/lib/tokenry/tokenry.db` | a SQLite file |
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = tokenry_store::open("memory:").await?;
/// assert!(store.load().await.unwrap().realms.is_empty());
/// # Ok::<(), tokenry_store::OpenError>(())
/// # }).unwrap();
/// ```
pub async fn open(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    open_with(url, sqlite::Options::default()).await
}

/// Like [`open`], for whoever wants to look at a store that should be there: makes no new one
/// ([`OpenError::Missing`]).
pub async fn open_existing(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    open_with(url, sqlite::Options { create: false, ..sqlite::Options::default() }).await
}

async fn open_with(url: &str, options: sqlite::Options) -> Result<Arc<dyn Store>, OpenError> {
    match parse(url)? {
        Place::Memory => Ok(Arc::new(Memory::new())),
        Place::Sqlite(path) => {
            let opening = tokio::task::spawn_blocking(move || Sqlite::open(&path, &options));
            match opening.await {
                Ok(store) => Ok(Arc::new(store?)),
                Err(error) => Err(OpenError::Io { path: PathBuf::new(), error: error.into() }),
            }
        }
    }
}

/// Whether [`open`] would understand the URL; for reading a configuration before anything is opened.
pub fn check_url(url: &str) -> Result<(), OpenError> {
    parse(url).map(|_| ())
}

#[derive(Debug, Eq, PartialEq)]
enum Place {
    Memory,
    Sqlite(PathBuf),
}

fn parse(url: &str) -> Result<Place, OpenError> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Place::Memory),
        Some(("sqlite", path)) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            // Some names mean something else to SQLite.
            if path.is_empty() || path.starts_with(':') || path.contains(['?', '\0']) {
                return Err(OpenError::NoPath);
            }
            Ok(Place::Sqlite(Path::new(path).to_owned()))
        }
        // The scheme alone: the rest may hold a password.
        Some((scheme, _)) => Err(OpenError::UnknownScheme { scheme: scheme.to_owned() }),
        None => Err(OpenError::NoScheme),
    }
}

/// Why a store could not be opened. In each case nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL has no scheme.
    #[error("a store is named by a URL: write `sqlite:PATH` or `memory:`")]
    NoScheme,
    /// The URL's scheme is none of ours.
    #[error("there is no store `{scheme}:`; write `sqlite:PATH` or `memory:`")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// `sqlite:` is followed by nothing that names a file.
    #[error("`sqlite:` needs the path of a file, without parameters, such as `sqlite:tokenry.db`")]
    NoPath,
    /// The directory of the new file is not there.
    #[error("there is no directory {}; make it, or correct the path of the store", directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The file is not there, and none was to be made.
    #[error("there is no store at {}; correct the path, or make one by starting the server", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// This user may not open the file, or may not make files in its directory.
    #[error(
        "{} cannot be opened: let the user of this process read and write the file and its directory",
        path.display()
    )]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The file, its directory or its file system is read-only.
    #[error("{} is read-only: make the file, its directory and its file system writable", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process keeps the database locked.
    #[error(
        "{} is locked by another process: end the backup tool, database shell or other program that has it open",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The disk, the quota or the allowed size is used up.
    #[error("there is no space left for {}: make room on its disk", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Write-ahead logging does not work on this file system.
    #[error("{} is on a file system without shared memory: move it to a local disk", path.display())]
    NoWal {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} is not a SQLite database: correct the path of the store, or restore a backup", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database belongs to another program.
    #[error("{} is a database of another program: correct the path of the store", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database is incomplete, or damaged.
    #[error("{} is damaged: restore a backup, and keep the file with its `-wal` for analysis", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer Tokenry has written the database.
    #[error(
        "{} was written by a newer version (its tables have version {found}, known are {known}): start that version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// The tables were made by a migration that is not the one known under that number.
    #[error(
        "{} was made by a build with another migration {version}: start the version that wrote it, or restore a backup",
        path.display()
    )]
    ChangedMigration {
        /// The file.
        path: PathBuf,
        /// The number of the first migration that differs.
        version: usize,
    },
    /// The operating system refused for another reason.
    #[error("{} cannot be opened: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// SQLite refused for another reason.
    #[error("{} cannot be opened: {error}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: rusqlite::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_place() {
        let sqlite = |path: &str| Some(Place::Sqlite(path.into()));
        let cases = [
            ("memory:", Some(Place::Memory)),
            ("sqlite:tokenry.db", sqlite("tokenry.db")),
            ("sqlite:/var/lib/t.db", sqlite("/var/lib/t.db")),
            ("sqlite:///var/lib/t.db", sqlite("/var/lib/t.db")),
            ("sqlite:./a b:c.db", sqlite("./a b:c.db")),
            ("sqlite:", None),
            ("sqlite::memory:", None),
            ("sqlite:a.db?mode=ro", None),
            ("memory:x", None),
            ("tokenry.db", None),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(parse(url).ok(), expected, "{url}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_named_without_its_password() {
        let error = parse("postgres://tokenry:hunter2@db/tokenry").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no store `postgres:`; write `sqlite:PATH` or `memory:`"
        );
    }
}
