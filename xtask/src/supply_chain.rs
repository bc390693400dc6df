//! What we build on: licences, banned crates, sources. `deny.toml` decides, here as with cargo-deny.

use std::collections::BTreeMap;
use std::process::Command;

use crate::command::{cargo, output, run, succeeds};
use crate::licence::is_allowed;
use crate::{Problem, root};

/// The one source of crates that are not ours.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks what takes no network; and everything with cargo-deny where that is installed.
///
/// cargo-deny takes longer to install than all tests take to run, so CI does without it.
pub(crate) fn check() -> Result<(), Problem> {
    let policy = read("deny.toml")?;
    let allowed = list(&policy, "licenses", "allow");
    let banned = list(&policy, "bans", "deny");
    if allowed.is_empty() || banned.is_empty() {
        return Err("deny.toml: no list of licences or of banned crates was found".to_owned());
    }
    let crates = crates()?;
    let mut wrong = Vec::new();
    for (name, licence) in &crates {
        if !is_allowed(licence, &allowed) {
            wrong
                .push(format!("{name} has the licence `{licence}`, which deny.toml does not list"));
        }
        if banned.iter().any(|banned| banned == name) {
            wrong.push(format!("{name} is banned; `cargo tree --invert {name}` says who needs it"));
        }
    }
    for lock in ["Cargo.lock", "fuzz/Cargo.lock", "bench/peers/rust/Cargo.lock"] {
        wrong.extend(foreign_sources(&read(lock)?).map(|line| format!("{lock}: {line}")));
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    println!("{} crates, {} licences allowed", crates.len(), allowed.len());
    if succeeds(Command::new("cargo-deny").arg("--version")) {
        run(Command::new("cargo-deny").current_dir(root()).args(["--all-features", "check"]))?;
    } else {
        println!("cargo-deny is not installed: advisories were not looked at");
    }
    Ok(())
}

fn read(file: &str) -> Result<String, Problem> {
    std::fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))
}

/// Name and licence of every crate that is built for any platform, for our tests too.
fn crates() -> Result<BTreeMap<String, String>, Problem> {
    let tree = output(cargo("tree").args([
        "--workspace",
        "--all-features",
        "--target",
        "all",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]))?;
    let parsed = tree.lines().filter_map(|line| {
        let (package, licence) = line.strip_suffix(" (*)").unwrap_or(line).split_once('|')?;
        Some((package.split(' ').next()?.to_owned(), licence.to_owned()))
    });
    Ok(parsed.collect())
}

/// Where a lock file takes crates from, other than the registry.
fn foreign_sources(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines().filter(|line| {
        line.strip_prefix("source = ").is_some_and(|source| source.trim_matches('"') != REGISTRY)
    })
}

/// The first text of each line of a list in TOML that is written with one entry to a line.
fn list(toml: &str, section: &str, key: &str) -> Vec<String> {
    let begin = format!("{key} = [");
    toml.lines()
        .map(str::trim)
        .skip_while(|line| {
            line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) != Some(section)
        })
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| *line != "]")
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_from_its_own_section() {
        let toml = "[licenses]\nallow = [\n    \"MIT\",\n    # \"GPL\",\n]\n[bans]\nmultiple = 1\n\
                    deny = [\n    { crate = \"ring\", reason = \"one is enough\" },\n]\nallow = [\n\"x\",\n]\n";
        assert_eq!(list(toml, "licenses", "allow"), ["MIT"]);
        assert_eq!(list(toml, "bans", "deny"), ["ring"]);
        assert!(list(toml, "licenses", "deny").is_empty());
        assert!(list(toml, "advisories", "allow").is_empty());
    }

    #[test]
    fn a_source_other_than_the_registry_is_found() {
        let lock = format!(
            "[[package]]\nname = \"a\"\nsource = \"{REGISTRY}\"\nsource = \"git+https://example.com/b\"\n"
        );
        let found: Vec<&str> = foreign_sources(&lock).collect();
        assert_eq!(found, ["source = \"git+https://example.com/b\""]);
    }
}
