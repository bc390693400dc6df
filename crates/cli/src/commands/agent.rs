//! `tokenry agent`: holds tokens for all processes of this machine.

mod file;
mod loopback;
mod status;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tokenry_client::agent::{Agent, AgentListener, AgentServer, ListenError, own_user};
use tokio::sync::watch;

use self::file::AgentFile;
use self::loopback::Loopback;
use super::{Outcome, serve};
use crate::args::Global;
use crate::config::LogFormat;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::harden::harden;
use crate::output::Output;

/// Holds tokens for all processes of this machine until SIGTERM or SIGINT.
///
/// It needs no configuration: `tokenry token`, `curl` and `exec`, and programs with the library, find it by its socket and
/// lend it what they would do themselves; all who lend the same share one token. With --config a file names tokens
/// (`[tokens.NAME]`) that its users ask for without knowing a secret.
///
/// It logs to standard error; TOKENRY_LOG says how much. Once it listens, its socket is printed to standard output.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The agent's socket. Without it: TOKENRY_AGENT, or tokenry/agent.sock in XDG_RUNTIME_DIR, or
    /// /run/tokenry/agent.sock.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve the named tokens at this address too, for containers: to whoever has the secret that the agent writes to a
    /// file.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// What else can be done with an agent.
#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the tokens that the agent holds and this user may have, without their text.
    Status,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    match arguments.command {
        Some(Command::Status) => status::run(arguments.socket.as_deref(), output).await,
        None => serve(arguments, global, output).await,
    }
}

/// The agent that is meant: at this socket, or where one would be.
pub(super) fn find(socket: Option<&Path>) -> Result<Agent, Diagnostic> {
    socket.map_or_else(Agent::find, |path| Some(Agent::at(path))).ok_or_else(|| {
        Diagnostic::error("there is no agent")
            .help("`tokenry agent` starts one; TOKENRY_AGENT or --socket says where it is")
    })
}

async fn serve(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    // Before there is any secret.
    let mut diagnostics = Diagnostics::default();
    diagnostics.0.extend(harden());
    // Without --config there is no file: tokenry.toml is the server's.
    let file = match &global.config {
        path if global.config_given => AgentFile::read(path)?,
        _ => AgentFile::default(),
    };
    let filter = serve::log_filter_or(LOG_LEVEL_DEFAULT)?;
    serve::set_up_log(LogFormat::Json, filter);
    for questionable in &diagnostics.0 {
        tracing::warn!("{}", questionable.message);
    }
    let socket =
        arguments.socket.clone().or_else(|| file.socket()).unwrap_or_else(Agent::default_socket);
    let loopback = match arguments.listen.or_else(|| file.listen()) {
        Some(address) => Some(Loopback::open(address, &file.secret_file(&socket)).await?),
        None => None,
    };
    let mut builder = file.server(own_user()).await?;
    if let Some(loopback) = &loopback {
        builder = builder.loopback(loopback.secret.clone(), loopback.hosts());
    }
    let server = builder.build().map_err(|error| Diagnostic::error(error.to_string()))?;
    // A thousand processes that start at once are a thousand sockets.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let listener =
        AgentListener::bind(&socket, server.is_for_others()).map_err(|error| not_bound(&error))?;
    let signals = serve::Signals::new()?;
    announce(&listener, loopback.as_ref(), file.names(), output);
    until_told_to_end(server, listener, loopback, signals).await;
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// How much is logged if nobody says.
const LOG_LEVEL_DEFAULT: &str = "info";

fn not_bound(error: &ListenError) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.to_string());
    match error {
        ListenError::Running { .. } => diagnostic.help("--socket says where another one should be"),
        ListenError::Shared { .. } => {
            diagnostic.help("choose a folder of this user alone, such as XDG_RUNTIME_DIR")
        }
        _ => diagnostic,
    }
}

/// Says where the agent listens, to the log and on standard output.
fn announce(
    listener: &AgentListener,
    loopback: Option<&Loopback>,
    names: Vec<&str>,
    output: Output,
) {
    let socket = listener.path().display().to_string();
    let url = loopback.map(|loopback| loopback.url.clone());
    let tokens = names.join(", ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), socket, url, tokens, "listening");
    let secret_file = loopback.map(|loopback| loopback.secret_file.display().to_string());
    let json = json!({ "socket": socket, "url": url, "secret_file": secret_file, "tokens": names });
    let printed = output.answer(&json, || match (&url, &secret_file) {
        (Some(url), Some(secret)) => {
            format!("listening on {socket}\nand on {url}, secret in {secret}")
        }
        _ => format!("listening on {socket}"),
    });
    if let Err(unprinted) = printed {
        // An agent without a standard output serves all the same.
        tracing::warn!("{}", unprinted.message);
    }
}

async fn until_told_to_end(
    server: AgentServer,
    listener: AgentListener,
    loopback: Option<Loopback>,
    mut signals: serve::Signals,
) {
    let (end, ended) = watch::channel(false);
    let shutdown = || {
        let mut ended = ended.clone();
        async move {
            // An error means that the sender is gone, which is an end as well.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    };
    let signal = tokio::spawn(async move {
        signals.next().await;
        tracing::info!("ending: a second signal ends at once");
        let _ = end.send(true);
        signals.next().await;
        std::process::exit(1);
    });
    let by_port = async {
        if let Some(loopback) = loopback {
            server.serve_loopback(loopback.listener, shutdown()).await;
        }
    };
    tokio::join!(server.serve(listener, shutdown()), by_port);
    signal.abort();
}
