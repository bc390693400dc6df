//! A real Caddy with the recipe of `docs/forward-auth.md`, in front of an API that says what reaches it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::forward_auth::{Answer, Issuer, RULES, Verify};
use crate::nginx::{find, got, recipe, start_api};

/// Caddy, `tokenry verify` and an API, one behind the other.
struct Chain {
    folder: TempDir,
    issuer: Issuer,
    verify: Option<Verify>,
    caddy: Child,
}

impl Chain {
    /// `None` where there is no Caddy.
    async fn start(issuer: Issuer, more: &str) -> Option<Self> {
        let program = find("caddy")?;
        let folder = tempfile::tempdir().unwrap();
        let verify = Verify::start(folder.path(), &issuer.config("caddy", more));
        let api = start_api().await;
        let socket = folder.path().join("caddy.sock").display().to_string();
        let site = recipe("caddyfile")
            .replace("127.0.0.1:9180", &verify.address.to_string())
            .replace("127.0.0.1:8080", &api.to_string())
            // Without TLS, and on no port.
            .replace("api.example {", &format!("http://api.example {{\n    bind unix/{socket}"));
        let file = format!("{{\n    admin off\n}}\n{site}");
        let caddy = start_caddy(&program, folder.path(), &file);
        Some(Self { folder, issuer, verify: Some(verify), caddy })
    }

    fn send(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = UnixStream::connect(self.folder.path().join("caddy.sock")).unwrap();
        Answer::of(stream, line, headers)
    }

    fn send_with(&self, line: &str, token: &str) -> Answer {
        self.send(line, &[("Authorization", &format!("Bearer {token}"))])
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.caddy.kill();
        let _ = self.caddy.wait();
    }
}

/// Starts Caddy and waits until it says that it serves.
fn start_caddy(program: &Path, folder: &Path, file: &str) -> Child {
    std::fs::write(folder.join("Caddyfile"), file).unwrap();
    let mut caddy = Command::new(program)
        .args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"])
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_DATA_HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(caddy.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains("serving initial configuration")) {
        said.push(log.next().unwrap_or_else(|| panic!("Caddy did not start: {said:#?}")));
    }
    // Somebody has to read on, or Caddy would wait for it.
    std::thread::spawn(move || log.for_each(drop));
    caddy
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_behind_caddy_is_told_whose_token_it_is_and_not_what_the_client_says() {
    let Some(chain) = Chain::start(Issuer::start().await, RULES).await else { return };
    let lies = |token: &str, line: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Token-Subject", "root"),
            ("X-Token-Subject", "root"),
            ("x-token-client", "root"),
            ("X-Token-Scope", "admin"),
            ("X-Token-Roles", "admin"),
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/public"),
        ];
        chain.send(line, &headers)
    };
    let answer = lies(&chain.issuer.token(json!({})), "GET /orders/7?a=%20b");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(got(&answer, "x-token-subject"), ["alice"]);
    assert_eq!(got(&answer, "x-token-client"), ["shop"]);
    assert_eq!(got(&answer, "x-token-scope"), ["orders orders:read"]);
    assert!(got(&answer, "x-token-roles").is_empty());
    assert!(answer.body.contains("\"uri\":\"/orders/7?a=%20b\""), "{answer:?}");
    // What the token does not say, nobody says.
    let nobody = chain.issuer.token(json!({ "client_id": null, "sub": null }));
    let answer = lies(&nobody, "GET /orders");
    assert_eq!(answer.status, 200);
    for name in ["x-token-subject", "x-token-client"] {
        assert!(got(&answer, name).iter().all(String::is_empty), "{answer:?}");
    }
    assert_eq!(lies(&nobody, "GET /admin").status, 403, "X-Forwarded-Uri is the proxy's");
    assert_eq!(lies(&nobody, "POST /orders").status, 403, "X-Forwarded-Method is the proxy's");
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_passes_on_why_a_token_is_refused() {
    let Some(mut chain) = Chain::start(Issuer::start().await, RULES).await else { return };
    let answer = chain.send("GET /orders", &[]);
    assert_eq!(answer.status, 401, "{answer:?}");
    let [bearer, dpop] = answer.all("WWW-Authenticate")[..] else { panic!("{answer:?}") };
    assert_eq!(bearer, "Bearer realm=\"api\", scope=\"orders orders:read\"");
    assert!(dpop.starts_with("DPoP realm=\"api\""), "{dpop}");
    let long_ago = chain.issuer.token(json!({ "exp": 1_700_000_000 }));
    let good = chain.issuer.token(json!({}));
    for token in [long_ago.as_str(), "opaque"] {
        let answer = chain.send_with("GET /orders", token);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.all("WWW-Authenticate")[0].contains("error=\"invalid_token\""));
    }
    let answer = chain.send_with("POST /orders", &good);
    assert_eq!(answer.status, 403);
    assert!(answer.all("WWW-Authenticate")[0].contains("insufficient_scope"));
    drop(chain.verify.take());
    let answer = chain.send_with("GET /orders", &good);
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_writing_a_path_evades_a_rule_behind_caddy() {
    let rules = format!("{RULES}\n[[rules]]\npath = \"/\"\n");
    let Some(chain) = Chain::start(Issuer::start().await, &rules).await else { return };
    let good = chain.issuer.token(json!({}));
    for path in ["/public/x", "/public//x", "/elsewhere", "/caf%C3%A9"] {
        assert_eq!(chain.send_with(&format!("GET {path}"), &good).status, 200, "{path}");
    }
    for path in [
        "/admin",
        "//admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..;/admin",
        "/public%2f..%2fadmin",
        "/public/..%5cadmin",
        "/public/%252e%252e/admin",
        "/ADMIN",
        "/%61dmin",
        "/admin;x=/public",
        "/./admin",
        "/admin?/public",
        "/admin%3f/public",
    ] {
        let answer = chain.send_with(&format!("GET {path}"), &good);
        assert!(matches!(answer.status, 308 | 400 | 403), "{path}: {answer:?}");
    }
}
