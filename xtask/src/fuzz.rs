//! Fuzzing with libFuzzer on the pinned stable toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{cargo, output, run as run_command};
use crate::{Problem, root, tools};

/// What makes the compiler report to libFuzzer which branches an input takes.
///
/// The flags of cargo-fuzz without its sanitizers: those need a nightly compiler, and there is no `unsafe` to watch.
const INSTRUMENTATION: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cforce-frame-pointers",
    "--cfg=fuzzing",
];

/// The longest input tried: longer than any seed, short enough to try many.
const MAX_LEN: &str = "-max_len=4096";

/// The longest an input may take. Ours take microseconds; a minute would be a way to stop a server.
const TIMEOUT: &str = "-timeout=5";

/// How many lines of a failure are shown.
const SHOWN_LINES: usize = 40;

/// Fuzzes targets, or all, and shows what libFuzzer prints.
pub(crate) fn run(targets: &[String], seconds: u32) -> Result<(), Problem> {
    for target in chosen(targets)? {
        let folder = build(&target)?;
        println!("fuzzing {target} for {seconds} s");
        run_command(&mut fuzzer(&folder, &target, seconds)?).map_err(|_| failed(&target, None))?;
    }
    Ok(())
}

/// Fuzzes all targets, with a line for each.
pub(crate) fn run_quietly(seconds: u32) -> Result<(), Problem> {
    let mut failures = Vec::new();
    for target in chosen(&[])? {
        let folder = build(&target)?;
        let done = fuzzer(&folder, &target, seconds)?
            .env("RUST_BACKTRACE", "0")
            .output()
            .map_err(|error| format!("the fuzz target {target} cannot be run: {error}"))?;
        // libFuzzer writes to stderr, and inputs in it are not always text.
        let log = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            println!("{target}: {}", summary(&log));
        } else {
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
            failures.push(failed(&target, written(&log)));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Runs one target on one input.
pub(crate) fn reproduce(target: &str, input: &Path) -> Result<(), Problem> {
    if !input.is_file() {
        return Err(format!("{} is no file", input.display()));
    }
    let target = chosen(&[target.to_owned()])?.remove(0);
    let folder = build(&target)?;
    run_command(Command::new(folder.join(target)).arg(input))
}

fn failed(target: &str, input: Option<&str>) -> Problem {
    let input = input.map_or("the file named above", |path| {
        Path::new(path).strip_prefix(root()).ok().and_then(Path::to_str).unwrap_or(path)
    });
    format!(
        "the fuzz target {target} failed on {input}\n\
         see it again: cargo xtask fuzz {target} --reproduce FILE"
    )
}

/// Where libFuzzer has put the input that it failed on.
fn written(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.split("Test unit written to ").nth(1)).map(str::trim)
}

/// The targets named, each of which must exist; or every one there is, by its file.
fn chosen(names: &[String]) -> Result<Vec<String>, Problem> {
    let folder = root().join("fuzz/fuzz_targets");
    let files = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut all: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    all.sort();
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        return Err(format!("no fuzz target is called `{unknown}`; there are: {}", all.join(", ")));
    }
    Ok(if names.is_empty() { all } else { names.to_vec() })
}

/// Builds a target; the folder its program is in.
fn build(target: &str) -> Result<PathBuf, Problem> {
    if !tools::is_there(tools::COMPILER) {
        return Err("fuzzing needs a C++ compiler to build libFuzzer; \
             please install one (Debian: `apt-get install -y g++`)"
            .to_owned());
    }
    let host = host()?;
    // A target platform of its own keeps the flags away from build scripts and procedural macros.
    run_command(
        cargo("build")
            .current_dir(root().join("fuzz"))
            .env("RUSTFLAGS", INSTRUMENTATION.join(" "))
            .env("CARGO_TARGET_DIR", root().join("fuzz/target"))
            .args(["--quiet", "--release", "--target", &host, "--bin", target]),
    )?;
    Ok(root().join("fuzz/target").join(host).join("release"))
}

fn host() -> Result<String, Problem> {
    let version = output(Command::new("rustc").current_dir(root()).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc does not say which platform this is".to_owned())
}

/// What was found stays in `fuzz/corpus`, and what failed in `fuzz/artifacts`; the seeds are only read.
fn fuzzer(folder: &Path, target: &str, seconds: u32) -> Result<Command, Problem> {
    let corpus = root().join("fuzz/corpus").join(target);
    let artifacts = root().join("fuzz/artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut command = Command::new(folder.join(target));
    command
        .arg(corpus)
        .arg(root().join("fuzz/seeds").join(target))
        .args([MAX_LEN, TIMEOUT, "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        // The slash at the end makes it a folder.
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    Ok(command)
}

/// How much was tried, from libFuzzer's last words.
fn summary(log: &str) -> String {
    let after = |line: &str, word: &str| {
        line.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
    };
    let inputs = log.lines().find_map(|line| after(line, "number_of_executed_units:"));
    let branches = log.lines().rev().find_map(|line| after(line, " cov:"));
    match (inputs, branches) {
        (Some(inputs), Some(branches)) => format!("{inputs} inputs, {branches} branches reached"),
        _ => "ok".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_much_was_tried() {
        let log = "#2\tINITED cov: 10 ft: 3\n#9\tDONE   cov: 304 ft: 781 corp: 279/9b\n\
                   stat::number_of_executed_units: 213928\n";
        assert_eq!(summary(log), "213928 inputs, 304 branches reached");
        assert_eq!(summary(""), "ok");
    }

    #[test]
    fn a_failure_names_its_input() {
        let log =
            "SUMMARY: x\nartifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: eA==\n";
        assert_eq!(written(log), Some("/a/crash-1"));
        let inside = root().join("fuzz/artifacts/jws/crash-1");
        let problem = failed("jws", inside.to_str());
        assert!(problem.contains("failed on fuzz/artifacts/jws/crash-1\n"), "{problem}");
    }

    #[test]
    fn every_target_has_seeds() {
        for target in chosen(&[]).unwrap() {
            let seeds = root().join("fuzz/seeds").join(&target);
            assert!(seeds.read_dir().is_ok_and(|mut files| files.next().is_some()), "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_named_with_those_that_exist() {
        let problem = chosen(&["jvs".to_owned()]).unwrap_err();
        assert!(problem.contains("jvs") && problem.contains("jws"), "{problem}");
    }
}
