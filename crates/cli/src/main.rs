//! The `tokenry` binary: runs the authorization server, and does everything around it from the command line.

mod admin_guard;
mod args;
mod certificate;
mod commands;
mod config;
mod diagnostic;
mod document;
mod edge;
#[cfg(unix)]
mod harden;
mod installation;
mod output;
mod plan;
mod realm_file;

use std::process::ExitCode;

use tokenry_core::duration;

fn main() -> ExitCode {
    commands::main()
}
