//! `tokenry exec`: a token in a file, for as long as a command runs.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::run::{Place, Ran, run};
use crate::server::Server;

/// What a shell does for as long as it may: a trap ends the wait.
const WAIT: &str = "sleep 600 > /dev/null 2>&1 & waiting=$!; trap 'kill $waiting' EXIT; wait";

/// A place with a server whose tokens live this long, and a client's secret.
fn place(access: &str) -> (Place, Server) {
    let place = Place::new();
    let realm =
        place.read("realm.toml").replace("access = \"5m\"", &format!("access = \"{access}\""));
    place.write("realm.toml", &realm);
    place.run(["apply", "realm.toml"]).good();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    (place, server)
}

fn exec(place: &Place, server: &Server, more: &[&str], command: &[&str]) -> Command {
    let connect_to = format!("localhost:8443:{}", server.address);
    let mut arguments = vec!["exec", "--issuer", "https://localhost:8443", "--cacert", "ca.pem"];
    arguments.extend(["--client-id", "first", "--connect-to", &connect_to]);
    arguments.extend(more);
    arguments.push("--");
    arguments.extend(command);
    crate::run::command(&place.path(""), &arguments)
}

fn shell(place: &Place, server: &Server, more: &[&str], script: &str) -> Ran {
    let more: Vec<&str> = ["--client-secret-file", "secret"].iter().chain(more).copied().collect();
    run(exec(place, server, &more, &["sh", "-c", script]), "typed\n")
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(name: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
}

fn is_token(text: &str) -> bool {
    tokenry_core::jose::jws::Compact::parse(text).is_ok()
}

#[test]
fn the_command_finds_the_token_in_a_private_file_that_ends_with_it() {
    let (place, server) = place("5m");
    let script = "cat; cat $TOKENRY_TOKEN_FILE; echo; stat -c %a $TOKENRY_TOKEN_FILE \
                  $(dirname $TOKENRY_TOKEN_FILE); echo $TOKENRY_TOKEN_FILE; echo told >&2; exit 7";
    let ran = shell(&place, &server, &[], script);
    assert_eq!((ran.code, ran.err.as_str()), (Some(7), "told\n"), "{ran:#?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let [typed, token, file, directory, path] = lines[..] else { panic!("{ran:#?}") };
    assert_eq!((typed, file, directory), ("typed", "600", "700"));
    assert!(is_token(token), "{token}");
    assert!(!Path::new(path).exists() && !Path::new(path).parent().unwrap().exists());

    let named = shell(&place, &server, &["--file", "here", "--env", "T"], "cd /; cat $T; ls -l $T");
    assert!(named.out.starts_with("ey") && named.out.contains("-rw-------"), "{named:#?}");
    assert!(!place.path("here").exists());
    let mut lost = exec(&place, &server, &["--client-secret-file", "secret"], &["./no-such"]);
    lost.env("TMPDIR", place.path(""));
    let lost = run(lost, "");
    assert_eq!(lost.code, Some(127), "{lost:#?}");
    assert!(lost.err.contains("`./no-such` did not run"), "{lost:#?}");
    place.write("no-program", "");
    let no_program = exec(&place, &server, &["--client-secret-file", "secret"], &["./no-program"]);
    assert_eq!(run(no_program, "").code, Some(126));
    shell(&place, &server, &["--file", "."], "").bad("something that is no file is there");
}

#[test]
fn a_secret_in_the_environment_does_not_reach_the_command() {
    let (place, server) = place("5m");
    let mut command = exec(&place, &server, &[], &["env"]);
    command.env("TOKENRY_CLIENT_SECRET", place.read("secret")).env("TOKENRY_PASSWORD", "hunter2");
    let ran = run(command, "").good();
    assert!(ran.out.contains("TOKENRY_TOKEN_FILE=/"), "{ran:#?}");
    for hidden in ["TOKENRY_CLIENT_SECRET", "TOKENRY_PASSWORD", "hunter2", &place.read("secret")] {
        assert!(!ran.out.contains(hidden), "{ran:#?}");
    }
}

#[test]
fn a_new_token_takes_the_place_of_the_old_one_and_the_command_is_told() {
    let (place, server) = place("3s");
    let script = format!(
        "trap 'cat $TOKENRY_TOKEN_FILE > second; exit 0' USR1; cat $TOKENRY_TOKEN_FILE > first; {WAIT}"
    );
    shell(&place, &server, &["--signal", "SIGUSR1"], &script).good();
    let (first, second) = (place.read("first"), place.read("second"));
    assert!(is_token(&first) && is_token(&second));
    assert_ne!(first, second);
}

#[test]
fn signals_reach_the_command_and_its_end_is_ours() {
    let (place, server) = place("5m");
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("USR1", 138)] {
        let script = "echo $TOKENRY_TOKEN_FILE; exec sleep 600";
        let secret = ["--client-secret-file", "secret"];
        let mut child = spawn(exec(&place, &server, &secret, &["sh", "-c", script]));
        let mut path = String::new();
        // A line says that the command runs.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut path).unwrap();
        assert!(Path::new(path.trim()).exists());
        signal(name, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
        assert!(!Path::new(path.trim()).exists(), "{name}");
    }
    // A command that does something about it ends as it wants.
    let script = format!("trap 'exit 9' TERM; echo; {WAIT}");
    let secret = ["--client-secret-file", "secret"];
    let mut child = spawn(exec(&place, &server, &secret, &["sh", "-c", &script]));
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    signal("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn during_an_outage_the_old_token_stays_and_standard_error_says_so() {
    let (place, server) = place("3s");
    let script = format!(
        "trap 'cat $TOKENRY_TOKEN_FILE; exit 0' TERM; cat $TOKENRY_TOKEN_FILE; echo; {WAIT}"
    );
    let secret = ["--client-secret-file", "secret"];
    let mut child = spawn(exec(&place, &server, &secret, &["sh", "-c", &script]));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(server);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let late = lines.find(|line| line.contains("the old one stays and is good until"));
    assert!(late.unwrap().starts_with("warning: the token was not renewed"));
    assert!(lines.any(|line| line.contains("the token has expired, and there is no other")));
    signal("TERM", &child);
    let mut second = String::new();
    out.read_to_string(&mut second).unwrap();
    assert_eq!(first.trim(), second);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(lines.count(), 0, "each is told once");
}

#[test]
fn without_a_first_token_nothing_runs() {
    let (place, server) = place("5m");
    place.write("secret", "tks_wrong");
    shell(&place, &server, &[], "touch ran").bad("the server refused the credentials");
    assert!(!place.path("ran").exists());
    let ran = shell(&place, &server, &["--env", "a b"], "");
    assert_eq!(ran.code, Some(2), "{ran:#?}");
}
