//! How fast Tokenry is, against what the machine allows and against its peers.
//!
//! `tokenry-bench issue` measures the server, `client` the keeper and `verify` the verifier, and each writes a report; `cargo
//! xtask bench issue` runs it. The other commands are the processes that these start, each on a core of its own: the bound
//! (`bound`), the load (`load`), the bare log (`rows`), the verifier beside its peers (`check`) and its memory (`remember`).

use std::process::ExitCode;

mod bound;
mod chart;
mod client;
mod clock;
mod issue;
mod load;
mod machine;
mod peers;
mod problem;
mod process;
mod report;
mod rounds;
mod rows;
mod suite;
mod tokenry;
mod verify;

use problem::{Problem, Result};

const HELP: &str = "\
tokenry-bench issue [--quick] [--rounds N] [--seconds N] [--only PART]... [--log LEVEL] [--no-report] [--list]
tokenry-bench client …the same
tokenry-bench verify …the same
    Measures how fast Tokenry issues (`issue`), keeps (`client`) or verifies tokens (`verify`), and prints the report; a
    whole run also writes it to docs/benchmarks.md, docs/benchmarks-client.md or docs/benchmarks-verify.md.
      --quick        two rounds of one second, small growth: says whether it runs, not how fast
      --rounds N     rounds (default 5)
      --seconds N    how long each measurement lasts (default 3), after one second that does not count
      --only PART    this part alone; may be repeated
      --log LEVEL    Tokenry's log level (default: what `tokenry init` writes)
      --no-report    print only, leave docs/ alone
      --list         say which parts there are

The processes that it starts (each reads what it is to do from standard input, or from its arguments):
    tokenry-bench bound KIND [--tls CERTIFICATE KEY]
    tokenry-bench load
    tokenry-bench rows FOLDER SECONDS
    tokenry-bench check anew|again
    tokenry-bench remember";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("tokenry-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let asked = args.iter().any(|arg| matches!(arg.as_str(), "help" | "--help" | "-h"));
    let Some((command, rest)) = args.split_first().filter(|_| !asked) else {
        println!("{HELP}");
        return Ok(());
    };
    // One thread: the benchmark pins processes, and what it starts dies with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command.as_str() {
        "issue" => runtime.block_on(issue::run(rest)),
        "client" => runtime.block_on(client::run(rest)),
        "verify" => runtime.block_on(verify::run(rest)),
        "check" => runtime.block_on(verify::check(rest)),
        "remember" => runtime.block_on(verify::remember()),
        "bound" => runtime.block_on(bound::run(rest)),
        "load" => runtime.block_on(load::run()),
        "rows" => rows::run(rest),
        other => Err(Problem::new(format!("no command is called `{other}`; see `help`"))),
    }
}
