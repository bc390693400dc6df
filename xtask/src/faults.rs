//! The fault matrix of the client, as a table.

use crate::Problem;
use crate::command::{cargo, run as run_command};

/// Looked for by the test, which knows what the page has to say.
const WRITE: &str = "TOKENRY_WRITE_FAULTS";

/// Plays the matrix and prints it; with `write`, writes `docs/faults.md`.
pub(crate) fn run(write: bool) -> Result<(), Problem> {
    let mut test = cargo("test");
    test.args([
        "--quiet",
        "--package",
        "tokenry-client",
        "--test",
        "it",
        "--",
        "--nocapture",
        "matrix::",
    ]);
    if write {
        test.env(WRITE, "1");
    }
    run_command(&mut test)?;
    if write {
        println!("written: docs/faults.md");
    }
    Ok(())
}
