//! Our verifier, as `tokenry verify`, and what node-oidc-provider issues.

use super::keycloak;
use super::program::Program;
use crate::Problem;

/// Plays the scenes.
pub(super) fn run(program: Program) -> Result<(), Problem> {
    let logs = program.folder().join(program.name()).join("logs");
    let mut command = program.command()?;
    command.arg(keycloak::target()?.join("debug/tokenry")).arg(&logs);
    program
        .run(&mut command)
        .map_err(|problem| format!("{problem}; its logs are in {}", logs.display()))
}
