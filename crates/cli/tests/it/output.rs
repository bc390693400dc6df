//! Answers that nobody can read: an error, and no secret that nobody knows.

#![cfg(unix)]

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::run::{Place, Ran, run};

/// Runs a command with this as its standard output.
fn run_to(mut command: Command, stdout: impl Into<Stdio>) -> Ran {
    let mut child =
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Ran { code: child.wait().unwrap().code(), out: String::new(), err }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// The command without any standard output.
fn closed<const N: usize>(place: &Place, arguments: [&str; N]) -> Ran {
    let mut shell = Command::new("sh");
    let tokenry = place.command(arguments);
    shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(tokenry.get_program()).args(arguments);
    shell.current_dir(place.path(""));
    run(shell, "")
}

const ADD: [&str; 5] = ["client", "secret", "add", "example", "first"];
const LISTS: [&[&str]; 5] = [
    &["client", "list"],
    &["user", "list", "--output", "json"],
    &["check"],
    &["completions", "bash"],
    &["--help"],
];

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let place = Place::applied();
    for arguments in LISTS {
        let command = || crate::run::command(&place.path(""), arguments);
        let ran = run_to(command(), full());
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:#?}");
        // Such as `head`, which has read enough.
        assert_eq!(run_to(command(), unread()).code, Some(0), "{arguments:?}");
    }
    run_to(place.command(["client", "list"]), full())
        .bad("the answer cannot be written to standard output: no space left on device");
    closed(&place, ["client", "list"])
        .bad("the answer cannot be written to standard output: it is closed");
    let ran = run_to(place.command(["client", "add", "example", "other"]), full());
    assert!(ran.bad("cannot be written").err.contains("it was done all the same"));
    assert!(place.state().contains("other"));
    // Whoever wants no answer says so.
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    assert_eq!(run_to(place.command(ADD), null).code, Some(0));
}

#[test]
fn a_plan_that_cannot_be_shown_is_not_carried_out() {
    let place = Place::new();
    run_to(place.command(["apply", "realm.toml"]), full()).bad("cannot be written");
    assert!(!place.state().contains("first"));
}

#[test]
fn a_secret_that_nobody_has_seen_is_taken_back() {
    let place = Place::applied();
    let before = place.state();
    for ran in [
        run_to(place.command(ADD), full()),
        run_to(place.command(ADD), unread()),
        closed(&place, ADD),
    ] {
        let ran = ran.bad("the answer cannot be written to standard output");
        assert!(ran.err.contains("was taken back"), "{}", ran.err);
    }
    let list = ["client", "secret", "list", "example", "first", "--output", "json"];
    assert_eq!(place.run(list).good().json()["secrets"].as_array().unwrap().len(), 0);
    assert_eq!(place.state(), before);
}

#[test]
fn a_password_that_nobody_has_seen_is_taken_back() {
    let place = Place::applied();
    // But for what the feed has told of them, which nobody can take back.
    let users = || -> Vec<Value> {
        let database = Connection::open(place.path("tokenry.db")).unwrap();
        let mut rows = database.prepare("SELECT document FROM users").unwrap();
        let users = rows.query_map([], |row| row.get(0)).unwrap();
        let read = |row: rusqlite::Result<String>| {
            let mut user: Value = serde_json::from_str(&row.unwrap()).unwrap();
            user.as_object_mut().unwrap().remove("ended_before");
            user
        };
        users.map(read).collect()
    };
    run_to(place.command(["user", "add", "example", "anna"]), full()).bad("was taken back");
    assert_eq!(users(), Vec::<Value>::new());
    place.run(["user", "add", "example", "anna", "--to", "password"]).good();
    let before = users();
    run_to(place.command(["user", "password", "example", "anna"]), full()).bad("was taken back");
    assert_eq!(users(), before);
}
