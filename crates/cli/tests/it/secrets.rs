//! Secrets: shown once or never, and in no argument.

use base64::Engine as _;
use serde_json::json;
use tokenry_core::jose::{Algorithm, SigningKey};

use crate::run::{Place, run};

const IMPORTED: &str = "9b2c61de-41f0-43f3-9fba-85686d72c1c0";

#[test]
fn row_303_a_generated_secret_is_shown_once() {
    let place = Place::applied();
    let ran = place.run(["client", "secret", "add", "example", "first", "--label", "ci"]).good();
    let secret = ran.out.trim();
    assert!(secret.starts_with("tks_") && secret.len() == 61, "{ran:#?}");
    assert!(!ran.err.contains(secret), "{ran:#?}");
    let json =
        place.run(["client", "secret", "list", "example", "first", "--output", "json"]).good();
    assert!(!json.out.contains(&secret[20..]), "{}", json.out);
    assert!(!place.state().contains(&secret[20..]), "only its digest is stored");
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

#[test]
fn a_client_whose_audience_knows_none_of_its_scopes_is_warned_of() {
    let place = Place::new();
    let orders =
        "[[realm.resources]]\nidentifier = \"https://orders.example\"\nscopes = [\"orders\"]";
    let realm = place.read("realm.toml").replace("scopes = [", "scopes = [\"orders\", ");
    place.write("realm.toml", &format!("{realm}\n{orders}\n"));
    place.run(["apply", "realm.toml"]).good();
    let audience = ["--audience", "https://orders.example"];
    let add = |id, scope| {
        let [flag, audience] = audience;
        place.run(["client", "add", "example", id, flag, audience, "--scope", scope]).good()
    };
    let warned = add("without", "read");
    assert!(warned.err.contains("client `without` will get no tokens"), "{warned:?}");
    assert!(warned.err.contains("https://orders.example"), "{warned:?}");
    assert!(!add("with", "orders").err.contains("warning"));
}

#[test]
fn a_client_may_publish_its_keys_and_needs_no_secret_then() {
    let place = Place::applied();
    let add = |uri| ["client", "add", "example", "other", "--jwks-uri", uri];
    for uri in ["http://a.example/jwks", "https://ann@a.example/", "https://a.example/#x", "x"] {
        place.run(add(uri)).bad("must be an https URL without user name and fragment");
    }
    let ran = place.run(add("https://a.example/jwks")).good();
    assert!(!ran.err.contains("secret add"), "{}", ran.err);
    let listed = place.run(["client", "list", "--output", "json"]).good().json();
    assert_eq!(listed["clients"][1]["jwks_uri"], "https://a.example/jwks");
    // What a file declares is told apart from what is there.
    let declared = place.read("realm.toml");
    let publishing = "id = \"first\"\njwks_uri = \"https://b.example/jwks\"";
    place.write("realm.toml", &declared.replace("id = \"first\"", publishing));
    let ran = place.run(["apply", "realm.toml"]).good();
    assert!(ran.out.contains("jwks_uri"), "{}", ran.out);
}

#[test]
fn authorities_for_fetches_are_looked_at_before_the_server_starts() {
    let place = Place::applied();
    let config = place.read("tokenry.toml");
    place.write("tokenry.toml", &format!("{config}\n[fetch]\nca = \"none.pem\"\n"));
    for verb in ["check", "serve"] {
        place.run([verb]).bad("none.pem cannot be read");
    }
}

#[test]
fn a_key_pair_is_made_and_only_its_owner_has_the_private_half() {
    let place = Place::applied();
    let add = ["client", "key", "add", "example", "first", "--generate-to", "key.pem"];
    let ran = place.run(add).good();
    let pem = place.read("key.pem");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::prelude::BASE64_STANDARD.decode(&body).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Es256, &der).unwrap();
    assert!(!ran.out.contains(&body[..40]) && !place.state().contains(&body[..40]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(place.path("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let list = ["client", "key", "list", "example", "first", "--output", "json"];
    let listed = place.run(list).good().json();
    assert_eq!(listed["keys"][0]["kid"], key.kid());
    assert_eq!(listed["keys"][0]["algorithm"], "ES256");
    // It is no secret, and is not shown among them.
    let secrets = place.run(["client", "secret", "list", "example", "first", "--output", "json"]);
    assert_eq!(secrets.good().json()["secrets"], json!([]));

    place.run(add).bad("the private key cannot be written to key.pem: file exists");
    std::fs::write(place.path("public.jwk"), key.public_jwk().to_json()).unwrap();
    let import = ["client", "key", "add", "example", "first", "--jwk", "public.jwk"];
    place.run(import).bad("has this key already");
    let id = listed["keys"][0]["credential"].as_str().unwrap();
    place.run(["client", "key", "remove", "example", "first", id]).good();
    place.run(import).good();
    assert_eq!(place.run(list).good().json()["keys"][0]["kid"], key.kid());
}

#[test]
fn a_key_that_is_private_or_no_key_is_refused() {
    let place = Place::applied();
    let cases = [
        ("{\"kty\":\"oct\",\"k\":\"AAAA\"}", "the key is a private one"),
        (
            "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\",\"d\":\"AA\"}",
            "the key is a private one",
        ),
        ("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "the key cannot be used"),
        ("nonsense", "the key is not JSON"),
    ];
    for (text, message) in cases {
        let ran = place.run_with(["client", "key", "add", "example", "first", "--jwk", "-"], text);
        ran.bad(message);
    }
    assert!(!place.state().contains("AAAA"));
}
