//! The project's own tasks. `cargo xtask help` says which.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod arrows;
mod command;
mod faults;
mod fuzz;
mod instructions;
mod interop;
mod licence;
mod requirements;
mod steps;
mod supply_chain;
mod tools;
mod words;

const HELP: &str = "\
The project's own tasks.

cargo xtask test [--only STEP]... [--fuzz-seconds N] [--list]
    Sets up what the tests need and runs every check of the project, one step after the other.
      --only STEP         run this step alone; may be repeated
      --fuzz-seconds N    how long each fuzz target runs (default 5)
      --list              say which steps there are

cargo xtask fuzz [TARGET]... [--seconds N] [--reproduce FILE]
    Fuzzes the named targets, or all of them.
      --seconds N         how long each target runs (default 60)
      --reproduce FILE    run one target on one input, such as one that it failed on

cargo xtask interop [--only CLIENT]... [--scene NAME]... [--masked]
    Runs the libraries of other people against `tokenry serve`, and the keeper against servers of other people: one line
    for each thing that they do. Then asks a real Keycloak and the Keycloak dialect the same, and fails where they
    answer differently for no reason that interop/keycloak/masks.py gives; that needs Java and Maven, and says so where
    Keycloak cannot be had.
      --only CLIENT       run this program of `interop/` alone, or `keycloak`; may be repeated
      --scene NAME        with `--only keycloak`: play this scene alone; may be repeated
      --masked            with `--only keycloak`: print what the masks cover as well

cargo xtask bench issue [--quick] [--only PART]... [--list]
    Measures how fast Tokenry issues, against the bound and its peers; prints the report and writes it to
    docs/benchmarks.md. `cargo xtask bench help` says what else it takes.

cargo xtask bench client | verify
    The same of the keeper and of the verifier.

cargo xtask bench instructions
    Counts the instructions that the steps of a token request take, under valgrind, and fails where one takes more
    than is written beside it in bench/benches/instructions.rs.

cargo xtask faults [--write]
    Plays the fault matrix: each fault of a misbehaving server in each integration of the client, and prints what
    callers noticed.
      --write             write docs/faults.md anew

cargo xtask requirements [--open] [--write]
    Says which rows of the requirements are proven by tests, which are out of scope, and which are open.
      --open              name the open ones
      --write             write docs/requirements.md anew

cargo xtask help
    Prints this text.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Problem> {
    match Task::parse(args)? {
        Task::Help => println!("{HELP}"),
        Task::ListSteps => steps::list(),
        Task::Test { only, fuzz_seconds } => steps::run(&only, fuzz_seconds)?,
        Task::Fuzz { targets, seconds } => fuzz::run(&targets, seconds)?,
        Task::Reproduce { target, input } => fuzz::reproduce(&target, &input)?,
        Task::Interop { only, comparing } => interop::run(&only, &comparing)?,
        Task::Bench { args } => bench(&args)?,
        Task::Instructions { args } => instructions::run(&args)?,
        Task::Requirements { args } => requirements::run(&args)?,
        Task::Faults { write } => faults::run(write)?,
    }
    Ok(())
}

/// What went wrong, and where it can be known, what to do about it.
type Problem = String;

/// A task as asked for on the command line.
#[derive(Debug, Eq, PartialEq)]
enum Task {
    Help,
    ListSteps,
    Test { only: Vec<String>, fuzz_seconds: u32 },
    Fuzz { targets: Vec<String>, seconds: u32 },
    Reproduce { target: String, input: PathBuf },
    Interop { only: Vec<String>, comparing: Vec<String> },
    Bench { args: Vec<String> },
    Instructions { args: Vec<String> },
    Requirements { args: Vec<String> },
    Faults { write: bool },
}

impl Task {
    fn parse(args: &[String]) -> Result<Self, Problem> {
        if let Some((first, rest)) = args.split_first()
            && first == "bench"
        {
            if let Some((first, rest)) = rest.split_first()
                && first == "instructions"
            {
                return Ok(Self::Instructions { args: rest.to_vec() });
            }
            // It has a help of its own.
            return Ok(Self::Bench { args: rest.to_vec() });
        }
        if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h" | "help")) {
            return Ok(Self::Help);
        }
        let mut rest = args.iter();
        match rest.next().map(String::as_str) {
            None => Ok(Self::Help),
            Some("test") => Self::test(rest),
            Some("fuzz") => Self::fuzz(rest),
            Some("interop") => Self::interop(rest),
            Some("faults") => Self::faults(rest),
            Some("requirements") => Ok(Self::Requirements { args: rest.cloned().collect() }),
            Some(other) => Err(format!("no task is called `{other}`; see `cargo xtask help`")),
        }
    }

    fn test<'a>(mut args: impl Iterator<Item = &'a String>) -> Result<Self, Problem> {
        let (mut only, mut fuzz_seconds) = (Vec::new(), 5);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => return Ok(Self::ListSteps),
                "--only" => only.push(value(arg, args.next())?.clone()),
                "--fuzz-seconds" => fuzz_seconds = seconds(arg, args.next())?,
                other => return Err(format!("`test` has no option `{other}`")),
            }
        }
        Ok(Self::Test { only, fuzz_seconds })
    }

    fn interop<'a>(mut args: impl Iterator<Item = &'a String>) -> Result<Self, Problem> {
        let (mut only, mut comparing) = (Vec::new(), Vec::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--only" => only.push(value(arg, args.next())?.clone()),
                "--scene" => comparing.extend([arg.clone(), value(arg, args.next())?.clone()]),
                "--masked" => comparing.push(arg.clone()),
                other => return Err(format!("`interop` has no option `{other}`")),
            }
        }
        Ok(Self::Interop { only, comparing })
    }

    fn faults<'a>(args: impl Iterator<Item = &'a String>) -> Result<Self, Problem> {
        let mut write = false;
        for arg in args {
            match arg.as_str() {
                "--write" => write = true,
                other => return Err(format!("`faults` has no option `{other}`")),
            }
        }
        Ok(Self::Faults { write })
    }

    fn fuzz<'a>(mut args: impl Iterator<Item = &'a String>) -> Result<Self, Problem> {
        let (mut targets, mut lasting, mut input) = (Vec::new(), 60, None);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => lasting = seconds(arg, args.next())?,
                "--reproduce" => input = Some(PathBuf::from(value(arg, args.next())?)),
                option if option.starts_with('-') => {
                    return Err(format!("`fuzz` has no option `{option}`"));
                }
                target => targets.push(target.to_owned()),
            }
        }
        match (input, targets.as_slice()) {
            (None, _) => Ok(Self::Fuzz { targets, seconds: lasting }),
            (Some(input), [target]) => Ok(Self::Reproduce { target: target.clone(), input }),
            (Some(_), _) => Err("`--reproduce` needs exactly one target".to_owned()),
        }
    }
}

/// Runs the benchmark as it is released; everything else is its own affair.
fn bench(args: &[String]) -> Result<(), Problem> {
    let mut cargo = command::cargo("run");
    cargo.args(["--release", "--quiet", "--package", "tokenry-bench", "--"]).args(args);
    command::run(&mut cargo)
}

fn value<'a>(option: &str, value: Option<&'a String>) -> Result<&'a String, Problem> {
    value.ok_or_else(|| format!("`{option}` needs a value"))
}

/// At least one: libFuzzer takes zero for "without end".
fn seconds(option: &str, text: Option<&String>) -> Result<u32, Problem> {
    let text = value(option, text)?;
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        format!("`{option}` needs a number of seconds, 1 or more, instead of `{text}`")
    })
}

/// The root of the workspace.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_what_to_do_or_what_is_wrong() {
        let parse = |line: &str| {
            Task::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let test = |only: &[&str], fuzz_seconds| {
            Ok(Task::Test { only: only.iter().map(|s| (*s).to_owned()).collect(), fuzz_seconds })
        };
        assert_eq!(parse(""), Ok(Task::Help));
        assert_eq!(parse("test --help"), Ok(Task::Help));
        assert_eq!(parse("test"), test(&[], 5));
        assert_eq!(parse("test --only a --only b --fuzz-seconds 9"), test(&["a", "b"], 9));
        assert_eq!(parse("test --list"), Ok(Task::ListSteps));
        assert_eq!(
            parse("fuzz jws --seconds 7"),
            Ok(Task::Fuzz { targets: vec!["jws".into()], seconds: 7 })
        );
        assert_eq!(
            parse("fuzz jws --reproduce x"),
            Ok(Task::Reproduce { target: "jws".into(), input: "x".into() })
        );
        assert_eq!(
            parse("bench issue --help"),
            Ok(Task::Bench { args: vec!["issue".into(), "--help".into()] })
        );
        assert_eq!(
            parse("interop --only golang"),
            Ok(Task::Interop { only: vec!["golang".into()], comparing: vec![] })
        );
        assert_eq!(parse("faults --write"), Ok(Task::Faults { write: true }));
        assert_eq!(parse("bench instructions"), Ok(Task::Instructions { args: vec![] }));
        assert_eq!(
            parse("interop --only keycloak --scene refresh --masked"),
            Ok(Task::Interop {
                only: vec!["keycloak".into()],
                comparing: vec!["--scene".into(), "refresh".into(), "--masked".into()],
            })
        );
        for bad in [
            "tset",
            "test --fuzz-seconds 0",
            "test --fuzz-seconds",
            "test --onyl a",
            "fuzz --sec 1",
            "interop golang",
            "faults --wirte",
            "interop --scene",
            "fuzz --reproduce x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
