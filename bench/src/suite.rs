//! What the benchmarks have in common: their options, and how they run to an end.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::problem::{Doing as _, Problem, Result};
use crate::report::Page;
use crate::rounds::Settings;

/// A benchmark: its parts, in the order they run, and the page that it writes.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// The name of each part, and what it measures.
    pub(crate) parts: &'static [(&'static str, &'static str)],
    pub(crate) page: Page,
}

/// What is asked for on the command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) log_level: Option<String>,
    rounds: Option<usize>,
    seconds: Option<f64>,
    only: Vec<String>,
    report: bool,
    list: bool,
}

impl Options {
    pub(crate) fn parse(suite: &Suite, args: &[String]) -> Result<Self> {
        let mut options = Self {
            quick: false,
            rounds: None,
            seconds: None,
            only: Vec::new(),
            log_level: None,
            report: true,
            list: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Problem::new(format!("`{arg}` needs a value")));
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--no-report" => options.report = false,
                "--rounds" => options.rounds = Some(value()?.parse().doing(arg)?),
                "--seconds" => options.seconds = Some(value()?.parse().doing(arg)?),
                "--log" => options.log_level = Some(value()?.clone()),
                "--only" => options.only.push(value()?.clone()),
                other => {
                    let name = suite.name;
                    return Err(Problem::new(format!("`{name}` has no option `{other}`")));
                }
            }
        }
        if let Some(unknown) =
            options.only.iter().find(|name| !suite.parts.iter().any(|(part, _)| part == name))
        {
            return Err(Problem::new(format!("no part is called `{unknown}`; see `--list`")));
        }
        // Everything ends by itself.
        if options.rounds.is_some_and(|n| !(1..=100).contains(&n))
            || options.seconds.is_some_and(|n| !(0.1..=60.0).contains(&n))
        {
            return Err(Problem::new("1 to 100 rounds, of 0.1 to 60 seconds each"));
        }
        Ok(options)
    }

    pub(crate) fn settings(&self) -> Settings {
        let (rounds, seconds, warmup) = if self.quick { (2, 1.0, 0.5) } else { (5, 3.0, 1.0) };
        Settings {
            rounds: self.rounds.unwrap_or(rounds),
            warmup: Duration::from_secs_f64(warmup),
            measure: Duration::from_secs_f64(self.seconds.unwrap_or(seconds)),
            load_core: "1".to_owned(),
            server_core: "0".to_owned(),
        }
    }

    /// Whether a part is to run.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// Whether the page is to be written: one that shows a part, or what was measured in a hurry, would mislead.
    pub(crate) const fn is_whole(&self) -> bool {
        self.report && self.only.is_empty() && !self.quick
    }
}

/// Runs a benchmark until it is done or told to end; either way nothing of it stays.
pub(crate) async fn run(
    suite: &Suite,
    options: &Options,
    measure: impl Future<Output = Result<()>>,
) -> Result<()> {
    if options.list {
        for (part, about) in suite.parts {
            println!("{part:<16}{about}");
        }
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measure => done,
        _ = tokio::signal::ctrl_c() => Err(Problem::new("interrupted")),
        _ = terminate.recv() => Err(Problem::new("told to end")),
    }
}
