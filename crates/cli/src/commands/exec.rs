//! `tokenry exec`: a command with its token in a file, kept fresh for as long as the command runs.

mod child;
mod file;
mod renewal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};

pub(crate) use self::child::Notice;
use self::child::{Child, Signals};
use self::file::TokenFile;
use self::renewal::Renewal;
use super::Outcome;
use super::source::Source;
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::harden;
use crate::output::Output;

/// Runs a command with an access token: `tokenry exec --provider NAME … -- COMMAND`.
///
/// The token stands in a file that only its owner can read. A new one takes its place, whole, before the old one expires;
/// --signal tells the command. When there is no new one, the old one stays, and standard error says why. The file
/// is gone when the command ends.
///
/// The command has the standard streams and the environment of this process, without TOKENRY_CLIENT_SECRET and
/// TOKENRY_PASSWORD. It is sent the signals that this process gets. The exit code is the command's, or 128 and the number
/// of the signal that ended it; 127 if there is no such command, 126 if it cannot be run.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(Source::ORIGINS)))]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Where the token is to stand; what stands there is replaced. Without it: in a private directory under
    /// XDG_RUNTIME_DIR, or where temporary files are.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The environment variable in which the command finds the file's path.
    #[arg(long, value_name = "NAME", default_value = "TOKENRY_TOKEN_FILE", value_parser = variable)]
    env: String,
    /// The signal that tells the command of a new token: HUP, USR1, USR2, WINCH, INT or TERM.
    #[arg(long, value_name = "SIGNAL", ignore_case = true, hide_possible_values = true)]
    signal: Option<Notice>,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How long a server may take to be there: services start in any order.
const PATIENCE: Duration = Duration::from_secs(10);

/// No such command, as shells say it.
const NOT_FOUND: u8 = 127;
/// The command cannot be run.
const NOT_RUN: u8 = 126;

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Outcome {
    // Only for itself: the command may be looked into, and leave a core, as it would without us.
    // A container may forbid it, and the command is to run all the same.
    let _ = harden::keep_out();
    let supply = arguments.source.lasting_supply(PATIENCE).await?;
    let token = supply.bearer_token(None).await?;
    // From here on a signal must not end this process, or the file would stay.
    let mut signals = Signals::new()?;
    let file = TokenFile::place(arguments.file.as_deref())?;
    file.write(token.access_token()).map_err(|error| {
        Diagnostic::error(format!(
            "the token cannot be written to {}: {}",
            file.path().display(),
            plain(&error)
        ))
    })?;
    let mut child = match Child::start(arguments, &file) {
        Ok(child) => child,
        Err(error) => return Ok(not_run(&arguments.command, &error, output)),
    };
    let mut renewal = Renewal::of(&supply, token, file, output);
    loop {
        tokio::select! {
            ended = child.ended() => return Ok(ended?),
            signal = signals.next() => child.pass_on(signal),
            () = renewal.next() => {
                if let Some(notice) = arguments.signal {
                    child.send(notice.signal());
                }
            }
        }
    }
}

fn not_run(command: &[OsString], error: &std::io::Error, output: Output) -> ExitCode {
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let (code, why) = match error.kind() {
        std::io::ErrorKind::NotFound => (NOT_FOUND, "there is no such command".to_owned()),
        _ => (NOT_RUN, plain(error)),
    };
    let error = Diagnostic::error(format!("{} did not run: {why}", quoted(&name)));
    output.complain(&Diagnostics::from(error));
    ExitCode::from(code)
}

/// The name of a variable, such as every shell can read.
fn variable(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(word)
    {
        return Err("a variable's name is letters, digits and underscores".to_owned());
    }
    Ok(text.to_owned())
}
