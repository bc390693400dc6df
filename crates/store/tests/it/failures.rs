//! What an operator is told when the database cannot be used; nothing is lost by it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokenry_core::family::Rotated;
use tokenry_store::sqlite::Options;
use tokenry_store::{Change, OpenError, Sqlite, Store, StoreError};

use crate::fixture::{InFile, at, family, make_realms, realm, rotation, user};

/// Not patient, since these locks are never released in time.
fn impatient() -> Options {
    Options { busy_timeout: Duration::from_millis(20), ..Options::default() }
}

fn refusal(path: &Path) -> OpenError {
    Sqlite::open(path, &impatient()).unwrap_err()
}

/// A database with one revoked and one rotated family in it, closed.
async fn with_contents() -> InFile {
    let file = InFile::new();
    let store = file.open();
    make_realms(&store, &["r"]).await;
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    store.revoke_family("r", "c", family(2), at(100), at(900)).await.unwrap();
    file
}

/// The store has what [`with_contents`] put into it, and takes more.
async fn is_whole(store: &dyn Store) {
    let repeated = store.rotate(rotation(family(1), 0, at(101))).await.unwrap();
    assert_eq!(repeated, Rotated::Successor { generation: 1, rotated_at: at(100) });
    assert_eq!(store.rotate(rotation(family(2), 0, at(101))).await.unwrap(), Rotated::Revoked);
    assert_eq!(store.load().await.unwrap().realms, [realm("r")]);
}

/// Opening is refused with this text (`{}`: the path), and the file stays as it was, byte for byte.
fn is_refused(path: &Path, text: &str) {
    let before = fs::read(path).unwrap();
    let told = refusal(path).to_string();
    assert_eq!(told, text.replace("{}", &path.display().to_string()));
    assert!(fs::read(path).unwrap() == before, "the file was changed");
}

#[test]
fn a_new_database_needs_its_directory() {
    let file = InFile::new();
    let path = file.directory.path().join("missing/tokenry.db");
    let directory = path.parent().unwrap();
    let text = format!(
        "there is no directory {}; make it, or correct the path of the store",
        directory.display()
    );
    assert_eq!(refusal(&path).to_string(), text);
}

#[tokio::test]
async fn a_database_that_should_be_there_is_not_made() {
    let file = InFile::new();
    let url = format!("sqlite:{}", file.path().display());
    let refused = tokenry_store::open_existing(&url).await.unwrap_err();
    assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
    assert!(!file.path().exists());
    drop(tokenry_store::open(&url).await.unwrap());
    tokenry_store::open_existing(&url).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_database_can_be_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = InFile::new();
    let store = file.open();
    make_realms(&store, &["r"]).await;
    let mut names = Vec::new();
    for entry in fs::read_dir(file.directory.path()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{names:?}");
    }
    names.sort();
    assert_eq!(names, ["tokenry.db", "tokenry.db-shm", "tokenry.db-wal"]);
}

#[test]
fn something_else_is_not_taken_for_a_database() {
    let file = InFile::new();
    fs::write(file.path(), "[realm]\nname = \"a\"\n".repeat(100)).unwrap();
    is_refused(
        &file.path(),
        "{} is not a SQLite database: correct the path of the store, or restore a backup",
    );
    let directory = refusal(file.directory.path());
    assert!(matches!(directory, OpenError::NotADatabase { .. }), "{directory}");
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let file = InFile::new();
    Connection::open(file.path()).unwrap().execute_batch("CREATE TABLE realms (x)").unwrap();
    is_refused(&file.path(), "{} is a database of another program: correct the path of the store");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let file = with_contents().await;
    let conn = Connection::open(file.path()).unwrap();
    conn.execute_batch("INSERT INTO migrations VALUES (8, x'00'); PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(conn);
    is_refused(
        &file.path(),
        "{} was written by a newer version (its tables have version 8, known are 7): start that version",
    );
    let conn = Connection::open(file.path()).unwrap();
    conn.execute_batch("DELETE FROM migrations WHERE version = 8").unwrap();
    drop(conn);
    is_whole(&file.open()).await;
}

#[tokio::test]
async fn a_database_of_another_build_is_left_alone() {
    let file = with_contents().await;
    let conn = Connection::open(file.path()).unwrap();
    conn.execute_batch("UPDATE migrations SET sha256 = x'00'").unwrap();
    drop(conn);
    is_refused(
        &file.path(),
        "{} was made by a build with another migration 1: start the version that wrote it, or restore a backup",
    );
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let file = with_contents().await;
    let whole = fs::read(file.path()).unwrap();
    let text = "{} is damaged: restore a backup, and keep the file with its `-wal` for analysis";
    for len in [4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(file.path(), &whole[..len]).unwrap();
        is_refused(&file.path(), text);
    }
    // Not even a page: SQLite does not know what it is.
    fs::write(file.path(), &whole[..100]).unwrap();
    let refused = refusal(&file.path());
    assert!(
        matches!(refused, OpenError::Damaged { .. } | OpenError::NotADatabase { .. }),
        "{refused}"
    );
    fs::write(file.path(), &whole).unwrap();
    is_whole(&file.open()).await;
}

#[tokio::test]
async fn a_database_that_is_gone_while_its_wal_is_there_is_not_made_anew() {
    let file = InFile::new();
    let wal = file.directory.path().join("tokenry.db-wal");
    fs::write(&wal, "what was written last").unwrap();
    assert!(matches!(refusal(&file.path()), OpenError::Damaged { .. }));
    fs::write(file.path(), "").unwrap();
    assert!(matches!(refusal(&file.path()), OpenError::Damaged { .. }));
    assert_eq!(fs::read_to_string(&wal).unwrap(), "what was written last");
}

#[tokio::test]
async fn overwritten_pages_are_an_error_and_no_answer() {
    let file = with_contents().await;
    let mut bytes = fs::read(file.path()).unwrap();
    let start = 4096 * 2;
    bytes[start..].fill(0x5a);
    fs::write(file.path(), bytes).unwrap();
    match Sqlite::open(&file.path(), &impatient()) {
        Err(refused) => assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}"),
        Ok(store) => {
            let refused = store.load().await.unwrap_err();
            assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
            let refused = store.rotate(rotation(family(1), 1, at(200))).await.unwrap_err();
            assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
        }
    }
}

#[tokio::test]
async fn an_unreadable_document_is_named_and_not_shown() {
    let file = with_contents().await;
    let store = file.open();
    store.change(vec![Change::PutUser(user("r", "anna"))], None, at(1)).await.unwrap();
    let conn = Connection::open(file.path()).unwrap();
    conn.execute("UPDATE users SET document = '{\"realm\":\"r\",\"enabled\":\"hunter2\"}'", [])
        .unwrap();
    let refused = store.load().await.unwrap_err().to_string();
    assert!(refused.contains(r#"user "anna": its document makes no sense"#), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[tokio::test]
async fn a_locked_database_cannot_be_opened() {
    let file = with_contents().await;
    let other = Connection::open(file.path()).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; UPDATE meta SET revision = revision; COMMIT")
        .unwrap();
    let told = refusal(&file.path()).to_string();
    let text = format!(
        "{} is locked by another process: end the backup tool, database shell or other program that has it open",
        file.path().display()
    );
    assert_eq!(told, text);
    drop(other);
    is_whole(&file.open()).await;
}

#[tokio::test]
async fn while_another_process_writes_there_are_reads_and_errors_and_then_all_is_well() {
    let file = with_contents().await;
    let store = Sqlite::open(&file.path(), &impatient()).unwrap();
    let other = Connection::open(file.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.rotate(rotation(family(1), 1, at(200))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)));
    assert_eq!(refused.to_string(), "the store is not available: database is locked");
    assert!(store.revoke_family("r", "c", family(1), at(1), at(1)).await.is_err());
    assert!(store.change(vec![Change::PutRealm(realm("s"))], None, at(1)).await.is_err());
    assert_eq!(store.load().await.unwrap().realms, [realm("r")]);
    other.execute_batch("ROLLBACK").unwrap();
    is_whole(&store).await;
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_what_was_answered_stays() {
    let file = InFile::new();
    let small = Options { max_pages: Some(40), ..impatient() };
    let store = Sqlite::open(&file.path(), &small).unwrap();
    make_realms(&store, &["r"]).await;
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    store.revoke_family("r", "c", family(2), at(100), at(900)).await.unwrap();
    let mut made = 0;
    let refused = loop {
        let put = Change::PutUser(user("r", &format!("user-{made}")));
        match store.change(vec![put], None, at(1)).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.to_string(), "the store is not available: database or disk is full");
    assert_eq!(store.load().await.unwrap().users.len(), made);
    drop(store);
    let store = file.open();
    assert_eq!(store.load().await.unwrap().users.len(), made);
    is_whole(&store).await;
    store.change(vec![Change::PutUser(user("r", "one-more"))], None, at(1)).await.unwrap();
}

/// Run again by [`SomebodyElse`], as a user that the kernel does not let through.
#[test]
#[ignore = "only of use to the test below"]
fn open_as_told_by_the_environment() {
    if let Some(path) = std::env::var_os("STORE_TEST_OPEN") {
        match Sqlite::open(Path::new(&path), &impatient()) {
            Ok(_) => println!("\nanswer: opened"),
            Err(error) => println!("\nanswer: {error}"),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_may_not_be_written_are_said_to_be_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let somebody_else = SomebodyElse::new();
    let file = with_contents().await;
    let (directory, path) = (file.directory.path(), file.path());
    let mode = |of: &Path, mode| fs::set_permissions(of, fs::Permissions::from_mode(mode)).unwrap();
    let read_only = format!(
        "{} is read-only: make the file, its directory and its file system writable",
        path.display()
    );
    let forbidden = format!(
        "{} cannot be opened: let the user of this process read and write the file and its directory",
        path.display()
    );
    let cases = [
        ("a file that may only be read", 0o777, 0o444, &read_only),
        ("a file that may not even be read", 0o777, 0o000, &forbidden),
        ("a directory that may not be written", 0o555, 0o666, &read_only),
        ("a directory that may not be entered", 0o000, 0o666, &forbidden),
    ];
    for (case, of_directory, of_file, text) in cases {
        mode(directory, 0o777);
        mode(&path, of_file);
        mode(directory, of_directory);
        let answer = somebody_else.open(&path);
        mode(directory, 0o700);
        assert_eq!(answer.as_ref(), Some(text), "{case}");
    }
    fs::remove_file(&path).unwrap();
    mode(directory, 0o555);
    let answer = somebody_else.open(&path);
    mode(directory, 0o700);
    assert_eq!(answer.as_ref(), Some(&forbidden), "a new file in such a directory");
}

/// This test program, to be run as a user that is not the administrator.
#[cfg(unix)]
struct SomebodyElse {
    /// A copy of the program, out of a directory that nobody else may enter.
    copy: Option<tempfile::TempDir>,
}

#[cfg(unix)]
impl SomebodyElse {
    fn new() -> Self {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        // The administrator may read and write whatever its mode; others are what they are.
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() != 0) {
            return Self { copy: None };
        }
        let copy = tempfile::tempdir().unwrap();
        fs::copy(std::env::current_exe().unwrap(), copy.path().join("it")).unwrap();
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { copy: Some(copy) }
    }

    /// What opening `path` gives.
    fn open(&self, path: &Path) -> Option<String> {
        use std::os::unix::process::CommandExt as _;
        const NOBODY: u32 = 65534;
        let mut command = match &self.copy {
            Some(copy) => {
                let mut command = std::process::Command::new(copy.path().join("it"));
                command.uid(NOBODY).gid(NOBODY);
                command
            }
            None => std::process::Command::new(std::env::current_exe().unwrap()),
        };
        let name = "failures::open_as_told_by_the_environment";
        let output = command
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env("STORE_TEST_OPEN", path)
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("answer: ")).map(str::to_owned)
    }
}
