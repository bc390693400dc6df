//! The fault matrix as a page.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cell::Outcome;
use crate::matrix::LIFETIMES;
use crate::world::{LATENCY, POLICIES, TIMEOUT};

/// All cells of one integration: by fault, then by lifetime, then by refresh policy.
pub(crate) struct Table {
    pub(crate) integration: &'static str,
    pub(crate) rows: Vec<(&'static str, Vec<Vec<Outcome>>)>,
    pub(crate) wrong: Vec<String>,
}

impl Table {
    fn cells(&self) -> impl Iterator<Item = &Outcome> {
        self.rows.iter().flat_map(|(_, cells)| cells).flatten()
    }

    fn sum(&self, of: impl Fn(&Outcome) -> usize) -> usize {
        self.cells().map(of).sum()
    }

    /// The rows as text, without the name of the integration.
    fn text(&self) -> String {
        let mut text = String::from("| fault |");
        LIFETIMES.iter().for_each(|secs| text.push_str(&format!(" {secs} s |")));
        text.push_str("\n| --- |");
        LIFETIMES.iter().for_each(|_| text.push_str(" --- |"));
        text.push('\n');
        for (name, cells) in &self.rows {
            let cells: Vec<_> = cells.iter().map(|outcomes| worst(outcomes)).collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text
    }
}

/// The worst of each number over the refresh policies.
fn worst(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return "–".to_owned();
    }
    let most = |of: &dyn Fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or_default();
    let longest =
        |of: &dyn Fn(&Outcome) -> Duration| outcomes.iter().map(of).max().unwrap_or_default();
    let failed = most(&|outcome| 100 * outcome.fault.failed / outcome.fault.calls.max(1));
    format!(
        "{} · {failed} % · {} · {}",
        shown(longest(&|outcome| outcome.fault.longest_wait)),
        most(&|outcome| outcome.fault.requests),
        shown(longest(&|outcome| outcome.back_after)),
    )
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        0 => "0".to_owned(),
        // Timers are of whole milliseconds, so a few more do not mean anything.
        millis @ 1..100 => format!("{} ms", millis.div_ceil(10) * 10),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A number that people can read.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The page.
pub(crate) fn of(tables: &[Table]) -> String {
    let mut text = String::from("# What callers notice when a token server misbehaves\n\n");
    let sum = |of: &dyn Fn(&Outcome) -> usize| tables.iter().map(|table| table.sum(of)).sum();
    let (calls, with_good, hindered): (usize, usize, usize) = (
        sum(&|outcome| outcome.calls),
        sum(&|outcome| outcome.with_good),
        sum(&|outcome| outcome.with_good_hindered),
    );
    let cells: usize = tables.iter().map(|table| table.cells().count()).sum();
    let _ = write!(
        text,
        "{cells} cells: {} faults of [the misbehaving server](../crates/test-server), {} integrations, tokens that live\n\
         {} seconds, and up to {} kinds of refresh tokens: none, rotated without a grace, rotated with one, and kept. In each cell a\n\
         client calls an API ({} times in all), three calls at once and fifty times per lifetime, on a virtual clock. The fault\n\
         comes twice: about when the token is renewed, and for two lifetimes, two minutes at least.\n\n\
         **Of {} calls made while a good token existed, {hindered} waited or failed.** In no cell were there two token\n\
         requests at once, or more than the policy allows; in each, callers were served again within 30 s and had a good token in\n\
         the end. Written by `cargo xtask faults --write`, and checked by the tests.\n\n\
         A cell says what callers noticed of the long fault, at worst: the longest that one waited · how many calls failed · how\n\
         many token requests there were · how long after the fault callers were served again. The server takes {} ms for an answer, the\n\
         client gives up after {} s.\n",
        tables.first().map_or(0, |table| table.rows.len()),
        tables.len(),
        LIFETIMES.map(|secs| secs.to_string()).join(", "),
        POLICIES.len(),
        thousands(calls),
        thousands(with_good),
        LATENCY.as_millis(),
        TIMEOUT.as_secs(),
    );
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for table in tables {
        let rows = table.text();
        match groups.iter_mut().find(|(text, _)| *text == rows) {
            Some((_, names)) => names.push(table.integration),
            None => groups.push((rows, vec![table.integration])),
        }
    }
    for (rows, names) in groups {
        let _ = write!(text, "\n## {}\n\n{rows}", names.join(", "));
    }
    text
}
