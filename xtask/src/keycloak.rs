//! The comparison with a real Keycloak: the same requests to both, the answers field by field.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::{Problem, root, tools};

/// What installs, runs and asks Keycloak.
const PROGRAMS: [&str; 4] = ["java", "mvn", "tar", "python3"];

/// Runs the comparison. Where Keycloak cannot be had, says so and is content.
///
/// `args` go to `interop/keycloak`, such as `--scene refresh`.
pub(crate) fn run(args: &[String]) -> Result<(), Problem> {
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !tools::is_there(program)) {
        return skipped(&format!("there is no `{missing}`"));
    }
    let target = target()?;
    let folder = target.join("bench-peers/keycloak");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    // The benchmark starts it by the same script, and from the same folder.
    let script = root().join("bench/peers/keycloak/keycloak.sh");
    let keycloak = |step: &str| {
        let mut command = Command::new("sh");
        command.arg(&script).arg(step).arg(&folder);
        command
    };
    if run_command(&mut keycloak("fetch")).is_err() {
        return skipped("its Maven package cannot be had");
    }
    run_command(&mut keycloak("install"))?;
    run_command(cargo("build").args(["--quiet", "--package", "tokenry"]))?;
    let mut compare = Command::new("python3");
    compare
        .arg("-B")
        .arg(root().join("interop/keycloak"))
        .arg("--tokenry")
        .arg(target.join("debug/tokenry"))
        .arg("--keycloak")
        .arg(&folder)
        .args(args);
    run_command(&mut compare)
}

fn skipped(why: &str) -> Result<(), Problem> {
    println!("Keycloak was not compared with: {why}");
    Ok(())
}

/// Where this very program was built, so that all of it lies together.
fn target() -> Result<PathBuf, Problem> {
    let own = std::env::current_exe().map_err(|error| format!("no path of my own: {error}"))?;
    let target = own.ancestors().nth(2).ok_or("no folder to install in")?;
    Ok(target.to_owned())
}
