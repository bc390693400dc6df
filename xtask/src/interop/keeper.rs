//! The keeper against servers of other people: node-oidc-provider, and Keycloak where it can be had.

use super::keycloak;
use super::program::Program;
use crate::{Problem, root, tools};

/// What installs and runs Keycloak.
const PROGRAMS: [&str; 3] = ["java", "mvn", "tar"];

/// Plays the scenes. Without Keycloak, where that cannot be had, in CI too: Maven may be out of reach there.
pub(super) fn run(program: Program) -> Result<(), Problem> {
    let logs = program.folder().join("logs");
    let mut command = program.command()?;
    command.arg(keycloak::target()?.join("debug/tokenry")).arg(&logs);
    match PROGRAMS.into_iter().find(|program| !tools::is_there(program)) {
        Some(missing) => println!("Keycloak is not asked: there is no `{missing}`"),
        None => {
            let script = root().join("bench/peers/keycloak/keycloak.sh");
            command.arg(script).arg(keycloak::folder()?);
        }
    }
    program
        .run(&mut command)
        .map_err(|problem| format!("{problem}; its logs are in {}", logs.display()))
}
