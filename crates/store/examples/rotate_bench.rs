//! How many rotations a second go through the store, against a bare loop of group-committed upserts.
//!
//! `cargo run --release --example rotate_bench -p tokenry-store [DIRECTORY]` takes about ten seconds and leaves
//! nothing behind. The directory should be on the disk that is meant. Both take turns, since a machine is not the same
//! from one second to the next; the median of what the turns say is told.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokenry_core::Timestamp;
use tokenry_core::family::{FamilyId, Rotated, Rotation};
use tokenry_core::realm::Realm;
use tokenry_store::sqlite::Options;
use tokenry_store::{Change, Sqlite, Store};
use tokio::time::Instant;

const TASKS: u64 = 64;
const FAMILIES: u64 = 1000 * TASKS;
const TURNS: usize = 11;
const TURN: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut store = runtime.block_on(Through::open(&directory.path().join("store.db")))?;
    let mut bare = Bare::open(&directory.path().join("bare.db"))?;
    let mut turns = Vec::new();
    for turn in 0..TURNS {
        // Who goes second may find the disk busy with what the first one has left.
        let (through, loop_alone) = if turn % 2 == 0 {
            let through = runtime.block_on(store.turn())?;
            (through, bare.turn()?)
        } else {
            let loop_alone = bare.turn()?;
            (runtime.block_on(store.turn())?, loop_alone)
        };
        turns.push((through / loop_alone, through, loop_alone));
    }
    let median = |of: fn(&(f64, f64, f64)) -> f64| {
        let mut values: Vec<_> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[TURNS / 2]
    };
    println!("{TASKS} tasks through the store: {:>7.0}/s", median(|turn| turn.1));
    println!("bare, {TASKS} to a commit:        {:>7.0}/s", median(|turn| turn.2));
    println!("of the bare loop, per turn:     {:>7.2}", median(|turn| turn.0));
    Ok(())
}

/// Rotations through the store: each task refreshes a thousand families in turn, each one generation further every
/// time.
struct Through {
    store: Arc<Sqlite>,
    /// How many rotations each task has made.
    counts: Vec<u64>,
}

impl Through {
    async fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let store = Arc::new(Sqlite::open(path, &Options::default())?);
        let realm: Realm = serde_json::from_str(
            r#"{"name":"r","issuer":"https://r.example","tokens":{"access":{"secs":300,"nanos":0}}}"#,
        )?;
        store.change(vec![Change::PutRealm(realm)], None, Timestamp::EPOCH).await?;
        Ok(Self { store, counts: (0..TASKS).map(|_| 0).collect() })
    }

    /// Rotations per second in one turn.
    async fn turn(&mut self) -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        let mut tasks = Vec::new();
        for (task, count) in (0..).zip(&self.counts) {
            tasks.push(tokio::spawn(refresh(Arc::clone(&self.store), task, *count, start + TURN)));
        }
        let mut rotations = 0;
        for (task, count) in tasks.into_iter().zip(&mut self.counts) {
            let after = task.await??;
            rotations += after - std::mem::replace(count, after);
        }
        Ok(rotations as f64 / start.elapsed().as_secs_f64())
    }
}

async fn refresh(store: Arc<Sqlite>, task: u64, from: u64, end: Instant) -> Result<u64, String> {
    let mut count = from;
    while Instant::now() < end {
        let family = FamilyId(u128::from((count % 1000) * TASKS + task).to_be_bytes());
        let presented = u32::try_from(count / 1000).unwrap_or(u32::MAX);
        let now = Timestamp::from_secs(1_000_000 + count);
        let expires_at = now + Duration::from_secs(86_400);
        let (realm, client, grace) = ("r".to_owned(), "c".to_owned(), Duration::ZERO);
        let rotation = Rotation { realm, client, family, presented, now, grace, expires_at };
        match store.rotate(rotation).await {
            Ok(Rotated::Successor { .. }) => count += 1,
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(count)
}

/// The same number of upserts to a commit, and nothing around them.
struct Bare {
    conn: Connection,
    count: u64,
}

impl Bare {
    fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.execute_batch(
            "CREATE TABLE t (realm TEXT, id BLOB, generation INTEGER, PRIMARY KEY (realm, id)) STRICT, WITHOUT ROWID",
        )?;
        Ok(Self { conn, count: 0 })
    }

    /// Upserts per second in one turn.
    fn turn(&mut self) -> Result<f64, Box<dyn Error>> {
        let (start, before) = (Instant::now(), self.count);
        while start.elapsed() < TURN {
            let tx = self.conn.unchecked_transaction()?;
            let mut upsert = tx.prepare_cached(
                "INSERT INTO t VALUES ('r', ?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1",
            )?;
            for _ in 0..TASKS {
                upsert.execute(params![u128::from(self.count % FAMILIES).to_be_bytes()])?;
                self.count += 1;
            }
            drop(upsert);
            tx.commit()?;
        }
        Ok((self.count - before) as f64 / start.elapsed().as_secs_f64())
    }
}
