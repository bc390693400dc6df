//! The file that holds the token.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokenry_core::Secret;

use crate::diagnostic::{Diagnostic, plain};

/// Where users' files of a session are, in memory and for nobody else.
const RUNTIME_DIRECTORY: &str = "XDG_RUNTIME_DIR";

/// A file that only its owner can read. It is gone when this value is.
pub(super) struct TokenFile {
    path: PathBuf,
    /// The directory that was made for it, and goes with it.
    _directory: Option<TempDir>,
}

impl TokenFile {
    /// Finds a place for it, and writes nothing yet.
    pub(super) fn place(path: Option<&Path>) -> Result<Self, Diagnostic> {
        match path {
            Some(path) => Self::at(path),
            None => Self::anywhere(),
        }
    }

    fn at(path: &Path) -> Result<Self, Diagnostic> {
        let refused = |why: &str| {
            Diagnostic::error(format!("the token cannot be written to {}: {why}", path.display()))
        };
        // The command may look for it from another directory.
        let path = std::path::absolute(path).map_err(|error| refused(&plain(&error)))?;
        match std::fs::symlink_metadata(&path) {
            Ok(there) if !there.is_file() => Err(refused("something that is no file is there")),
            Ok(_) => Ok(Self { path, _directory: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, _directory: None })
            }
            Err(error) => Err(refused(&plain(&error))),
        }
    }

    fn anywhere() -> Result<Self, Diagnostic> {
        let parents = std::env::var_os(RUNTIME_DIRECTORY).filter(|path| !path.is_empty());
        let parents = parents.map(PathBuf::from).into_iter().chain([std::env::temp_dir()]);
        let mut made = Err(io::ErrorKind::NotFound.into());
        for parent in parents.filter_map(|parent| std::path::absolute(parent).ok()) {
            made = tempfile::Builder::new()
                .prefix("tokenry-")
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir_in(parent);
            if made.is_ok() {
                break;
            }
        }
        let directory = made.map_err(|error| {
            Diagnostic::error(format!("there is no directory for the token: {}", plain(&error)))
                .help("--file names a place for it")
        })?;
        Ok(Self { path: directory.path().join("token"), _directory: Some(directory) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a token there. Whoever reads finds one token or the other, whole.
    pub(super) fn write(&self, token: &Secret) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("/"));
        let mut new = tempfile::Builder::new()
            .prefix(".tokenry-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        // Without a line break, which some reader would send.
        new.write_all(token.expose().as_bytes())?;
        new.persist(&self.path)?;
        Ok(())
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Nobody is left to be told; a file that is gone already is what is wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_ends_with_the_value() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = TokenFile::place(Some(&path)).unwrap();
        for token in ["first", "second"] {
            file.write(&Secret::new(token)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left over");
        drop(file);
        assert!(!path.exists());
        assert!(TokenFile::place(Some(place.path())).is_err(), "a directory is not replaced");
    }

    #[test]
    fn the_directory_that_is_made_is_its_owners_alone_and_goes_too() {
        let file = TokenFile::place(None).unwrap();
        file.write(&Secret::new("x")).unwrap();
        let directory = file.path().parent().unwrap().to_owned();
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(file);
        assert!(!directory.exists());
    }
}
