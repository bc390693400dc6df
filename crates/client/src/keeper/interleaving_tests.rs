//! The keeper under every order of steps that a scheduler can think of: random ones, and such as need few switches.
//!
//! A wake-up that gets lost shows as a deadlock, or as a model that never ends.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::{Request, Response};
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler};

use super::*;
use crate::TransportError;
use crate::rt::{Instant, advance, model};
use crate::testing::{BEGINNING, grant};

/// How many orders of each kind are tried.
const ORDERS: usize = 2000;

/// How many switches at the wrong moment a bug may need to show.
const DEPTH: usize = 3;

/// Any number will do; the same one finds the same.
const SEED: u64 = 20_261_121;

const LIFETIME: u64 = 300;

fn every_order(test: impl Fn() + Clone + Send + Sync + 'static) {
    model(RandomScheduler::new_from_seed(SEED, ORDERS), test.clone());
    model(PctScheduler::new_from_seed(SEED, DEPTH, ORDERS), test);
}

/// A token endpoint that sees how many ask at once.
#[derive(Default)]
struct Endpoint {
    flying: AtomicUsize,
    requests: AtomicUsize,
    /// How many requests fail before one succeeds.
    failures: usize,
}

impl Endpoint {
    async fn answer(self: Arc<Self>) -> Result<Response<Bytes>, TransportError> {
        assert_eq!(self.flying.fetch_add(1, Ordering::Relaxed), 0, "two flights");
        let n = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        yield_now().await;
        yield_now().await;
        self.flying.fetch_sub(1, Ordering::Relaxed);
        if n <= self.failures {
            return Err(TransportError::Connect { host: "as.example".into(), cause: "no".into() });
        }
        Ok(grant(n, LIFETIME))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn start(failures: usize) -> (Keeper, Arc<Endpoint>) {
    let endpoint = Arc::new(Endpoint { failures, ..Endpoint::default() });
    let provider = Provider::at("https://as.example/token").unwrap();
    let (asked, began) = (Arc::clone(&endpoint), Instant::now());
    let keeper = Keeper::builder(provider, Credentials::client("acme", Secret::new("secret-1")))
        .transport(move |_: Request<Bytes>| Arc::clone(&asked).answer())
        .randomness(|| 0.5)
        .wall_clock(move || BEGINNING + began.elapsed())
        .build()
        .unwrap();
    (keeper, endpoint)
}

/// Tasks that each have a handle of the keeper.
fn tasks<F: Future<Output = ()> + Send + 'static>(
    keeper: &Keeper,
    count: usize,
    task: impl Fn(Keeper) -> F,
) -> Vec<JoinHandle<()>> {
    (0..count).map(|_| spawn(task(keeper.clone()))).collect()
}

fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        block_on(task).unwrap();
    }
}

/// Lets time pass until all are done.
fn join_in_time(tasks: Vec<JoinHandle<()>>, step: Duration) {
    while !tasks.iter().all(JoinHandle::is_finished) {
        advance(step);
        shuttle::thread::yield_now();
    }
    join(tasks);
}

#[test]
fn row_262_who_asks_at_once_waits_for_one_request() {
    every_order(|| {
        let (keeper, endpoint) = start(0);
        let callers = tasks(&keeper, 3, |keeper| async move {
            assert_eq!(keeper.token().await.unwrap().generation(), 1);
        });
        join(callers);
        assert_eq!(endpoint.requests(), 1);
    });
}

#[test]
fn row_265_a_burst_of_401s_is_one_request_and_an_old_one_evicts_nothing() {
    every_order(|| {
        let (keeper, endpoint) = start(0);
        let first = block_on(keeper.token()).unwrap();
        let callers = tasks(&keeper, 3, |keeper| {
            let first = first.clone();
            async move {
                keeper.invalidate(&first);
                assert_eq!(keeper.token().await.unwrap().generation(), 2);
            }
        });
        join(callers);
        assert_eq!(endpoint.requests(), 2);
        assert_eq!(keeper.try_token().unwrap().generation(), 2);
    });
}

#[test]
fn row_264_a_renewal_by_time_a_401_and_callers_get_in_nobodys_way() {
    every_order(|| {
        let (keeper, endpoint) = start(0);
        let first = block_on(keeper.token()).unwrap();
        let mut all = tasks(&keeper, 2, |keeper| async move {
            for _ in 0..2 {
                keeper.token().await.unwrap();
                yield_now().await;
            }
        });
        all.extend(tasks(&keeper, 1, |keeper| {
            let first = first.clone();
            async move {
                keeper.invalidate(&first);
                assert!(keeper.token().await.unwrap().generation() > 1);
            }
        }));
        // The share of its lifetime after which a token is renewed ends somewhere in here.
        advance(Duration::from_secs(LIFETIME * 3 / 4 - 1));
        advance(Duration::from_secs(2));
        join(all);
        assert!((2..=3).contains(&endpoint.requests()), "{}", endpoint.requests());
    });
}

#[test]
fn row_264_who_waits_through_a_failure_is_woken_by_the_next_attempt() {
    every_order(|| {
        let (keeper, endpoint) = start(2);
        let callers = tasks(&keeper, 3, |keeper| async move {
            assert_eq!(keeper.token().await.unwrap().generation(), 1);
        });
        join_in_time(callers, Duration::from_millis(100));
        assert_eq!(endpoint.requests(), 3);
    });
}

#[test]
fn who_asks_while_the_task_ends_is_served_by_another() {
    every_order(|| {
        let (keeper, _) = start(0);
        block_on(keeper.token()).unwrap();
        // Nobody asks for a lifetime, so the task ends, at whatever moment the callers come back. A token may well be
        // dead when it arrives; what counts is that everybody is answered.
        let callers = tasks(&keeper, 2, |keeper| async move {
            for _ in 0..2 {
                yield_now().await;
                let _ = keeper.token().await;
            }
        });
        join_in_time(callers, Duration::from_secs(LIFETIME));
    });
}

#[test]
fn a_keeper_that_is_dropped_leaves_no_task_behind() {
    every_order(|| {
        let (keeper, _) = start(0);
        let callers = tasks(&keeper, 2, |keeper| async move {
            keeper.token().await.unwrap();
        });
        let shared = Arc::downgrade(&keeper.0.0);
        drop(keeper);
        join(callers);
        while shared.strong_count() > 0 {
            shuttle::thread::yield_now();
        }
    });
}
