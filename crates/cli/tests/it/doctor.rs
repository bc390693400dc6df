//! `tokenry doctor`: what is wrong with a token, found where it is.

use std::process::Output;

use serde_json::Value;

use crate::run::{Place, Ran, run};
use crate::running::{Running, tokenry};
use crate::server::{Server, token};

const TUINLY: &str = "https://oauth.tuinly.com";
const API: &str = "https://graphql.tuinly.com";

fn place() -> (Place, Server) {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    (place, server)
}

fn doctor(place: &Place, server: &Server, more: &[&str]) -> Ran {
    let connect_to = format!("localhost:8443:{}", server.address);
    let mut arguments = vec!["doctor", "--issuer", "https://localhost:8443", "--cacert", "ca.pem"];
    arguments.extend(["--connect-to", &connect_to]);
    arguments.extend(more);
    run(crate::run::command(&place.path(""), &arguments), "")
}

const CREDENTIALS: [&str; 4] = ["--client-id", "first", "--client-secret-file", "secret"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    CREDENTIALS.iter().chain(more).copied().collect()
}

/// The worst finding about something, and its text.
fn found(report: &Value, what: &str) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let of = findings.iter().filter(|finding| finding["what"] == what);
    let worst = of.max_by_key(|finding| text(&finding["verdict"]).replace("wrong", "~wrong"));
    let worst = worst.unwrap_or_else(|| panic!("nothing about {what}: {report:#}"));
    (text(&worst["verdict"]), text(&worst["text"]))
}

#[test]
fn a_good_token_is_found_good_and_is_not_shown() {
    let (place, server) = place();
    let ran = doctor(&place, &server, &with(&["--scope", "read", "--output", "json"])).good();
    let report = ran.json();
    for what in [
        "source",
        "connection",
        "token",
        "metadata",
        "clock",
        "key",
        "issuer",
        "expiry",
        "scope",
        "binding",
    ] {
        assert_eq!(found(&report, what).0, "ok", "{report:#}");
    }
    assert!(found(&report, "source").1.contains("client_secret_basic"));
    assert!(found(&report, "connection").1.contains("an authority in ca.pem"));
    assert!(found(&report, "token").1.contains("lives 5m"), "{report:#}");
    assert_eq!(report["token"]["claims"]["iss"], "https://localhost:8443");
    let text = doctor(&place, &server, &with(&["--dpop"])).good().out;
    assert!(text.contains("binding: to what we have") && text.contains("token: DPoP"), "{text}");
    for out in [ran.out, text] {
        assert!(!out.contains("eyJ"), "{out}");
    }
}

#[test]
fn a_token_from_a_file_is_looked_at_and_a_changed_one_is_found() {
    let (place, server) = place();
    let good = token(&place, &server, &[]).good().out;
    place.write("token", &good);
    let look = |more: &[&str]| {
        let more: Vec<&str> =
            ["--token-file", "token", "--output", "json"].iter().chain(more).copied().collect();
        doctor(&place, &server, &more)
    };
    assert_eq!(found(&look(&[]).good().json(), "key").0, "ok");
    let ran = look(&["--audience", "https://api.example"]);
    assert_eq!(ran.code, Some(1));
    assert!(found(&ran.json(), "audience").1.contains("not for `https://api.example`"));

    // Another signature, and another payload under the same one.
    let (input, signature) = good.trim().rsplit_once('.').unwrap();
    let other = token(&place, &server, &[]).good().out;
    place.write("token", &format!("{}.{signature}", other.trim().rsplit_once('.').unwrap().0));
    let ran = look(&[]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(
        found(&ran.json(), "key"),
        ("wrong".to_owned(), "the signature is not valid".to_owned())
    );
    place.write("token", &format!("{input}."));
    assert_eq!(look(&[]).code, Some(1));
    place.write("token", "tka_opaque");
    let report = look(&[]).good().json();
    assert!(found(&report, "type").1.contains("opaque"));
    assert_eq!(doctor(&place, &server, &[]).code, Some(1), "without credentials");
    assert_eq!(place.run(["doctor"]).code, Some(2), "without anything");
}

#[test]
fn what_keeps_a_token_from_being_had_is_a_finding() {
    let (place, server) = place();
    place.write("secret", "tks_wrong");
    let ran = doctor(&place, &server, &with(&["--output", "json"]));
    assert_eq!(ran.code, Some(1));
    let (verdict, text) = found(&ran.json(), "token");
    assert_eq!(verdict, "wrong");
    assert!(text.contains("401 invalid_client"), "{text}");
    assert!(!ran.out.contains("tks_wrong"));
}

fn ask(running: &Running, api: std::net::SocketAddr, more: &[&str]) -> (Option<i32>, Value) {
    let ca = running.ca().display().to_string();
    let to_issuer = format!("oauth.tuinly.com:443:{}", running.address);
    let to_api = format!("graphql.tuinly.com:443:{api}");
    let mut arguments = vec!["doctor", "--output", "json", "--provider", "tuinly", "--cacert", &ca];
    arguments.extend(["--connect-to", &to_issuer, "--connect-to", &to_api]);
    arguments.extend(["--client-id", "tuinly", "--client-secret-file", "tuinly.secret"]);
    arguments.extend(more);
    let Output { status, stdout, stderr } = tokenry(running.path(), &arguments);
    let json = serde_json::from_slice(&stdout);
    (status.code(), json.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_answers_is_explained() {
    let running = Running::start();
    let url = format!("{API}/graphql");
    let api = running.api(TUINLY).await;
    let (_, report) = ask(&running, api, &["--url", &url]);
    assert_eq!(
        found(&report, "api"),
        ("ok".to_owned(), "it answered 200: the token was let in".to_owned())
    );
    // An API of another issuer knows none of its keys.
    let api = running.api("https://services.truphone.com/auth/realms/tru-staff").await;
    let (code, report) = ask(&running, api, &["--url", &url]);
    assert_eq!(code, Some(1));
    let (verdict, text) = found(&report, "api");
    assert_eq!(verdict, "wrong");
    assert!(text.contains("401: invalid_token (the token is not valid)"), "{text}");
    // A host that the provider does not name gets nothing.
    let ca = running.ca().display().to_string();
    let elsewhere = [
        "doctor",
        "--provider",
        "tuinly",
        "--cacert",
        &ca,
        "--client-id",
        "tuinly",
        "--client-secret-file",
        "tuinly.secret",
        "--url",
        "https://evil.example/",
    ];
    let output = tokenry(running.path(), &elsewhere);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not go to"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_253_metadata_of_another_resource_are_told_and_not_used() {
    let running = Running::start();
    let url = format!("{API}/graphql");
    for (resource, verdict, text) in
        [(url.as_str(), "ok", "its metadata are of"), (API, "wrong", "so they are not used")]
    {
        let api = running.api_that_needs(TUINLY, resource, "graphql:write").await;
        let (code, report) = ask(&running, api, &["--url", &url]);
        assert_eq!(code, Some(1));
        assert!(
            found(&report, "api").1.contains("403: the token lacks scope `graphql:write`"),
            "{report:#}"
        );
        let (is, said) = found(&report, "resource");
        assert_eq!(is, verdict, "{said}");
        assert!(said.contains(text), "{said}");
    }
}
