//! Opening a database file, and what can be wrong with it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Options, migrations};
use crate::OpenError;

/// How many pages the WAL takes before they are copied into the database (16 MiB): copying needs its own `fsync`s.
const CHECKPOINT_PAGES: u32 = 4096;

/// To what the WAL file is cut after it was copied, should it ever have grown beyond (64 MiB).
const WAL_BYTES: u32 = 64 << 20;

/// How much of the database the writer keeps in memory (8 MiB): the families that are being refreshed.
const WRITER_CACHE_KIB: i32 = 8 << 10;

/// How much each of the readers keeps (2 MiB): the upper inner pages of the tables with a million clients. The rest is the
/// operating system's to cache, once and not once per reader.
const READER_CACHE_KIB: i32 = 2 << 10;

/// How often switching to the WAL is tried again: once for each process that opens a new file at the same time, which
/// are two or three.
const SWITCHES: u32 = 16;

/// How many statements are kept prepared: more than there are in this crate.
const STATEMENTS: usize = 96;

/// Opens the file for writing, as the one connection that also creates and migrates.
pub(super) fn open(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    prepare(path, options)?;
    let conn = connect(path, options)?;
    let failed = |e| cannot_open(path, e);
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    // Looked at before anything is written: what is refused stays as it was.
    migrations::version(&conn, path)?;
    if use_wal(&conn).map_err(failed)? != "wal" {
        return Err(OpenError::NoWal { path: path.to_owned() });
    }
    for (name, value) in [
        ("cache_size", -i64::from(WRITER_CACHE_KIB)),
        ("wal_autocheckpoint", i64::from(CHECKPOINT_PAGES)),
        ("journal_size_limit", i64::from(WAL_BYTES)),
    ] {
        conn.pragma_update(None, name, value).map_err(failed)?;
    }
    if let Some(pages) = options.max_pages {
        conn.pragma_update(None, "max_page_count", pages).map_err(failed)?;
    }
    migrations::migrate(&conn, path)?;
    Ok(conn)
}

/// Switches to write-ahead logging, unless the file is that far; gives what is used then.
fn use_wal(conn: &Connection) -> rusqlite::Result<String> {
    let switch = || conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
    for _ in 0..SWITCHES {
        match switch() {
            // Switching reads first and then wants to write. Where two do so at once, SQLite fails one of them without
            // regard to the timeout, since it would wait for ever; taking the lock in one step does wait.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK")?;
            }
            other => return other,
        }
    }
    switch()
}

/// Opens the file, which is known to be in order, for reading.
pub(super) fn reader(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let conn = connect(path, options)?;
    for (name, value) in [("query_only", 1), ("cache_size", -READER_CACHE_KIB)] {
        conn.pragma_update(None, name, value).map_err(|e| cannot_open(path, e))?;
    }
    Ok(conn)
}

fn connect(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let failed = |e| cannot_open(path, e);
    // Without SQLITE_OPEN_CREATE, since the file would get its mode from the umask; without SQLITE_OPEN_URI, since a
    // path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(options.busy_timeout).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    for (name, value) in [
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        // On macOS, where fsync alone promises nothing.
        ("fullfsync", "ON"),
        ("checkpoint_fullfsync", "ON"),
        // What the file says is data, never code.
        ("trusted_schema", "OFF"),
        ("cell_size_check", "ON"),
    ] {
        conn.pragma_update(None, name, value).map_err(failed)?;
    }
    Ok(conn)
}

/// Makes sure that the file is there and is a file; a new one is empty and can be read by its owner alone.
fn prepare(path: &Path, options: &Options) -> Result<(), OpenError> {
    let io = |error| from_io(path, error);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(OpenError::NotADatabase { path: path.to_owned() }),
        Ok(found) if found.len() == 0 && has_wal(path) => {
            // SQLite would take it for new, and delete the WAL with all that is in it.
            Err(OpenError::Damaged { path: path.to_owned() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(error)),
        Err(_) if has_wal(path) => Err(OpenError::Damaged { path: path.to_owned() }),
        Err(_) if !options.create => Err(OpenError::Missing { path: path.to_owned() }),
        Err(_) => {
            let directory = path.parent().unwrap_or(path);
            if !directory.is_dir() {
                return Err(OpenError::NoDirectory { directory: directory.to_owned() });
            }
            create(path).map_err(io)?;
            // The name has to last as well as the contents.
            #[cfg(unix)]
            File::open(directory).and_then(|d| d.sync_all()).map_err(io)?;
            Ok(())
        }
    }
}

fn create(path: &Path) -> io::Result<()> {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    match new.open(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(|_: File| ()),
    }
}

/// Whether the file that SQLite keeps beside the database holds something.
fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    fs::metadata(PathBuf::from(wal)).is_ok_and(|found| found.len() > 0)
}

fn from_io(path: &Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied => OpenError::Permission { path },
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { path },
        _ => OpenError::Io { path, error },
    }
}

/// What SQLite's refusal means to the operator.
pub(super) fn cannot_open(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => OpenError::Permission { path },
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path },
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        _ => OpenError::Sqlite { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let conn = open(&directory.path().join("t.db"), &Options::default()).unwrap();
        let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(pragma("journal_mode").unwrap(), "wal");
        assert_eq!(number("synchronous").unwrap(), 2, "FULL");
        assert_eq!(number("foreign_keys").unwrap(), 1);
    }
}
