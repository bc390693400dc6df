//! `tokenry token`: obtains an access token.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::source::{Obtained, Source};
use crate::edge;
use crate::output::Output;

/// Obtains an access token and prints it, and nothing else, to standard output.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Print it as a header: `Authorization: Bearer …`.
    #[arg(long)]
    header: bool,
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Outcome {
    let Obtained { provider, token } = arguments.source.obtain().await?;
    let text = token.access_token().expose();
    let json = json!({
        "access_token": text,
        "token_type": token.token_type(),
        "expires_at": token.expires_at().map(edge::date),
        "token_url": provider.token_url().to_string(),
    });
    output.answer(&json, || {
        if arguments.header {
            format!("Authorization: {} {text}", token.token_type())
        } else {
            text.to_owned()
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
