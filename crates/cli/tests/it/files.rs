//! Configuration and realm files: every mistake at once, at its place, and nothing changed.

use serde_json::json;

use crate::run::Place;

const FOUR_MISTAKES: &str = "[realm]\nname = \"a b\"\nissuer = \"http://auth.example\"\nscops = []\n\n\
                             [realm.tokens]\naccess = \"5\"\n";

#[test]
fn four_mistakes_are_four_messages_with_line_and_column() {
    let place = Place::new();
    place.write("bad.toml", FOUR_MISTAKES);
    for command in ["apply", "check"] {
        let ran = place.run([command, "bad.toml"]).bad("");
        let heads: Vec<&str> =
            ran.err.lines().filter(|line| line.starts_with("bad.toml:")).collect();
        let expected = [
            "bad.toml:2:8: name must be 1 to 100 of `A-Z a-z 0-9 . _ - @`, got `a b`",
            "bad.toml:3:10: issuer must be an https URL, got `http://auth.example`",
            "bad.toml:4:1: unknown key `scops`",
            "bad.toml:7:10: access must be a duration such as `30s`, `5m`, `24h` or `90d`, got `5`",
        ];
        assert_eq!(heads, expected);
        assert!(ran.err.contains("did you mean `scopes`?"), "{}", ran.err);
        assert!(ran.err.contains("3 | issuer = \"http://auth.example\""), "{}", ran.err);
        assert_eq!(ran.out, "");
    }
    let ran = place.run(["apply", "bad.toml", "--output", "json"]).bad("");
    let complaint = ran.complaint();
    assert_eq!(complaint["errors"].as_array().unwrap().len(), 4);
    assert_eq!(
        complaint["errors"][2],
        json!({
            "message": "unknown key `scops`", "file": "bad.toml", "line": 4, "column": 1,
            "help": "did you mean `scopes`?",
        })
    );
}

#[test]
fn mistakes_of_configuration_and_realm_files_come_together() {
    let place = Place::new();
    place.write("bad.toml", FOUR_MISTAKES);
    let config = place
        .read("tokenry.toml")
        .replace("127.0.0.1:0", "localhost")
        .replace("\"text\"", "\"xml\"");
    place.write("tokenry.toml", &config);
    let ran = place.run(["apply", "realm.toml", "bad.toml", "--output", "json"]).bad("");
    let complaint = ran.complaint();
    let files: Vec<&str> = complaint["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["file"].as_str().unwrap())
        .collect();
    assert_eq!(files.iter().filter(|f| **f == "bad.toml").count(), 4);
    assert_eq!(files.iter().filter(|f| **f == "tokenry.toml").count(), 3);
}

#[test]
fn a_bad_file_among_good_ones_changes_nothing() {
    let place = Place::new();
    place.write("bad.toml", FOUR_MISTAKES);
    let before = place.state();
    place.run(["apply", "realm.toml", "bad.toml"]).bad("bad.toml:2:8");
    assert_eq!(place.state(), before);
}

#[test]
fn files_that_are_not_there_are_named_with_what_to_do() {
    let place = Place::empty();
    let ran =
        place.run(["apply", "nowhere.toml"]).bad("nowhere.toml: cannot be read: no such file");
    assert!(ran.err.contains("tokenry.toml: cannot be read"), "{}", ran.err);
    assert!(ran.err.contains("tokenry init"), "{}", ran.err);
    place.run(["serve", "--config", "other.toml"]).bad("other.toml: cannot be read");
    // The working directory itself: whatever it is, it is no file.
    place.run(["check", "--config", "."]).bad(".: cannot be read");
}

#[test]
fn what_is_no_toml_or_no_text_at_all_is_said_so() {
    let place = Place::new();
    std::fs::write(place.path("binary.toml"), [0xff, 0xfe, 0, 1]).unwrap();
    place
        .run(["apply", "binary.toml"])
        .bad("binary.toml: cannot be read: stream did not contain valid UTF-8");
    place.write("html.toml", &"<html>\n".repeat(1000));
    let ran = place.run(["apply", "html.toml"]).bad("html.toml:1:1");
    assert!(ran.err.contains("and 9") && ran.err.contains(" more"), "{}", ran.err);
    place.write("empty.toml", "");
    place.run(["apply", "empty.toml"]).bad("empty.toml:1:1: realm is missing");
}

#[test]
fn applying_again_does_nothing() {
    let place = Place::new();
    let first = place.run(["apply", "realm.toml"]).good();
    assert!(
        first.out.contains("+ realm example") && first.out.contains("+ client first"),
        "{}",
        first.out
    );
    let state = place.state();
    assert_eq!(place.run(["apply", "realm.toml"]).good().out, "nothing to do\n");
    let json = place.run(["apply", "realm.toml", "--output", "json"]).good().json();
    let expected = json!({
        "changes": [], "undeclared_clients": [], "applied": false, "dry_run": false, "nothing_to_do": true,
        "warnings": [],
    });
    assert_eq!(json, expected);
    assert_eq!(place.state(), state);
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let place = Place::applied();
    let before = place.state();
    let changed = place.read("realm.toml").replace("access = \"5m\"", "access = \"10m\"");
    place.write("realm.toml", &changed.replace("id = \"first\"", "id = \"second\""));
    let ran = place.run(["apply", "--dry-run", "--prune", "realm.toml"]).good();
    assert!(ran.out.contains("tokens.access: 5m -> 10m"), "{}", ran.out);
    assert!(
        ran.out.contains("+ client second") && ran.out.contains("- client first"),
        "{}",
        ran.out
    );
    assert_eq!(place.state(), before);
}

#[test]
fn clients_that_no_file_declares_go_only_with_prune() {
    let place = Place::applied();
    place.run(["client", "add", "example", "extra"]).good();
    let kept = place.run(["apply", "realm.toml", "--output", "json"]).good().json();
    assert_eq!(kept["undeclared_clients"], json!([{ "realm": "example", "client": "extra" }]));
    assert!(place.state().contains("extra"));
    place.run(["apply", "--prune", "realm.toml"]).good();
    assert!(!place.state().contains("extra"));
}

#[test]
fn two_realms_at_one_address_are_refused_also_against_the_store() {
    let place = Place::applied();
    let other = place.read("realm.toml").replace("name = \"example\"", "name = \"other\"");
    place.write("other.toml", &other);
    place
        .run(["apply", "other.toml"])
        .bad("realm `example` in the store already answers at localhost");
    place
        .run(["apply", "realm.toml", "other.toml"])
        .bad("the realm in realm.toml already answers at localhost");
}

#[test]
fn init_overwrites_nothing_and_names_all_that_is_there() {
    let place = Place::new();
    let key = place.read("master.key");
    let ran = place.run(["init"]).bad("./master.key exists already");
    for name in ["tokenry.toml", "ca.pem", "server.pem", "server.key", "realm.toml", "tokenry.db"] {
        assert!(ran.err.contains(&format!("./{name} exists already")), "{name}: {}", ran.err);
    }
    assert_eq!(place.read("master.key"), key);
    place.run(["init", "elsewhere", "--host", "A.example"]).bad("a host name is in lower case");
    place.run(["init", "elsewhere"]).good();
    assert_ne!(place.read("elsewhere/master.key"), key);
    assert_eq!(ran.err.matches("help:").count(), 1, "{}", ran.err);
    place.run(["init", "w", "--host", "*.example"]).bad("not for the wildcard `*.example`");
    place.run(["init", "c", "--config", "tokenry.toml"]).bad("reads no other");
    assert!(!place.path("c").exists());
}

#[test]
fn init_names_the_next_steps_of_the_configuration_that_is_there() {
    let place = Place::new();
    let steps = |directory: &str| {
        let json = place.run(["init", directory, "--output", "json"]).good().json();
        json["next"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(steps("a"), "cd a");
    let config = place.read("tokenry.toml").replace("sqlite:", "sqlite:run/");
    place.write("tokenry.toml", &config);
    assert_eq!(steps("run"), "tokenry check");
}

#[test]
fn check_finds_an_installation_good_or_says_all_that_is_not() {
    let place = Place::applied();
    assert!(place.run(["check", "realm.toml"]).good().out.ends_with("OK\n"));
    let json = place.run(["check", "realm.toml", "--output", "json"]).good().json();
    assert_eq!((&json["ok"], &json["clients"]), (&json!(true), &json!(1)));
    std::fs::remove_file(place.path("server.key")).unwrap();
    std::fs::remove_file(place.path("tokenry.db")).unwrap();
    place.write("master.key", "short");
    let json = place.run(["check", "--output", "json"]);
    assert_eq!((json.code, &json.json()["ok"]), (Some(1), &json!(false)));
    assert_eq!(json.json()["errors"].as_array().unwrap().len(), 3, "{json:#?}");
    let ran = place.run(["check"]).bad("server.key cannot be read: no such file");
    assert!(ran.err.contains("the master key must be 32 bytes"), "{}", ran.err);
    assert!(ran.err.contains("there is no store at"), "{}", ran.err);
    assert!(!place.path("tokenry.db").exists(), "check makes nothing");
}

#[test]
fn check_warns_of_health_and_metrics_for_everybody() {
    let place = Place::new();
    assert_eq!(place.run(["check"]).good().err, "");
    let config = place.read("tokenry.toml");
    for (at, warned) in [("0.0.0.0:9090", true), ("[::]:9090", true), ("[::1]:9090", false)] {
        let admin = format!("admin = \"{at}\"");
        place.write("tokenry.toml", &config.replace("admin = \"127.0.0.1:0\"", &admin));
        let ran = place.run(["check"]).good();
        assert_eq!(ran.err.contains(&format!("admin is on {at}")), warned, "{}", ran.err);
    }
}

#[test]
fn a_wrong_command_line_is_told_apart_from_everything_else() {
    let place = Place::empty();
    for arguments in [["aply", "x", "y"], ["apply", "--purne", "x"], ["client", "secret", "add"]] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
    }
    let ran = place.run(["apply", "--output", "json"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.complaint()["errors"].as_array().unwrap().len(), 1, "{ran:#?}");
}

#[test]
fn the_example_realms_are_good_and_go_together() {
    let place = Place::empty();
    place.run(["init", "run"]).good();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["tokenry", "truphone", "simacan-production", "simacan-staging", "tuinly"] {
        let text = std::fs::read_to_string(examples.join(format!("{name}.toml"))).unwrap();
        place.write(&format!("{name}.toml"), &text);
    }
    place.run(["check"]).good();
    let all = [
        "apply",
        "truphone.toml",
        "simacan-production.toml",
        "simacan-staging.toml",
        "tuinly.toml",
    ];
    let first = place.run(all).good();
    assert_eq!(first.err, "", "an example needs no warning");
    assert_eq!(place.run(all).good().out, "nothing to do\n");
}
