//! Foreign clients against a running `tokenry serve`, and a real Keycloak beside it: what `interop/` says.

mod installation;
mod keeper;
mod keycloak;
mod openssl;
mod program;
mod verifier;

use std::process::Command;

use crate::command::{cargo, run as run_command, succeeds};
use crate::{Problem, root};
use installation::Installation;
use program::Program;

/// Runs the programs named, or all; `comparing` goes to the comparison with Keycloak.
///
/// What a desk has not is left out there and said so; in CI it is a failure, but for Keycloak.
pub(crate) fn run(only: &[String], comparing: &[String]) -> Result<(), Problem> {
    let (programs, compares) = chosen(only)?;
    if !comparing.is_empty() && only != [keycloak::NAME] {
        return Err(format!("`--scene` and `--masked` are for `--only {}`", keycloak::NAME));
    }
    let mut failed = if programs.is_empty() { Vec::new() } else { clients(programs)? };
    if compares {
        failed.extend(keycloak::run(comparing).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs the programs that can run here; gives what failed.
fn clients(chosen: Vec<Program>) -> Result<Vec<Problem>, Problem> {
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    let has_openssl = succeeds(Command::new("openssl").arg("version"));
    for program in chosen {
        let prepared = if program.is_client() && !has_openssl {
            Err("`openssl` is missing; please install it".to_owned())
        } else {
            program.prepare()
        };
        match prepared {
            Ok(()) => ready.push(program),
            Err(problem) => missing.push(format!("{} cannot run here: {problem}", program.name())),
        }
    }
    for line in &missing {
        println!("{line}");
    }
    let mut failed = if ready.is_empty() { Vec::new() } else { run_all(&ready)? };
    if !missing.is_empty() && std::env::var_os("CI").is_some() {
        failed.push("in CI every program of `interop/` has to run".to_owned());
    }
    Ok(failed)
}

/// Runs programs with what was built just now; gives what failed.
fn run_all(programs: &[Program]) -> Result<Vec<Problem>, Problem> {
    run_command(cargo("build").args(["--quiet", "--package", "tokenry"]))?;
    let (clients, others): (Vec<_>, Vec<_>) =
        programs.iter().partition(|program| program.is_client());
    let mut failed = if clients.is_empty() { Vec::new() } else { with_server(&clients)? };
    failed.extend(others.into_iter().filter_map(|program| {
        let met = match program {
            Program::Verifier => verifier::run(program),
            _ => keeper::run(program),
        };
        met.err()
    }));
    Ok(failed)
}

/// Starts a server for the programs; gives what failed. The server ends in any case.
fn with_server(programs: &[Program]) -> Result<Vec<Problem>, Problem> {
    let installation = Installation::make()?;
    let server = installation.serve()?;
    let mut failed: Vec<Problem> =
        programs.iter().filter_map(|program| program.meet(&installation).err()).collect();
    if !failed.is_empty() {
        failed.push(format!("the server's log is in {}", server.log.display()));
    }
    Ok(failed)
}

/// The programs that are to run, and whether Keycloak is to be compared with.
fn chosen(only: &[String]) -> Result<(Vec<Program>, bool), Problem> {
    let known: Vec<&str> =
        Program::ALL.map(Program::name).into_iter().chain([keycloak::NAME]).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no client is called `{unknown}`; there are: {}", known.join(", ")));
    }
    let is_chosen = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    let programs = Program::ALL.into_iter().filter(|program| is_chosen(program.name())).collect();
    Ok((programs, is_chosen(keycloak::NAME)))
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
        assert_eq!(chosen(&[]).unwrap(), (Program::ALL.to_vec(), true));
        assert_eq!(chosen(&["keycloak".to_owned()]).unwrap(), (vec![], true));
        assert_eq!(chosen(&["golang".to_owned()]).unwrap(), (vec![Program::Golang], false));
    }

    #[test]
    fn a_scene_is_of_the_comparison_alone() {
        let problem = run(&["golang".to_owned()], &["--masked".to_owned()]).unwrap_err();
        assert!(problem.contains("--only keycloak"), "{problem}");
    }
}
