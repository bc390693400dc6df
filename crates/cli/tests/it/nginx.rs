//! A real nginx with the recipe of `docs/forward-auth.md`, in front of an API that says what reaches it.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenry_core::dpop::ProofKey;

use crate::forward_auth::{API, Answer, ISSUER, Issuer, RULES, Verify, key, proof};

/// nginx, `tokenry verify` and an API, one behind the other.
struct Chain {
    folder: TempDir,
    issuer: Issuer,
    verify: Option<Verify>,
    nginx: Child,
}

impl Chain {
    /// `None` where there is no nginx, which is said, and is an error where the whole is tested.
    async fn start(issuer: Issuer, more: &str) -> Option<Self> {
        Self::start_with(issuer, more, recipe("nginx")).await
    }

    async fn start_with(issuer: Issuer, more: &str, recipe: String) -> Option<Self> {
        let program = find("nginx")?;
        let folder = tempfile::tempdir().unwrap();
        let verify = Verify::start(folder.path(), &issuer.config("nginx", more));
        let api = start_api().await;
        let server = with_certificate(folder.path(), &recipe)
            .replace("server 127.0.0.1:9180;", &format!("server {};", verify.address))
            .replace("http://127.0.0.1:8080", &format!("http://{api}"))
            .replace("listen 443 ssl;", "listen unix:nginx.sock;");
        let socket = folder.path().join("nginx.sock").display().to_string();
        let server = server.replace("unix:nginx.sock", &format!("unix:{socket}"));
        let nginx = start_nginx(&program, folder.path(), &server);
        Some(Self { folder, issuer, verify: Some(verify), nginx })
    }

    fn send(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = UnixStream::connect(self.folder.path().join("nginx.sock")).unwrap();
        Answer::of(stream, line, headers)
    }

    fn send_with(&self, line: &str, token: &str) -> Answer {
        self.send(line, &[("Authorization", &format!("Bearer {token}"))])
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// A program that comes with a package of its name. `None` where it is not there, which is said, and is an error where the
/// whole is tested.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has it where only root looks.
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        let missing = format!("there is no {name} (Debian: `apt-get install {name}`)");
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    found
}

/// The blocks of the documentation in a proxy's language.
fn blocks(language: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/forward-auth.md");
    let text = std::fs::read_to_string(document).unwrap();
    let start = format!("```{language}\n");
    let blocks = text.split(&start).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The recipe in a proxy's language.
pub(crate) fn recipe(language: &str) -> String {
    blocks(language).remove(0)
}

/// The same with a certificate that is there.
fn with_certificate(folder: &Path, recipe: &str) -> String {
    crate::run::run(crate::run::command(folder, &["init", "tls"]), "").good();
    let tls = folder.join("tls").display().to_string();
    recipe
        .replace("/etc/nginx/api.example.pem", &format!("{tls}/server.pem"))
        .replace("/etc/nginx/api.example.key", &format!("{tls}/server.key"))
}

/// All that stands around a server.
fn configuration(server: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n\
         {server} }}\n"
    )
}

/// Starts nginx and waits until it says that it has its sockets.
fn start_nginx(program: &Path, folder: &Path, server: &str) -> Child {
    std::fs::write(folder.join("nginx.conf"), configuration(server)).unwrap();
    let mut nginx = Command::new(program)
        .arg("-p")
        .arg(folder)
        .args(["-e", "stderr", "-c", "nginx.conf"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(nginx.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    // The event mechanism is told once the sockets are there.
    while !said.last().is_some_and(|line: &String| line.contains("event method")) {
        said.push(log.next().unwrap_or_else(|| panic!("nginx did not start: {said:#?}")));
    }
    // Somebody has to read on, or nginx would wait for it.
    std::thread::spawn(move || log.for_each(drop));
    nginx
}

/// An API that answers with what it was asked.
pub(crate) async fn start_api() -> std::net::SocketAddr {
    let router =
        axum::Router::new().fallback(async |method: Method, uri: Uri, headers: HeaderMap| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap_or("?")]))
                .collect();
            json!({ "method": method.as_str(), "uri": uri.to_string(), "headers": headers })
                .to_string()
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What the API got under a name.
pub(crate) fn got(answer: &Answer, name: &str) -> Vec<String> {
    let seen: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let headers = seen["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name);
    named.map(|header| header[1].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_behind_nginx_is_told_whose_token_it_is_and_not_what_the_client_says() {
    let Some(chain) = Chain::start(Issuer::start().await, RULES).await else { return };
    let lies = |token: &str, line: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Token-Issuer", "https://evil.example"),
            ("X-Token-Subject", "root"),
            ("X-Token-Subject", "root"),
            ("x-token-client", "root"),
            ("X_Token_Client", "root"),
            ("X-Token-Scope", "admin"),
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/public"),
        ];
        chain.send(line, &headers)
    };
    let answer = lies(&chain.issuer.token(json!({})), "GET /orders/7?a=%20b");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(got(&answer, "x-token-issuer"), [ISSUER]);
    assert_eq!(got(&answer, "x-token-subject"), ["alice"]);
    assert_eq!(got(&answer, "x-token-client"), ["shop"]);
    assert_eq!(got(&answer, "x-token-scope"), ["orders orders:read"]);
    assert!(answer.body.contains("\"uri\":\"/orders/7?a=%20b\""), "{answer:?}");
    // What the token does not say, nobody says.
    let nobody = chain.issuer.token(json!({ "client_id": null, "sub": null }));
    let answer = lies(&nobody, "GET /orders");
    assert_eq!(answer.status, 200);
    assert!(
        got(&answer, "x-token-subject").is_empty() && got(&answer, "x-token-client").is_empty()
    );
    assert!(got(&answer, "x_token_client").is_empty());
    assert_eq!(lies(&nobody, "GET /admin").status, 403, "X-Original-URI is the proxy's");
    assert_eq!(lies(&nobody, "POST /orders").status, 403, "X-Original-Method is the proxy's");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_on_why_a_token_is_refused() {
    let Some(chain) = Chain::start(Issuer::start().await, RULES).await else { return };
    let answer = chain.send("GET /orders", &[]);
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.one("WWW-Authenticate");
    assert!(
        challenge.starts_with("Bearer realm=\"api\", scope=\"orders orders:read\", DPoP realm")
    );
    assert!(!challenge.contains("error"), "{challenge}");
    assert_eq!(answer.one("Cache-Control"), "no-store");
    let long_ago = chain.issuer.token(json!({ "exp": 1_700_000_000 }));
    let other_api = chain.issuer.token(json!({ "aud": "https://other.example" }));
    let good = chain.issuer.token(json!({}));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    for (token, status, error) in [
        (long_ago.as_str(), 401, "invalid_token"),
        (&other_api, 401, "invalid_token"),
        (&forged, 401, "invalid_token"),
        ("opaque", 401, "invalid_token"),
        ("a b", 401, "invalid_request"),
    ] {
        let answer = chain.send_with("GET /orders", token);
        assert_eq!(answer.status, status, "{answer:?}");
        let challenge = answer.one("WWW-Authenticate");
        assert!(challenge.contains(&format!("error=\"{error}\"")), "{challenge}");
    }
    let answer = chain.send_with("POST /orders", &good);
    assert_eq!(answer.status, 403);
    let challenge = answer.one("WWW-Authenticate");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("orders:write"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_writing_a_path_evades_a_rule() {
    // What lies nowhere else is open to all that have a token: that is where a trick would lead.
    let rules = format!("{RULES}\n[[rules]]\npath = \"/\"\n");
    let Some(chain) = Chain::start(Issuer::start().await, &rules).await else { return };
    let good = chain.issuer.token(json!({}));
    for path in ["/public/x", "/public//x", "/elsewhere", "/administrator", "/caf%C3%A9"] {
        assert_eq!(chain.send_with(&format!("GET {path}"), &good).status, 200, "{path}");
    }
    for path in [
        "/admin",
        "/admin/",
        "//admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/..;/admin",
        "/public%2f..%2fadmin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public/%252e%252e/admin",
        "/admin/../public",
        "/ADMIN",
        "/%61dmin",
        "/admin;x=/public",
        "/admin%2fx",
        "/./admin",
        "/admin?/public",
        "/admin%3f/public",
    ] {
        let answer = chain.send_with(&format!("GET {path}"), &good);
        assert!(matches!(answer.status, 400 | 403), "{path}: {answer:?}");
    }
    let admin = chain.issuer.token(json!({ "scope": "orders admin" }));
    assert_eq!(chain.send_with("GET /admin/x", &admin).status, 200);
    assert_eq!(chain.send_with("GET http://evil.example/admin/x", &good).status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_key_passes_nginx_with_a_proof_for_the_address_that_clients_know() {
    let nonces = RULES.replace("[dpop]", "[dpop]\nnonces = true");
    let Some(chain) = Chain::start(Issuer::start().await, &nonces).await else { return };
    let holder = ProofKey::new(key()).unwrap();
    let token = chain.issuer.token(json!({ "cnf": { "jkt": holder.thumbprint() } }));
    let authorization = format!("DPoP {token}");
    let send = |line: &str, proof: &str| {
        chain.send(line, &[("Authorization", &authorization), ("DPoP", proof)])
    };
    let url = format!("{API}/orders/7");
    let answer = send("GET /orders/7", &proof(&holder, "GET", &url, &token, None));
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(
        answer.one("WWW-Authenticate").contains("DPoP realm=\"api\", error=\"use_dpop_nonce\"")
    );
    let nonce = answer.one("DPoP-Nonce").to_owned();
    let with = |method: &str, url: &str| proof(&holder, method, url, &token, Some(&nonce));
    let good = with("GET", &url);
    let answer = send("GET /orders/7?page=2", &good);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(got(&answer, "x-token-subject"), ["alice"]);
    for (line, proof) in [
        ("GET /orders/7", good),
        ("GET /orders/7", with("POST", &url)),
        ("GET /orders/8", with("GET", &url)),
        ("GET /orders/7", with("GET", "https://other.example/orders/7")),
    ] {
        let answer = send(line, &proof);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.one("WWW-Authenticate").contains("invalid_dpop_proof"), "{answer:?}");
    }
    assert_eq!(chain.send_with("GET /orders/7", &token).status, 401, "as a bearer token");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_or_anybody_to_ask_nginx_answers_503_and_when_to_come_again() {
    let Some(mut chain) = Chain::start(Issuer::unreachable(), "").await else { return };
    let token = chain.issuer.token(json!({}));
    let answer = chain.send_with("GET /orders", &token);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.one("Retry-After").parse::<u64>().unwrap() > 0);
    assert!(answer.all("WWW-Authenticate").is_empty());
    drop(chain.verify.take());
    let answer = chain.send_with("GET /orders", &token);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.one("Retry-After").parse::<u64>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_say_what_it_was_asked_is_answered_500() {
    let broken =
        recipe("nginx").replace("proxy_set_header        X-Original-URI    $request_uri;", "");
    let Some(chain) = Chain::start_with(Issuer::start().await, "", broken).await else { return };
    let answer = chain.send_with("GET /orders", &chain.issuer.token(json!({})));
    assert_eq!(answer.status, 500, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_passes_without_a_token_and_without_what_a_client_says_of_one() {
    let [recipe, lines, location] = &blocks("nginx")[..] else { panic!("three blocks") };
    let recipe =
        recipe.replace("    location / {\n", &format!("{location}\n    location / {{\n{lines}\n"));
    let Some(chain) = Chain::start_with(Issuer::start().await, RULES, recipe).await else { return };
    let lies = [("Authorization", "Bearer x"), ("X-Token-Subject", "root"), ("X-Token-Scope", "a")];
    let answer = chain.send("OPTIONS /orders", &lies);
    assert_eq!(answer.status, 200, "{answer:?}");
    for name in ["authorization", "x-token-subject", "x-token-scope"] {
        assert!(got(&answer, name).is_empty(), "{answer:?}");
    }
    assert_eq!(chain.send("GET /orders", &[]).status, 401);
    let good = chain.issuer.token(json!({}));
    assert_eq!(chain.send_with("GET /orders", &good).status, 200);
    assert_eq!(chain.send_with("POST /orders", &good).status, 403);
}

#[test]
fn the_recipe_loads_as_it_stands() {
    let Some(program) = find("nginx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("nginx.sock").display().to_string();
    let server = with_certificate(folder.path(), &recipe("nginx"))
        .replace("listen 443 ssl;", &format!("listen unix:{socket} ssl;"));
    std::fs::write(folder.path().join("nginx.conf"), configuration(&server)).unwrap();
    let mut nginx = Command::new(program);
    nginx.arg("-t").arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
    crate::run::run(nginx, "").good();
}

#[test]
fn the_recipe_overwrites_each_header_of_the_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify.toml");
    let example: toml::Table = std::fs::read_to_string(example).unwrap().parse().unwrap();
    let recipe = recipe("nginx");
    for name in example["headers"].as_table().unwrap().keys() {
        let variable = name.to_lowercase().replace('-', "_");
        assert!(recipe.contains(&format!("$upstream_http_{variable};")), "{name}");
        assert!(recipe.contains(&format!("proxy_set_header {name} ")), "{name}");
    }
}
