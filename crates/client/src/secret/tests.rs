//! Secrets are read where they are kept, when they are needed.

use std::sync::{Arc, Mutex};

use tokenry_core::Secret;

use super::*;

fn source(text: &str) -> SecretSource {
    text.parse().unwrap()
}

#[test]
fn a_source_is_written_as_it_was_read() {
    for text in [
        "env:NAME",
        "file:/run/secrets/a b",
        "command:pass show 'a: b'",
        "systemd:client_secret",
        "vault:kv/apps/billing#secret",
        "keyring:tokenry/acme",
    ] {
        assert_eq!(source(text).to_string(), text);
        let json = serde_json::to_string(&source(text)).unwrap();
        assert_eq!(serde_json::from_str::<SecretSource>(&json).unwrap(), source(text));
    }
}

#[test]
fn what_is_no_source_is_not_repeated() {
    for text in [
        "canary",
        "canary:x",
        "env:",
        "file:",
        "systemd:../canary",
        "systemd:canary/../x",
        "vault:canary",
        "keyring:canary",
    ] {
        let error = text.parse::<SecretSource>().unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
        let error = serde_json::from_value::<SecretSource>(text.into()).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn a_given_secret_shows_only_where_it_is_handed_on() {
    let given = SecretSource::from(Secret::new("canary"));
    assert!(!format!("{given:?} {given}").contains("canary"));
    let json = serde_json::to_string(&given).unwrap();
    assert_eq!(json, r#"{"given":"canary"}"#);
    assert_eq!(serde_json::from_str::<SecretSource>(&json).unwrap(), given);
    let more = r#"{"given":"canary","more":"canary"}"#;
    let error = serde_json::from_str::<SecretSource>(more).unwrap_err().to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[tokio::test]
async fn a_file_is_read_again_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let file = SecretSource::File(path.clone());
    let error = file.read().await.unwrap_err();
    assert!(matches!(error, SecretError::Unreadable { .. }), "{error}");
    for (text, expected) in
        [("one\n", "one"), ("two\r\n", "two"), ("three", "three"), ("a\n\n", "a\n")]
    {
        std::fs::write(&path, text).unwrap();
        assert_eq!(file.read().await, Ok(Secret::new(expected)));
    }
    std::fs::write(&path, vec![b'a'; 16 * 1024]).unwrap();
    assert!(file.read().await.is_ok());
    for (bytes, expected) in [
        (b"".to_vec(), "empty"),
        (b"\n".to_vec(), "empty"),
        (vec![0xff], "not text"),
        (vec![b'a'; 16 * 1024 + 1], "longer"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = file.read().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_says_the_secret_or_why_not() {
    assert_eq!(source("command:printf 's3cret\\n'").read().await, Ok(Secret::new("s3cret")));
    for (command, expected) in [
        ("command:echo canary; exit 3", "exit status: 3"),
        ("command:TOKEN=canary false", "exit status: 1"),
        ("command:true canary", "is empty"),
        ("command:head -c 20000 /dev/zero", "longer"),
    ] {
        let error = source(command).read().await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_command_that_never_ends_is_ended() {
    let began = tokio::time::Instant::now();
    let error = source("command:exec sleep 3600").read().await.unwrap_err().to_string();
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(error.contains("nothing within 30 s"), "{error}");
}

#[tokio::test]
async fn for_another_process_a_secret_is_read_here_and_a_path_is_whole() {
    let here = source("command:echo s3cret").portable().await.unwrap();
    assert_eq!(here, SecretSource::Given(Secret::new("s3cret")));
    let SecretSource::File(path) = source("file:secret").portable().await.unwrap() else {
        panic!("no file")
    };
    assert!(path.is_absolute());
}

/// Gives what is there, if anything is.
struct Flaky(Arc<Mutex<Option<&'static str>>>);

impl ReadSecret for Flaky {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        let there = self.0.lock().unwrap().map(Secret::new);
        let empty = SecretError::Empty { place: "it".to_owned() };
        Box::pin(std::future::ready(there.ok_or(empty)))
    }
}

#[tokio::test]
async fn a_secret_that_is_gone_for_a_while_is_used_as_it_was_last() {
    let there = Arc::new(Mutex::new(None));
    let live = LiveSecret::new(Flaky(there.clone()));
    assert!(live.get().await.is_err());
    for secret in ["one", "two"] {
        *there.lock().unwrap() = Some(secret);
        assert_eq!(live.get().await, Ok(Secret::new(secret)));
        *there.lock().unwrap() = None;
        assert_eq!(live.get().await, Ok(Secret::new(secret)));
    }
}
