//! The admin API of a running server, behind our own verifier.

use std::process::Command;

use serde_json::{Value, json};

use crate::run::Place;
use crate::server::Server;

const REALM: &str = r#"
[realm]
name = "ops"
issuer = "https://localhost:8443"
scopes = ["tokenry:read", "tokenry:write", "other"]

[[realm.clients]]
id = "writer"
grants = ["client_credentials"]
scope = ["tokenry:read", "tokenry:write"]
audience = ["tokenry-admin"]

[[realm.clients]]
id = "reader"
grants = ["client_credentials"]
scope = ["tokenry:read"]
audience = ["tokenry-admin"]

[[realm.clients]]
id = "unscoped"
grants = ["client_credentials"]
scope = ["other"]
audience = ["tokenry-admin"]

[[realm.clients]]
id = "elsewhere"
grants = ["client_credentials"]
scope = ["tokenry:read", "tokenry:write"]
audience = ["another-api"]
"#;

const API: &str = "\n[admin.api]\nrealm = \"ops\"\naudience = \"tokenry-admin\"\n";

const BILLING: &str = "/admin/realms/ops/clients/billing";

/// An installation whose admin API is open to tokens of realm `ops`.
fn place() -> Place {
    let place = Place::new();
    let config = place.read("tokenry.toml") + API;
    place.write("tokenry.toml", &config);
    place.write("realm.toml", REALM);
    place.run(["apply", "realm.toml"]).good();
    for client in ["writer", "reader", "unscoped", "elsewhere"] {
        place.run(["client", "secret", "add", "ops", client, "--to", client]).good();
    }
    place
}

/// What curl got.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lower case.
    headers: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// That it is a problem document with this challenge.
    #[track_caller]
    fn denied(&self, status: u16, challenge: &str) {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(self.headers.contains("content-type: application/problem+json\r\n"), "{self:#?}");
        assert!(self.headers.contains(&format!("www-authenticate: {challenge}")), "{self:#?}");
        assert_eq!(self.json()["status"], status);
    }
}

fn curl(place: &Place, arguments: &[&str]) -> Answer {
    let output = Command::new("curl")
        .args(["-s", "-i", "--cacert", "ca.pem"])
        .args(arguments)
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{output:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: head.to_lowercase() + "\r\n", body: body.to_owned() }
}

/// An endpoint of the realm, as the client.
fn as_client(place: &Place, server: &Server, client: &str, path: &str, form: &str) -> Answer {
    let url = format!("https://{}{path}", server.address.replace("127.0.0.1", "localhost"));
    let id = format!("client_id={client}");
    let secret = format!("client_secret@{client}");
    curl(place, &["-d", &id, "--data-urlencode", &secret, "-d", form, &url])
}

fn token(place: &Place, server: &Server, client: &str) -> String {
    let answer = as_client(place, server, client, "/token", "grant_type=client_credentials");
    let json = answer.json();
    json["access_token"].as_str().unwrap_or_else(|| panic!("{answer:#?}")).to_owned()
}

/// A request to the admin listener, with a token if there is one.
fn admin(
    place: &Place,
    server: &Server,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let url = format!("http://{}{path}", server.admin);
    let authorization = format!("authorization: Bearer {token}");
    let mut arguments = vec!["-X", method];
    if !token.is_empty() {
        arguments.extend(["-H", &authorization]);
    }
    if !body.is_empty() {
        arguments.extend(["-H", "content-type: application/json", "-d", body]);
    }
    arguments.push(&url);
    curl(place, &arguments)
}

#[test]
fn row_301_row_302_only_a_token_for_it_opens_the_admin_api() {
    let place = place();
    let server = Server::start(&place);
    let [writer, reader, unscoped, elsewhere] =
        ["writer", "reader", "unscoped", "elsewhere"].map(|client| token(&place, &server, client));
    let ask = |token: &str, method: &str| {
        let body = if method == "PUT" { r#"{"grants":["client_credentials"]}"# } else { "" };
        admin(&place, &server, token, method, BILLING, body)
    };
    const INVALID: &str = "bearer realm=\"tokenry admin\", error=\"invalid_token\"";
    const SCOPE: &str = "bearer realm=\"tokenry admin\", error=\"insufficient_scope\"";
    for method in ["GET", "PUT", "DELETE"] {
        let nobody = ask("", method);
        nobody.denied(401, "bearer realm=\"tokenry admin\"");
        assert!(!nobody.headers.contains("error="), "{nobody:#?}");
        ask("ey.ey.ey", method).denied(401, INVALID);
        ask(&writer[..writer.len() - 8], method).denied(401, INVALID);
        ask(&elsewhere, method).denied(401, INVALID);
        ask(&unscoped, method).denied(403, SCOPE);
    }
    ask(&reader, "PUT").denied(403, SCOPE);
    assert_eq!(ask(&reader, "GET").status, 404);
    assert_eq!(ask(&writer, "PUT").status, 201);
    assert_eq!(ask(&reader, "GET").status, 200);
    let health = admin(&place, &server, "", "GET", "/health", "");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    // The other listener has no such thing, and OAuth's own errors.
    let url = format!("https://{}/admin/realms", server.address.replace("127.0.0.1", "localhost"));
    let other = curl(&place, &[&url]);
    assert_eq!((other.status, other.json()), (404, json!({ "error": "not_found" })));
    let wrong = as_client(&place, &server, "writer", "/token", "grant_type=x");
    assert_eq!((wrong.status, wrong.json()), (400, json!({ "error": "unsupported_grant_type" })));
    assert!(wrong.headers.contains("content-type: application/json\r\n"), "{wrong:#?}");
}

#[test]
fn row_302_a_token_that_was_revoked_or_whose_client_was_disabled_opens_nothing() {
    let place = place();
    let server = Server::start(&place);
    let ask = |token: &str| admin(&place, &server, token, "GET", "/admin/realms", "");
    let (first, second) = (token(&place, &server, "writer"), token(&place, &server, "writer"));
    assert_eq!((ask(&first).status, ask(&second).status), (200, 200));
    let form = format!("token={first}");
    assert_eq!(as_client(&place, &server, "writer", "/revoke", &form).status, 200);
    let refused = ask(&first);
    refused.denied(401, "bearer realm=\"tokenry admin\", error=\"invalid_token\"");
    assert_eq!(refused.json()["detail"], "the token was revoked");
    assert_eq!(ask(&second).status, 200);
    // Through the API itself, which this node knows of at once.
    let disable = r#"{"grants":["client_credentials"],"enabled":false}"#;
    let path = "/admin/realms/ops/clients/writer";
    assert_eq!(admin(&place, &server, &second, "PUT", path, disable).status, 200);
    ask(&second).denied(401, "bearer realm=\"tokenry admin\", error=\"invalid_token\"");
}

#[test]
fn row_303_row_304_a_client_is_registered_used_and_removed_and_the_log_says_by_whom() {
    let place = place();
    let config = place.read("tokenry.toml").replace("format = \"text\"", "format = \"json\"");
    place.write("tokenry.toml", &config);
    let server = Server::start(&place);
    let writer = token(&place, &server, "writer");
    let reader = token(&place, &server, "reader");
    let ask = |method: &str, path: &str, body: &str| {
        admin(&place, &server, &writer, method, &format!("{BILLING}{path}"), body)
    };
    let body = r#"{"grants":["client_credentials"],"scope":["other"],"access":"1m"}"#;
    assert_eq!(ask("PUT", "", body).status, 201);
    let secret = ask("POST", "/secrets", r#"{"label":"blue","expires_in":"1d"}"#).json();
    let (text, id) = (secret["secret"].as_str().unwrap(), secret["credential"].as_str().unwrap());
    place.write("billing", text);
    let issued = token(&place, &server, "billing");
    let shown = ask("GET", "", "");
    assert!(shown.body.contains("\"blue\"") && !shown.body.contains(text), "{shown:#?}");
    // The command line sees what the API has made, and the other way round.
    let list = place.run(["client", "secret", "list", "ops", "billing", "--output", "json"]).good();
    assert!(list.out.contains(id) && !list.out.contains(text), "{}", list.out);
    assert_eq!(ask("POST", "/revoke", "").status, 200);
    assert_eq!(ask("PUT", "", r#"{"grants":["canary"]}"#).status, 422);
    admin(&place, &server, &reader, "DELETE", BILLING, "").denied(403, "bearer");
    assert_eq!(ask("DELETE", &format!("/credentials/{id}"), "").status, 204);
    assert_eq!(ask("DELETE", "", "").status, 204);
    let refused = as_client(&place, &server, "billing", "/token", "grant_type=client_credentials");
    assert_eq!(refused.status, 401);

    let (_, log) = server.end();
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audit: Vec<&Value> = lines.iter().filter(|l| l["message"] == "administration").collect();
    let told: Vec<_> = audit
        .iter()
        .map(|line| {
            assert_eq!((&line["admin"], &line["level"]), (&json!("writer"), &json!("INFO")));
            assert_eq!((&line["realm"], &line["client"]), (&json!("ops"), &json!("billing")));
            assert!(line["jti"].is_string() && line["request_id"].is_string(), "{line}");
            (line["action"].as_str().unwrap(), line["outcome"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("put_client", "created"),
        ("add_secret", "created"),
        ("revoke_client", "revoked"),
        ("put_client", "refused"),
        ("remove_credential", "removed"),
        ("remove_client", "removed"),
    ];
    assert_eq!(told, expected);
    assert_eq!((&audit[1]["credential"], &audit[4]["credential"]), (&json!(id), &json!(id)));
    let denied = lines.iter().find(|line| line["message"] == "administration denied").unwrap();
    assert_eq!(denied["status"], 403);
    for hidden in [text, &text[12..], &writer, &reader, &issued, "canary"] {
        assert!(!log.contains(hidden), "{log}");
    }
}

#[test]
fn without_a_realm_for_it_the_admin_api_is_closed() {
    let place = Place::applied();
    let server = Server::start(&place);
    let closed = admin(&place, &server, "x", "GET", "/admin/realms", "");
    assert_eq!(closed.status, 404);
    assert!(closed.headers.contains("application/problem+json"), "{closed:#?}");
    drop(server);
    // A realm that is not there yet, and comes while the server runs.
    let config = place.read("tokenry.toml") + API;
    place.write("tokenry.toml", &config);
    let warning = "the admin API wants tokens of realm `ops`, which does not exist";
    assert!(place.run(["check"]).good().err.contains(warning));
    let server = Server::start(&place);
    let ask = |token: &str| admin(&place, &server, token, "GET", "/admin/realms", "");
    let closed = ask("x");
    assert_eq!(closed.status, 503);
    assert!(closed.headers.contains("retry-after: 1\r\n"), "{closed:#?}");
    let realm = REALM.replace("https://localhost:8443", "https://localhost:8443/ops");
    place.write("ops.toml", &realm);
    place.run(["apply", "ops.toml"]).good();
    // The server makes the realm's keys meanwhile; who meets that is told to run the command again.
    let add = ["client", "secret", "add", "ops", "writer", "--to", "writer"];
    let added =
        (0..100).map(|_| place.run(add)).find(|run| !run.err.contains("run the command again"));
    added.unwrap().good();
    let obtained = (0..500).find_map(|_| {
        let form = "grant_type=client_credentials";
        let answer = as_client(&place, &server, "writer", "/ops/token", form);
        answer.json()["access_token"].as_str().map(str::to_owned)
    });
    assert_eq!(ask(&obtained.unwrap()).status, 200);
    ask("x").denied(401, "bearer");
}

#[test]
fn an_admin_api_that_cannot_be_or_would_be_overheard_is_refused() {
    let place = Place::applied();
    let config = place.read("tokenry.toml");
    let check = |change: &dyn Fn(String) -> String| {
        place.write("tokenry.toml", &change(config.clone() + API));
        place.run(["check"])
    };
    let without = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with("admin ="));
        lines.collect::<Vec<_>>().join("\n")
    };
    check(&without).bad("the admin API has no address");
    let open = |text: String| text.replace("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"");
    check(&open).bad("the admin API speaks plain HTTP, also on `0.0.0.0:0`");
    check(&|text| text.replace("realm = \"ops\"", "realm = \"a b\"")).bad("the name of a realm");
    check(&|text| text.replace("audience = \"tokenry-admin\"", "")).bad("audience is missing");
    for scope in ["", "a b", "ü"] {
        let text = format!("read_scope = \"{scope}\"\n");
        check(&|config| config + &text).bad("read_scope must be one scope");
    }
    let ran = check(&|text| text.replace("\"ops\"", "\"example\"")).good();
    assert!(ran.err.contains("the admin API needs scope `tokenry:read`"), "{}", ran.err);
    assert!(ran.err.contains("the admin API needs scope `tokenry:write`"), "{}", ran.err);
}
