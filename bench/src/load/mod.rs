//! The load: many connections from one thread, each with one request under way.
//!
//! It is ours, since no common tool carries a refresh token from an answer into the next request. The report measures
//! it against wrk on the same fixed answer.

pub(crate) mod connection;
mod plan;
pub(crate) mod request;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::problem::{Doing as _, Problem, Result};
use connection::{Connection, Target};
pub(crate) use plan::{Outcome, Plan, RequestPlan, TlsPlan};
use request::Requests;

/// How long one request may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many connections are opened at a time, so that no listener's queue overflows.
const OPENING: usize = 64;

/// How long a connection pauses after it broke, so that a server that is gone does not make a busy loop.
const PAUSE: Duration = Duration::from_millis(20);

/// `load`: reads a [`Plan`] from standard input, carries it out, and prints the [`Outcome`].
pub(crate) async fn run() -> Result<()> {
    let plan: Plan = serde_json::from_reader(std::io::stdin().lock()).doing("the plan")?;
    let outcome = tokio::task::LocalSet::new().run_until(carry_out(plan)).await?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// What all connections of a load share.
struct Load {
    plan: Plan,
    target: Target,
    requests: Requests,
    counting: Cell<bool>,
    ended: Cell<bool>,
    began: Cell<u64>,
    tally: RefCell<Tally>,
}

/// What was counted while it counted.
#[derive(Default)]
struct Tally {
    statuses: Vec<(u16, u64)>,
    broken: u64,
    problem: Option<String>,
    /// Latencies in buckets of a sixteenth of a power of two, from one microsecond on.
    latencies: Vec<u64>,
    example: Option<String>,
}

async fn carry_out(plan: Plan) -> Result<Outcome> {
    let target = Target::new(&plan)?;
    let requests = Requests::new(&plan.request);
    let load = Rc::new(Load {
        target,
        requests,
        counting: Cell::new(false),
        ended: Cell::new(false),
        began: Cell::new(0),
        tally: RefCell::new(Tally { latencies: vec![0; BUCKETS], ..Tally::default() }),
        plan,
    });
    let opening = Rc::new(tokio::sync::Semaphore::new(OPENING));
    let tasks: Vec<_> = (0..load.plan.connections)
        .map(|number| {
            let (load, opening) = (Rc::clone(&load), Rc::clone(&opening));
            tokio::task::spawn_local(async move { load.drive(number, &opening).await })
        })
        .collect();

    sleep(Duration::from_millis(load.plan.warmup_ms)).await;
    let (began, cpu) = (Instant::now(), crate::process::own_cpu_seconds());
    load.counting.set(true);
    match load.plan.at_most {
        None => sleep(Duration::from_millis(load.plan.measure_ms)).await,
        Some(count) => {
            let end = began + Duration::from_millis(load.plan.measure_ms);
            while load.began.get() < count && Instant::now() < end {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    load.counting.set(false);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = crate::process::own_cpu_seconds() - cpu;
    load.ended.set(true);
    for task in tasks {
        task.abort();
    }
    let tally = load.tally.take();
    Ok(tally.outcome(seconds, cpu))
}

impl Load {
    /// One connection's life.
    async fn drive(&self, number: usize, opening: &tokio::sync::Semaphore) {
        let mut connection = None;
        let mut carried = None;
        let mut out = Vec::with_capacity(2048);
        // Paced connections are spread over the period, so that they do not all begin at once.
        let period = self.plan.every_us.map(Duration::from_micros);
        let spread = number as f64 / self.plan.connections as f64;
        let mut due = Instant::now() + period.unwrap_or_default().mul_f64(spread);
        while !self.ended.get() {
            if connection.is_none() {
                let _permit = opening.acquire().await;
                match timeout(PATIENCE, Connection::open(&self.target)).await {
                    Ok(Ok(opened)) => connection = Some(opened),
                    Ok(Err(problem)) => self.broken(&problem).await,
                    Err(_) => self.broken(&Problem::new("no connection in time")).await,
                }
            }
            let Some(open) = &mut connection else { continue };
            if let Some(period) = period {
                sleep_until(due).await;
                due = (due + period).max(Instant::now());
            }
            out.clear();
            self.requests.write(carried.as_deref(), &mut out);
            let began = Instant::now();
            match timeout(PATIENCE, open.exchange(&out)).await {
                Ok(Ok(answer)) => {
                    self.requests.carry(answer.status, open.body(), &mut carried);
                    self.count(answer.status, began, open.body());
                    if answer.closes || self.plan.new_connection {
                        connection = None;
                    }
                }
                failed => {
                    connection = None;
                    let problem = failed.map_or_else(
                        |_| Problem::new("no answer in time"),
                        |result| result.err().unwrap_or_else(|| Problem::new("")),
                    );
                    self.broken(&problem).await;
                }
            }
        }
    }

    fn count(&self, status: u16, began: Instant, body: &[u8]) {
        if !self.counting.get() {
            return;
        }
        self.began.set(self.began.get() + 1);
        if self.plan.at_most.is_some_and(|most| self.began.get() >= most) {
            self.ended.set(true);
        }
        let mut tally = self.tally.borrow_mut();
        match tally.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => {
                tally.statuses.push((status, 1));
                if status != 200 {
                    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
                    tally.problem.get_or_insert_with(|| format!("{status}: {text}"));
                }
            }
        }
        if status == 200 {
            tally.latencies[bucket(began.elapsed())] += 1;
            if tally.example.is_none() {
                tally.example = Some(String::from_utf8_lossy(body).into_owned());
            }
        }
    }

    async fn broken(&self, problem: &Problem) {
        {
            let mut tally = self.tally.borrow_mut();
            if self.counting.get() {
                tally.broken += 1;
            }
            tally.problem.get_or_insert_with(|| problem.to_string());
        }
        sleep(PAUSE).await;
    }
}

/// Up to 2^26 microseconds, which is longer than anybody waits.
const BUCKETS: usize = 26 * 16;

fn bucket(took: Duration) -> usize {
    let micros = (took.as_nanos() as f64 / 1000.0).max(1.0);
    ((micros.log2() * 16.0) as usize).min(BUCKETS - 1)
}

impl Tally {
    fn outcome(self, seconds: f64, cpu_seconds: f64) -> Outcome {
        let count = |wanted: u16| {
            self.statuses.iter().find(|(status, _)| *status == wanted).map_or(0, |(_, n)| *n)
        };
        let total: u64 = self.latencies.iter().sum();
        let percentile = |share: f64| {
            let rank = (total as f64 * share) as u64;
            let mut seen = 0;
            let bucket = self.latencies.iter().position(|count| {
                seen += count;
                seen > rank
            });
            bucket.map_or(0.0, |bucket| 2_f64.powf((bucket as f64 + 0.5) / 16.0))
        };
        let all: u64 = self.statuses.iter().map(|(_, count)| count).sum();
        Outcome {
            seconds,
            cpu_seconds,
            good: count(200),
            shed: count(503),
            other: all - count(200) - count(503),
            broken: self.broken,
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            problem: self.problem,
            example: self.example,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_truth() {
        let mut tally = Tally { latencies: vec![0; BUCKETS], ..Tally::default() };
        for micros in 1..=1000 {
            tally.latencies[bucket(Duration::from_micros(micros))] += 1;
        }
        let outcome = tally.outcome(1.0, 0.0);
        assert!((480.0..520.0).contains(&outcome.p50_us), "{}", outcome.p50_us);
        assert!((950.0..1040.0).contains(&outcome.p99_us), "{}", outcome.p99_us);
    }
}
