//! Every command that the vendors' documents print, as printed, against `tokenry serve` with `examples/`.
//!
//! The documents are not ours, so they are not in the project: they are read where they lie, and this test says
//! clearly when they are not there. What is changed in a command: the vendor's placeholders, and nothing else. The
//! shell's `curl` is told where the hosts are (`--connect-to`) and whom to trust (`--cacert`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::running::Running;

const TRUPHONE: &str = "https://services.truphone.com/auth/realms/tru-staff";
const TUINLY: &str = "https://oauth.tuinly.com";

/// The folder of the documents; `None` where it is not there, which in CI is a failure.
fn sources() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/sources");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there, and CI needs it", folder.display());
    eprintln!("SKIPPED: the vendors' documents are not at {}", folder.display());
    None
}

/// A shell in which `curl` reaches this machine.
struct Shell<'a> {
    running: &'a Running,
    /// Where the commands of the documents are sent.
    to: SocketAddr,
    variables: BTreeMap<&'static str, String>,
}

impl<'a> Shell<'a> {
    fn of(running: &'a Running) -> Self {
        Self { running, to: running.address, variables: BTreeMap::new() }
    }

    fn run(&self, command: &str) -> String {
        let script = format!(
            "curl() {{ command curl --silent --show-error --connect-to \"::{}\" --cacert \"{}\" \"$@\"; }}\n\
             curl.exe() {{ curl \"$@\"; }}\n{command}\n",
            self.to,
            self.running.ca().display(),
        );
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.running.path())
            .envs(&self.variables)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn json(&self, command: &str) -> Value {
        let text = self.run(command);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{command}\nnot JSON: {text}"))
    }
}

/// The names of the members, in order of writing.
fn fields(text: &str) -> Vec<String> {
    let json: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    let mut names: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
    names.sort_by_key(|name| text.find(&format!("\"{name}\":")));
    names
}

/// The parts of `text` from each `begin` to the next `end` after it, without `end`.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> Vec<&'t str> {
    text.match_indices(begin)
        .map(|(at, _)| {
            let rest = &text[at..];
            &rest[..rest.find(end).unwrap_or(rest.len())]
        })
        .collect()
}

/// Undoes what copying out of a web page did to a command: a `\` at the end of a line became `\` and a space.
fn on_one_line(command: &str) -> String {
    let mut words = String::new();
    let mut rest = command;
    while let Some(at) = rest.find('\\') {
        words.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if after.starts_with([' ', '\n']) {
            words.push(' ');
            rest = after.trim_start();
        } else {
            words.push('\\');
            rest = after;
        }
    }
    words + rest
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_truphone_and_1global_work_as_printed() {
    let Some(folder) = sources() else { return };
    let running = Running::start();
    let api = running.api(TRUPHONE).await;
    let secret = running.read("truphone.secret");
    for document in ["truphone-v1.md", "truphone-v2.txt", "1global.txt"] {
        let text = std::fs::read_to_string(folder.join(document)).unwrap();
        let commands: Vec<String> = between(&text, "export ACCESS_TOKEN=`curl", "`\n")
            .into_iter()
            .map(|command| {
                // In the second document the next command follows on the same line.
                let command = command.split("` $ echo").next().unwrap().trim_end_matches('`');
                on_one_line(command).replace("xxxxxx-xxxx-43f3-9fba-85686d72c1c0", &secret) + "`"
            })
            .collect();
        let [obtain, refresh] = &commands[..] else {
            panic!("{document}: {} commands", commands.len())
        };

        let mut shell = Shell::of(&running);
        let whole = |command: &str| {
            let request = command.split(" | sed").next().unwrap();
            request.trim_start_matches("export ACCESS_TOKEN=`").to_owned()
        };
        let answer = shell.run(&whole(obtain));
        check_truphone(&answer, document);
        let token = shell.run(&format!("{obtain}\necho $ACCESS_TOKEN"));
        assert!(is_jwt(&token), "{document}: {token}");

        // The printed placeholder has a letter too many at its end; it is replaced whole.
        let placeholder = "<your_refresh_token>k";
        assert!(refresh.contains(placeholder), "{document}");
        let first: Value = serde_json::from_str(&answer).unwrap();
        let refresh = refresh.replace(placeholder, first["refresh_token"].as_str().unwrap());
        let refreshed = shell.run(&whole(&refresh));
        check_truphone(&refreshed, document);
        let second: Value = serde_json::from_str(&refreshed).unwrap();
        assert_ne!(second["refresh_token"], first["refresh_token"], "{document}");
        let token = shell.run(&format!("{refresh}\necho $ACCESS_TOKEN"));
        assert!(is_jwt(&token), "{document}: {token}");

        // Postman's form sends a scope.
        let with_scope =
            shell.json(&whole(obtain).replace("grant_type=", "scope=profile&grant_type="));
        assert!(
            with_scope["scope"].as_str().unwrap().split(' ').any(|s| s == "profile"),
            "{document}"
        );

        let calls = between(&text, "curl -H \"Authorization: Bearer $ACCESS_TOKEN\"", "\n");
        let [call] = calls[..] else { panic!("{document}: {} calls", calls.len()) };
        shell.to = api;
        shell.variables.insert("ACCESS_TOKEN", token);
        assert_eq!(shell.run(call.trim_end_matches('`')), "welcome", "{document}");
    }
}

fn check_truphone(answer: &str, document: &str) {
    let json: Value =
        serde_json::from_str(answer).unwrap_or_else(|_| panic!("{document}: {answer}"));
    assert_eq!(json["expires_in"], 300, "{document}: 5 minutes");
    assert_eq!(json["refresh_expires_in"], 1800, "{document}: 30 minutes");
    assert!(json["refresh_token"].is_string(), "{document}");
}

fn is_jwt(text: &str) -> bool {
    tokenry_core::jose::jws::Compact::parse(text).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_simacan_work_as_printed() {
    let Some(folder) = sources() else { return };
    let running = Running::start();
    let text = std::fs::read_to_string(folder.join("simacan.md")).unwrap();
    let mut commands = between(&text, "curl -X POST", "```");
    commands.extend(between(&text, "curl.exe -X POST", "```"));
    assert_eq!(commands.len(), 4);
    let password = format!("\"username=carrier&password={}\"", running.read("staging.password"));
    let shell = Shell::of(&running);
    let (obtains, refreshes): (Vec<&str>, Vec<&str>) =
        commands.into_iter().partition(|command| command.contains("/auth/password"));
    for (obtain, refresh) in obtains.into_iter().zip(refreshes) {
        let obtain = obtain.replace("\"username=&password=\"", &password);
        let answer = shell.run(&obtain);
        check_simacan(&answer);
        let first: Value = serde_json::from_str(&answer).unwrap();
        let token = first["refresh_token"].as_str().unwrap();
        let refresh = refresh.replace("\"refresh_token=\"", &format!("\"refresh_token={token}\""));
        let answer = shell.run(&refresh);
        check_simacan(&answer);
        let second: Value = serde_json::from_str(&answer).unwrap();
        assert_ne!(second["refresh_token"], first["refresh_token"], "a newer one");
        // What is no good refresh token, such as one that expired, is answered 401.
        let dead = refresh.replace(token, "tkr_dead");
        assert_eq!(shell.run(&dead.replace("-X POST", "-o body -w '%{http_code}' -X POST")), "401");
    }
}

/// The fields of the documented answer, in its order, and no others.
fn check_simacan(answer: &str) {
    assert_eq!(
        fields(answer),
        ["access_token", "refresh_token", "id_token", "token_type", "expires_in"]
    );
    let json: Value = serde_json::from_str(answer).unwrap();
    assert_eq!((&json["token_type"], &json["expires_in"]), (&"bearer".into(), &3600.into()));
    // The document shows tokens that begin like a JWT.
    assert!(
        is_jwt(json["access_token"].as_str().unwrap())
            && is_jwt(json["id_token"].as_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_tuinly_work_as_printed() {
    let Some(folder) = sources() else { return };
    let running = Running::start();
    let api = running.api(TUINLY).await;
    let text = std::fs::read_to_string(folder.join("tuinly.md")).unwrap();
    let commands = between(&text, "curl --location", "```");
    let [obtain, call, refresh, call_again] = &commands[..] else {
        panic!("{} commands", commands.len())
    };
    let mut shell = Shell::of(&running);

    let obtain = obtain
        .replace("CLIENT_ID", "tuinly")
        .replace("CLIENT_SECRET", &running.read("tuinly.secret"));
    let answer = shell.run(&obtain);
    assert_eq!(fields(&answer), ["access_token", "refresh_token", "token_type", "expires_in"]);
    let first: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&first["token_type"], &first["expires_in"]), (&"Bearer".into(), &3600.into()));

    let refresh = refresh.replace("REFRESH_TOKEN", first["refresh_token"].as_str().unwrap());
    let answer = shell.run(&refresh);
    assert_eq!(fields(&answer), ["access_token", "token_type", "expires_in"], "no refresh token");
    let second: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(second["expires_in"], 3600);
    assert_eq!(fields(&shell.run(&refresh)).len(), 3, "the first refresh token stays good");

    shell.to = api;
    for (call, token) in [(call, &first), (call_again, &second)] {
        // The printed query ends in an ellipsis, before its closing quote.
        let call =
            call.trim_end().replace("ACCESS_TOKEN", token["access_token"].as_str().unwrap()) + "'";
        assert_eq!(shell.run(&call), "welcome");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_credentials_do_not_work_in_production_nor_the_reverse() {
    let running = Running::start();
    let shell = Shell::of(&running);
    let ask = |host: &str, path: &str, body: &str| {
        shell.run(&format!("curl -o body -w '%{{http_code}}' -d '{body}' https://{host}.services.simacan.com/api/v1/auth/{path}"))
    };
    let (production, staging) = ("auth-service", "auth-service-stg");
    for (own, other, file) in
        [(production, staging, "production.password"), (staging, production, "staging.password")]
    {
        let credentials = format!("username=carrier&password={}", running.read(file));
        assert_eq!(ask(other, "password", &credentials), "400");
        assert_eq!(ask(own, "password", &credentials), "200");
        let answer: Value = serde_json::from_str(&running.read("body")).unwrap();
        let refresh = format!("refresh_token={}", answer["refresh_token"].as_str().unwrap());
        assert_eq!(ask(other, "refresh", &refresh), "401");
        assert_eq!(ask(own, "refresh", &refresh), "200");
    }
}
