//! How many instructions the steps of a token request take, with gungraun and valgrind.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::{Problem, root, tools};

/// Counts, and fails where a step takes more than `bench/benches/instructions.rs` allows it.
pub(crate) fn run(args: &[String]) -> Result<(), Problem> {
    if let Some(arg) = args.first() {
        return Err(format!("`bench instructions` has no option `{arg}`"));
    }
    if !tools::is_there("valgrind") {
        return Err("counting instructions needs valgrind; \
             please install it (Debian: `apt-get install -y valgrind`)"
            .to_owned());
    }
    let runner = runner()?;
    run_command(cargo("bench").env("GUNGRAUN_RUNNER", runner).args([
        "--package",
        "tokenry-bench",
        "--bench",
        "instructions",
    ]))
}

/// The program that calls valgrind, installed where it is missing.
fn runner() -> Result<PathBuf, Problem> {
    let lock = root().join("Cargo.lock");
    let text =
        std::fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let version = version_of("gungraun", &text)
        .ok_or_else(|| format!("{} has no gungraun", lock.display()))?;
    let folder = root().join("target/tools");
    let program = folder.join("bin/gungraun-runner");
    // Cargo keeps a list of what it has installed. Library and runner must be of one version.
    let installed = std::fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
    if !(program.is_file() && installed.contains(&format!("\"gungraun-runner {version} "))) {
        println!("installing gungraun-runner {version} into {}", folder.display());
        run_command(
            Command::new(cargo("install").get_program())
                .current_dir(root())
                .args(["install", "gungraun-runner", "--version", version, "--locked", "--root"])
                .arg(&folder),
        )?;
    }
    Ok(program)
}

/// The version of a crate in a lock file.
fn version_of<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let name = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_crate_and_no_other() {
        let lock = "[[package]]\nname = \"gungraun-macros\"\nversion = \"0.1.0\"\n\n\
                    [[package]]\nname = \"gungraun\"\nversion = \"0.20.0\"\nsource = \"x\"\n";
        assert_eq!(version_of("gungraun", lock), Some("0.20.0"));
        assert_eq!(version_of("gungraun-runner", lock), None);
    }
}
