//! `tokenry completions`: a script that teaches a shell our commands.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;
use serde_json::Value;

use super::Outcome;
use crate::args::Format;
use crate::output::Output;

/// Prints completions for a shell.
///
/// For bash: `source <(tokenry completions bash)`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    let mut command = crate::args::command();
    clap_complete::generate(arguments.shell, &mut command, "tokenry", &mut script);
    let script = String::from_utf8_lossy(&script);
    // A script is a script, whatever answers otherwise look like.
    Output::new(Format::Text).answer(&Value::Null, || script.into_owned())?;
    Ok(ExitCode::SUCCESS)
}
