//! `tokenry token`: obtains an access token.

mod format;
mod inspect;
mod revoke;

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use tokenry_client::Token;
use tokenry_core::{Timestamp, duration};

pub(crate) use self::format::{TokenFormat, curl_header, curl_quoted};
use self::format::{formats, k8s_api_version};
use super::Outcome;
use super::source::Source;
use crate::args::{Format, Global};
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;
use crate::output::Output;

/// Obtains an access token and prints it, and nothing else, to standard output.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(Source::ORIGINS)))]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    source: Source,
    /// Print it as a header: `Authorization: Bearer …`.
    #[arg(long)]
    header: bool,
    /// The shortest life that the token may have left, such as `5m`: one with less is renewed first.
    #[arg(long, value_name = "DURATION", value_parser = min_ttl)]
    min_ttl: Option<Duration>,
    /// What the answer looks like: for people, for scripts, or as another program wants it.
    #[arg(
        long,
        env = "TOKENRY_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        value_parser = formats()
    )]
    output: Format,
}

/// What else can be done with a token.
#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Arguments),
    Revoke(revoke::Arguments),
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    match &arguments.command {
        Some(Command::Inspect(arguments)) => return inspect::run(arguments, output).await,
        Some(Command::Revoke(arguments)) => return revoke::run(arguments, global, output).await,
        None => {}
    }
    let api_version = match arguments.output {
        // Before a token is asked for: a kubectl that wants another version wants no token of ours.
        Format::Token(TokenFormat::K8sExec) => {
            Some(k8s_api_version(std::env::var("KUBERNETES_EXEC_INFO").ok().as_deref())?)
        }
        _ => None,
    };
    let supply = arguments.source.supply().await?;
    let token = supply.bearer_token(arguments.min_ttl).await?;
    let text = token.access_token().expose();
    let form = match arguments.output {
        Format::Token(form) => form,
        Format::Text | Format::Json => {
            let json = json!({
                "access_token": text,
                "token_type": token.token_type(),
                "expires_at": token.expires_at().map(edge::date),
                "token_url": supply.place(),
            });
            output.answer(&json, || match arguments.header {
                true => format!("Authorization: {} {text}", token.token_type()),
                false => text.to_owned(),
            })?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let shown = form.write(&token, edge::now(), api_version.unwrap_or_default());
    // What no JSON format is: it has its own.
    output.answer(&json!(null), || shown.expose().to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a token that has less life left than was asked for.
pub(crate) fn check_life(
    token: &Token,
    min_ttl: Duration,
    now: Timestamp,
) -> Result<(), Diagnostic> {
    let Some(expires_at) = token.expires_at() else { return Ok(()) };
    let left = expires_at.since(now);
    if left >= min_ttl {
        return Ok(());
    }
    // A second may have passed since it was issued with just the life that was asked for.
    let left = duration::write(Duration::from_secs(
        left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
    ));
    Err(Diagnostic::error(format!(
        "the token lives for another {left}, less than --min-ttl {}",
        duration::write(min_ttl)
    ))
    .help("it is as new as the server gives them: its operator can let them live longer"))
}

fn min_ttl(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| format!("a duration is written like 30s, 5m or 1h, not {}", quoted(text)))
}
