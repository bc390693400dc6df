//! How many rotations a second go through the store, against a bare loop of group-committed upserts.
//!
//! `cargo run --release --example rotate_bench -p tokenry-store [DIRECTORY]` takes about five seconds and leaves
//! nothing behind. The directory should be on the disk that is meant.

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
const FOR: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let through = runtime.block_on(through_the_store(&directory.path().join("store.db")))?;
    let bare = bare_loop(&directory.path().join("bare.db"))?;
    println!("{TASKS} tasks through the store: {through:>7}/s");
    println!("bare, {TASKS} to a commit:        {bare:>7}/s");
    Ok(())
}

async fn through_the_store(path: &Path) -> Result<u64, Box<dyn Error>> {
    let store = Arc::new(Sqlite::open(path, &Options::default())?);
    let realm: Realm = serde_json::from_str(
        r#"{"name":"r","issuer":"https://r.example","tokens":{"access":{"secs":300,"nanos":0}}}"#,
    )?;
    store.change(vec![Change::PutRealm(realm)], None).await?;
    let end = Instant::now() + FOR;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    // Each task refreshes a thousand families in turn, each one generation further every time.
                    let family = FamilyId(u128::from((count % 1000) * TASKS + task).to_be_bytes());
                    let presented = u32::try_from(count / 1000).unwrap_or(u32::MAX);
                    let now = Timestamp::from_secs(1_000_000 + count);
                    let expires_at = now + Duration::from_secs(86_400);
                    let grace = Duration::ZERO;
                    let realm = "r".to_owned();
                    let rotation = Rotation { realm, family, presented, now, grace, expires_at };
                    match store.rotate(rotation).await {
                        Ok(Rotated::Successor { .. }) => count += 1,
                        other => return Err(format!("{other:?}")),
                    }
                }
                Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count / FOR.as_secs())
}

fn bare_loop(path: &Path) -> Result<u64, Box<dyn Error>> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch(
        "CREATE TABLE t (realm TEXT, id BLOB, generation INTEGER, PRIMARY KEY (realm, id)) STRICT, WITHOUT ROWID",
    )?;
    let end = Instant::now() + FOR;
    let mut count = 0_u64;
    while Instant::now() < end {
        let tx = conn.unchecked_transaction()?;
        let mut upsert = tx.prepare_cached(
            "INSERT INTO t VALUES ('r', ?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1",
        )?;
        for _ in 0..TASKS {
            upsert.execute(params![u128::from(count % (1000 * TASKS)).to_be_bytes()])?;
            count += 1;
        }
        drop(upsert);
        tx.commit()?;
    }
    Ok(count / FOR.as_secs())
}
