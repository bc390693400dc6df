//! Certificates of clients: registered, listed, removed, and good for a token.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::run::Place;
use crate::server::Server;

const ADD: [&str; 5] = ["client", "certificate", "add", "example", "first"];
const LIST: [&str; 7] = ["client", "certificate", "list", "example", "first", "--output", "json"];

/// Writes a new certificate that ends with a year, and its key.
fn certify(place: &Place, name: &str, end: i32) {
    let mut params = CertificateParams::new(vec!["billing.example".into()]).unwrap();
    params.not_after = date_time_ymd(end, 1, 1);
    let key = KeyPair::generate().unwrap();
    place.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
    place.write(&format!("{name}.key"), &key.serialize_pem());
}

fn add(place: &Place, more: &[&str]) -> crate::run::Ran {
    let arguments: Vec<&str> = ADD.iter().chain(more).copied().collect();
    crate::run::run(crate::run::command(&place.path(""), &arguments), "")
}

#[test]
fn row_085_each_kind_of_name_is_registered_listed_and_removed() {
    let place = Place::applied();
    let names = [
        ("--subject-dn", "tls_client_auth_subject_dn", "CN=billing,O=Example"),
        ("--san-dns", "tls_client_auth_san_dns", "billing.example"),
        ("--san-uri", "tls_client_auth_san_uri", "spiffe://example/billing"),
        ("--san-ip", "tls_client_auth_san_ip", "10.0.0.1"),
        ("--san-email", "tls_client_auth_san_email", "billing@example.com"),
    ];
    for (option, parameter, value) in names {
        let warned = add(&place, &[option, value]).good();
        assert!(warned.err.contains("realm `example` takes no certificates"), "{warned:#?}");
        add(&place, &[option, value]).bad("has this certificate already");
        let listed = place.run(LIST).good().json()["certificates"][0].clone();
        assert_eq!((&listed[parameter], &listed["live"]), (&json!(value), &json!(true)));
        let id = listed["credential"].as_str().unwrap();
        place.run(["client", "certificate", "remove", "example", "first", id]).good();
    }
    assert_eq!(place.run(LIST).good().json()["certificates"], json!([]));
    let text = add(&place, &["--subject-dn", "CN=billing"]).good().out;
    assert!(text.contains("added certificate"), "{text}");
    let table = place.run(["client", "certificate", "list", "example", "first"]).good().out;
    assert!(table.contains("subject_dn CN=billing"), "{table}");
}

#[test]
fn row_087_a_client_is_given_exactly_one_name_at_a_time() {
    let place = Place::applied();
    for more in [&[][..], &["--san-dns", "a.example", "--san-ip", "10.0.0.1"]] {
        assert_eq!(add(&place, more).code, Some(2));
    }
    for (option, value) in [("--subject-dn", "billing"), ("--san-dns", "*.example")] {
        add(&place, &[option, value]).bad("the name cannot be used");
    }
    assert_eq!(place.run(LIST).good().json()["certificates"], json!([]));
}

#[test]
fn row_088_row_096_a_certificate_is_registered_for_as_long_as_it_is_good() {
    let place = Place::applied();
    certify(&place, "good", 4000);
    certify(&place, "expired", 2001);
    add(&place, &["--self-signed", "expired.pem"]).bad("the certificate has expired on 2001-01-01");
    add(&place, &["--self-signed", "good.key"]).bad("good.key holds no certificate in PEM");
    add(&place, &["--self-signed", "nowhere"]).bad("cannot be read from nowhere");
    place.write("two.pem", &place.read("good.pem").repeat(2));
    add(&place, &["--self-signed", "two.pem"]).bad("two.pem holds several certificates");
    add(&place, &["--self-signed", "good.pem"]).good();
    add(&place, &["--self-signed", "good.pem"]).bad("has this certificate already");
    let listed = place.run(LIST).good().json()["certificates"][0].clone();
    assert_eq!(listed["expires_at"], "4000-01-01T00:00:01Z");
    assert_eq!(listed["x5t#S256"].as_str().unwrap().len(), 43);
}

#[test]
fn row_088_a_server_that_is_told_to_ask_gives_a_token_for_a_certificate() {
    let place = Place::new();
    place.write("realm.toml", &(place.read("realm.toml") + "\n[realm.certificates]\n"));
    place.run(["apply", "realm.toml"]).good();
    certify(&place, "own", 4000);
    certify(&place, "other", 4000);
    let added = add(&place, &["--self-signed", "own.pem"]).good();
    assert_eq!(added.err, "");
    let unasked = "but this server asks nobody for one";
    assert!(place.run(["check"]).good().err.contains(unasked));
    let config = place.read("tokenry.toml").replace("[tls]", "[tls]\nclient_certificates = true");
    place.write("tokenry.toml", &config);
    assert!(!place.run(["check"]).good().err.contains(unasked));
    let server = Server::start(&place);
    let own = ask(&place, &server, "own");
    assert!(own.starts_with("HTTP/1.1 200") && own.contains("access_token"), "{own}");
    assert!(ask(&place, &server, "other").starts_with("HTTP/1.1 401"));
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("bad client certificate: not the client's"), "{log}");
}

/// A token request with a certificate.
fn ask(place: &Place, server: &Server, name: &str) -> String {
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(place.path(name)).unwrap().map(Result::unwrap).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let key = PrivateKeyDer::from_pem_file(place.path(&format!("{name}.key"))).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&format!("{name}.pem")), key)
        .unwrap();
    let connection =
        rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(&server.address).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    let body = "grant_type=client_credentials&client_id=first";
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}
