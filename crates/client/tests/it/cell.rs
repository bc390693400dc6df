//! One cell of the matrix: a client that calls an API steadily while its server misbehaves.
//!
//! The fault comes twice: briefly, about when the token is renewed, and for so long that the token expires. What is
//! good is judged by the server, from what it has seen the client send.

use std::time::Duration;

use http::StatusCode;
use tokenry_test_server::{Endpoint, RefreshPolicy, TestServer};
use tokio::time::Instant;

use crate::faults::Row;
use crate::integration::Integration;
use crate::world::{self, LATENCY, TIMEOUT};

/// How long a caller waits for the next attempt, by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Within this, callers are served again: the longest backoff, `Retry-After`, or an attempt that is still under way.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Within this, a token that is refused is believed to be bad.
const DOUBT: Duration = Duration::from_secs(60);

/// Calls per lifetime, so many at once.
const STEPS: u32 = 50;
const AT_ONCE: usize = 3;

/// What is seen of a cell, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) calls: usize,
    /// Of those, the ones made while a good token existed, and of these the ones that waited or failed.
    pub(crate) with_good: usize,
    pub(crate) with_good_hindered: usize,
    /// While the long fault lasted, and until callers were served again.
    pub(crate) fault: Seen,
    pub(crate) back_after: Duration,
    pub(crate) wrong: Vec<String>,
}

/// What callers and the server saw of a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) longest_wait: Duration,
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) requests: usize,
}

/// Plays one cell, on a clock of its own.
pub(crate) fn play<I: Integration>(
    row: &Row,
    lifetime: Duration,
    policy: RefreshPolicy,
) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let server = world::server(lifetime, policy);
        let keeper = world::keeper(&server, 0.5);
        let keeper = if row.bound { keeper.dpop() } else { keeper };
        let integration = I::new(&server, keeper.build().unwrap());
        let run = Run {
            began: Instant::now(),
            integration,
            server,
            lifetime,
            held: None,
            demand: Demand::AsLongAsGood,
            seen: Seen::default(),
            outcome: Outcome::default(),
        };
        run.play(row).await
    })
}

/// What callers may demand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Demand {
    /// To be served at once while a good token exists, and otherwise to be answered within patience.
    AsLongAsGood,
    /// Only to be answered within patience: the API refuses good tokens.
    Answers,
    /// To be served at once.
    Service,
}

struct Run<I> {
    began: Instant,
    server: TestServer,
    integration: I,
    lifetime: Duration,
    /// The token that the API took last.
    held: Option<String>,
    demand: Demand,
    seen: Seen,
    outcome: Outcome,
}

impl<I: Integration> Run<I> {
    async fn play(mut self, row: &Row) -> Outcome {
        let lifetime = self.lifetime;
        let during = if row.by_api { Demand::Answers } else { Demand::AsLongAsGood };
        self.walk(lifetime.mul_f64(0.7)).await;

        let brief = lifetime.mul_f64(0.1);
        self.server.until_cleared(row.fault.clone());
        self.demand = during;
        let seen = self.walk(brief).await;
        self.limit("the brief fault", seen.requests, row.pace.allows(brief));
        self.server.clear();
        self.recover().await;
        self.demand = Demand::AsLongAsGood;
        self.walk(lifetime * 3 / 2).await;

        let long = (2 * lifetime).max(Duration::from_secs(120));
        self.server.until_cleared(row.fault.clone());
        self.demand = during;
        let began = Instant::now();
        self.outcome.fault = self.walk(long).await;
        self.limit("the fault", self.outcome.fault.requests, row.pace.allows(began.elapsed()));
        self.server.clear();
        self.outcome.back_after = self.recover().await;

        // What was issued meanwhile may still be cut short.
        self.demand = Demand::AsLongAsGood;
        self.walk(lifetime.max(DOUBT)).await;
        self.demand = Demand::Service;
        let last = self.walk(2 * lifetime).await;
        self.limit("the two lifetimes in the end", last.requests, 3);
        if !self.held.as_deref().is_some_and(|token| self.server.is_good(token)) {
            self.wrong("no good token in the end".to_owned());
        }
        self.limit("requests at once", self.server.most_at_once(), 1);
        self.outcome
    }

    /// Calls steadily for so long, and says what that was like.
    async fn walk(&mut self, lasting: Duration) -> Seen {
        let requests = self.server.token_requests();
        self.seen = Seen::default();
        let until = Instant::now() + lasting;
        let mut next = Instant::now();
        while Instant::now() < until {
            self.step().await;
            next = (next + self.lifetime / STEPS).max(Instant::now());
            tokio::time::sleep_until(next).await;
        }
        self.seen.requests = self.server.token_requests() - requests;
        self.seen
    }

    /// Calls until all are served, and says how long that took.
    async fn recover(&mut self) -> Duration {
        let began = Instant::now();
        loop {
            if self.step().await {
                break;
            }
            if began.elapsed() > BACK_WITHIN {
                self.wrong(format!("not back after {BACK_WITHIN:?}"));
                break;
            }
            tokio::time::sleep((self.lifetime / STEPS).min(Duration::from_secs(1))).await;
        }
        began.elapsed()
    }

    /// Some calls at once. Says whether all were served.
    async fn step(&mut self) -> bool {
        let good = self.holds_good();
        let began = Instant::now();
        let call = || self.integration.call();
        let answers: [Result<StatusCode, String>; AT_ONCE] =
            tokio::join!(call(), call(), call()).into();
        let waited = began.elapsed();
        let failed = answers.iter().filter(|answer| **answer != Ok(StatusCode::OK)).count();
        self.note_held();
        self.outcome.calls += AT_ONCE;
        self.seen.calls += AT_ONCE;
        self.seen.failed += failed;
        self.seen.longest_wait = self.seen.longest_wait.max(waited);
        let served_at_once = waited == Duration::ZERO && failed == 0;
        if good && self.demand != Demand::Answers {
            self.outcome.with_good += AT_ONCE;
            self.outcome.with_good_hindered += if served_at_once { 0 } else { AT_ONCE };
        }
        let demanded =
            self.demand == Demand::Service || good && self.demand == Demand::AsLongAsGood;
        if demanded && !served_at_once {
            self.wrong(format!("waited {waited:?} with {answers:?}, good: {good}"));
        }
        if waited > TIMEOUT + PATIENCE + 4 * LATENCY {
            self.wrong(format!("waited {waited:?}"));
        }
        failed == 0
    }

    /// Whether the client has a token that the API takes, and that is not about to expire.
    fn holds_good(&self) -> bool {
        // The client counts from when it asked, the server from when it answered.
        let margin = self.lifetime.mul_f64(0.15).min(Duration::from_secs(30)) + LATENCY;
        let left = self.held.as_deref().and_then(|token| self.server.good_for(token));
        left.is_some_and(|left| left > margin)
    }

    fn note_held(&mut self) {
        let last = self.server.last_request(Endpoint::Api);
        let taken = last.filter(|request| request.status() == Some(200));
        let header = taken.as_ref().and_then(|request| request.headers().get("authorization"));
        let token = header.and_then(|header| header.to_str().ok()?.split_once(' '));
        if let Some((_, token)) = token {
            self.held = Some(token.to_owned());
        }
    }

    fn limit(&mut self, what: &str, number: usize, most: usize) {
        if number > most {
            self.wrong(format!("{what}: {number}, at most {most}"));
        }
    }

    fn wrong(&mut self, what: String) {
        self.outcome.wrong.push(format!("at {:?}: {what}", self.began.elapsed()));
    }
}
