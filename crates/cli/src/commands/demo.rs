//! `tokenry demo`: the whole life of a machine token, on this machine, in under half a minute.
//!
//! Everything is real but the size of the world: a server on SQLite, TLS, the vendors' realm files, APIs behind the
//! verifier, a keeper per vendor. Only lifetimes are shortened, and the demo says which.

mod api;
mod line;
mod shortened;
mod stage;
mod story;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use crate::diagnostic::Diagnostic;
use crate::output::Output;

/// What the demo takes at most; by then something is wrong.
const DEADLINE: Duration = Duration::from_secs(29);

/// Shows how tokens are issued, kept fresh and checked, with real requests on this machine.
///
/// It takes about 20 seconds, ends by itself, writes to a temporary folder only, and fails if any step did not happen.
#[derive(Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: &Arguments, output: Output) -> Outcome {
    let timeline = timeline::Timeline::start(output);
    let played = async {
        let stage = stage::Stage::set(&timeline).await?;
        story::play(&stage, &timeline).await
    };
    match tokio::time::timeout(DEADLINE, played).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Diagnostic::error(error.to_string()).into()),
        Err(_) => timeline.say("demo", None, "ran out of time"),
    }
    let complete = timeline.conclude();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why the demo could not go on. It is shown to people, as it is.
type Trouble = Box<dyn std::error::Error + Send + Sync>;
