//! What `tokenry token` answers, for people and for other programs.

use serde_json::Value;

use crate::run::{Place, run};
use crate::server::{Server, token};

fn place() -> (Place, Server) {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    (place, server)
}

#[test]
fn each_program_gets_a_token_in_its_own_way() {
    let (place, server) = place();
    let env = token(&place, &server, &["--output", "env"]).good().out;
    assert!(env.starts_with("export ACCESS_TOKEN='ey") && env.ends_with("'\n"), "{env}");
    let curl = token(&place, &server, &["--output", "curl-config"]).good().out;
    assert!(curl.starts_with("header = \"Authorization: Bearer ey"), "{curl}");

    let ran = token(&place, &server, &["--output=k8s-exec"]).good();
    let json = ran.json();
    assert_eq!(json["kind"], "ExecCredential");
    assert_eq!(json["apiVersion"], "client.authentication.k8s.io/v1");
    assert!(json["status"]["token"].as_str().unwrap().starts_with("ey"), "{json}");
    // RFC 3339, before the token's end.
    let text = json["status"]["expirationTimestamp"].as_str().unwrap();
    let token = json["status"]["token"].as_str().unwrap();
    let end = claim(token, "exp") - 30;
    assert!((end - 5..=end).contains(&seconds(text)), "{text} is not 30 s before {end}");

    let ran = token_with_env(&place, &server, "client.authentication.k8s.io/v1beta1").good();
    assert_eq!(ran.json()["apiVersion"], "client.authentication.k8s.io/v1beta1");
    token_with_env(&place, &server, "client.authentication.k8s.io/v7")
        .bad("KUBERNETES_EXEC_INFO asks for version `client.authentication.k8s.io/v7`");
}

fn claim(token: &str, name: &str) -> i64 {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let text = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()[name].as_i64().unwrap()
}

fn seconds(date: &str) -> i64 {
    date.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn token_with_env(place: &Place, server: &Server, version: &str) -> crate::run::Ran {
    let connect_to = format!("localhost:8443:{}", server.address);
    let mut command = place.command([
        "token",
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
        "--output",
        "k8s-exec",
    ]);
    let info = format!(r#"{{"kind":"ExecCredential","apiVersion":"{version}","spec":{{}}}}"#);
    command.env("KUBERNETES_EXEC_INFO", info);
    run(command, "")
}

#[test]
fn the_formats_of_other_programs_are_this_commands_alone() {
    let (place, server) = place();
    let ran = token(&place, &server, &["--output", "yaml"]);
    assert_eq!(ran.code, Some(2));
    for known in ["text", "json", "env", "curl-config", "k8s-exec"] {
        assert!(ran.err.contains(known), "{ran:#?}");
    }
    assert_eq!(place.run(["check", "--output", "k8s-exec"]).code, Some(2));
    // Before the command and from the environment, as everywhere.
    let connect_to = format!("localhost:8443:{}", server.address);
    let mut command = place.command([
        "--output",
        "json",
        "token",
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
    ]);
    command.env("TOKENRY_OUTPUT", "text");
    assert_eq!(run(command, "").good().json()["token_type"], "Bearer");
}

#[test]
fn a_token_lives_as_long_as_was_asked_or_there_is_none() {
    let (place, server) = place();
    for good in ["30s", "4m"] {
        token(&place, &server, &["--min-ttl", good]).good();
    }
    let ran = token(&place, &server, &["--min-ttl", "10m"]).bad("less than --min-ttl 10m");
    assert!(ran.out.is_empty() && ran.err.contains("as new as the server gives them"), "{ran:#?}");
    assert_eq!(token(&place, &server, &["--min-ttl", "soon"]).code, Some(2));
}

#[test]
fn the_second_secret_is_tried_when_the_first_is_refused() {
    let (place, server) = place();
    place.write("old", "tks_old");
    let connect_to = format!("localhost:8443:{}", server.address);
    let obtain = |from: &[&str]| {
        let mut arguments =
            vec!["token", "--issuer", "https://localhost:8443", "--cacert", "ca.pem"];
        arguments.extend(["--client-id", "first", "--connect-to", &connect_to]);
        from.iter().for_each(|from| arguments.extend(["--client-secret-from", from]));
        let mut command = crate::run::command(&place.path(""), &arguments);
        command.env("OTHER_SECRET", place.read("secret"));
        run(command, "")
    };
    obtain(&["file:old", "env:OTHER_SECRET"]).good();
    obtain(&["command:cat secret"]).good();
    obtain(&["file:old"]).bad("the server refused the credentials");
    obtain(&["file:old", "file:old", "file:secret"]).bad("two secrets at most");
    // What may be the secret itself is not repeated.
    let ran = obtain(&["tks_secret"]).bad("a secret is named by where it is kept");
    assert!(!ran.err.contains("tks_secret"), "{ran:#?}");
}

#[test]
fn a_token_that_nobody_could_use_is_not_printed() {
    let (place, server) = place();
    let ran = token(&place, &server, &["--dpop"]).bad("is of no use without the key");
    assert!(ran.out.is_empty(), "{ran:#?}");
}

#[test]
#[cfg(unix)]
fn an_agent_is_asked_first_and_what_it_holds_is_had_by_name() {
    let (place, server) = place();
    let connect_to = format!("localhost:8443:{}", server.address);
    place.write("agent.toml", &format!(
        "[agent]\nsocket = \"agent.sock\"\n[tokens.first]\nissuer = \"https://localhost:8443\"\n\
         cacert = \"ca.pem\"\nconnect_to = [\"{connect_to}\"]\nclient_id = \"first\"\nclient_secret = \"file:secret\"\n"
    ));
    let agent = crate::server::Process::start(place.command(["agent", "--config", "agent.toml"]));
    let by_agent = |arguments: &[&str]| {
        let mut command = crate::run::command(&place.path(""), arguments);
        command.env("TOKENRY_AGENT", place.path("agent.sock"));
        run(command, "")
    };
    let named = by_agent(&["token", "first"]).good().out;
    assert!(named.starts_with("ey"), "{named}");
    assert_eq!(by_agent(&["token", "first"]).good().out, named, "the agent holds it");
    let lent = [
        "token",
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
    ];
    let first = by_agent(&lent).good().out;
    assert_eq!(by_agent(&lent).good().out, first, "and one that was lent to it");
    let alone: Vec<&str> = lent.iter().chain(&["--no-agent"]).copied().collect();
    assert_ne!(by_agent(&alone).good().out, first);
    assert_eq!(by_agent(&["token", "nobody"]).code, Some(1));
    let longer: Vec<&str> = lent.iter().chain(&["--min-ttl", "10m"]).copied().collect();
    by_agent(&longer).bad("less than --min-ttl 10m");
    assert_ne!(by_agent(&lent).good().out, first, "it was renewed all the same");
    drop(agent);
    // Without it the command asks by itself; a name alone leads nowhere.
    by_agent(&lent).good();
    assert_eq!(by_agent(&["token", "first"]).code, Some(1));
}
