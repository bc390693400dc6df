//! The programs that the tests call.

use std::process::Command;

use crate::Problem;
use crate::command::{cargo, run, succeeds};

/// Program and the Debian package it comes in.
///
/// `curl` and `sed` run the documented commands as they are printed; nginx and Caddy ask `tokenry verify`; the C++ compiler
/// builds libFuzzer.
const PROGRAMS: [(&str, &str); 6] = [
    ("curl", "curl"),
    ("sed", "sed"),
    ("git", "git"),
    ("nginx", "nginx"),
    ("caddy", "caddy"),
    (COMPILER, "g++"),
];

/// What the `cc` crate looks for where `CXX` names no other.
pub(crate) const COMPILER: &str = "c++";

/// Installs what is missing where that is possible, and says what is missing otherwise.
pub(crate) fn check() -> Result<(), Problem> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    for component in ["fmt", "clippy"] {
        if !succeeds(Command::new(cargo_path()).args([component, "--version"])) {
            let name = if component == "fmt" { "rustfmt" } else { component };
            run(Command::new("rustup").args(["component", "add", name]))?;
        }
    }
    Ok(())
}

fn cargo_path() -> std::ffi::OsString {
    cargo("version").get_program().to_owned()
}

/// Whether a program can be called.
pub(crate) fn is_there(program: &str) -> bool {
    if program == COMPILER
        && let Some(other) = std::env::var_os("CXX")
    {
        return succeeds(Command::new(other).arg("--version"));
    }
    if program == "nginx" {
        // Debian has it where only root looks, and it knows no long options.
        let mut places = ["nginx", "/usr/sbin/nginx"].into_iter();
        return places.any(|place| succeeds(Command::new(place).arg("-v")));
    }
    let version = if program == "caddy" { "version" } else { "--version" };
    succeeds(Command::new(program).arg(version))
}

fn install(packages: &[&str]) -> Result<(), Problem> {
    let wanted = packages.join(" ");
    let is_root =
        crate::command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !is_there("apt-get") {
        return Err(format!("please install: {wanted} (Debian: `apt-get install -y {wanted}`)"));
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // A fresh machine has no package lists yet.
    if run(&mut apt(&install)).is_err() {
        run(&mut apt(&["update"]))?;
        run(&mut apt(&install))?;
    }
    Ok(())
}
