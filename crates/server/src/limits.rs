//! Everything has a limit.

use std::time::Duration;

/// The limits of a server, each with a default that suits most.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections that may be open at once; further ones wait in the listener's queue. Each costs some 20 KiB.
    pub max_connections: usize,
    /// Requests that may be under way at once; further ones are told to come again (503).
    pub max_requests: usize,
    /// Clients held in memory; further ones are loaded from the store when they ask. Each takes some 600 bytes.
    pub max_clients: usize,
    /// Followers of the revocation feed at once; further ones are told to come again (503). Each keeps a connection. Half of
    /// the places are for those alone that are told everything.
    pub max_followers: usize,
    /// The same for each client: several instances of a service follow as one client. Of one that is not told everything, at
    /// most 20 follow.
    pub max_followers_per_client: usize,
    /// The largest body, in bytes: a form with a large assertion fits (413).
    pub max_body: usize,
    /// How long the head of a request may take, and how long a connection may be idle; it is closed after between half
    /// of that and the whole.
    pub header_timeout: Duration,
    /// How long the body may take (408).
    pub body_timeout: Duration,
    /// How long the TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long requests that were accepted may still run after a shutdown began.
    pub drain_timeout: Duration,
    /// Password comparisons that may run at once; each takes a core and 19 MiB for tens of milliseconds.
    pub password_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_requests: 4_096,
            max_clients: 150_000,
            max_followers: 1_000,
            max_followers_per_client: 200,
            max_body: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            password_threads: std::thread::available_parallelism()
                .map_or(1, |n| n.get().div_ceil(2)),
        }
    }
}
