//! Secrets: shown once or never, and in no argument.

use serde_json::json;

use crate::run::{Place, run};

const IMPORTED: &str = "9b2c61de-41f0-43f3-9fba-85686d72c1c0";

#[test]
fn a_generated_secret_is_shown_once() {
    let place = Place::applied();
    let ran = place.run(["client", "secret", "add", "example", "first", "--label", "ci"]).good();
    let secret = ran.out.trim();
    assert!(secret.starts_with("tks_") && secret.len() == 61, "{ran:#?}");
    assert!(!ran.err.contains(secret), "{ran:#?}");
    let json =
        place.run(["client", "secret", "list", "example", "first", "--output", "json"]).good();
    assert!(!json.out.contains(&secret[20..]), "{}", json.out);
    assert_eq!(json.json()["secrets"][0]["label"], "ci");
    assert_eq!(json.json()["secrets"][0]["live"], true);
    let id = json.json()["secrets"][0]["credential"].as_str().unwrap().to_owned();
    place.run(["client", "secret", "remove", "example", "first", &id]).good();
    place.run(["client", "secret", "remove", "example", "first", &id]).bad("there is no secret");
    let json = place
        .run(["client", "secret", "add", "example", "first", "--output", "json"])
        .good()
        .json();
    assert!(json["secret"].as_str().unwrap().starts_with("tks_"));
}

#[test]
fn a_secret_goes_to_a_new_file_that_only_its_owner_can_read() {
    let place = Place::applied();
    let add = ["client", "secret", "add", "example", "first", "--to", "secret"];
    let ran = place.run(add).good();
    let secret = place.read("secret");
    assert!(secret.starts_with("tks_") && !ran.out.contains(&secret), "{ran:#?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(place.path("secret")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    place.run(add).bad("the secret cannot be written to secret: file exists");
    assert_eq!(place.read("secret"), secret);
    let list =
        place.run(["client", "secret", "list", "example", "first", "--output", "json"]).good();
    assert_eq!(list.json()["secrets"].as_array().unwrap().len(), 1);
}

#[test]
fn a_secret_is_imported_from_standard_input_or_a_file_and_never_repeated() {
    let place = Place::applied();
    let import = ["client", "secret", "add", "example", "first", "--import-from", "-"];
    let ran = place.run_with(import, &format!("{IMPORTED}\n")).good();
    assert!(!ran.out.contains(IMPORTED) && !ran.err.contains(IMPORTED), "{ran:#?}");
    let again = place.run_with(import, IMPORTED).bad("has this secret already");
    assert!(!again.err.contains(IMPORTED), "{again:#?}");
    place.write("weak", "correct horse battery\n");
    let weak = place.run(["client", "secret", "add", "example", "first", "--import-from", "weak"]);
    let weak = weak.bad("too short or too simple");
    assert!(!weak.err.contains("horse"), "{weak:#?}");
    place.run_with(import, "\n").bad("the secret from standard input is empty");
}

#[test]
fn a_secret_that_expires_says_when() {
    let place = Place::applied();
    let add =
        ["client", "secret", "add", "example", "first", "--expires-in", "90d", "--output", "json"];
    let json = place.run(add).good().json();
    assert!(json["expires_at"].as_str().unwrap().ends_with('Z'), "{json}");
    let ran = place.run(["client", "secret", "add", "example", "first", "--expires-in", "soon"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
}

#[test]
fn a_password_is_taken_or_generated() {
    let place = Place::applied();
    let generated = place.run(["user", "add", "example", "anna", "--output", "json"]).good();
    assert_eq!(generated.json()["password"].as_str().unwrap().len(), 32);
    assert!(generated.err.contains("has no password grant"), "{}", generated.err);
    let add = ["user", "add", "example", "bert", "--password-from", "-"];
    let ran = place.run_with(add, "correct horse\n").good();
    assert!(!ran.out.contains("horse") && !ran.err.contains("horse"), "{ran:#?}");
    place.run_with(add, "another\n").bad("has a user `bert` already");
    let short = ["user", "add", "example", "carl", "--password-from", "-"];
    place.run_with(short, "hunter2\n").bad("the password has fewer than 8 characters");
    let enabled = |verb: &str| {
        place.run(["user", verb, "example", "bert"]).good();
        place.run(["user", "list", "example", "--output", "json"]).good().json()["users"][1]["enabled"]
            .clone()
    };
    assert_eq!((enabled("disable"), enabled("enable")), (json!(false), json!(true)));
    place.run(["user", "password", "example", "bert", "--to", "new"]).good();
    assert_eq!(place.read("new").len(), 32);
    place.run(["user", "remove", "example", "anna"]).good();
    let users = place.run(["user", "list", "--output", "json"]).good().json();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert_eq!(users["users"][0]["user"], json!("bert"));
}

#[test]
fn no_option_takes_a_secret_and_no_help_shows_one() {
    let place = Place::empty();
    let commands: [&[&str]; 8] = [
        &[],
        &["token"],
        &["curl"],
        &["client", "add"],
        &["client", "secret", "add"],
        &["user", "add"],
        &["user", "password"],
        &["serve"],
    ];
    for arguments in commands {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--help"]).collect();
        let mut command = crate::run::command(&place.path(""), &arguments);
        for variable in ["TOKENRY_CLIENT_SECRET", "TOKENRY_PASSWORD", "TOKENRY_MASTER_KEY"] {
            command.env(variable, "hunter2");
        }
        let help = run(command, "").good().out;
        assert!(!help.contains("hunter2"), "{help}");
        for option in help.lines().filter(|line| line.contains("--")) {
            assert!(!option.contains("<SECRET>") && !option.contains("<PASSWORD>"), "{option}");
        }
    }
    for (flag, command) in
        [("--client-secret", "token"), ("--password", "token"), ("--secret", "curl")]
    {
        let ran = place.run([command, "--issuer", "https://a.example", flag, "hunter2", "--", "x"]);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
    }
}

#[test]
fn a_secret_in_a_realm_file_is_refused_and_not_repeated() {
    let place = Place::new();
    let realm = place.read("realm.toml") + "client_secret = \"hunter2\"\n";
    place.write("realm.toml", &realm);
    let ran = place.run(["apply", "realm.toml"]).bad("unknown key `client_secret`");
    assert!(ran.err.contains("tokenry client secret add"), "{}", ran.err);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn names_that_are_not_there_are_answered_with_those_that_are() {
    let place = Place::applied();
    let ran =
        place.run(["client", "secret", "add", "exmple", "first"]).bad("there is no realm `exmple`");
    assert!(ran.err.contains("did you mean `example`?"), "{}", ran.err);
    let ran = place.run(["client", "remove", "example", "frist"]).bad("there is no client `frist`");
    assert!(ran.err.contains("did you mean `first`?"), "{}", ran.err);
    let ran =
        place.run(["client", "add", "example", "a:b", "--scope", "raed", "--grant", "password"]);
    let ran = ran.bad("a client's identifier must be");
    assert!(
        ran.err.contains("did you mean `read`?") && ran.err.contains("no password grant"),
        "{}",
        ran.err
    );
    place.run(["realm", "remove", "example"]).bad("still has 1 clients and 0 users");
    place.run(["realm", "remove", "example", "--force"]).good();
    assert_eq!(
        place.run(["realm", "list", "--output", "json"]).good().json(),
        json!({ "realms": [] })
    );
}
