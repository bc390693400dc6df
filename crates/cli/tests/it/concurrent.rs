//! Commands that change the store while others do.
#![cfg(unix)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use crate::run::{Place, Ran, run};
use crate::server::Server;

/// A client of the example realm.
const FIRST: [&str; 2] = ["example", "first"];

fn secret(letter: char) -> String {
    format!("an-imported-secret-0123456789-{letter}")
}

/// Imports a secret, and does something else between the command's reading of the store and its change.
fn import_during(place: &Place, meanwhile: impl FnOnce()) -> Ran {
    let pipe = place.path("pipe");
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let import =
        place.command(["client", "secret", "add", FIRST[0], FIRST[1], "--import-from", "pipe"]);
    let command = std::thread::spawn(move || run(import, ""));
    // Opens once the command does, which has read the store by then.
    let mut write = OpenOptions::new().write(true).open(&pipe).unwrap();
    meanwhile();
    write.write_all(secret('a').as_bytes()).unwrap();
    drop(write);
    command.join().unwrap()
}

fn secrets(place: &Place) -> usize {
    let listed = place.run(["client", "secret", "list", FIRST[0], FIRST[1], "--output", "json"]);
    listed.good().json()["secrets"].as_array().unwrap().len()
}

#[test]
fn what_has_nothing_to_do_with_a_change_does_not_stop_it() {
    let place = Place::applied();
    let ran = import_during(&place, || {
        place.run(["client", "add", "example", "another"]).good();
        place.run(["client", "disable", "example", "another"]).good();
        // Another secret of the same client.
        let import = ["client", "secret", "add", "example", "first", "--import-from", "-"];
        place.run_with(import, &secret('b')).good();
    });
    ran.good();
    assert_eq!(secrets(&place), 2);
}

#[test]
fn a_change_that_something_else_has_overtaken_is_refused() {
    type Meanwhile = fn(&Place);
    let overtaken: [(&str, Meanwhile); 3] = [
        ("the same secret", |place| {
            let import = ["client", "secret", "add", "example", "first", "--import-from", "-"];
            place.run_with(import, &secret('a')).good();
        }),
        ("the client is another one", |place| {
            place.run(["client", "remove", "example", "first"]).good();
            place.run(["client", "add", "example", "first"]).good();
        }),
        ("the client was disabled", |place| {
            place.run(["client", "disable", "example", "first"]).good();
        }),
    ];
    for (name, meanwhile) in overtaken {
        let place = Place::applied();
        let mut before = 0;
        let ran = import_during(&place, || {
            meanwhile(&place);
            before = secrets(&place);
        });
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert!(ran.err.contains("the store was changed by somebody else"), "{name}: {ran:?}");
        assert!(ran.err.contains("nothing was changed; run the command again"), "{name}: {ran:?}");
        assert_eq!(secrets(&place), before, "{name}");
    }
}

#[test]
fn realms_and_secrets_are_made_while_a_server_makes_keys_for_them() {
    let place = Place::applied();
    let server = Server::start(&place);
    let realm = place.read("realm.toml");
    // At once: each sees the changes of the others, and of the server, which makes keys for each new realm.
    let scripts: Vec<_> = (0..6)
        .map(|number| {
            let name = format!("p{number}");
            let file = format!("{name}.toml");
            let own = realm
                .replace("name = \"example\"", &format!("name = \"{name}\""))
                .replace("https://localhost:8443", &format!("https://localhost:8443/{name}"));
            place.write(&file, &own);
            let apply = place.command(["apply", &file]);
            let add = place.command(["client", "secret", "add", &name, "first", "--to", &name]);
            std::thread::spawn(move || {
                run(apply, "").good();
                run(add, "").good();
            })
        })
        .collect();
    scripts.into_iter().for_each(|script| script.join().unwrap());
    drop(server);
}
