//! `tokenry invalidate`: has the agent give up a token.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde_json::json;
use tokenry_client::agent::{AgentError, AgentFault, Invalidated, Trouble};

use super::source::Source;
use super::{Outcome, agent};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::output::Output;

/// Withdraws a token that the agent holds, now: whoever asks next gets another.
///
/// Which one is said as to `tokenry token`: by its name in the agent's file, or by what it was obtained with. It is for
/// a token that an API refuses, or that was revoked. Programs that use the library do so by themselves when an API
/// answers 401. Copies that other programs hold are theirs until they ask again.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(Source::ORIGINS)))]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The agent's socket. Without it: TOKENRY_AGENT, or tokenry/agent.sock in XDG_RUNTIME_DIR, or
    /// /run/tokenry/agent.sock.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Outcome {
    let agent = agent::find(arguments.socket.as_deref())?;
    let name = arguments.source.name();
    let answer = match name {
        Some(name) => agent.invalidate(name).await,
        None => agent.invalidate_lent(&arguments.source.config()?).await,
    };
    let Invalidated { withdrawn, .. } = answer.map_err(|fault| refused(&fault))?;
    let json = json!({ "name": name, "withdrawn": withdrawn });
    let what = name.map_or_else(|| "the token".to_owned(), |name| format!("the token {name}"));
    output.done(&json, || {
        if withdrawn {
            format!("{what} is withdrawn: whoever asks next gets another")
        } else {
            format!("{what} stays: the agent holds none, or was told so often that it asks no more for now")
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn refused(fault: &AgentFault) -> Diagnostics {
    let diagnostic = Diagnostic::error(fault.to_string());
    match fault {
        AgentFault::Said(AgentError { kind: Trouble::Unknown, .. }) => {
            diagnostic.help("`tokenry agent status` lists what the agent holds")
        }
        _ => diagnostic,
    }
    .into()
}
