//! `issue`: measures how fast Tokenry issues, part by part, and reports it.

mod cores;
mod footprint;
mod generator;
mod growth;
mod overload;
mod refresh;
mod reuse;
mod sign;
mod timing;
mod tls;

use std::time::Duration;

use tempfile::TempDir;

use crate::machine::Machine;
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Launch, Process};
use crate::report::{Line, Page, Report};
use crate::rounds::Settings;
use crate::suite::{self, Options, Suite};
use crate::tokenry::{Binary, Installation, Realm};

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

/// This benchmark.
pub(crate) const SUITE: Suite = Suite {
    name: "issue",
    parts: &PARTS,
    page: Page { file: "benchmarks.md", charts: "benchmarks", head: include_str!("head.md") },
};

/// Runs until it is done or told to end; either way nothing of it stays.
pub(crate) async fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(&SUITE, args)?;
    suite::run(&SUITE, &options, measure(&options)).await
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
        if !options.wants(part) {
            continue;
        }
        eprintln!("{part}: {about}");
        if let Err(problem) = bench.part(part).await {
            eprintln!("  {problem}");
            bench.report.add(Line::blank(part, about, problem.to_string()));
        }
    }
    print!("{}", bench.report.text(&bench.machine, &bench.settings));
    if options.is_whole() {
        bench.report.write(&SUITE.page, &bench.machine, &bench.settings)?;
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
