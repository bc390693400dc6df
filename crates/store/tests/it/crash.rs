//! `kill -9` under load: what was answered is true afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rusqlite::Connection;
use tokenry_core::Timestamp;
use tokenry_core::family::{Rotated, Rotation};
use tokenry_store::{Sqlite, Store, StoreError};

use crate::fixture::{InFile, at, family, make_realms, open, rotation};

/// How often the process is killed.
const KILLS: u64 = 30;

/// How many families are refreshed at the same time.
const LANES: u64 = 32;

/// A family is revoked after so many of its tokens were used, and the next one takes its place.
const LAST: u32 = 40;

const DATABASE: &str = "STORE_TEST_CRASH";

/// When generation `g` is refreshed: each time long after the grace of the time before.
fn time_of(generation: u32) -> Timestamp {
    at(1_000_000 + 1000 * u64::from(generation))
}

/// A rotation of a family that is not forgotten in this test.
fn refresh(number: u64, presented: u32, now: Timestamp) -> Rotation {
    Rotation { expires_at: at(u32::MAX.into()), ..rotation(family(number), presented, now) }
}

/// The process that is killed: refreshes, and says so on a line of its own once it was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only of use to the test below"]
async fn work_until_killed() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    say("begin", 0, 0);
    let store = Arc::new(open(Path::new(&path)));
    make_realms(&*store, &["r"]).await;
    // The WAL is copied into the database all the time, so that the end may come in the middle of that.
    std::thread::spawn(move || {
        let conn = Connection::open(path).unwrap();
        loop {
            // It gives up where others are in its way.
            let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            std::thread::yield_now();
        }
    });
    let lanes = (0..LANES).map(|lane| tokio::spawn(refresh_without_end(Arc::clone(&store), lane)));
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

fn say(what: &str, number: u64, generation: u32) {
    // One write for the whole line, so that it is seen whole or not at all.
    let line = format!("\n@ {what} {number} {generation}\n");
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

async fn refresh_without_end(store: Arc<Sqlite>, lane: u64) {
    for number in (lane..).step_by(LANES as usize) {
        let known = store.family("r", family(number)).await.unwrap();
        if known.is_some_and(|f| f.revoked_at.is_some()) {
            continue;
        }
        for generation in known.map_or(0, |f| f.generation)..LAST {
            let now = time_of(generation);
            let next = Rotated::Successor { generation: generation + 1, rotated_at: now };
            assert_eq!(patient(&store, refresh(number, generation, now)).await, next);
            say("rotated", number, generation + 1);
        }
        // Half of them by an administrator, half by the theft of a token.
        if number % 2 == 0 {
            while store.revoke_family("r", "c", family(number), time_of(LAST), at(1)).await.is_err()
            {
            }
        } else {
            patient(&store, refresh(number, 3, time_of(LAST))).await;
        }
        say("revoked", number, LAST);
    }
}

/// Asks again where the store had no time: the checkpoints above are in its way.
async fn patient(store: &Sqlite, rotation: Rotation) -> Rotated {
    loop {
        match store.rotate(rotation.clone()).await {
            Ok(rotated) => return rotated,
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What has been answered about a family.
#[derive(Clone, Copy, Default)]
struct Answered {
    generation: u32,
    revoked: bool,
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_kill_9() {
    let file = InFile::new();
    let mut answered = BTreeMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for round in 0..KILLS {
        let lines = if round % 5 == 0 { 1 } else { 1 + draw(&mut random) % 400 };
        let spins = draw(&mut random) % 3_000_000;
        run_and_kill(&file.path(), lines, spins, &mut answered);
        check(&file, &mut answered, &mut random).await;
    }
    let revoked = answered.values().filter(|a| a.revoked).count();
    let rotations: u32 = answered.values().map(|a| a.generation).sum();
    // That the kills hit somebody at work.
    assert!(rotations > 1000 && revoked > 10, "{rotations} rotations, {revoked} revocations");
}

/// Starts the process, reads so many of its lines, waits a little more, and kills it.
fn run_and_kill(path: &Path, lines: u64, spins: u64, answered: &mut BTreeMap<u64, Answered>) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::work_until_killed", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut seen = 0;
    loop {
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // A line that was cut off by the end was not said.
        let Some(said) = line.strip_prefix("@ ").and_then(|l| l.strip_suffix('\n')) else {
            continue;
        };
        let words: Vec<&str> = said.split(' ').collect();
        let (number, generation) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        if words[0] != "begin" {
            answered.insert(number, Answered { generation, revoked: words[0] == "revoked" });
        }
        seen += 1;
        if seen == lines {
            for _ in 0..spins {
                std::hint::spin_loop();
            }
            // SIGKILL. What it had said before is still in the pipe, and read by this loop.
            child.kill().unwrap();
        }
    }
    assert!(
        seen >= lines,
        "it ended by itself: {}",
        std::io::read_to_string(child.stderr.take().unwrap()).unwrap()
    );
    child.wait().unwrap();
}

/// Opens the database as a restart would, and holds it against what was answered.
async fn check(file: &InFile, answered: &mut BTreeMap<u64, Answered>, random: &mut u64) {
    let store = file.open();
    let revoked = store.load().await.unwrap().revoked;
    for (&number, answer) in answered.iter_mut() {
        let known = store.family("r", family(number)).await.unwrap().unwrap();
        let case = format!("family {number}: {known:?}");
        if answer.revoked {
            assert!(known.revoked_at.is_some(), "{case}");
            assert!(revoked.iter().any(|(_, id, _)| *id == family(number)), "{case}");
        }
        // One more request may have been under way.
        let possible = answer.generation..=(answer.generation + 1).min(LAST);
        assert!(possible.contains(&known.generation), "{case}, answered {}", answer.generation);
        // Seen now, and no more to be lost than an answer.
        *answer = Answered { generation: known.generation, revoked: known.revoked_at.is_some() };
    }
    drop(store);
    let copy = InFile::new();
    std::fs::copy(file.path(), copy.path()).unwrap();
    let conn = Connection::open(copy.path()).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    drop(conn);
    // In the copy, since it revokes them: a token that was used up, long after.
    let store = copy.open();
    for (&number, answer) in answered.iter() {
        let Some(newest_used) = answer.generation.checked_sub(1) else { continue };
        let presented = newest_used - (draw(random) % 2).min(newest_used.into()) as u32;
        let rotated = store.rotate(refresh(number, presented, time_of(LAST + 1))).await.unwrap();
        assert!(matches!(rotated, Rotated::Reused | Rotated::Revoked), "{number}: {rotated:?}");
    }
}

/// xorshift64.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
