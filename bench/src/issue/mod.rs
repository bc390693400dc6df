//! `issue`: measures how fast Tokenry issues, part by part, and reports it.

mod chart;
mod cores;
mod footprint;
mod generator;
mod growth;
mod overload;
mod refresh;
mod report;
mod reuse;
mod sign;
mod timing;
mod tls;

use std::time::Duration;

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::Machine;
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Launch, Process};
use crate::rounds::Settings;
use crate::tokenry::{Binary, Installation, Realm, workspace};
pub(crate) use report::thousands;
use report::{Line, Report};

/// The parts of the benchmark, in the order they run, and what each measures.
const PARTS: [(&str, &str); 15] = [
    ("load", "whether the load is fast enough for what it measures"),
    ("RS256", "client_credentials with RS256, and the peers that have it"),
    ("ES256", "the same with ES256"),
    ("EdDSA", "the same with EdDSA"),
    ("refresh", "refresh tokens in the answer, and refreshes that write nothing"),
    ("rotate", "refreshes that are durable before they are answered"),
    ("reuse", "the same token again inside a window"),
    ("cores", "two cores against one"),
    ("footprint", "memory, and the time to the first token"),
    ("tls", "TLS, with connections kept and with a new one for each token"),
    ("overload", "5,000 connections that ask for ten times the capacity"),
    ("growth-clients", "a million clients"),
    ("growth-realms", "a thousand realms"),
    ("growth-tokens", "ten million tokens issued"),
    ("timing", "whether the time of a refusal says that a client exists"),
];

/// What is asked for on the command line.
#[derive(Debug)]
pub(crate) struct Options {
    quick: bool,
    rounds: Option<usize>,
    seconds: Option<f64>,
    only: Vec<String>,
    log_level: Option<String>,
    report: bool,
    list: bool,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
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
                other => return Err(Problem::new(format!("`issue` has no option `{other}`"))),
            }
        }
        if let Some(unknown) =
            options.only.iter().find(|name| !PARTS.iter().any(|(part, _)| part == name))
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

    fn settings(&self) -> Settings {
        let (rounds, seconds, warmup) = if self.quick { (2, 1.0, 0.5) } else { (5, 3.0, 1.0) };
        Settings {
            rounds: self.rounds.unwrap_or(rounds),
            warmup: Duration::from_secs_f64(warmup),
            measure: Duration::from_secs_f64(self.seconds.unwrap_or(seconds)),
            load_core: "1".to_owned(),
            server_core: "0".to_owned(),
        }
    }
}

/// Runs until it is done or told to end; either way nothing of it stays.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.list {
        for (part, about) in PARTS {
            println!("{part:<16}{about}");
        }
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measure(options) => done,
        _ = tokio::signal::ctrl_c() => Err(Problem::new("interrupted")),
        _ = terminate.recv() => Err(Problem::new("told to end")),
    }
}

/// What all parts share.
struct Bench {
    quick: bool,
    settings: Settings,
    tokenry: Binary,
    machine: Machine,
    report: Report,
    folder: TempDir,
}

async fn measure(options: &Options) -> Result<()> {
    let machine = Machine::this();
    if machine.cores < 2 {
        return Err(Problem::new("one core for the server and one for the load are needed"));
    }
    // Beside what is built, so that it lies on a real disk and not in memory: the log has to be durable.
    let target = std::env::current_exe()?.with_file_name("bench");
    std::fs::create_dir_all(&target)?;
    let folder = tempfile::tempdir_in(&target)?;
    let mut bench = Bench {
        quick: options.quick,
        settings: options.settings(),
        tokenry: Binary::build(folder.path(), options.log_level.as_deref()).await?,
        report: Report::default(),
        folder,
        machine,
    };
    for (part, about) in PARTS {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == part) {
            continue;
        }
        eprintln!("{part}: {about}");
        if let Err(problem) = bench.part(part).await {
            eprintln!("  {problem}");
            bench.report.add(Line::blank(part, about, problem.to_string()));
        }
    }
    print!("{}", bench.report.text(&bench.machine, &bench.settings));
    // A page that shows a part, or what was measured in a hurry, would mislead.
    if options.report && options.only.is_empty() && !options.quick {
        let docs = workspace().join("docs");
        bench.report.write(&docs, &bench.machine, &bench.settings)?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

impl Bench {
    async fn part(&mut self, part: &str) -> Result<()> {
        match part {
            "load" => generator::measure(self).await,
            "RS256" | "ES256" | "EdDSA" => sign::measure(self, part).await,
            "refresh" => refresh::unwritten(self).await,
            "rotate" => refresh::rotate(self).await,
            "reuse" => reuse::measure(self).await,
            "cores" => cores::measure(self).await,
            "footprint" => footprint::measure(self).await,
            "tls" => tls::measure(self).await,
            "overload" => overload::measure(self).await,
            "growth-clients" => growth::clients(self).await,
            "growth-realms" => growth::realms(self).await,
            "growth-tokens" => growth::tokens(self).await,
            "timing" => timing::measure(self).await,
            other => Err(Problem::new(format!("no part is called `{other}`"))),
        }
    }

    /// Starts the bound on the server's core.
    async fn bound(&self, kind: &str, tls: Option<&Installation>) -> Result<Bound> {
        let mut launch = Launch::own("bound").arg(kind).on(&self.settings.server_core);
        if let Some(installation) = tls {
            launch = launch
                .arg("--tls")
                .arg(installation.path().join("server.pem"))
                .arg(installation.path().join("server.key"));
        }
        let mut process = launch.start()?;
        let line = process.first_line(Duration::from_secs(20)).await?;
        Ok(Bound { address: line.parse().doing(&line)?, process })
    }

    /// An installation with realms.
    async fn installation(&self, realms: &[Realm<'_>]) -> Result<Installation> {
        let installation = self.tokenry.install(self.folder.path()).await?;
        installation.realms(realms).await?;
        Ok(installation)
    }
}

/// The bound, running.
struct Bound {
    address: std::net::SocketAddr,
    process: Process,
}
