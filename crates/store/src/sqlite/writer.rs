//! The one thread that writes: it commits in groups, so that many requests share the cost of one `fsync`.

use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::unavailable;
use crate::StoreError;

/// How many requests may wait for the writer. At 10,000 a second, a slow disk, the last one waits 0.4 s; with more, the
/// answer would come after the caller has gone.
const QUEUE: usize = 4096;

/// How many requests share a transaction: enough that `fsync` is a small part of each, few enough that the write lock,
/// which other processes wait for, is held for milliseconds.
const GROUP: usize = 256;

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; it ends, after all that is queued, when the writer is dropped.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&conn, jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in a transaction and answers once that is durable.
    ///
    /// `work` may be run again after a rollback. When it gives [`StoreError::Missing`] or [`StoreError::Conflict`] it
    /// must have written nothing, since others share its transaction; any other error undoes what it did.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { work, result: None, reply });
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.try_send(task).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                StoreError::Unavailable(format!("{QUEUE} writes are waiting already").into())
            }
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Writer {
    /// Waits until what was queued is committed and the connection is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread gives nothing back; should it have panicked, then its callers have their error already.
            let _ = thread.join();
        }
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the writer has ended".into())
}

/// A request to the writer, of whatever type its answer is.
trait Job: Send {
    /// Does the work in the current transaction; gives whether the transaction may be committed.
    fn run(&mut self, conn: &Connection) -> bool;

    /// Answers: with the result of the work, unless the transaction as a whole failed.
    fn answer(self: Box<Self>, failure: Option<Arc<rusqlite::Error>>);
}

struct Task<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, conn: &Connection) -> bool {
        let result = (self.work)(conn);
        let sound = matches!(result, Ok(_) | Err(StoreError::Missing(_) | StoreError::Conflict));
        self.result = Some(result);
        sound
    }

    fn answer(self: Box<Self>, failure: Option<Arc<rusqlite::Error>>) {
        let result = match failure {
            Some(error) => Err(unavailable(error)),
            None => self.result.unwrap_or_else(|| Err(ended())),
        };
        // Nobody listens any more when the caller has gone; the write stands all the same.
        let _ = self.reply.send(result);
    }
}

fn run(conn: &Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut jobs = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut jobs, GROUP) > 0 {
        commit(conn, &mut jobs);
    }
}

/// Commits the jobs as one group and answers them; where one spoils the group, each for itself.
fn commit(conn: &Connection, jobs: &mut Vec<Box<dyn Job>>) {
    match transaction(conn, jobs) {
        Ok(sound) if sound || jobs.len() == 1 => {
            for job in jobs.drain(..) {
                job.answer(None);
            }
        }
        Ok(_) => {
            for job in std::mem::take(jobs) {
                commit(conn, &mut vec![job]);
            }
        }
        Err(error) => {
            tracing::error!(%error, jobs = jobs.len(), "the database does not take writes");
            let error = Arc::new(error);
            for job in jobs.drain(..) {
                job.answer(Some(Arc::clone(&error)));
            }
        }
    }
}

/// Runs the jobs in one transaction. `Ok(false)`: one of them failed in a way that spoils it, and it was rolled back.
fn transaction(conn: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<bool> {
    // IMMEDIATE takes the write lock at once, and so waits for other processes: a deferred transaction that has read
    // before would fail instead.
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let sound = jobs.iter_mut().all(|job| job.run(conn));
    let done = match sound {
        true => conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])),
        false => Ok(0),
    };
    if !conn.is_autocommit() {
        // A rollback fails only where SQLite has rolled back already.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done.map(|_| sound)
}
