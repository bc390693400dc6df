//! The settings of `tokenry verify`: a file or arguments, never a mixture, and all that is wrong before it listens.

use crate::run::{Place, Ran};

const GOOD: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[proxy]\nkind = \"nginx\"\n[[issuers]]\nissuer = \"https://a.example\"\naudiences = [\"api\"]\n";

/// Checks a file with this besides what every file needs.
fn check(more: &str) -> Ran {
    let place = Place::empty();
    place.write("verify.toml", &format!("{GOOD}{more}"));
    place.write("not.pem", "no certificate\n");
    place.run(["verify", "--config", "verify.toml", "--check"])
}

#[test]
fn a_file_and_arguments_that_say_the_same_are_refused_together() {
    let place = Place::empty();
    place.write("verify.toml", GOOD);
    for beside in [
        vec!["--issuer", "https://a.example", "--audience", "api", "--proxy", "nginx"],
        vec!["--scope", "read"],
        vec!["--legacy-typ"],
    ] {
        let all: Vec<&str> =
            ["verify", "--config", "verify.toml"].into_iter().chain(beside.clone()).collect();
        let ran = crate::run::run(crate::run::command(&place.path(""), &all), "");
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.err.contains(beside[0]) && ran.err.contains("cannot stand beside"), "{ran:#?}");
    }
    let ran = place.run(["verify", "--issuer", "https://a.example"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.err.contains("--proxy and --audience must be given"), "{ran:#?}");
}

#[tokio::test]
async fn where_it_listens_may_stand_beside_a_file() {
    let place = Place::empty();
    place.write("verify.toml", &GOOD.replace("127.0.0.1:0", "127.0.0.1:1"));
    let arguments =
        ["--config", "verify.toml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let verify = crate::forward_auth::Verify::run(&place.path(""), &arguments);
    assert!(verify.address.port() > 1 && verify.admin.is_some());
    let open = ["verify", "--config", "verify.toml", "--listen", "0.0.0.0:0"];
    place.run(open).bad("0.0.0.0:0 is no address of this machine alone");
}

#[test]
fn a_file_is_checked_without_listening_or_asking_anybody() {
    let good = check("[[rules]]\npath = \"/orders\"\n").good();
    assert!(good.out.contains("the settings are good"), "{good:#?}");
    assert!(good.out.contains("x-token-issuer, x-token-subject"), "{good:#?}");
    check("[rulez]\n").bad("unknown key `rulez`");
    // What only the verifier itself finds out.
    check("[dpop]\nresource_urls = [\"https://api.example?x\"]\n").bad("resource_url must be");
    for (more, line, what) in [
        ("cacert = \"not.pem\"\n", 8, "not.pem holds no certificates in PEM"),
        (
            "[[issuers]]\nissuer = \"http://b.example\"\naudiences = [\"b\"]\n",
            9,
            "must be an https URL",
        ),
    ] {
        let ran = check(more).bad(what);
        assert!(ran.err.contains(&format!("verify.toml:{line}:")), "{ran:#?}");
    }
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::empty();
    place.write("api.secret", "sesame");
    let feed = "[issuers.feed]\nclient_id = \"api\"\nclient_secret = { file = \"api.secret\" }\n";
    place.write("verify.toml", &format!("{GOOD}{feed}"));
    let checked = |mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.path("api.secret"), mode).unwrap();
        place.run(["verify", "--config", "verify.toml", "--check"]).good().err
    };
    assert!(checked(0o644).contains("api.secret can be read by others (mode 644)"));
    assert_eq!(checked(0o600), "");
}

#[test]
fn help_says_what_a_command_is_given_and_no_more() {
    let place = Place::empty();
    let help = |command: &'static str| place.run([command, "--help"]).good().out;
    for command in ["verify", "proxy", "agent", "exec"] {
        assert!(help(command).lines().count() > 20, "the long help of {command}");
        assert!(!help(command).contains("tokenry.toml"), "{command}");
    }
    assert!(help("verify").contains("--config <FILE>") && help("verify").contains("SIGHUP"));
    assert!(!help("token").contains("--config <"));
    assert!(help("serve").contains("[default: tokenry.toml]"));
    assert!(place.run(["help"]).good().out.contains("Commands:"));
    assert_eq!(place.run(["help", "verify"]).good().out, help("verify"));
}
