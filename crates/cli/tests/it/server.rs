//! The server as a process, and tokens from it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::run::{Place, Ran, run};

/// A server that runs, and is ended with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Where it listens: address and port.
    pub(crate) address: String,
    pub(crate) admin: String,
}

impl Server {
    pub(crate) fn start(place: &Place) -> Self {
        Self::spawn(place.command(["serve", "--output", "json"]))
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let json: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("the server did not start: {text}")
        });
        let address =
            |name: &str| json[name].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        Self { child, address: address("listening"), admin: address("admin") }
    }

    /// Sends SIGTERM; gives the exit code and the log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process of ours that says when it is ready, and is ended with the test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listening"), "{line}");
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A token of the example realm, obtained as a newcomer would.
pub(crate) fn token(place: &Place, server: &Server, more: &[&str]) -> Ran {
    let connect_to = format!("localhost:8443:{}", server.address);
    let mut arguments = vec!["token", "--issuer", "https://localhost:8443", "--cacert", "ca.pem"];
    arguments.extend([
        "--client-id",
        "first",
        "--client-secret-file",
        "secret",
        "--connect-to",
        &connect_to,
    ]);
    arguments.extend(more);
    run(crate::run::command(&place.path(""), &arguments), "")
}

#[test]
fn a_newcomer_reaches_a_token_and_the_log_holds_no_secret() {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    let text = token(&place, &server, &[]).good().out;
    assert_eq!(text.matches('.').count(), 2, "{text}");
    let header = token(&place, &server, &["--header"]).good().out;
    assert!(header.starts_with("Authorization: Bearer ey"), "{header}");
    let json = token(&place, &server, &["--scope", "write", "--output", "json"]).good().json();
    assert_eq!(json["token_url"], "https://localhost:8443/token");

    token(&place, &server, &["--scope", "admin"]).bad("the client may not have scope `admin`");
    place.run(["init", "other"]).good();
    let other = place.read("other/ca.pem");
    let ca = place.read("ca.pem");
    place.write("ca.pem", &other);
    token(&place, &server, &[]).bad("its certificate is not from the authority in ca.pem");
    place.write("ca.pem", &ca);

    let secret = place.read("secret");
    place.write("secret", "tks_wrong");
    token(&place, &server, &[]).bad("the server refused the credentials: 401 invalid_client");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("listening") && log.contains("ended"), "{log}");
    for hidden in [secret.as_str(), text.trim(), "tks_wrong", place.read("master.key").trim()] {
        assert!(!log.contains(hidden), "{log}");
    }
}

#[test]
fn changes_reach_a_server_that_runs() {
    let place = Place::applied();
    let server = Server::start(&place);
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    // The server looks several times a second; each try is a process of its own.
    let obtained = (0..200).any(|_| token(&place, &server, &[]).code == Some(0));
    assert!(obtained);
    let health = format!("http://{}/health", server.admin);
    let health = Command::new("curl").args(["-s", &health]).output().unwrap();
    assert!(String::from_utf8_lossy(&health.stdout).contains("\"ok\""), "{health:?}");
}

#[test]
#[cfg(unix)]
fn curl_gets_the_token_on_its_standard_input_and_in_no_argument() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    std::fs::create_dir(place.path("bin")).unwrap();
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\ncat > input\nexit 22\n";
    place.write("bin/curl", script);
    std::fs::set_permissions(place.path("bin/curl"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    let connect_to = format!("localhost:8443:{}", server.address);
    let curl = |url: &str| {
        let mut command = place.command([
            "curl",
            "--issuer",
            "https://localhost:8443",
            "--cacert",
            "ca.pem",
            "--client-id",
            "first",
            "--client-secret-file",
            "secret",
            "--connect-to",
            &connect_to,
            "--",
            "-v",
            url,
        ]);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", place.path("bin").display()));
        run(command, "")
    };
    let ran = curl("https://api.example/x");
    assert_eq!(ran.code, Some(22), "the exit code is curl's: {ran:#?}");
    assert_eq!(place.read("arguments"), "--disable\n--config\n-\n-v\nhttps://api.example/x\n");
    let input = place.read("input");
    assert!(input.starts_with("header = \"Authorization: Bearer ey"), "{input}");
    assert!(input.contains("\ngloboff\n") && input.contains("cacert = \"ca.pem\"\n"), "{input}");
    let mut command = place.command([
        "curl",
        "--issuer",
        "https://localhost:8443",
        "--cacert",
        "ca.pem",
        "--client-id",
        "first",
        "--client-secret-file",
        "secret",
        "--connect-to",
        &connect_to,
        "--dpop",
        "--",
        "-d",
        "a=b",
        "https://api.example/x?y",
    ]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", place.path("bin").display()));
    assert_eq!(run(command, "").code, Some(22));
    let input = place.read("input");
    assert!(input.starts_with("header = \"Authorization: DPoP ey"), "{input}");
    let proof = input.split("header = \"DPoP: ").nth(1).unwrap().split('"').next().unwrap();
    let proof = tokenry_core::jose::jws::Compact::parse(proof).unwrap();
    let claim = |name| proof.unverified_claim(name).unwrap();
    assert_eq!((claim("htm"), claim("htu")), ("POST".into(), "https://api.example/x".into()));

    curl("evil.example:31760/x").bad("no URL that a token can be sent to");
    curl("--location-trusted").bad("is not passed on");
    curl("http://api.example/x").bad("a token does not travel in plain HTTP");
    curl("-d@-").bad("curl's standard input carries the token");
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_opens_as_many_files_as_it_may_and_warns_if_they_are_few() {
    let limit = |place: &Place, commands: &str| {
        let mut command = Command::new("sh");
        let script = format!("{commands}; exec \"$0\" serve --output json");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tokenry")]).current_dir(place.path(""));
        let server = Server::spawn(command);
        let limits =
            std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = files.split_whitespace().nth(3).unwrap().to_owned();
        (soft, server.end().1)
    };
    let place = Place::applied();
    let (soft, log) = limit(&place, "ulimit -Sn 100; ulimit -Hn 200");
    assert_eq!(soft, "200", "{log}");
    let warning = "this process may open 200 files, too few for 10000 connections";
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(warning)), "{log}");
    let config = place.read("tokenry.toml");
    place.write(
        "tokenry.toml",
        &config.replace("# max_connections = 10000 ", "max_connections = 100 # "),
    );
    let (_, log) = limit(&place, "ulimit -Sn 100; ulimit -Hn 200");
    assert!(!log.contains("too few"), "{log}");
}

#[test]
fn ports_in_use_are_named_both() {
    let place = Place::applied();
    let taken =
        [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let mut config = place.read("tokenry.toml");
    for listener in &taken {
        config = config.replacen(
            "\"127.0.0.1:0\"",
            &format!("\"{}\"", listener.local_addr().unwrap()),
            1,
        );
    }
    place.write("tokenry.toml", &config);
    let ran = place.run(["serve"]).bad("is in use by another process");
    for (listener, at) in taken.iter().zip(["tokenry.toml:4:10", "tokenry.toml:5:9"]) {
        let expected =
            format!("{at}: {} is in use by another process", listener.local_addr().unwrap());
        assert!(ran.err.contains(&expected), "{}", ran.err);
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named_before_a_port_is_bound() {
    let place = Place::applied();
    let key = place.read("server.key");
    place.write("server.key", "nonsense");
    place.run(["serve"]).bad("tokenry.toml:11:7: the key file holds no PEM private key");
    place.write("server.key", &key);
    place.write("server.pem", "nonsense");
    place.run(["serve"]).bad("tokenry.toml:10:15: the certificate file holds no PEM certificate");
    std::fs::copy(place.path("ca.pem"), place.path("server.pem")).unwrap();
    place.run(["serve"]).bad("certificate and key cannot be used");
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let place = Place::applied();
    let mut command = place.command(["serve"]);
    command.env("TOKENRY_LOG", "inof");
    run(command, "").bad("TOKENRY_LOG must be `error`, `warn`");
}

#[test]
fn a_token_that_cannot_be_had_says_why() {
    let place = Place::applied();
    place.write("secret", "tks_x");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let url = format!("https://{closed}/token");
    let token = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["token"].iter().chain(arguments).copied().collect();
        run(crate::run::command(&place.path(""), &arguments), "")
    };
    let credentials = ["--client-id", "first", "--client-secret-file", "secret"];
    let with = |more: &[&'static str]| -> Vec<String> {
        more.iter().chain(&credentials).map(|text| (*text).to_owned()).collect()
    };
    let mut arguments = with(&["--cacert", "ca.pem", "--token-url"]);
    arguments.insert(3, url.clone());
    token(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        .bad("cannot connect to 127.0.0.1");
    token(&["--token-url", &url]).bad("--client-id or --username is missing");
    token(&["--provider", "truphon", "--client-id", "x", "--client-secret-file", "secret"])
        .bad("did you mean `truphone`?");
    token(&["--provider", "./nowhere.toml", "--client-id", "x", "--client-secret-file", "secret"])
        .bad("./nowhere.toml: ");
    token(&[
        "--token-url",
        "http://auth.example/token",
        "--client-id",
        "x",
        "--client-secret-file",
        "secret",
    ])
    .bad("http");
    token(&["--token-url", &url, "--client-id", "x", "--client-secret-file", "nowhere"])
        .bad("the client's secret cannot be read from nowhere: no such file");
    assert_eq!(token(&["--client-id", "x"]).code, Some(2));
    assert_eq!(token(&["--token-url", &url, "--issuer", "https://a.example"]).code, Some(2));
}

#[test]
fn a_client_is_disabled_enabled_and_revoked_while_the_server_runs() {
    let place = Place::new();
    let realm = place.read("realm.toml").replace(
        "# refresh = { lifetime = \"24h\", policy = \"rotate\", grace = \"30s\" }",
        "refresh = { lifetime = \"24h\", client_credentials = true }",
    );
    place.write(
        "realm.toml",
        &realm.replace("[\"client_credentials\"]", "[\"client_credentials\", \"refresh_token\"]"),
    );
    place.run(["apply", "realm.toml"]).good();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    // Status, and the refresh token where there is one.
    let post = |form: &str| -> (String, String) {
        let url = format!("https://{}/token", server.address.replace("127.0.0.1", "localhost"));
        let output = Command::new("curl")
            .args(["-s", "--cacert", "ca.pem", "-w", "\n%{http_code}", "-d", "client_id=first"])
            .args(["--data-urlencode", "client_secret@secret", "-d", form, &url])
            .current_dir(place.path(""))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let json: Value = serde_json::from_str(body).unwrap();
        (status.to_owned(), json["refresh_token"].as_str().unwrap_or_default().to_owned())
    };
    let obtain = || post("grant_type=client_credentials");
    let refresh = |token: &str| post(&format!("grant_type=refresh_token&refresh_token={token}"));
    // A change is seen within a second; each try takes a while.
    let becomes = |status: &str| (0..500).any(|_| obtain().0 == status);
    let (status, first) = obtain();
    assert_eq!(status, "200");

    let command = |verb: &str| place.run(["client", verb, "example", "first", "--output", "json"]);
    let expected = |enabled: bool, changed: bool| serde_json::json!({ "realm": "example", "client": "first", "enabled": enabled, "changed": changed });
    assert_eq!(command("disable").good().json(), expected(false, true));
    assert_eq!(command("disable").good().json(), expected(false, false));
    assert!(becomes("401"));
    assert_eq!(refresh(&first).0, "401");
    assert_eq!(command("enable").good().json(), expected(true, true));
    assert!(becomes("200"));
    let (status, second) = refresh(&first);
    assert_eq!(status, "200");

    command("revoke").good();
    assert!((0..500).any(|_| refresh(&obtain().1).0 == "200"), "new ones are good");
    assert!((0..500).any(|_| refresh(&second).0 == "400"), "old ones are not");
    place.run(["client", "revoke", "example", "frist"]).bad("there is no client `frist`");
}
