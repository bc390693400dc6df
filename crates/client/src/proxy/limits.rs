//! Everything has a limit.

use std::time::Duration;

/// The limits of a proxy, each with a default that suits most.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections of programs that may be open at once, over all listeners; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// The largest head of a request or an answer, in bytes (431, 502). Large enough for the cookies of a large site.
    pub max_head: usize,
    /// How long the head of a request may take, and how long a program's connection may be idle.
    pub header_timeout: Duration,
    /// How long connecting to an upstream may take, with TLS (504). A few round trips; 10 s is a lost packet or two.
    pub connect_timeout: Duration,
    /// How long a request waits for a token when there is none (503).
    pub token_timeout: Duration,
    /// How long an upstream may take until the head of its answer is there (504). `None`: as long as the program waits.
    /// What follows may take its time: events, watches and downloads do.
    pub response_timeout: Option<Duration>,
    /// How long a connection to an upstream is kept while nobody uses it. Common servers close theirs after 60 s.
    pub idle_timeout: Duration,
    /// How many connections to one upstream are kept while nobody uses them, per thread.
    pub max_idle: usize,
    /// How much of a request's body is kept, in bytes, so that it can be sent once more after a 401.
    pub replay_buffer: usize,
    /// How long what was begun may still take after a shutdown began.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_head: 64 * 1024,
            header_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            token_timeout: Duration::from_secs(30),
            response_timeout: Some(Duration::from_secs(60)),
            idle_timeout: Duration::from_secs(30),
            max_idle: 64,
            replay_buffer: 64 * 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
