//! The threads that answer: one per core, each with a runtime of its own.
//!
//! A connection stays where it was put, and so do its timers and its readiness: no core waits for another's. A runtime
//! that all cores share would pass them to and fro, for answers that take 30 µs.

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Where connections are answered.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

/// One thread, or the runtime that is there already.
#[derive(Debug)]
pub(crate) struct Worker {
    runtime: Handle,
    /// Held by each of its connections.
    busy: Arc<()>,
    /// The thread ends once this is dropped.
    _end: Option<oneshot::Sender<Infallible>>,
}

impl Workers {
    /// Starts `count` threads, or as many as there are cores to run on. They end once this is dropped.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread, or no means to wait for sockets.
    pub fn start(count: Option<NonZeroUsize>) -> io::Result<Self> {
        let count = count.map_or_else(thread::available_parallelism, Ok)?;
        (0..count.get()).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// The runtime of the caller, for tests and programs that do little else.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn here() -> Self {
        Self(vec![Worker { runtime: Handle::current(), busy: Arc::default(), _end: None }])
    }

    /// The one with the fewest connections.
    pub(crate) fn least_busy(&self) -> Option<&Worker> {
        self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.busy))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter()
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("answer-{number}"))
            .spawn(move || drop(runtime.block_on(ended)))?;
        Ok(Self { runtime: handle, busy: Arc::default(), _end: Some(end) })
    }

    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Counts a connection for as long as it is held.
    pub(crate) fn busy(&self) -> Arc<()> {
        Arc::clone(&self.busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_whoever_has_fewest() {
        let workers = Workers::start(NonZeroUsize::new(2)).unwrap();
        let at = |worker: &Worker| workers.iter().position(|w| Arc::ptr_eq(&w.busy, &worker.busy));
        let take = || {
            let worker = workers.least_busy().unwrap();
            (at(worker), worker.busy())
        };
        let (a, b) = (take(), take());
        assert_ne!(a.0, b.0);
        let (where_b, _) = (b.0, drop(b.1));
        assert_eq!(take().0, where_b);
    }

    #[test]
    fn threads_end_with_the_workers() {
        let workers = Workers::start(NonZeroUsize::new(1)).unwrap();
        let task = workers.least_busy().unwrap().runtime().spawn(std::future::pending::<()>());
        drop(workers);
        let ended = Builder::new_current_thread().build().unwrap().block_on(task);
        assert!(ended.unwrap_err().is_cancelled());
    }
}
