//! A store that cannot be used, and a master key that does not belong to it: clear errors, nothing lost.

use rusqlite::Connection;

use crate::run::{Place, run};

/// Commands that read and commands that write.
const COMMANDS: [&[&str]; 5] = [
    &["check"],
    &["serve"],
    &["apply", "realm.toml"],
    &["client", "secret", "add", "example", "first"],
    &["user", "list"],
];

#[track_caller]
fn all_say(place: &Place, text: &str) {
    for arguments in COMMANDS {
        let command = crate::run::command(&place.path(""), arguments);
        run(command, "").bad(text);
    }
}

#[test]
fn a_wrong_master_key_is_refused_and_nothing_is_lost() {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first"]).good();
    let (key, state) = (place.read("master.key"), place.state());
    let other = key.replace(['0', '1'], "2");
    assert_ne!(key, other);
    place.write("master.key", &other);
    all_say(&place, "this is not the master key that the store was made with");
    place.write("master.key", &key);
    assert_eq!(place.state(), state);
}

#[test]
#[cfg(unix)]
fn a_master_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    for mode in [0o640, 0o604, 0o644] {
        std::fs::set_permissions(place.path("master.key"), std::fs::Permissions::from_mode(mode))
            .unwrap();
        let ran = place.run(["check"]).bad("can be read by others");
        assert!(ran.err.contains("chmod 600 master.key"), "{}", ran.err);
    }
}

#[test]
#[cfg(unix)]
fn a_master_key_in_a_pipe_is_refused_and_not_waited_for() {
    let place = Place::new();
    std::fs::remove_file(place.path("master.key")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(place.path("master.key"))
        .status()
        .unwrap();
    assert!(made.success());
    place.run(["check"]).bad("master.key is not a regular file");
}

#[test]
fn a_master_key_that_is_none_is_not_repeated() {
    let place = Place::new();
    for wrong in ["", "hunter2hunter2", &"z".repeat(64)] {
        place.write("master.key", wrong);
        let ran = place
            .run(["check"])
            .bad("the master key must be 32 bytes as 64 hex digits or in base64");
        assert!(!ran.err.contains("hunter2") && !ran.err.contains("zzz"), "{}", ran.err);
    }
    let config =
        place.read("tokenry.toml").replace("file = \"master.key\"", "env = \"TOKENRY_MASTER_KEY\"");
    place.write("tokenry.toml", &config);
    place
        .run(["check"])
        .bad("the environment variable TOKENRY_MASTER_KEY, which holds the master key, is not set");
    let mut command = place.command(["check"]);
    command.env("TOKENRY_MASTER_KEY", "hunter2");
    assert!(!run(command, "").bad("the master key must be").err.contains("hunter2"));
}

#[test]
fn a_store_that_is_not_there_is_made_by_nothing_but_init() {
    let place = Place::new();
    place.run(["init", "--store"]).bad("there is something at sqlite:");
    std::fs::remove_file(place.path("tokenry.db")).unwrap();
    for arguments in COMMANDS {
        let ran = run(crate::run::command(&place.path(""), arguments), "");
        let ran = ran.bad("there is no store at");
        assert!(ran.err.contains("tokenry init --store"), "{}", ran.err);
        assert!(!place.path("tokenry.db").exists(), "{arguments:?}");
    }
    place.run(["init", "--store"]).good();
    place.run(["apply", "realm.toml"]).good();
    // It belongs to the master key from the beginning.
    place.write("master.key", &"7".repeat(64));
    place.run(["check"]).bad("this is not the master key");
}

#[test]
fn a_newer_store_is_left_alone() {
    let place = Place::applied();
    let database = Connection::open(place.path("tokenry.db")).unwrap();
    database
        .execute("INSERT INTO migrations SELECT max(version) + 1, x'00' FROM migrations", [])
        .unwrap();
    all_say(&place, "was written by a newer version");
    database.execute("DELETE FROM migrations WHERE sha256 = x'00'", []).unwrap();
    assert!(place.state().contains("first"));
}

#[test]
fn something_else_is_not_taken_for_a_store() {
    let place = Place::new();
    place.write("tokenry.db", &"this is a letter to my aunt\n".repeat(50));
    all_say(&place, "is not a SQLite database");
    std::fs::remove_file(place.path("tokenry.db")).unwrap();
    Connection::open(place.path("tokenry.db"))
        .unwrap()
        .execute_batch("CREATE TABLE recipes (x)")
        .unwrap();
    all_say(&place, "is a database of another program");
}

#[test]
fn a_locked_store_is_said_to_be_locked() {
    let place = Place::applied();
    let database = Connection::open(place.path("tokenry.db")).unwrap();
    // In this mode even readers are kept out.
    database.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    place.run(["apply", "realm.toml"]).bad("is locked by another process");
    drop(database);
    assert_eq!(place.run(["apply", "realm.toml"]).good().out, "nothing to do\n");
}

#[test]
fn a_secret_that_could_not_be_stored_leaves_no_file() {
    let place = Place::applied();
    let database = Connection::open(place.path("tokenry.db")).unwrap();
    // Readers go on, and find everything in order; the writer does not.
    database
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON credentials BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    let ran = place.run(["client", "secret", "add", "example", "first", "--to", "secret"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(!place.path("secret").exists(), "{ran:#?}");
}

#[test]
#[cfg(unix)]
fn a_store_that_may_not_be_written_is_said_so() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    let place = Place::applied();
    let state = place.state();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut command = place.command(["client", "add", "example", "other"]);
    // The superuser may write everything, and so runs the command as somebody who may not.
    const NOBODY: u32 = 65534;
    if std::fs::metadata(place.path("master.key")).unwrap().uid() == 0 {
        chown(place.path("master.key"), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    mode("tokenry.db", 0o444);
    mode("", 0o555);
    let ran = run(command, "");
    mode("", 0o755);
    mode("tokenry.db", 0o600);
    let ran = ran.bad("tokenry.db");
    assert!(ran.err.contains("read-only") || ran.err.contains("cannot be opened"), "{}", ran.err);
    assert_eq!(place.state(), state);
}
