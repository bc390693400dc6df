//! Which crate may depend on which: arrows only point towards `core`, and `core` does no input or output.

use std::collections::BTreeSet;
use std::path::Path;

use crate::command::{cargo, output};
use crate::{Problem, root};

/// Each crate and all crates of the workspace that it may have below it.
const ARROWS: [(&str, &[&str]); 7] = [
    ("tokenry-core", &[]),
    ("tokenry-store", &["tokenry-core"]),
    ("tokenry-server", &["tokenry-core", "tokenry-store"]),
    ("tokenry-client", &["tokenry-core"]),
    ("tokenry-verifier", &["tokenry-core"]),
    (TEST_SERVER, &["tokenry-core"]),
    (
        "tokenry",
        &["tokenry-client", "tokenry-core", "tokenry-server", "tokenry-store", "tokenry-verifier"],
    ),
];

/// The server that misbehaves. It is below no crate, and only the tests of these use it.
const TEST_SERVER: &str = "tokenry-test-server";
const ITS_USERS: [&str; 2] = ["tokenry-client", "tokenry"];

/// What does input and output, or waits for it. None of it may be below `core`.
const INPUT_AND_OUTPUT: [&str; 17] = [
    "async-std",
    "axum",
    "curl",
    "futures-util",
    "hyper",
    "hyper-util",
    "libsqlite3-sys",
    "mio",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tokio-postgres",
    "tower",
    "ureq",
];

/// The same from the standard library, which `cargo tree` does not see.
const STD_INPUT_AND_OUTPUT: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "async fn",
];

/// Reads the dependencies of each crate, with all features, on every platform.
pub(crate) fn check() -> Result<(), Problem> {
    let mut wrong = Vec::new();
    wrong.extend(not_drawn()?);
    for (name, allowed) in ARROWS {
        let tree = output(cargo("tree").args([
            "--package",
            name,
            "--edges",
            "normal",
            "--all-features",
            "--target",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        wrong.extend(wrong_arrows(name, allowed, &tree));
        let tests = output(cargo("tree").args([
            "--package",
            name,
            "--edges",
            "dev",
            "--depth",
            "1",
            "--all-features",
            "--target",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        wrong.extend(wrong_tests(name, &tests));
    }
    let mut sources = Vec::new();
    rust_files(&root().join("crates/core/src"), &mut sources)?;
    for (file, text) in &sources {
        wrong.extend(
            STD_INPUT_AND_OUTPUT
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{file} uses {word}: core does no input and output")),
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The crates of which the table says nothing.
fn not_drawn() -> Result<Vec<Problem>, Problem> {
    let members = output(cargo("tree").args(["--workspace", "--depth", "0", "--prefix", "none"]))?;
    let folder = root().join("crates");
    let crates = members.lines().filter(|line| line.contains(&*folder.to_string_lossy()));
    let names = crates.filter_map(|line| line.split(' ').next());
    Ok(names
        .filter(|name| !ARROWS.iter().any(|(drawn, _)| drawn == name))
        .map(|name| format!("{name} has no place among the arrows of xtask/src/arrows.rs"))
        .collect())
}

fn wrong_arrows(name: &str, allowed: &[&str], tree: &str) -> Vec<Problem> {
    let below: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|d| !d.is_empty()).collect();
    let mut wrong = Vec::new();
    if !below.contains(name) {
        wrong.push(format!("cargo says nothing of {name}"));
    }
    for dependency in below.into_iter().filter(|d| *d != name) {
        let ours = dependency.starts_with("tokenry");
        if ours && !allowed.contains(&dependency) {
            wrong.push(format!("{name} must not depend on {dependency}"));
        }
        if name == "tokenry-core" && INPUT_AND_OUTPUT.contains(&dependency) {
            wrong.push(format!("{name} must not depend on {dependency}: it does input and output"));
        }
    }
    wrong
}

/// Who uses the test server in tests and should not.
fn wrong_tests(name: &str, tree: &str) -> Option<Problem> {
    let uses = tree.lines().skip(1).any(|line| line.split(' ').next() == Some(TEST_SERVER));
    (uses && !ITS_USERS.contains(&name))
        .then(|| format!("the tests of {name} must not depend on {TEST_SERVER}"))
}

fn rust_files(folder: &Path, files: &mut Vec<(String, String)>) -> Result<(), Problem> {
    let problem = |path: &Path, error| format!("{}: {error}", path.display());
    for entry in folder.read_dir().map_err(|error| problem(folder, error))? {
        let path = entry.map_err(|error| problem(folder, error))?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).map_err(|error| problem(&path, error))?;
            let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            files.push((shown, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        let tree = "tokenry-client v0.1.0 (x)\nhyper v1.0.0\ntokenry-core v0.1.0 (x) (*)\n";
        assert!(wrong_arrows("tokenry-client", &["tokenry-core"], tree).is_empty());
        assert_eq!(
            wrong_arrows("tokenry-client", &[], tree),
            ["tokenry-client must not depend on tokenry-core"]
        );
        assert_eq!(
            wrong_arrows("tokenry-core", &[], "tokenry-core v0.1.0 (x)\ntokio v1.0.0\n"),
            ["tokenry-core must not depend on tokio: it does input and output"]
        );
        assert_eq!(wrong_arrows("tokenry-core", &[], ""), ["cargo says nothing of tokenry-core"]);
    }

    #[test]
    fn the_test_server_is_for_the_tests_of_its_users() {
        let tree = |name: &str| format!("{name} v0.1.0 (x)\n{TEST_SERVER} v0.1.0 (x)\n");
        assert_eq!(wrong_tests("tokenry-client", &tree("tokenry-client")), None);
        assert!(wrong_tests("tokenry-verifier", &tree("tokenry-verifier")).is_some());
        assert_eq!(wrong_tests(TEST_SERVER, "tokenry-test-server v0.1.0 (x)\nhyper v1\n"), None);
        let below = wrong_arrows("tokenry-client", &["tokenry-core"], &tree("tokenry-client"));
        assert_eq!(below, ["tokenry-client must not depend on tokenry-test-server"]);
    }
}
