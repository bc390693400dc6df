//! The server's certificate: what is wrong with it is said, and a new one is taken over while the server runs.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::run::Place;
use crate::server::{Server, token};

/// Puts a certificate of these years in the place of the one that there is.
fn certify(place: &Place, names: &[&str], years: (i32, i32)) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) =
        (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    place.write("server.pem", &params.self_signed(&key).unwrap().pem());
    place.write("server.key", &key.serialize_pem());
}

#[test]
fn check_refuses_a_certificate_that_clients_refuse() {
    let place = Place::applied();
    certify(&place, &["localhost"], (2001, 2002));
    place.run(["check"]).bad("server.pem has expired on 2002-01-01T00:00:00Z");
    certify(&place, &["localhost"], (4000, 4001));
    place.run(["check"]).bad("server.pem is not good before 4000-01-01T00:00:00Z");
    certify(&place, &["localhost"], (2001, 4001));
    assert_eq!(place.run(["check"]).good().err, "");
}

#[test]
fn serve_warns_of_an_expired_certificate_and_of_having_no_realm() {
    let place = Place::new();
    certify(&place, &["localhost"], (2001, 2002));
    std::fs::set_permissions(place.path("server.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let (code, log) = Server::start(&place).end();
    assert_eq!(code, Some(0), "{log}");
    for text in ["server.pem has expired", "there is no realm", "server.key can be read by others"]
    {
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn check_warns_of_what_clients_would_stumble_over() {
    let place = Place::applied();
    let realm = place.read("realm.toml");
    place.write(
        "other.toml",
        &realm
            .replace("\"example\"", "\"other\"")
            .replace("https://localhost:8443\"", "https://a.example\"\naliases = [\"b.example\"]"),
    );
    place.write("realm.toml", &realm.replace("https://localhost:8443", "http://localhost:8443"));
    std::fs::set_permissions(place.path("server.key"), std::fs::Permissions::from_mode(0o640))
        .unwrap();
    let json = place.run(["check", "realm.toml", "other.toml", "--output", "json"]).good().json();
    let warnings: Vec<&str> = json["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["message"].as_str().unwrap())
        .collect();
    let expected = [
        "the issuer of realm `example` is `http://localhost:8443`, but this server speaks TLS",
        "the certificate server.pem is not for `a.example`, where realm `other` answers",
        "the certificate server.pem is not for `b.example`, where realm `other` answers",
        "the key server.key can be read by others (mode 640)",
    ];
    assert_eq!(warnings, expected);

    let config = place.read("tokenry.toml");
    let plain = config
        .replace("[tls]", "")
        .replace("certificate =", "# certificate =")
        .replace("key = \"server.key\"", "");
    place.write("tokenry.toml", &plain);
    let ran = place.run(["check"]).good();
    assert!(ran.err.contains("but this server speaks plain HTTP"), "{}", ran.err);
    place.write("tokenry.toml", &plain.replace("[server]", "[server]\ninsecure_plain_http = true"));
    assert_eq!(place.run(["check"]).good().err, "");
}

#[test]
fn a_new_certificate_is_taken_over_on_a_signal_and_a_bad_one_is_not() {
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    place.run(["init", "new"]).good();
    let server = Server::start(&place);
    token(&place, &server, &[]).good();
    let old = place.read("ca.pem");
    for name in ["ca.pem", "server.pem", "server.key"] {
        place.write(name, &place.read(&format!("new/{name}")));
    }
    token(&place, &server, &[]).bad("certificate");
    let hang_up = || {
        let id = server.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    };
    hang_up();
    // The signal is on its way; each try is a process of its own.
    assert!((0..200).any(|_| token(&place, &server, &[]).code == Some(0)));

    place.write("server.pem", &old);
    hang_up();
    token(&place, &server, &[]).good();
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("the certificate was read again").count(), 1, "{log}");
    let refused = log.lines().find(|line| line.contains("the old certificate stays"));
    assert!(refused.is_some_and(|line| line.contains("ERROR")), "{log}");
}
