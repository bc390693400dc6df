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

/// How often the processor is offered to others, with nobody coming, before those who may yet come are not waited for
/// any more: tens of microseconds, a small part of what a commit takes.
const PATIENCE: u32 = 32;

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
    let mut answered = 0;
    while queue.blocking_recv_many(&mut jobs, GROUP) > 0 {
        gather(&mut queue, &mut jobs, answered);
        answered = jobs.len();
        commit(conn, &mut jobs);
    }
}

/// Lets those who were answered just now ask again, so that the first one back does not get a commit of its own that
/// all others wait for.
fn gather(queue: &mut mpsc::Receiver<Box<dyn Job>>, jobs: &mut Vec<Box<dyn Job>>, answered: usize) {
    let mut patience = PATIENCE;
    while jobs.len() < GROUP && patience > 0 {
        let before = jobs.len();
        std::thread::yield_now();
        while jobs.len() < GROUP
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        patience = match jobs.len() {
            // All are back; whoever else comes may as well wait for the next commit.
            now if now == before && now >= answered => 0,
            now if now == before => patience - 1,
            _ => PATIENCE,
        };
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT").unwrap();
        conn
    }

    fn insert(conn: &Connection, x: i64) -> Result<usize, StoreError> {
        conn.execute("INSERT INTO t VALUES (?)", [x]).map_err(unavailable)
    }

    type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

    fn job<T: Send + 'static>(
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Box<dyn Job>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Task { work, result: None, reply }), answer)
    }

    #[test]
    fn a_job_that_fails_does_not_spoil_its_group() {
        let conn = database();
        let (good, answer_good) = job(|conn| insert(conn, 1));
        // Writes something before it fails.
        let (bad, answer_bad) = job(|conn| insert(conn, 2).and_then(|_| insert(conn, 1)));
        let (refused, answer_refused) = job(|_| Err::<(), _>(StoreError::Conflict));
        let (late, answer_late) = job(|conn| insert(conn, 3));
        commit(&conn, &mut vec![good, bad, refused, late]);
        assert!(answer_good.blocking_recv().unwrap().is_ok());
        assert!(matches!(answer_bad.blocking_recv().unwrap(), Err(StoreError::Unavailable(_))));
        assert!(matches!(answer_refused.blocking_recv().unwrap(), Err(StoreError::Conflict)));
        assert!(answer_late.blocking_recv().unwrap().is_ok());
        let rows: String =
            conn.query_row("SELECT group_concat(x) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, "1,3");
    }

    #[test]
    fn a_group_that_cannot_be_committed_is_answered_with_errors() {
        let conn = database();
        conn.execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE u (x REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
        let (good, answer_good) = job(|conn| insert(conn, 1));
        // Only the commit finds that there is no such row in t.
        let (bad, answer_bad) =
            job(|conn| conn.execute("INSERT INTO u VALUES (9)", []).map_err(unavailable));
        commit(&conn, &mut vec![good, bad]);
        for answer in [answer_good, answer_bad] {
            assert!(matches!(answer.blocking_recv().unwrap(), Err(StoreError::Unavailable(_))));
        }
        let (next, answer) = job(|conn| insert(conn, 2));
        commit(&conn, &mut vec![next]);
        assert!(answer.blocking_recv().unwrap().is_ok());
        let rows: i64 = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_what_was_taken_is_done() {
        let writer = Writer::start(database()).unwrap();
        let queue = writer.queue.as_ref().unwrap();
        let (entered, has_entered) = channel();
        let (release, released) = channel();
        let (blocker, blocked) = job(move |_| {
            entered.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        });
        assert!(queue.try_send(blocker).is_ok());
        has_entered.recv().unwrap();
        let mut waiting = Vec::new();
        for x in 0..QUEUE {
            let (job, answer) = job(move |conn| insert(conn, x as i64));
            assert!(queue.try_send(job).is_ok());
            waiting.push(answer);
        }
        let refused = writer.write(|conn| insert(conn, -1)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the store is not available: 4096 writes are waiting already"
        );
        release.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        for answer in waiting {
            answer.await.unwrap().unwrap();
        }
    }

    #[test]
    fn what_was_queued_is_committed_before_the_writer_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT").unwrap();
        let writer = Writer::start(conn).unwrap();
        for x in 0..1000 {
            let (job, _) = job(move |conn| insert(conn, x));
            assert!(writer.queue.as_ref().unwrap().try_send(job).is_ok());
        }
        drop(writer);
        let conn = Connection::open(&path).unwrap();
        let rows: i64 = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1000);
    }
}
