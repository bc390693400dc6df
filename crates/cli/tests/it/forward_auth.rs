//! `tokenry verify`: an issuer that signs whatever a test wants, the process, and what it answers each proxy.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::routing::get;
use serde_json::{Value, json};
use tokenry_core::dpop::{ProofKey, Purpose};
use tokenry_core::jose::{self, Algorithm, SigningKey};
use tokenry_server::{Clock as _, SystemClock};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const API: &str = "https://api.example";

/// An issuer whose keys are published over plain HTTP on this machine.
pub(crate) struct Issuer {
    key: SigningKey,
    pub(crate) jwks_uri: String,
}

pub(crate) fn key() -> SigningKey {
    let der = jose::generate(Algorithm::Es256).unwrap();
    SigningKey::from_pkcs8(Algorithm::Es256, der.as_bytes()).unwrap()
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let key = key();
        let set = format!(r#"{{"keys":[{}]}}"#, key.public_jwk().to_json());
        let router = axum::Router::new().route("/jwks", get(async move || set));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_uri = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { key, jwks_uri }
    }

    /// One whose keys nobody can have.
    pub(crate) fn unreachable() -> Self {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { key: key(), jwks_uri: format!("http://{closed}/jwks") }
    }

    /// A token with these claims besides, or instead of, those of a good one; `null` takes one away.
    pub(crate) fn token(&self, claims: Value) -> String {
        let now = SystemClock.now().as_secs();
        let mut all = json!({
            "iss": ISSUER, "aud": API, "sub": "alice", "client_id": "shop", "jti": "j-1",
            "iat": now, "exp": now + 300, "scope": "orders orders:read",
        });
        let members = all.as_object_mut().unwrap();
        for (name, value) in claims.as_object().unwrap() {
            match value {
                Value::Null => drop(members.remove(name)),
                value => drop(members.insert(name.clone(), value.clone())),
            }
        }
        let mut token = String::new();
        let header = self.key.header("at+jwt");
        self.key.sign_compact(&header, all.to_string().as_bytes(), &mut token).unwrap();
        token
    }

    /// `verify.toml` for a proxy, with this besides.
    pub(crate) fn config(&self, kind: &str, more: &str) -> String {
        format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
threads = 1

[proxy]
kind = "{kind}"

[[issuers]]
issuer = "{ISSUER}"
audiences = ["{API}"]
jwks_uri = "{}"
allow_plain_http = true

{more}"#,
            self.jwks_uri
        )
    }
}

/// A proof of a key for one request.
pub(crate) fn proof(
    key: &ProofKey,
    method: &str,
    url: &str,
    token: &str,
    nonce: Option<&str>,
) -> String {
    let purpose = Purpose { method, url, access_token: Some(token), nonce };
    let random = tokenry_server::random().unwrap();
    key.make(&purpose, SystemClock.now(), random).unwrap()
}

/// The process; it ends with this value.
pub(crate) struct Verify {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
}

impl Verify {
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("verify.toml"), config).unwrap();
        Self::run(folder, &["--config", "verify.toml"])
    }

    pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Self {
        Self::run_at("debug", folder, arguments)
    }

    fn run_at(log_level: &str, folder: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(folder.join("verify.log")).unwrap();
        let mut child = crate::run::command(folder, &["verify", "--output", "json"])
            .args(arguments)
            .env("TOKENRY_LOG", log_level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!(
                "it did not start: {}",
                std::fs::read_to_string(folder.join("verify.log")).unwrap()
            )
        });
        let address = |name: &str| {
            let url = said[name].as_str()?;
            Some(url.trim_start_matches("http://").parse().unwrap())
        };
        Self { child, address: address("listening").unwrap(), admin: address("admin") }
    }

    /// Sends a request as a proxy does.
    pub(crate) fn ask(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        Answer::of(TcpStream::connect(self.address).unwrap(), line, headers)
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Verify {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Sends a request, its target byte for byte as written, and reads what comes.
    pub(crate) fn of(
        mut stream: impl std::io::Read + std::io::Write,
        line: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request =
            format!("{line} HTTP/1.1\r\nHost: api.example\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let named = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }

    /// The value of a header that stands there once.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("not one {name}: {}", self.head) };
        value
    }
}

/// How each proxy asks about a request.
fn question<'a>(
    kind: &str,
    method: &'a str,
    uri: &'a str,
    authorization: &'a str,
) -> (String, Vec<(&'a str, &'a str)>) {
    let mut headers = vec![("Authorization", authorization)];
    let line = match kind {
        "envoy" => return (format!("{method} /verify{uri}"), headers),
        "nginx" => {
            headers.extend([("X-Original-Method", method), ("X-Original-URI", uri)]);
            "GET /_token"
        }
        _ => {
            headers.extend([("X-Forwarded-Method", method), ("X-Forwarded-Uri", uri)]);
            headers.extend([("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "api.example")]);
            "GET /"
        }
    };
    (line.to_owned(), headers)
}

pub(crate) const RULES: &str = r#"
[api]
scopes = ["orders"]

[dpop]
resource_urls = ["https://api.example"]

[[rules]]
path = "/public"

[[rules]]
path = "/orders"
methods = ["GET"]
scopes = ["orders:read"]

[[rules]]
path = "/orders"
methods = ["POST"]
scopes = ["orders:write"]

[[rules]]
path = "/admin"
scopes = ["admin"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_proxy_is_answered_about_the_request_that_it_was_asked() {
    let issuer = Issuer::start().await;
    let good = format!("Bearer {}", issuer.token(json!({})));
    for kind in ["nginx", "traefik", "caddy", "envoy"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = issuer.config(kind, RULES);
        if kind == "envoy" {
            config =
                config.replace("kind = \"envoy\"", "kind = \"envoy\"\npath_prefix = \"/verify\"");
        }
        let verify = Verify::start(folder.path(), &config);
        let ask = |method, uri, authorization| {
            let (line, headers) = question(kind, method, uri, authorization);
            verify.ask(&line, &headers)
        };
        let answer = ask("GET", "/orders/7?a=b", &good);
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        for (name, value) in [
            ("X-Token-Issuer", ISSUER),
            ("X-Token-Subject", "alice"),
            ("X-Token-Client", "shop"),
            ("X-Token-Scope", "orders orders:read"),
        ] {
            assert_eq!(answer.one(name), value, "{kind}");
        }
        assert_eq!(answer.one("Cache-Control"), "no-store");
        let nginx = kind == "nginx";
        for (method, uri, status) in [
            ("HEAD", "/orders", 200),
            ("GET", "/public/x", 200),
            ("POST", "/orders", 403),
            ("DELETE", "/orders", 403),
            ("GET", "/admin", 403),
            ("GET", "/elsewhere", 403),
            ("GET", "/public/../admin", if nginx { 403 } else { 400 }),
            ("GET", "/ADMIN", if nginx { 403 } else { 400 }),
            ("get", "/orders", if nginx { 403 } else { 400 }),
        ] {
            assert_eq!(ask(method, uri, &good).status, status, "{kind} {method} {uri}");
        }
        let needed = "Bearer realm=\"api\", error=\"insufficient_scope\", \
                      error_description=\"the token does not allow this\", scope=\"orders orders:write\"";
        let answer = ask("POST", "/orders", &good);
        assert!(answer.all("WWW-Authenticate")[0].starts_with(needed), "{answer:?}");
        assert!(answer.all("X-Token-Subject").is_empty());
        let answer = ask("GET", "/orders", "Bearer a b");
        assert_eq!(answer.status, if nginx { 401 } else { 400 }, "{answer:?}");
        assert!(answer.all("WWW-Authenticate")[0].contains("error=\"invalid_request\""));
        // Whoever wants it to read something again must not end it.
        verify.signal("-HUP");
        assert_eq!(ask("GET", "/orders", &good).status, 200);
        assert_eq!(verify.end(), Some(0));
        let log = std::fs::read_to_string(folder.path().join("verify.log")).unwrap();
        assert!(log.contains("\"jti\":\"j-1\"") && log.contains("ended"), "{log}");
        assert!(!log.contains(&good[20..]), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_proxy_does_not_say_is_not_taken_from_the_client() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let verify = Verify::start(folder.path(), &issuer.config("traefik", RULES));
    let good = format!("Bearer {}", issuer.token(json!({})));
    let authorization = ("Authorization", good.as_str());
    let answer = verify.ask(
        "GET /public",
        &[authorization, ("X-Original-Method", "GET"), ("X-Original-URI", "/public")],
    );
    assert_eq!(answer.status, 500);
    let forwarded = [
        authorization,
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/admin"),
        ("X-Forwarded-Uri", "/public"),
    ];
    assert_eq!(verify.ask("GET /", &forwarded).status, 400);
    assert_eq!(verify.ask("GET /", &forwarded[..3]).status, 403);
    let two = [forwarded[1], ("X-Forwarded-Uri", "/public"), authorization, authorization];
    let answer = verify.ask("GET /", &two);
    assert_eq!(answer.status, 400);
    assert!(answer.all("WWW-Authenticate")[0].contains("more than one authorization header"));
    let admin = |path: &str| {
        Answer::of(TcpStream::connect(verify.admin.unwrap()).unwrap(), &format!("GET {path}"), &[])
    };
    assert_eq!(admin("/health").status, 200);
    let ready = admin("/ready");
    assert_eq!((ready.status, ready.one("Content-Type")), (200, "application/json"));
    let metrics = admin("/metrics").body;
    for line in [
        "tokenry_verify_requests_total{status=\"400\"} 2",
        "tokenry_verify_requests_total{status=\"403\"} 1",
        "tokenry_verify_requests_total{status=\"500\"} 1",
        "tokenry_verify_ready 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/forward-auth.md");
    let document = std::fs::read_to_string(document).unwrap();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let told = ["`", "{"].iter().any(|end| document.contains(&format!("`{name}{end}")));
        assert!(told, "{name} stands in no table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_written_into_the_headers_that_the_file_names_or_the_request_is_refused() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let more = "[headers]\nX-User = \"sub\"\nX-Roles = \"/realm_access/roles\"\nX-Until = \"exp\"\n\n[cache]\nmax_age = \"5s\"\n";
    let verify = Verify::start(folder.path(), &issuer.config("envoy", more));
    let ask = |claims: Value| {
        let authorization = format!("Bearer {}", issuer.token(claims));
        verify.ask("GET /verify", &[("Authorization", &authorization)])
    };
    let exp = SystemClock.now().as_secs() + 200;
    let answer = ask(json!({ "realm_access": { "roles": ["a", "b"] }, "exp": exp }));
    assert_eq!(answer.status, 200);
    assert_eq!((answer.one("X-User"), answer.one("X-Roles")), ("alice", "a,b"));
    assert_eq!(answer.one("X-Until"), exp.to_string());
    assert_eq!(answer.one("Cache-Control"), "max-age=5");
    assert_eq!(answer.one("Vary"), "Authorization, DPoP");
    assert!(answer.all("X-Token-Subject").is_empty());
    // Always there, so that a proxy that overwrites the client's has something to overwrite it with.
    assert_eq!(ask(json!({})).one("X-Roles"), "");
    for unwritable in [
        json!({ "sub": "al\u{ee}ce" }),
        json!({ "sub": "alice\r\nX-User: root" }),
        json!({ "realm_access": { "roles": ["a,b"] } }),
        json!({ "sub": "a".repeat(4000) }),
    ] {
        let answer = ask(unwritable);
        assert_eq!(answer.status, 403);
        assert!(answer.all("X-User").is_empty(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_several_issuers_are_good_each_by_its_own_keys() {
    let (one, other) = (Issuer::start().await, Issuer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "[[issuers]]\nissuer = \"https://other.example\"\naudiences = [\"legacy\"]\njwks_uri = \"{}\"\nallow_plain_http = true\n",
        other.jwks_uri
    );
    let verify = Verify::start(folder.path(), &one.config("envoy", &more));
    let ask = |token: String| {
        verify.ask("GET /", &[("Authorization", &format!("Bearer {token}"))]).status
    };
    let of_other = json!({ "iss": "https://other.example", "aud": "legacy" });
    assert_eq!(ask(one.token(json!({}))), 200);
    assert_eq!(ask(other.token(of_other.clone())), 200);
    assert_eq!(ask(one.token(of_other)), 401, "signed by another");
    assert_eq!(ask(other.token(json!({ "iss": "https://other.example" }))), 401, "for another");
    assert_eq!(ask(one.token(json!({ "iss": "https://third.example" }))), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_of_each_issuer_whether_its_tokens_can_be_let_in() {
    let (up, down) = (Issuer::start().await, Issuer::unreachable());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "sesame").unwrap();
    // Its feed is nowhere, so that nobody knows what was revoked.
    let lost = "[issuers.feed]\nclient_id = \"api\"\nclient_secret = { file = \"secret\" }\nendpoint = \"http://127.0.0.1:1/\"\nwhen_behind = \"refuse\"\n";
    let other = format!(
        "[[issuers]]\nissuer = \"https://other.example\"\naudiences = [\"b\"]\njwks_uri = \"{}\"\nallow_plain_http = true\n",
        down.jwks_uri
    );
    for (more, is_ready) in [(other.clone(), true), (format!("{lost}{other}"), false)] {
        let verify = Verify::start(folder.path(), &up.config("envoy", &more));
        let good = format!("Bearer {}", up.token(json!({})));
        let status = verify.ask("GET /", &[("Authorization", &good)]).status;
        assert_eq!(status, if is_ready { 200 } else { 503 });
        let admin = |path: &str| {
            let stream = TcpStream::connect(verify.admin.unwrap()).unwrap();
            Answer::of(stream, &format!("GET {path}"), &[])
        };
        assert_eq!(admin("/health").status, 200, "it answers, and is not to be restarted");
        let answer = admin("/ready");
        assert_eq!(answer.status, if is_ready { 200 } else { 503 }, "{answer:?}");
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["ready"], is_ready);
        let [first, second] = told["issuers"].as_array().unwrap().as_slice() else { panic!() };
        assert_eq!((&first["issuer"], &first["ready"]), (&json!(ISSUER), &json!(is_ready)));
        assert_eq!(first["feed"], if is_ready { json!(null) } else { json!("lost") });
        assert_eq!((&second["ready"], &second["keys"]), (&json!(false), &json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_do_not_fill_the_log_and_are_counted() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("verify.toml"), issuer.config("envoy", "")).unwrap();
    let verify = Verify::run_at("info", folder.path(), &["--config", "verify.toml"]);
    let long_ago = format!("Bearer {}", issuer.token(json!({ "exp": 1_700_000_000 })));
    assert_eq!(verify.ask("GET /", &[("Authorization", &long_ago)]).status, 401);
    for _ in 0..200 {
        assert_eq!(verify.ask("GET /", &[("Authorization", "Bearer garbage")]).status, 401);
    }
    assert_eq!(verify.end(), Some(0));
    let log = std::fs::read_to_string(folder.path().join("verify.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = |line: &&Value| line["message"] == "refused";
    let first = lines.iter().find(refused).unwrap();
    assert_eq!((&first["jti"], &first["client"]), (&json!("j-1"), &json!("shop")), "{first}");
    let written = lines.iter().filter(refused).count() as u64;
    let counted = lines.iter().filter_map(|line| line["requests"].as_u64()).sum::<u64>();
    assert!(written < 201 && written + counted == 201, "{written} lines and {counted} counted");
}

#[test]
fn what_is_not_to_be_is_said_before_a_port_is_bound() {
    let place = crate::run::Place::empty();
    let flags = ["verify", "--proxy", "nginx", "--issuer", ISSUER, "--audience", API, "--listen"];
    let with = |listen: &'static str| {
        let mut all = flags.to_vec();
        all.push(listen);
        crate::run::run(crate::run::command(&place.path(""), &all), "")
    };
    with("0.0.0.0:0").bad("is no address of this machine alone");
    let nothing = place.run(["verify"]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("neither --issuer nor --config"), "{nothing:#?}");
    assert_eq!(place.run(["verify", "--issuer", ISSUER, "--audience", API]).code, Some(2));
    assert_eq!(place.run(["verify", "--issuer", ISSUER, "--proxy", "nginx"]).code, Some(2));
    place.write("verify.toml", "[proxy]\nkind = \"ngix\"\n[[rules]]\npath = \"/a/../b\"\n");
    let ran = place.run(["verify", "--config", "verify.toml"]).bad("did you mean `nginx`?");
    assert!(
        ran.err.contains("issuers is missing") && ran.err.contains("path must be"),
        "{}",
        ran.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_proofs_are_required_no_bearer_token_is_good() {
    let issuer = Issuer::start().await;
    let good = format!("Bearer {}", issuer.token(json!({})));
    for (more, status) in [("", 200), ("\nrequired = true", 401)] {
        let folder = tempfile::tempdir().unwrap();
        let rules = RULES.replace("[dpop]", &format!("[dpop]{more}"));
        let verify = Verify::start(folder.path(), &issuer.config("nginx", &rules));
        let (line, headers) = question("nginx", "GET", "/orders", &good);
        assert_eq!(verify.ask(&line, &headers).status, status, "{more}");
    }
}
