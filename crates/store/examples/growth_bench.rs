//! What it costs to have many clients in SQLite: bringing them in, and what a server asks while it runs.
//!
//! `cargo run --release --example growth_bench -p tokenry-store [CLIENTS] [DIRECTORY]` brings in a million clients,
//! unless told otherwise, and leaves nothing behind.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokenry_core::client::Credential;
use tokenry_core::realm::Realm;
use tokenry_core::{Client, Timestamp};
use tokenry_store::sqlite::Options;
use tokenry_store::{Change, Sqlite, Store};
use tokio::time::Instant;

/// How many clients are brought in by one change.
const BATCH: u64 = 1000;

/// How many clients are looked up, by how many tasks at once.
const LOOKUPS: u64 = 100_000;
const TASKS: u64 = 16;

/// How many identifiers make a page.
const PAGE: usize = 10_000;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |arg| arg.parse())?;
    let directory = std::env::args_os().nth(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory)?;
    let path = directory.path().join("store.db");
    let store = Arc::new(Sqlite::open(&path, &Options::default())?);
    let tokens = json!({ "access": { "secs": 300, "nanos": 0 } });
    let realm: Realm = serde_json::from_value(
        json!({ "name": "r", "issuer": "https://r.example", "tokens": tokens }),
    )?;
    store.change(vec![Change::PutRealm(realm)], None, Timestamp::EPOCH).await?;

    let mut storing = 0.0;
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        let batch = batch(first, count.min(first + BATCH))?;
        let start = Instant::now();
        store.change(batch, None, Timestamp::EPOCH).await?;
        storing += start.elapsed().as_secs_f64();
    }
    let size = std::fs::metadata(&path)?.len() >> 20;
    println!("bring in {count} clients:  {:>9.0}/s, {size} MiB", count as f64 / storing);

    let start = Instant::now();
    let tasks = (0..TASKS).map(|task| tokio::spawn(look_up(Arc::clone(&store), task, count)));
    for task in tasks.collect::<Vec<_>>() {
        task.await?.map_err(|id| format!("{id} is not there"))?;
    }
    let elapsed = start.elapsed().as_secs_f64();
    println!("look up, {TASKS} at a time:   {:>9.0}/s", LOOKUPS as f64 / elapsed);

    let start = Instant::now();
    let mut ids = 0;
    let mut after: Option<(String, String)> = None;
    loop {
        let last = after.as_ref().map(|(realm, id)| (&**realm, &**id));
        let page = store.client_ids(last, PAGE).await?;
        ids += page.len();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
    }
    println!("list {ids} identifiers: {:>7.3} s", start.elapsed().as_secs_f64());

    for (what, is_new) in [("nothing", false), ("one client", true)] {
        let since = store.revision().await?;
        if is_new {
            store.change(batch(0, 1)?, None, Timestamp::EPOCH).await?;
        }
        let start = Instant::now();
        store.touched(since).await?;
        println!("touched, {what}:  {:>9.3} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let start = Instant::now();
    store.outline().await?;
    println!("outline:  {:>9.3} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn id(number: u64) -> String {
    format!("client-{number:08}")
}

fn batch(from: u64, to: u64) -> Result<Vec<Change>, serde_json::Error> {
    let mut changes = Vec::new();
    for number in from..to {
        let client = json!({
            "realm": "r", "id": id(number), "grants": ["client_credentials"], "scope": "read write",
        });
        changes.push(Change::PutClient(serde_json::from_value::<Client>(client)?));
        let digest = vec![number as u8; 32];
        let credential = json!({
            "id": "abcdefgh", "kind": { "kind": "secret", "digest": digest }, "created_at": 1,
        });
        let credential: Credential = serde_json::from_value(credential)?;
        changes.push(Change::PutCredential { realm: "r".into(), client: id(number), credential });
    }
    Ok(changes)
}

/// One task's share of the lookups, all over the table; gives the first that was not found.
async fn look_up(store: Arc<Sqlite>, task: u64, count: u64) -> Result<(), String> {
    for i in 0..LOOKUPS / TASKS {
        // A prime, so that neighbours are far apart.
        let id = id((i * TASKS + task) * 7_919 % count);
        match store.client("r", &id).await {
            Ok(Some(client)) if client.credentials.len() == 1 => {}
            _ => return Err(id),
        }
    }
    Ok(())
}
