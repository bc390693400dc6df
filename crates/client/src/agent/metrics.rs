//! What is counted, as OpenMetrics has it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::protocol::Trouble;
use super::site::Kept;
use crate::KeeperMetrics;

/// The kinds of trouble that are counted, each under its name.
const KINDS: [(Trouble, &str); 10] = [
    (Trouble::Refused, "refused"),
    (Trouble::Transient, "transient"),
    (Trouble::Broken, "broken"),
    (Trouble::InvalidRequest, "invalid_request"),
    (Trouble::Unauthorized, "unauthorized"),
    (Trouble::NotPermitted, "not_permitted"),
    (Trouble::Unknown, "unknown"),
    (Trouble::NotLendable, "not_lendable"),
    (Trouble::Full, "full"),
    (Trouble::Other, "other"),
];

/// The counters of an agent.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Open now.
    pub(crate) connections: AtomicU64,
    /// Tokens handed out.
    pub(crate) given: AtomicU64,
    /// Callers who were told that the token is pending.
    pub(crate) pending: AtomicU64,
    failed: [AtomicU64; KINDS.len()],
}

impl Metrics {
    pub(crate) fn failed(&self, kind: Trouble) {
        let own = KINDS.iter().zip(&self.failed).filter(|((own, _), _)| *own == kind);
        own.for_each(|(_, counter)| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// All of it as OpenMetrics text, with what the keepers have done.
    pub(crate) fn text(&self, kept: &[Arc<Kept>], lent: usize) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, samples: Vec<(String, u64)>| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            // Writing to a String does not fail.
            let _ = writeln!(text, "# TYPE tokenry_agent_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "tokenry_agent_{name}{suffix}{labels} {value}");
            }
        };
        let alone = |value: u64| vec![(String::new(), value)];
        family("connections", "gauge", alone(read(&self.connections)));
        family("lent_keepers", "gauge", alone(u64::try_from(lent).unwrap_or(u64::MAX)));
        let outcome = |name: &str| format!("{{outcome=\"{name}\"}}");
        let mut answers =
            vec![(outcome("given"), read(&self.given)), (outcome("pending"), read(&self.pending))];
        let failed = KINDS.iter().zip(&self.failed);
        answers.extend(failed.map(|((_, name), counter)| (outcome(name), read(counter))));
        family("answers", "counter", answers);
        let asked = kept.iter().map(|kept| (keeper_label(kept), read(&kept.asked)));
        family("asked", "counter", asked.collect());
        let keepers = kept.iter().map(|kept| (name(kept).to_owned(), kept.keeper.metrics()));
        text + &KeeperMetrics::openmetrics(keepers)
    }
}

fn name(kept: &Kept) -> &str {
    kept.name.as_deref().unwrap_or(&kept.id)
}

fn keeper_label(kept: &Kept) -> String {
    let name = name(kept).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{keeper=\"{name}\"}}")
}
