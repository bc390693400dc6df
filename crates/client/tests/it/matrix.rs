//! The fault matrix: each fault, in each integration, with tokens of each lifetime.
//!
//! `cargo xtask faults` prints what comes of it, and `docs/faults.md` keeps it.

use std::path::Path;
use std::time::Duration;

use tokenry_test_server::RefreshPolicy;

use crate::cell::{self, Outcome};
use crate::faults::{self, Row};
use crate::integration::{Asking, Integration, Layered};
use crate::page::{self, Table};
use crate::through_agent::Lent;
use crate::through_proxy::Proxied;
use crate::through_reqwest::WithReqwest;

/// The lifetimes of tokens, in seconds.
pub(crate) const LIFETIMES: [u64; 4] = [10, 60, 300, 3600];

/// The page, from the folder of this crate.
const PAGE: &str = "../../docs/faults.md";

/// Set by `cargo xtask faults --write`.
const WRITE: &str = "TOKENRY_WRITE_FAULTS";

#[test]
fn row_263_row_264_while_a_good_token_exists_no_caller_waits_and_no_call_fails() {
    // Each integration is a line here, and plays on a thread of its own.
    let tables: Vec<_> = [
        std::thread::spawn(table::<Asking>),
        std::thread::spawn(table::<Layered>),
        std::thread::spawn(table::<WithReqwest>),
        std::thread::spawn(table::<Lent>),
        std::thread::spawn(table::<Proxied>),
    ]
    .into_iter()
    .map(|thread| thread.join().unwrap())
    .collect();

    let page = page::of(&tables);
    println!("{page}");
    let wrong: Vec<_> = tables.iter().flat_map(|table| &table.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == written,
        "docs/faults.md says otherwise; `cargo xtask faults --write` writes it anew"
    );
}

/// All cells of one integration.
fn table<I: Integration>() -> Table {
    let names = faults::all(Duration::from_secs(1)).into_iter().map(|row| row.name);
    let mut table = Table {
        integration: I::NAME,
        rows: names.map(|name| (name, Vec::new())).collect(),
        wrong: Vec::new(),
    };
    for lifetime in LIFETIMES.map(Duration::from_secs) {
        for (row, (_, cells)) in faults::all(lifetime).iter().zip(&mut table.rows) {
            // A cell that cannot be played stays empty.
            let policies = if row.bound && !I::BINDS { &[] } else { I::POLICIES };
            let outcomes: Vec<Outcome> = policies
                .iter()
                .map(|policy| played::<I>(row, lifetime, *policy, &mut table.wrong))
                .collect();
            cells.push(outcomes);
        }
    }
    table
}

fn played<I: Integration>(
    row: &Row,
    lifetime: Duration,
    policy: RefreshPolicy,
    wrong: &mut Vec<String>,
) -> Outcome {
    let outcome = cell::play::<I>(row, lifetime, policy);
    if let Some(first) = outcome.wrong.first() {
        let more = outcome.wrong.len() - 1;
        let (name, of) = (row.name, I::NAME);
        wrong.push(format!("{of}, {lifetime:?}, {policy:?}, {name}: {first} (and {more} more)"));
    }
    outcome
}
