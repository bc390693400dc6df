//! `tokenry token inspect`: what a token says, and whether an API lets it in.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use tokenry_server::{Clock as _, SystemClock};

use crate::run::{Place, Ran, run};
use crate::server::{Server, token};

const ISSUER: &str = "https://localhost:8443";

fn finding(report: &Value, what: &str) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["what"] == what);
    let found = found.unwrap_or_else(|| panic!("nothing about {what}: {report:#}"));
    (text(&found["verdict"]), text(&found["text"]))
}

/// A token that nobody has signed.
fn unsigned(claims: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(claims))
}

#[test]
fn what_a_token_says_is_shown_in_words_and_the_token_is_not() {
    let place = Place::empty();
    let text = unsigned(
        r#"{"iss":"https://a.example","exp":1000000000,"iat":999999700,"scope":"read","cnf":{"jkt":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}}"#,
    );
    let inspect = |more: &[&str]| {
        let arguments: Vec<&str> = ["token", "inspect"].iter().chain(more).copied().collect();
        let ran = run(crate::run::command(&place.path(""), &arguments), &format!("{text}\n"));
        assert_eq!(ran.code, Some(1), "it has expired, and is not signed");
        ran
    };
    let shown = inspect(&[]).out;
    for expected in [
        "exp    1000000000 (2001-09-09T01:46:40Z)",
        "wrong    expiry: it expired ",
        " ago, for 5m, at 2001-09-09T01:41:40Z",
        "wrong    algorithm: it is not signed (`none`)",
        "wrong    audience: it does not say whom it is for (`aud`)",
        "ok       binding: to the DPoP key with the thumbprint AQEB",
        "ok       scope: `read`",
    ] {
        assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
    }
    let report = inspect(&["--output", "json"]).json();
    assert_eq!(report["token"]["header"]["alg"], "none");
    assert_eq!(finding(&report, "expiry").0, "wrong");
    assert!(!shown.contains(&text[..20]) && !report.to_string().contains(&text[..20]));

    place.write("token", &text);
    let from = |more: &[&str]| {
        let arguments: Vec<&str> = ["token", "inspect"].iter().chain(more).copied().collect();
        let mut command = crate::run::command(&place.path(""), &arguments);
        command.env("TOKEN", &text).env("TOKENRY_OUTPUT", "json");
        run(command, "")
    };
    assert_eq!(from(&["--token-file", "token"]).json(), from(&["--token-env", "TOKEN"]).json());
    from(&["--token-env", "NOWHERE"]).bad("--token-env names is not set");
    from(&["--token-file", "nowhere"]).bad("cannot be read from nowhere");
    from(&[]).bad("the token from standard input is empty");
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let place = Place::empty();
    let text = unsigned("{}");
    for (argument, why) in [
        (text.as_str(), "every user of this machine can read it"),
        ("tka_0123456789abcdefghij", "every user of this machine can read it"),
        ("billing", "the token is read from standard input"),
    ] {
        let ran = place.run(["token", "inspect", argument]);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.err.contains(why) && !ran.err.contains(argument), "{ran:#?}");
        assert!(ran.out.is_empty());
    }
    assert_eq!(place.run(["token", "inspect", "--audience", "x"]).code, Some(2));
    let ran = place.run_with(["token", "inspect", "--output", "json"], "tka_opaque").good();
    assert!(finding(&ran.json(), "type").1.contains("opaque"));
    assert_eq!(place.run(["token", "inspect", "--output", "env"]).code, Some(2));
}

#[test]
fn with_an_issuer_it_says_whether_the_token_is_good_and_why_not() {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    let connect_to = format!("localhost:8443:{}", server.address);
    let inspect = |token: &str, more: &[&str]| -> Ran {
        let mut arguments = vec!["token", "inspect", "--cacert", "ca.pem", "--connect-to"];
        arguments.extend([connect_to.as_str(), "--output", "json"]);
        arguments.extend(more);
        run(crate::run::command(&place.path(""), &arguments), token)
    };
    let good = token(&place, &server, &["--scope", "read"]).good().out;
    let ran = inspect(&good, &["--issuer", ISSUER]);
    let report = ran.good().json();
    assert_eq!(finding(&report, "key").0, "ok", "{report:#}");
    let (verdict, text) = finding(&report, "verdict");
    assert_eq!(verdict, "ok", "{report:#}");
    assert!(text.contains("revoked was not asked") && text.contains("not compared"), "{text}");
    let header = format!("Authorization: Bearer {good}");
    let ran = inspect(&header, &["--issuer", ISSUER, "--audience", ISSUER]).good();
    assert!(!finding(&ran.json(), "verdict").1.contains("not compared"));

    let refused = |token: &str, more: &[&str]| {
        let ran = inspect(token, &[&["--issuer", ISSUER], more].concat());
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        finding(&ran.json(), "verdict").1
    };
    let other = refused(&good, &["--audience", "https://other.example"]);
    assert!(other.starts_with("refused: ") && other.contains("for somebody else"), "{other}");
    let other = token(&place, &server, &[]).good().out;
    let (input, _) = other.trim().rsplit_once('.').unwrap();
    let (_, signature) = good.trim().rsplit_once('.').unwrap();
    assert!(refused(&format!("{input}.{signature}"), &[]).contains("signature"));
    assert!(refused(&unsigned(r#"{"iss":"https://localhost:8443"}"#), &[]).contains("refused"));
    let ran = inspect("tka_opaque", &["--issuer", ISSUER]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let ran = inspect(&good, &["--issuer", "https://localhost:8443/nowhere"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(finding(&ran.json(), "metadata").0, "wrong");
    let ran = inspect(&good, &["--issuer", "https://localhost:8443/"]);
    let other = finding(&ran.json(), "metadata").1;
    assert!(other.contains("is about `https://localhost:8443`"), "{other}");
    // Without --cacert that is what is missing, and not another name.
    let arguments = ["token", "inspect", "--issuer", ISSUER, "--connect-to", &connect_to];
    let ran = run(crate::run::command(&place.path(""), &arguments), &good);
    assert!(ran.out.contains("--cacert names the authority"), "{ran:#?}");
    let ran = inspect("a.b.c", &["--issuer", ISSUER]);
    assert!(ran.out.contains("looks like a JWT") && !ran.out.contains("may let it in"), "{ran:#?}");
}

#[test]
fn what_is_no_token_is_wrong_and_a_header_around_one_is_not() {
    let place = Place::empty();
    let inspect = |text: &str| place.run_with(["token", "inspect"], text);
    let now = SystemClock.now().as_secs();
    let claims = format!(
        r#"{{"iss":"https://a.example","aud":"b","sub":"c","client_id":"c","jti":"d","iat":{now},"exp":{}}}"#,
        now + 300
    );
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let good = format!("{}.{}.AAAA", encode(r#"{"alg":"ES256","typ":"at+jwt"}"#), encode(&claims));
    let header = format!("Authorization: Bearer {good}");
    for text in [&good, &format!("Bearer {good}"), &format!("DPoP {good}"), &header, "tka_x"] {
        inspect(text).good();
    }
    for (text, why) in [
        (format!("{good}\n{good}"), "several words or lines"),
        (format!("\"{good}\""), "characters that no token has"),
        ("a.b.c".to_owned(), "looks like a JWT"),
        ("tks_x".to_owned(), "the secret of a client"),
        ("tkr_x".to_owned(), "a refresh token"),
    ] {
        let ran = inspect(&text);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.out.contains(why), "{ran:#?}");
        assert!(!ran.out.contains(&text), "{ran:#?}");
    }
}
