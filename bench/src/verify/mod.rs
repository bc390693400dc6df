//! `verify`: measures how fast tokens are verified, part by part, and reports it.

mod feed;
mod hit;
mod jwks;
mod memory;
mod order;
mod peers;
mod signature;
mod tokens;

pub(crate) use memory::remember;
pub(crate) use order::check;

use std::hint::black_box;

use crate::clock::now;
use crate::machine::Machine;
use crate::problem::{Problem, Result};
use crate::report::{Line, Page, Report};
use crate::rounds::{Settings, Spread};
use crate::suite::{self, Options, Suite};

/// The parts of the benchmark, in the order they run, and what each measures.
const PARTS: [(&str, &str); 6] = [
    ("signature", "a token nobody has seen before, against the bare check of its signature"),
    ("hit", "a token that was seen before"),
    ("memory", "what remembering tokens takes"),
    ("peers", "other verifiers on the same tokens"),
    ("jwks", "made-up keys while the JWKS endpoint hangs"),
    ("feed", "how long a revoked token is good, at 50 followers of two nodes"),
];

/// This benchmark.
const SUITE: Suite = Suite {
    name: "verify",
    parts: &PARTS,
    page: Page {
        file: "benchmarks-verify.md",
        charts: "benchmarks-verify",
        head: include_str!("head.md"),
    },
};

/// What all parts share.
struct Bench {
    settings: Settings,
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
        return Err(Problem::new("one core for good tokens and one for the others are needed"));
    }
    let mut bench = Bench { settings: options.settings(), report: Report::default() };
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
    print!("{}", bench.report.text(&machine, &bench.settings));
    if options.is_whole() {
        bench.report.write(&SUITE.page, &machine, &bench.settings)?;
    }
    Ok(())
}

impl Bench {
    async fn part(&mut self, part: &str) -> Result<()> {
        match part {
            "signature" => signature::measure(self).await,
            "hit" => hit::measure(self).await,
            "memory" => memory::measure(self).await,
            "peers" => peers::measure(self).await,
            "jwks" => jwks::measure(self).await,
            "feed" => feed::measure(self).await,
            other => Err(Problem::new(format!("no part is called `{other}`"))),
        }
    }
}

/// What one call takes on the average, in nanoseconds. Each must be done well.
fn nanos<T>(over: &[T], mut call: impl FnMut(&T) -> bool) -> Result<f64> {
    let began = now();
    let mut good = 0;
    for one in over {
        good += usize::from(black_box(call(black_box(one))));
    }
    let elapsed = began.elapsed();
    if good != over.len() {
        return Err(Problem::new(format!("{} of {} went wrong", over.len() - good, over.len())));
    }
    Ok(elapsed.as_secs_f64() * 1e9 / over.len().max(1) as f64)
}

/// With so many digits after the point.
fn told(Spread { median, min, max }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}
