//! One file per verb: its arguments, what they mean, what is done, what is answered.

#[cfg(unix)]
pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod client_certificate;
pub(crate) mod completions;
mod credential;
pub(crate) mod curl;
pub(crate) mod demo;
pub(crate) mod doctor;
#[cfg(unix)]
pub(crate) mod exec;
mod figures;
pub(crate) mod init;
#[cfg(unix)]
pub(crate) mod invalidate;
pub(crate) mod key;
mod listen;
pub(crate) mod proxy;
pub(crate) mod realm;
pub(crate) mod secret;
pub(crate) mod serve;
mod source;
pub(crate) mod subject;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use crate::args::{Arguments, ClientCommand, Command, Format};
use crate::config::LogFormat;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::output::Output;

/// What a command ends with: an exit code, or what is wrong.
pub(crate) type Outcome = Result<ExitCode, Diagnostics>;

/// Something is wrong.
const ERROR: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let output = Output::new(arguments.global.output);
    run(arguments, output).unwrap_or_else(|diagnostics| {
        output.complain(&diagnostics);
        ExitCode::from(ERROR)
    })
}

fn read_arguments() -> Result<Arguments, clap::Error> {
    let matches = crate::args::command().try_get_matches()?;
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    let innermost =
        std::iter::successors(Some(&matches), |m| m.subcommand().map(|(_, m)| m)).last();
    arguments.global.config_given = innermost
        .and_then(|matches| matches.value_source("config"))
        .is_some_and(|source| source == ValueSource::CommandLine);
    Ok(arguments)
}

fn run(arguments: Arguments, output: Output) -> Outcome {
    let Arguments { global, command } = arguments;
    let mut runtime = match command {
        Command::Demo(_) => tokio::runtime::Builder::new_multi_thread(),
        // Requests are answered by threads of their own; what is left besides accepting them is one more thread's.
        Command::Serve(_) | Command::Proxy(_) | Command::Verify(_) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(1);
            runtime
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(|error| {
        Diagnostic::error(format!("the operating system gives no threads: {error}"))
    })?;
    if keeps_tokens(&command)
        && std::env::var_os("TOKENRY_LOG").is_some_and(|level| !level.is_empty())
    {
        serve::set_up_log(LogFormat::Text, serve::log_filter_or("off")?);
    }
    runtime.block_on(async {
        match command {
            Command::Serve(arguments) => serve::run(&arguments, &global, output).await,
            Command::Init(arguments) => init::run(&arguments, &global, output).await,
            Command::Check(arguments) => check::run(&arguments, &global, output).await,
            Command::Apply(arguments) => apply::run(&arguments, &global, output).await,
            Command::Realm(command) => realm::run(&command, &global, output).await,
            Command::Client(ClientCommand::Add(arguments)) => {
                client::add(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::List(arguments)) => {
                client::list(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::Disable(arguments)) => {
                client::disable(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::Enable(arguments)) => {
                client::enable(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::Revoke(arguments)) => {
                client::revoke(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::Remove(arguments)) => {
                client::remove(&arguments, &global, output).await
            }
            Command::Client(ClientCommand::Certificate(command)) => {
                client_certificate::run(&command, &global, output).await
            }
            Command::Client(ClientCommand::Key(command)) => {
                key::run(&command, &global, output).await
            }
            Command::Client(ClientCommand::Secret(command)) => {
                secret::run(&command, &global, output).await
            }
            Command::Client(ClientCommand::Subject(command)) => {
                subject::run(&command, &global, output).await
            }
            Command::User(command) => user::run(&command, &global, output).await,
            Command::Token(arguments) => token::run(&arguments, &global, output).await,
            Command::Curl(arguments) => curl::run(&arguments, output).await,
            #[cfg(unix)]
            Command::Exec(arguments) => exec::run(&arguments, output).await,
            Command::Doctor(arguments) => doctor::run(&arguments, output).await,
            #[cfg(unix)]
            Command::Agent(arguments) => agent::run(&arguments, &global, output).await,
            #[cfg(unix)]
            Command::Invalidate(arguments) => invalidate::run(&arguments, output).await,
            Command::Proxy(arguments) => proxy::run(&arguments, &global, output).await,
            Command::Verify(arguments) => verify::run(&arguments, &global, output).await,
            Command::Demo(arguments) => demo::run(&arguments, output).await,
            Command::Completions(arguments) => completions::run(&arguments),
        }
    })
}

/// Whether a command gets tokens as a client does. It says what it does on the way to whoever sets TOKENRY_LOG.
const fn keeps_tokens(command: &Command) -> bool {
    match command {
        #[cfg(unix)]
        Command::Exec(_) => true,
        Command::Token(_) | Command::Curl(_) | Command::Doctor(_) => true,
        _ => false,
    }
}

/// A wrong command line, or a request for help.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || !wants_json() {
        match error.print() {
            Err(unprinted) if asked && unprinted.kind() != std::io::ErrorKind::BrokenPipe => {
                return ExitCode::from(ERROR);
            }
            _ => {}
        }
    } else {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let message = text.split("\n\n").next().unwrap_or_default().trim();
        let diagnostic = Diagnostic::error(message).help("`tokenry --help` shows how it is used");
        Output::new(Format::Json).complain(&diagnostic.into());
    }
    ExitCode::from(if asked { 0 } else { USAGE })
}

/// Whether a command line that cannot be read asks for JSON.
fn wants_json() -> bool {
    let arguments: Vec<String> = std::env::args().take_while(|a| a != "--").collect();
    arguments.iter().any(|a| a == "--output=json")
        || arguments.windows(2).any(|pair| pair == ["--output", "json"])
        || std::env::var_os("TOKENRY_OUTPUT").is_some_and(|format| format == "json")
}
