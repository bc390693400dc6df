//! `tokenry proxy`: programs that know nothing of tokens, an API that wants one, and everything between for real.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::run::Place;
use crate::running::Running;

const TUINLY: &str = "https://oauth.tuinly.com";

/// The proxy as a process; it ends with this value.
struct Proxy {
    child: Child,
    /// What it printed.
    said: Value,
}

impl Proxy {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(folder.join("proxy.log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tokenry"))
            .args(["proxy", "--output", "json"])
            .args(arguments)
            .current_dir(folder)
            .env_remove("TOKENRY_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(folder.join("proxy.log")).unwrap();
            panic!("it did not start: {log}");
        });
        Self { child, said }
    }

    fn address(&self, number: usize) -> SocketAddr {
        address(&self.said["listening"][number]["url"])
    }

    /// Tells it to end, and waits until it has.
    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(url: &Value) -> SocketAddr {
    url.as_str().unwrap().trim_start_matches("http://").parse().unwrap()
}

/// Sends a request and reads all that comes.
fn exchange(mut stream: impl std::io::Read + std::io::Write, target: &str, host: &str) -> String {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic bWU=\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, target: &str) -> String {
    exchange(TcpStream::connect(address).unwrap(), target, &address.to_string())
}

fn write_file(running: &Running, api: SocketAddr) {
    let server = running.address;
    let text = format!(
        r#"
[tokens.tuinly]
provider = "tuinly"
client_id = "tuinly"
client_secret = "file:tuinly.secret"
cacert = "ca.pem"
connect_to = ["oauth.tuinly.com:443:{server}"]

[[upstream]]
listen = ["127.0.0.1:0", "unix:socket"]
url = "https://graphql.tuinly.com/graphql"
token = "tuinly"
cacert = "ca.pem"
connect_to = ["graphql.tuinly.com:443:{api}"]

[forward]
listen = ["127.0.0.1:0"]
others = "refuse"
tunnels = false
cacert = "ca.pem"
connect_to = ["graphql.tuinly.com:443:{api}"]

[[forward.rule]]
token = "tuinly"

[proxy]
admin = "127.0.0.1:0"
threads = 1
"#
    );
    std::fs::write(running.path().join("proxy.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_know_nothing_of_tokens_are_let_in() {
    let running = Running::start();
    let api = running.api(TUINLY).await;
    write_file(&running, api);
    let proxy = Proxy::start(running.path(), &["--config", "proxy.toml"]);
    let (reverse, forward) = (proxy.address(0), proxy.address(2));
    for _ in 0..3 {
        let answer = get(reverse, "/x");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("welcome"), "{answer}");
    }
    let socket = UnixStream::connect(running.path().join("socket")).unwrap();
    assert!(exchange(socket, "/x", "any.example").ends_with("welcome"));
    assert!(get(forward, "http://graphql.tuinly.com/graphql").ends_with("welcome"));
    for (address, target, status) in [
        (forward, "http://other.example/", "403"),
        (forward, "/x", "400"),
        (reverse, "http://evil.example/", "421"),
        (reverse, "/../x", "400"),
    ] {
        let answer = get(address, target);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }

    let metrics = get(address(&proxy.said["admin"]), "/metrics");
    let reverse_requests =
        "tokenry_proxy_requests_total{upstream=\"https://graphql.tuinly.com/graphql\"} 5";
    for line in [reverse_requests, "tokenry_keeper_tokens_obtained_total{token=\"tuinly\"} 1"] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is not in {metrics}");
    }
    assert_eq!(proxy.end(), Some(0));
    assert!(!running.path().join("socket").exists());
    let log = std::fs::read_to_string(running.path().join("proxy.log")).unwrap();
    assert!(log.contains("listening") && log.contains("ended"), "{log}");
    assert!(!log.contains(&running.read("tuinly.secret")) && !log.contains("Bearer"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upstream_needs_no_file_and_a_wrong_secret_is_told() {
    let running = Running::start();
    let api = running.api(TUINLY).await;
    let server = format!("oauth.tuinly.com:443:{}", running.address);
    let api = format!("graphql.tuinly.com:443:{api}");
    let arguments = |secret: &'static str| {
        let source =
            ["--provider", "tuinly", "--client-id", "tuinly", "--client-secret-file", secret];
        let network = ["--cacert", "ca.pem", "--connect-to", &server, "--connect-to", &api];
        let listen = ["--upstream", "https://graphql.tuinly.com", "--listen", "127.0.0.1:0"];
        [&source[..], &network, &listen].concat()
    };
    let proxy = Proxy::start(running.path(), &arguments("tuinly.secret"));
    assert!(get(proxy.address(0), "/graphql").ends_with("welcome"));
    drop(proxy);

    std::fs::write(running.path().join("wrong.secret"), "guessed-by-somebody").unwrap();
    let proxy = Proxy::start(running.path(), &arguments("wrong.secret"));
    let answer = get(proxy.address(0), "/graphql");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("invalid_client"), "{answer}");
    assert!(!answer.contains("guessed"), "{answer}");
}

#[test]
fn all_that_is_wrong_with_the_file_is_told_at_once() {
    let place = Place::empty();
    place.write(
        "proxy.toml",
        r#"
[tokens.orders]
client_id = "orders"
[tokens.billing]
token_url = "https://auth.example/token"
client_id = "billing"
client_secret = "env:NOT_SET"
[[upstream]]
listen = ["0.0.0.0:9000"]
url = "http://api.example"
token = "biling"
[forward]
listen = ["127.0.0.1:0"]
[[forward.rule]]
token = "billing"
[log]
level = "loud"
"#,
    );
    let ran = place.run(["proxy", "--config", "proxy.toml"]);
    let ran = ran.bad("proxy.toml:2:1: the token `orders`: one of provider, issuer and token_url");
    for wrong in [
        "proxy.toml:9:11: 0.0.0.0:9000 is no address of this machine alone",
        "proxy.toml:10:7: url: a token must not leave this machine over http",
        "proxy.toml:11:9: there is no token `biling`",
        "did you mean `billing`?",
        "proxy.toml:15:9: the rule names no hosts",
        "proxy.toml:17:9: level must be",
    ] {
        assert!(ran.err.contains(wrong), "{wrong}\nis not in\n{}", ran.err);
    }
    place.write("proxy.toml", "[[upstream]]\nlisten = [\"x\"]\n");
    place
        .run(["proxy", "--config", "proxy.toml"])
        .bad("proxy.toml:2:10: must be an address and port");
    place.write("proxy.toml", "");
    place.run(["proxy", "--config", "proxy.toml"]).bad("nothing is to be done");
    place.run(["proxy"]).bad("neither --upstream nor --config");
    let open = [
        "proxy",
        "--upstream",
        "https://api.example",
        "--listen",
        "0.0.0.0:1",
        "--provider",
        "tuinly",
    ];
    place.run(open).bad("0.0.0.0:1 is no address of this machine alone");
}
