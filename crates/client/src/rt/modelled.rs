//! The same as in the library, and inside [`model`] from shuttle, which decides at each lock, unlock and await who goes on.
//!
//! Within a model nothing else is concurrent, so what tokio's channels and `Notify` do is one step each: they are taken
//! to be right. Time stands still until somebody [`advance`]s it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::task::{Poll, Waker};
use std::time::Duration;

use shuttle::scheduler::Scheduler;
use tokio::time::error::Elapsed;

thread_local! {
    /// Inside a model, whose threads share the one that runs it.
    static TIME: RefCell<Option<Time>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Time {
    now: Duration,
    sleepers: Vec<Waker>,
}

fn now() -> Option<Duration> {
    TIME.with_borrow(|time| time.as_ref().map(|time| time.now))
}

/// Runs a test as often as the scheduler wants.
pub(crate) fn model(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let runner = shuttle::Runner::new(scheduler, shuttle::Config::default());
    runner.run(move || {
        TIME.set(Some(Time::default()));
        test();
    });
    TIME.set(None);
}

/// Lets time pass in a model.
pub(crate) fn advance(by: Duration) {
    let sleepers = TIME.with_borrow_mut(|time| {
        let time = time.as_mut()?;
        time.now += by;
        Some(std::mem::take(&mut time.sleepers))
    });
    sleepers.into_iter().flatten().for_each(Waker::wake);
}

pub(crate) struct Mutex<T> {
    /// Taken before the lock in a model, so that nobody ever waits for the lock itself.
    turn: Option<shuttle::sync::Mutex<()>>,
    lock: std::sync::Mutex<T>,
}

/// In this order: the lock is free before somebody else has a turn.
pub(crate) struct MutexGuard<'a, T> {
    guard: std::sync::MutexGuard<'a, T>,
    _turn: Option<shuttle::sync::MutexGuard<'a, ()>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        let turn = now().map(|_| shuttle::sync::Mutex::new(()));
        Self { turn, lock: std::sync::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        let turn = self.turn.as_ref();
        let _turn = turn.map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        match self.lock.lock() {
            Ok(guard) => Ok(MutexGuard { guard, _turn }),
            Err(poisoned) => {
                Err(PoisonError::new(MutexGuard { guard: poisoned.into_inner(), _turn }))
            }
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Where tasks are spawned. `None` in a model.
pub(crate) struct Handle(Option<tokio::runtime::Handle>);

impl Handle {
    pub(crate) fn try_current() -> Result<Self, tokio::runtime::TryCurrentError> {
        match now() {
            Some(_) => Ok(Self(None)),
            None => tokio::runtime::Handle::try_current().map(|handle| Self(Some(handle))),
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(handle) => drop(handle.spawn(task)),
            None => drop(shuttle::future::spawn(task)),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Instant {
    Real(tokio::time::Instant),
    Modelled(Duration),
}

impl Instant {
    pub(crate) fn now() -> Self {
        now().map_or_else(|| Self::Real(tokio::time::Instant::now()), Self::Modelled)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        match self {
            Self::Real(instant) => instant.elapsed(),
            Self::Modelled(then) => now().unwrap_or_default().saturating_sub(*then),
        }
    }
}

pub(crate) async fn sleep(time: Duration) {
    let Some(until) = now().map(|now| now + time) else {
        return tokio::time::sleep(time).await;
    };
    poll_fn(|context| {
        TIME.with_borrow_mut(|time| match time {
            Some(time) if time.now < until => {
                time.sleepers.push(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
    })
    .await;
}

/// In a model nothing takes too long.
pub(crate) async fn timeout<F: Future>(time: Duration, work: F) -> Result<F::Output, Elapsed> {
    match now() {
        Some(_) => Ok(work.await),
        None => tokio::time::timeout(time, work).await,
    }
}
