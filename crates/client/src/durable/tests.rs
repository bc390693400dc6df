use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::file::{Disk, Os};
use super::*;

/// The operating system's disk, with a diary; the power fails before the step of this number.
#[derive(Clone, Default)]
struct Watched {
    diary: Arc<Mutex<Vec<String>>>,
    fails_at: Option<usize>,
}

impl Watched {
    fn note(&self, step: &str, paths: &[&Path]) -> io::Result<()> {
        let mut diary = self.diary.lock().unwrap();
        if self.fails_at.is_some_and(|at| diary.len() >= at) {
            return Err(io::Error::other("no power"));
        }
        let names = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap());
        diary.push([step].into_iter().chain(names).collect::<Vec<_>>().join(" "));
        Ok(())
    }
}

impl Disk for Watched {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        self.note("create", &[path])?;
        Os.create(path, content)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.note("sync", &[])?;
        Os.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", &[from, to])?;
        Os.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", &[path])?;
        Os.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.note("sync directory", &[])?;
        Os.sync_directory(path)
    }
}

fn token(text: &str) -> StoredRefreshToken {
    StoredRefreshToken { token: Some(Secret::new(text)), ..Default::default() }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    (directory, path)
}

#[test]
fn row_275_what_was_saved_is_loaded() {
    let (_directory, path) = place();
    let file = RefreshTokenFile::new(&path, "owner");
    assert_eq!(file.load(), Ok(None));
    let presented_at = Some(Timestamp::from_millis(1_234_567));
    let abandoned = vec![Secret::new("r0"), Secret::new("r-1")];
    for stored in [
        token("r1"),
        StoredRefreshToken { presented_at, ..token("r1") },
        token("r\"2\\\n"),
        StoredRefreshToken { presented_at, abandoned: abandoned.clone(), ..token("r1") },
        StoredRefreshToken { abandoned, ..Default::default() },
    ] {
        file.save(&stored).unwrap();
        assert_eq!(RefreshTokenFile::new(&path, "owner").load(), Ok(Some(stored)));
    }
    file.clear().unwrap();
    assert_eq!(file.load(), Ok(None));
    file.clear().unwrap();
}

#[test]
fn row_275_what_the_first_version_wrote_is_still_read() {
    let (_directory, path) = place();
    for (presented, presented_at) in [("false", None), ("true", Some(Timestamp::from_secs(0)))] {
        let written = format!(
            r#"{{"version":1,"owner":"owner","refresh_token":"r1","presented":{presented}}}"#
        );
        fs::write(&path, written).unwrap();
        let found = RefreshTokenFile::new(&path, "owner").load().unwrap().unwrap();
        // Long ago, so that no grace lasts.
        assert_eq!(found, StoredRefreshToken { presented_at, ..token("r1") });
    }
}

#[cfg(unix)]
#[test]
fn row_275_nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let (_directory, path) = place();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    RefreshTokenFile::new(&path, "owner").save(&token("r1")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn row_275_the_content_is_on_the_disk_before_the_name_and_then_the_name() {
    let (_directory, path) = place();
    let disk = Watched::default();
    let file = RefreshTokenFile::on(Box::new(disk.clone()), path, "owner".to_owned());
    file.save(&token("r1")).unwrap();
    let replaced = [
        "remove token.new",
        "create token.new",
        "sync",
        "rename token.new token",
        "sync directory",
    ];
    assert_eq!(*disk.diary.lock().unwrap(), replaced);
    disk.diary.lock().unwrap().clear();
    file.clear().unwrap();
    assert_eq!(*disk.diary.lock().unwrap(), ["remove token", "sync directory"]);
}

#[test]
fn row_275_whenever_the_power_fails_the_old_token_or_the_new_one_is_there() {
    for fails_at in 0..5 {
        let (directory, path) = place();
        RefreshTokenFile::new(&path, "owner").save(&token("r1")).unwrap();
        let disk = Watched { fails_at: Some(fails_at), ..Watched::default() };
        let file = RefreshTokenFile::on(Box::new(disk), path.clone(), "owner".to_owned());
        let error = file.save(&token("r2")).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        let found = RefreshTokenFile::new(&path, "owner").load().unwrap().unwrap();
        // Before the rename it is the old one; what was left behind does not stand in the way of the next.
        let found = found.token.unwrap();
        assert!(found.matches(if fails_at < 4 { "r1" } else { "r2" }), "{fails_at}");
        RefreshTokenFile::new(&path, "owner").save(&token("r3")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn row_275_a_file_that_is_not_ours_is_named_and_not_told() {
    let (_directory, path) = place();
    RefreshTokenFile::new(&path, "owner").save(&token("canary")).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let error = RefreshTokenFile::new(&path, "somebody else").load().unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let mut shown = vec![format!("{error} {error:?}")];
    for damaged in [
        "".to_owned(),
        "canary".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}canary"),
        good.replace("\"version\":2", "\"version\":1"),
        good.replace("\"version\":2", "\"version\":3"),
        good.replace("}", ",\"presented\":true}"),
        good.replace("}", ",\"presented_at\":\"canary\"}"),
        good.replace("}", ",\"abandoned\":[\"\"]}"),
        good.replace("}", ",\"canary\":1}"),
        good.replace(",\"refresh_token\":\"canary\"", ""),
        good.replace("canary", ""),
        good.replace("canary", &"canary".repeat(20_000)),
    ] {
        fs::write(&path, &damaged).unwrap();
        let error = RefreshTokenFile::new(&path, "owner").load().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{damaged}");
        shown.push(format!("{error} {error:?}"));
    }
    fs::write(&path, b"\xff\xfecanary").unwrap();
    let error = RefreshTokenFile::new(&path, "owner").load().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    shown.push(format!("{error} {error:?} {:?}", RefreshTokenFile::new(&path, "owner")));
    for text in shown {
        assert!(!text.contains("canary") && text.contains("token"), "{text}");
    }
}

#[test]
fn row_275_a_link_in_the_way_is_not_followed() {
    let (directory, path) = place();
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&elsewhere, directory.path().join("token.new")).unwrap();
    RefreshTokenFile::new(&path, "owner").save(&token("r1")).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
    let (directory, _) = place();
    let path = directory.path().join("missing").join("token");
    let error = RefreshTokenFile::new(&path, "owner").save(&token("r1")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let beside = RefreshTokenFile::new("token", "owner");
    assert_eq!(format!("{beside:?}"), r#"RefreshTokenFile { path: "token", .. }"#);
}
