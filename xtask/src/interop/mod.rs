//! Foreign clients against a running `tokenry serve`: what `interop/` says, one line per case.

mod installation;
mod openssl;
mod program;

use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::{Problem, root};
use installation::Installation;
use program::Program;

/// Runs the programs named, or all.
///
/// What a desk has not is left out there and said so; in CI it is a failure.
pub(crate) fn run(only: &[String]) -> Result<(), Problem> {
    let chosen = chosen(only)?;
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for program in chosen {
        match program.prepare() {
            Ok(()) => ready.push(program),
            Err(problem) => missing.push(format!("{} cannot run here: {problem}", program.name())),
        }
    }
    for line in &missing {
        println!("{line}");
    }
    if !missing.is_empty() && std::env::var_os("CI").is_some() {
        return Err("in CI every program of `interop/` has to run".to_owned());
    }
    if ready.is_empty() {
        return Ok(());
    }
    let failed = with_server(&ready)?;
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Starts a server for the programs; gives what failed. The server ends in any case.
fn with_server(programs: &[Program]) -> Result<Vec<Problem>, Problem> {
    run_command(cargo("build").args(["--quiet", "--package", "tokenry"]))?;
    let installation = Installation::make()?;
    let server = installation.serve()?;
    let mut failed: Vec<Problem> =
        programs.iter().filter_map(|program| program.run(&installation).err()).collect();
    if !failed.is_empty() {
        failed.push(format!("the server's log is in {}", server.log.display()));
    }
    Ok(failed)
}

fn chosen(only: &[String]) -> Result<Vec<Program>, Problem> {
    let all = Program::ALL;
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|one| one.name() == **name)) {
        let known = all.map(Program::name).join(", ");
        return Err(format!("no client is called `{unknown}`; there are: {known}"));
    }
    Ok(all.into_iter().filter(|p| only.is_empty() || only.iter().any(|o| o == p.name())).collect())
}

/// Where packages are installed, and the server's files are for as long as it runs.
fn target() -> std::path::PathBuf {
    root().join("target/interop")
}

/// Runs a command that says something only if it fails.
fn quietly(command: &mut Command) -> Result<String, Problem> {
    let program = std::path::Path::new(command.get_program()).to_owned();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("`{name}` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    Err(format!(
        "`{name}`: {}\n{}",
        output.status,
        lines[lines.len().saturating_sub(8)..].join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_client_is_named_with_those_that_exist() {
        let problem = chosen(&["authlip".to_owned()]).unwrap_err();
        assert!(problem.contains("authlip") && problem.contains("authlib"), "{problem}");
        assert_eq!(chosen(&[]).unwrap(), Program::ALL);
    }
}
