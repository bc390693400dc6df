//! The steps of `cargo xtask test`: cheap ones first, all of them whatever fails.

use std::time::{Duration, Instant};

use crate::command::{cargo, run as run_command};
use crate::{Problem, arrows, fuzz, interop, requirements, supply_chain, tools, words};

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Settings) -> Result<(), Problem>,
}

struct Settings {
    fuzz_seconds: u32,
}

const STEPS: [Step; 10] = [
    Step {
        name: "tools",
        about: "what the tests call is installed: curl, sed, a C++ compiler, rustfmt, clippy",
        run: |_| tools::check(),
    },
    Step { name: "format", about: "every file is formatted", run: |_| format() },
    Step {
        name: "words",
        about: "no tracked file depends on somebody's machine",
        run: |_| words::check(),
    },
    Step {
        name: "arrows",
        about: "crates depend on each other as they should, and core on no input or output",
        run: |_| arrows::check(),
    },
    Step {
        name: "supply-chain",
        about: "licences, banned crates and sources, as deny.toml has them",
        run: |_| supply_chain::check(),
    },
    Step {
        name: "requirements",
        about: "every row that was proven still has its test",
        run: |_| requirements::check(),
    },
    Step { name: "clippy", about: "no warning anywhere", run: |_| clippy() },
    Step { name: "tests", about: "every test, documentation examples too", run: |_| tests() },
    Step {
        name: "interop",
        about: "other people's libraries get along with the server, and it answers as Keycloak does",
        run: |_| interop::run(&[], &[]),
    },
    Step {
        name: "fuzz",
        about: "every fuzz target for a few seconds",
        run: |settings| fuzz::run_quietly(settings.fuzz_seconds),
    },
];

/// Prints the steps.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:<14}{}", step.name, step.about);
    }
}

/// Runs the steps named, or all.
pub(crate) fn run(only: &[String], fuzz_seconds: u32) -> Result<(), Problem> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        return Err(format!("no step is called `{unknown}`; see `cargo xtask test --list`"));
    }
    let chosen: Vec<&Step> =
        STEPS.iter().filter(|s| only.is_empty() || only.iter().any(|o| o == s.name)).collect();
    let settings = Settings { fuzz_seconds };
    let began = now();
    let mut failed = Vec::new();
    for (number, step) in (1..).zip(&chosen) {
        println!("\n[{number}/{}] {}: {}", chosen.len(), step.name, step.about);
        let step_began = now();
        let result = (step.run)(&settings);
        let took = seconds(step_began.elapsed());
        match result {
            Ok(()) => println!("[{number}/{}] {}: ok, {took}", chosen.len(), step.name),
            Err(problem) => {
                println!("[{number}/{}] {}: FAILED, {took}\n{problem}", chosen.len(), step.name);
                failed.push(step.name);
            }
        }
    }
    let took = seconds(began.elapsed());
    if failed.is_empty() {
        println!("\nall {} steps are ok, {took}", chosen.len());
        Ok(())
    } else {
        Err(format!("{} of {} steps failed: {}", failed.len(), chosen.len(), failed.join(", ")))
    }
}

fn format() -> Result<(), Problem> {
    run_command(cargo("fmt").args(["--all", "--check"]))?;
    let fuzz = crate::root().join("fuzz/Cargo.toml");
    run_command(cargo("fmt").arg("--manifest-path").arg(fuzz).arg("--check"))
}

fn clippy() -> Result<(), Problem> {
    run_command(cargo("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn tests() -> Result<(), Problem> {
    run_command(cargo("test").args(["--workspace", "--no-fail-fast"]))
}

#[expect(clippy::disallowed_methods, reason = "how long a step took is only ever shown")]
fn now() -> Instant {
    Instant::now()
}

fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        secs => format!("{} min {} s", secs / 60, secs % 60),
    }
}
