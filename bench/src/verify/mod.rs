//! `verify`: measures how fast tokens are verified, part by part, and reports it.

mod signature;
mod tokens;

use std::hint::black_box;

use crate::clock::now;
use crate::machine::Machine;
use crate::problem::{Problem, Result};
use crate::report::{Line, Page, Report};
use crate::rounds::{Settings, Spread};
use crate::suite::{self, Options, Suite};

/// The parts of the benchmark, in the order they run, and what each measures.
const PARTS: [(&str, &str); 1] = [
    ("signature", "a token nobody has seen before, against the bare check of its signature"),
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

fn told(Spread { median, min, max }: Spread) -> String {
    format!("{median:.3} ({min:.3}–{max:.3})")
}
