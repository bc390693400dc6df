//! `client`: measures how fast tokens are kept, part by part, and reports it.

mod proxy;
mod storm;
mod token;

use crate::machine::Machine;
use crate::problem::{Problem, Result};
use crate::report::{Line, Page, Report};
use crate::rounds::Settings;
use crate::suite::{self, Options, Suite};
use crate::tokenry::Binary;

/// The parts of the benchmark, in the order they run, and what each measures.
const PARTS: [(&str, &str); 3] = [
    ("token", "a token that is there, with its header"),
    ("proxy", "the outbound proxy, against nginx with a fixed header"),
    ("storm", "many that ask at once: tasks of one process, processes of one machine"),
];

/// This benchmark.
const SUITE: Suite = Suite {
    name: "client",
    parts: &PARTS,
    page: Page {
        file: "benchmarks-client.md",
        charts: "benchmarks-client",
        head: include_str!("head.md"),
    },
};

/// What all parts share.
struct Bench {
    settings: Settings,
    tokenry: Binary,
    machine: Machine,
    report: Report,
}

/// Runs until it is done or told to end; either way nothing of it stays.
pub(crate) async fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(&SUITE, args)?;
    suite::run(&SUITE, &options, measure(&options)).await
}

async fn measure(options: &Options) -> Result<()> {
    let machine = Machine::this();
    if machine.cores < 2 {
        return Err(Problem::new("one core for what is measured and one for the load are needed"));
    }
    let folder = tempfile::tempdir()?;
    let mut bench = Bench {
        settings: options.settings(),
        tokenry: Binary::build(folder.path(), options.log_level.as_deref()).await?,
        report: Report::default(),
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
            "token" => token::measure(self).await,
            "proxy" => proxy::measure(self).await,
            "storm" => storm::measure(self).await,
            other => Err(Problem::new(format!("no part is called `{other}`"))),
        }
    }
}

/// Bytes in MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
