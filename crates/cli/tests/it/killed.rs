//! `kill -9` at keepers that do nothing but refresh, again and again: the session outlives every one of them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokenry_client::{Credentials, Event, HttpTransport, Keeper, Provider};
use tokenry_core::Secret;

use crate::running::Running;

const KILLS: u32 = 25;

/// Where the keeper finds the installation, and the server.
const FOLDER: &str = "TOKENRY_TEST_FOLDER";
const ADDRESS: &str = "TOKENRY_TEST_ADDRESS";

/// As `examples/simacan-production.toml` has it.
const GRACE: Duration = Duration::from_secs(30);

/// A process that refreshes as fast as it can, and says how it got each token.
struct Mortal {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Mortal {
    fn start(running: &Running) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::a_keeper_that_only_refreshes", "--ignored", "--nocapture"])
            .env(FOLDER, running.path())
            .env(ADDRESS, running.address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next token, or none where there is no process any more.
    fn next(&mut self) -> Option<Got> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end() {
                "refreshed" => return Some(Got::Refreshed),
                "obtained" => return Some(Got::Obtained),
                // What the test harness says.
                _ => {}
            }
        }
    }

    /// Kills it, and gives what it still had to say.
    fn kill(mut self) -> Vec<Got> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Got {
    Obtained,
    Refreshed,
}

#[tokio::test]
#[ignore = "another test runs it as a process of its own"]
async fn a_keeper_that_only_refreshes() {
    let read = |name: &str| {
        let folder = std::env::var(FOLDER).unwrap();
        std::fs::read_to_string(std::path::Path::new(&folder).join(name)).unwrap()
    };
    let address = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let transport = HttpTransport::builder()
        .root_certificates(read("ca.pem").as_bytes())
        .unwrap()
        .connect_to("auth-service.services.simacan.com", address)
        .build()
        .unwrap();
    let password = Secret::new(read("production.password").trim_end());
    let file = std::path::Path::new(&std::env::var(FOLDER).unwrap()).join("refresh_token");
    loop {
        let provider = Provider::named("simacan").unwrap().with_refresh_grace(GRACE);
        let keeper = Keeper::builder(provider, Credentials::password("carrier", password.clone()))
            .transport(transport.clone())
            .refresh_token_file(&file)
            .build()
            .unwrap();
        let mut events = keeper.events();
        keeper.token().await.unwrap();
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Obtained { .. } => println!("obtained"),
                Event::Refreshed { .. } => println!("refreshed"),
                _ => {}
            }
        }
    }
}

#[test]
fn row_123_no_kill_costs_a_session() {
    let running = Running::start();
    // xorshift: which moments are chosen is the same in every run; what happens in them is not.
    let mut random = 20_261_121_u32;
    let mut draw = |below: u32| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random % below
    };
    let mut got = Vec::new();
    for _ in 0..KILLS {
        let mut mortal = Mortal::start(&running);
        for _ in 0..=draw(3) {
            got.push(mortal.next().unwrap());
        }
        for _ in 0..draw(20_000) {
            std::thread::yield_now();
        }
        got.extend(mortal.kill());
    }
    // A password is for the first of them alone: what follows is one family.
    assert_eq!(got[0], Got::Obtained);
    assert!(got[1..].iter().all(|got| *got == Got::Refreshed), "{got:?}");
    assert!(got.len() > KILLS as usize);
}
