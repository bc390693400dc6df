//! `tokenry agent`: a real one, in front of a real server, asked by a thousand at once and by strangers.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokenry_client::agent::{Agent, AgentSource};
use tokenry_client::{KeeperConfig, SecretSource, TokenSource as _};
use tokio::task::JoinSet;

use crate::running::{Running, tokenry};

/// An agent as a process, with a folder of its own; it ends with this value.
struct Held {
    folder: TempDir,
    child: Child,
}

impl Held {
    fn start(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agent.toml"), file).unwrap();
        let child = start(folder.path());
        Self { folder, child }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let socket = self.socket().display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--socket", &socket]);
        tokenry(self.folder.path(), &all)
    }

    fn status(&self) -> Vec<Value> {
        let output = self.run(&["agent", "status", "--output", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["tokens"].as_array().unwrap().clone()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts an agent and waits until it says where it listens.
fn start(folder: &Path) -> Child {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tokenry"))
        .args(["agent", "--config", "agent.toml", "--socket", "agent.sock", "--output", "json"])
        .current_dir(folder)
        .env("TOKENRY_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let log = || std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(line.contains("agent.sock"), "it did not start: {line} {}", log());
    child
}

/// What a client of the server's is.
fn config(running: &Running) -> KeeperConfig {
    KeeperConfig {
        provider: Some("truphone".to_owned()),
        client_id: Some("truphone".to_owned()),
        client_secret: vec![SecretSource::File(running.path().join("truphone.secret"))],
        cacert: Some(running.ca()),
        connect_to: vec![format!("services.truphone.com:443:{}", running.address)],
        ..KeeperConfig::default()
    }
}

/// The same as it stands in the agent's file.
fn named(running: &Running, name: &str, more: &str) -> String {
    format!("[tokens.{name}]\n{}{more}\n", toml::to_string(&config(running)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_ask_at_once_are_one_token_request() {
    let running = Running::start();
    let held = Held::start(&named(&running, "truphone", ""));
    let mut asking = JoinSet::new();
    for n in 0..1000 {
        let agent = Agent::at(held.socket());
        // Half of them by name, half of them with what the agent knows nothing about.
        let source = if n % 2 == 0 {
            AgentSource::named(agent, "truphone")
        } else {
            AgentSource::lent(agent, config(&running))
        };
        asking.spawn(async move { source.token().await.unwrap().access_token().clone() });
    }
    let mut tokens: Vec<String> = Vec::new();
    while let Some(token) = asking.join_next().await {
        tokens.push(token.unwrap().expose().to_owned());
    }
    let status = held.status();
    assert_eq!(status.len(), 2, "{status:?}");
    for token in &status {
        // Who waits too long asks once more: a busy machine has more questions, and still one request.
        assert!(token["asked"].as_u64().is_some_and(|asked| asked >= 500), "{token}");
        assert_eq!(token["tokens"].as_u64(), Some(1));
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 2);
    // Neither the log nor what anybody may look at has a secret.
    let secret = running.read("truphone.secret");
    let shown = held.log() + &format!("{status:?}");
    assert!(shown.contains("token obtained"), "{shown}");
    for secret in tokens.iter().chain([&secret]) {
        assert!(!shown.contains(secret.as_str()));
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", held.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_withdrawn_and_an_agent_is_replaced() {
    let running = Running::start();
    let mut held = Held::start(&named(&running, "truphone", ""));
    let source = AgentSource::named(Agent::at(held.socket()), "truphone")
        .or(config(&running).build().await.unwrap());
    let first = source.token().await.unwrap().access_token().clone();
    let output = held.run(&["invalidate", "truphone"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fresh = AgentSource::named(Agent::at(held.socket()), "truphone");
    let second = fresh.token().await.unwrap().access_token().clone();
    assert!(first != second);
    assert_eq!(held.status()[0]["tokens"], 2);
    let output = held.run(&["invalidate", "nothing"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no token \"nothing\""));

    // What was lent is named as it was to `tokenry token`.
    let to = format!("services.truphone.com:443:{}", running.address);
    let (ca, secret) = (running.ca(), running.path().join("truphone.secret"));
    let (ca, secret) = (ca.display().to_string(), secret.display().to_string());
    let lent = [
        "--provider",
        "truphone",
        "--client-id",
        "truphone",
        "--client-secret-file",
        &secret,
        "--cacert",
        &ca,
        "--connect-to",
        &to,
    ];
    let invalidate = || held.run(&[&["invalidate", "--output", "json"], &lent[..]].concat());
    assert!(String::from_utf8_lossy(&invalidate().stderr).contains("no such token"));
    let lender = AgentSource::lent(Agent::at(held.socket()), config(&running));
    let third = lender.token().await.unwrap().access_token().clone();
    let output = invalidate();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"withdrawn\":true"), "{output:?}");
    let lender = AgentSource::lent(Agent::at(held.socket()), config(&running));
    assert!(*lender.token().await.unwrap().access_token() != third);

    let output = tokenry(held.folder.path(), &["agent", "--socket", "agent.sock"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("already running"), "{output:?}");
    // A crash: its socket stays, and the next one takes its place.
    held.child.kill().unwrap();
    held.child.wait().unwrap();
    assert!(held.socket().exists());
    let output = held.run(&["invalidate", "truphone"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("agent.sock"), "{said}");
    let alone = AgentSource::named(Agent::at(held.socket()), "truphone")
        .or(config(&running).build().await.unwrap());
    assert!(alone.token().await.is_ok());
    held.child = start(held.folder.path());
    let source = AgentSource::named(Agent::at(held.socket()), "truphone");
    assert!(source.token().await.is_ok());
    // Told to end, it takes its socket with it.
    let pid = held.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(held.child.wait().unwrap().success());
    assert!(!held.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_revokes_the_agent_replaces_by_itself() {
    let running = Running::start();
    let config = KeeperConfig {
        provider: None,
        issuer: Some("https://services.truphone.com/auth/realms/tru-staff".to_owned()),
        follow_revocations: true,
        ..config(&running)
    };
    let held = Held::start(&format!("[tokens.staff]\n{}", toml::to_string(&config).unwrap()));
    let ask = || async {
        let source = AgentSource::named(Agent::at(held.socket()), "staff");
        source.token().await.unwrap().access_token().clone()
    };
    let metrics = || {
        let output = Command::new("curl")
            .args(["--silent", "http://agent/metrics", "--unix-socket"])
            .arg(held.socket())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = ask().await;
    // Each look is a process of its own.
    let following = "tokenry_keeper_feed_following{keeper=\"staff\"} 1";
    assert!((0..200).any(|_| metrics().contains(following)), "{}", metrics());
    let output = tokenry(running.path(), &["client", "revoke", "truphone", "truphone"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let revoked = "tokenry_keeper_revoked_total{keeper=\"staff\"} 1";
    assert!((0..200).any(|_| metrics().contains(revoked)), "{}", metrics());
    assert!(ask().await != first);
    let nobody = "tokenry_keeper_unauthorized_total{keeper=\"staff\",withdrawn=\"yes\"} 0";
    assert!(metrics().contains(nobody), "{}", metrics());
    assert!(held.log().contains("token revoked by its issuer"), "{}", held.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_what_is_allowed_by_the_operating_systems_word() {
    const NOBODY: u32 = 65534;
    if tokenry_client::agent::own_user() != 0 {
        eprintln!("SKIPPED: only root can be somebody else");
        return;
    }
    let running = Running::start();
    let file = named(&running, "own", "") + &named(&running, "shared", "allow_users = [65534]");
    let held = Held::start(&file);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(held.folder.path(), open).unwrap();
    let ask = |name: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--unix-socket"])
            .arg(held.socket())
            .args(["http://localhost/v1/token", "--json", &format!("{{\"name\":\"{name}\"}}")])
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(ask("own")["error"]["kind"], "not_permitted");
    let shared = ask("shared");
    assert_eq!(shared["token_type"], "Bearer", "{shared}");
    assert!(shared["access_token"].is_string());
}

#[test]
fn where_there_is_no_agent_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["agent", "status"], ["invalidate", "billing"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_tokenry"))
            .args(arguments)
            .env("TOKENRY_AGENT", "off")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("there is no agent") && said.contains("tokenry agent"), "{said}");
    }
}
