//! What a load is to do, and what came of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a load is to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsPlan>,
    pub(crate) connections: usize,
    /// How long it runs before it counts.
    pub(crate) warmup_ms: u64,
    /// How long it counts.
    pub(crate) measure_ms: u64,
    /// It ends early when this many answers have been counted.
    pub(crate) at_most: Option<u64>,
    /// Each connection asks once in this time, however fast the answers are; `None`: as soon as it has one.
    pub(crate) every_us: Option<u64>,
    /// Whether each request has a connection of its own.
    pub(crate) new_connection: bool,
    pub(crate) request: RequestPlan,
}

/// Whom to trust.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TlsPlan {
    /// A PEM file.
    pub(crate) authority: String,
    /// The name in the certificate.
    pub(crate) name: String,
}

/// What is asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum RequestPlan {
    /// The same every time.
    Same {
        /// The whole request.
        text: String,
    },
    /// A refresh token from a first request, then refreshes with the newest token that there is.
    Refresh {
        /// The whole first request.
        first: String,
        /// Request line and headers, each with its line break, without `Content-Length`.
        head: String,
    },
    /// A token for each client in turn: client `n` of `clients`, at realm `n` modulo `realms`.
    Clients {
        /// How many there are.
        clients: u64,
        /// How many realms they are in.
        realms: u64,
    },
}

/// What came of a load.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Outcome {
    /// How long it counted.
    pub(crate) seconds: f64,
    /// CPU time of the load itself in that time.
    pub(crate) cpu_seconds: f64,
    /// Answers with 200.
    pub(crate) good: u64,
    /// Answers with 503.
    pub(crate) shed: u64,
    /// Answers with anything else.
    pub(crate) other: u64,
    /// Connections that broke, or on which no answer came in time.
    pub(crate) broken: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The first thing that went wrong.
    pub(crate) problem: Option<String>,
    /// The first answer.
    pub(crate) example: Option<String>,
}

impl Outcome {
    /// Good answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.good as f64 / self.seconds
    }

    /// Whether nothing but 200 was seen.
    pub(crate) fn is_clean(&self) -> bool {
        self.good > 0 && self.shed + self.other + self.broken == 0
    }
}
