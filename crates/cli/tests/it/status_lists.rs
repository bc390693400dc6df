//! `tokenry verify` in front of tokens of `tokenry serve` that name a place in a status list.

use std::net::TcpStream;
use std::process::Command;

use crate::forward_auth::{Answer, Verify};
use crate::run::Place;
use crate::server::{Server, token};

const ISSUER: &str = "https://localhost:8443";

/// The example realm with status lists and without refresh tokens.
fn place() -> (Place, Server) {
    let place = Place::new();
    let realm =
        place.read("realm.toml").replace("[realm.tokens]", "[realm.tokens]\nstatus_list = true");
    place.write("realm.toml", &realm);
    place.run(["apply", "realm.toml"]).good();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    (place, server)
}

fn config(server: &Server) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"

[proxy]
kind = "caddy"

[[issuers]]
issuer = "{ISSUER}"
audiences = ["{ISSUER}"]
cacert = "ca.pem"
connect_to = ["localhost:8443:{}"]

[issuers.status_lists]

[[rules]]
path = "/"
"#,
        server.address
    )
}

fn ask(verify: &Verify, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.example"),
    ];
    verify.ask("GET /", &headers).status
}

fn metrics(verify: &Verify) -> String {
    let stream = TcpStream::connect(verify.admin.unwrap()).unwrap();
    Answer::of(stream, "GET /metrics", &[]).body
}

fn revoke(place: &Place, server: &Server, token: &str) {
    let url = format!("https://{}/revoke", server.address.replace("127.0.0.1", "localhost"));
    let form = format!("token={token}");
    let revoked = Command::new("curl")
        .args(["-s", "--fail-with-body", "--cacert", "ca.pem", "-d", "client_id=first"])
        .args(["--data-urlencode", "client_secret@secret", "-d", &form, &url])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(revoked.status.success(), "{revoked:?}");
}

#[test]
fn row_193_a_revoked_token_is_refused_by_whoever_fetches_the_list_then() {
    let (place, server) = place();
    let [doomed, other] = [(), ()]
        .map(|()| token(&place, &server, &["--scope", "write"]).good().out.trim().to_owned());
    let before = Verify::start(&place.path(""), &config(&server));
    assert_eq!([&doomed, &other].map(|token| ask(&before, token)), [200, 200]);
    revoke(&place, &server, &doomed);
    let after = Verify::start(&place.path(""), &config(&server));
    assert_eq!([&doomed, &other].map(|token| ask(&after, token)), [401, 200]);
    let metrics = metrics(&after);
    for line in [
        r#"tokenry_verify_status_lists{issuer="https://localhost:8443"} 1"#,
        r#"tokenry_verify_status_list_fetches_total{issuer="https://localhost:8443"} 1"#,
        r#"tokenry_verify_status_list_fetches_failed_total{issuer="https://localhost:8443"} 0"#,
        r#"tokenry_verify_status_list_refusals_total{issuer="https://localhost:8443"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
