//! The threads that pass requests on: one per core, each with a runtime and connections of its own.

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Where requests are passed on. A connection stays where it was put, and no core waits for another's.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) runtime: Handle,
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

    /// Has the thread with the fewest tasks run this one too, and puts it among `tasks`.
    ///
    /// A socket is that thread's own only if the task makes it from the standard library's.
    pub fn spawn_into<F>(&self, tasks: &mut JoinSet<()>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some((_, worker)) = self.least_busy() else { return };
        let busy = worker.busy();
        let counted = async move {
            task.await;
            drop(busy);
        };
        tasks.spawn_on(counted, &worker.runtime);
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The one with the fewest connections, and its number.
    pub(super) fn least_busy(&self) -> Option<(usize, &Worker)> {
        self.0.iter().enumerate().min_by_key(|(_, worker)| Arc::strong_count(&worker.busy))
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || drop(runtime.block_on(ended)))?;
        Ok(Self { runtime: handle, busy: Arc::default(), _end: Some(end) })
    }

    /// Counts a connection for as long as it is held.
    pub(super) fn busy(&self) -> Arc<()> {
        Arc::clone(&self.busy)
    }
}
