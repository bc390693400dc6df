//! The comparison with a real Keycloak: the same requests to both, the answers field by field.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::{Problem, root, tools};

/// As `--only` has it.
pub(super) const NAME: &str = "keycloak";

/// What installs, runs and asks Keycloak.
const PROGRAMS: [&str; 4] = ["java", "mvn", "tar", "python3"];

/// What `interop/keycloak` ends with if Keycloak could not be had, which it has said (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: i32 = 69;

/// Runs the comparison. Where Keycloak cannot be had, says so and is content, in CI too: Maven may be out of reach there.
///
/// `args` go to `interop/keycloak`, such as `--scene refresh`.
pub(super) fn run(args: &[String]) -> Result<(), Problem> {
    println!("the comparison with a real Keycloak");
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !tools::is_there(program)) {
        println!("Keycloak was not compared with: there is no `{missing}`");
        return Ok(());
    }
    let folder = folder()?;
    run_command(cargo("build").args(["--quiet", "--package", "tokenry"]))?;
    let mut compare = Command::new("python3");
    compare
        .arg("-B")
        .arg(root().join("interop/keycloak"))
        .arg("--tokenry")
        .arg(target()?.join("debug/tokenry"))
        .arg("--keycloak")
        .arg(&folder)
        .args(args);
    let status = compare.status().map_err(|error| format!("`python3` cannot be run: {error}"))?;
    match status.code() {
        Some(0 | UNAVAILABLE) => Ok(()),
        _ => Err(format!("keycloak: the comparison ended with {status}")),
    }
}

/// Where it is installed. The benchmark starts it from the same folder.
pub(super) fn folder() -> Result<PathBuf, Problem> {
    let folder = target()?.join("bench-peers/keycloak");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    Ok(folder)
}

/// Where this very program was built, so that all of it lies together.
pub(super) fn target() -> Result<PathBuf, Problem> {
    let own = std::env::current_exe().map_err(|error| format!("no path of my own: {error}"))?;
    let target = own.ancestors().nth(2).ok_or("no folder to install in")?;
    Ok(target.to_owned())
}
