//! A directory with an installation, and a way to run commands in it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// That it went well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// That something was wrong, and that this text says what.
    #[track_caller]
    pub(crate) fn bad(self, text: &str) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.err.contains(text), "{text}\nis not in\n{}", self.err);
        self
    }

    /// The answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The complaint as JSON.
    #[track_caller]
    pub(crate) fn complaint(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A directory of its own, gone with the test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// An empty one.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a new installation, whose ports are any that are free.
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        place.run(["init"]).good();
        let config = place.read("tokenry.toml");
        let config = config
            .replace("127.0.0.1:8443", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0");
        place.write("tokenry.toml", &config);
        place
    }

    /// One where the example realm has been applied too.
    pub(crate) fn applied() -> Self {
        let place = Self::new();
        place.run(["apply", "realm.toml"]).good();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        command(self.0.path(), &arguments)
    }

    /// Runs a command without a terminal and with nothing on its standard input.
    pub(crate) fn run<const N: usize>(&self, arguments: [&str; N]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a command with this on its standard input.
    pub(crate) fn run_with<const N: usize>(&self, arguments: [&str; N], input: &str) -> Ran {
        run(self.command(arguments), input)
    }

    /// Everything the store holds that commands can show.
    pub(crate) fn state(&self) -> String {
        ["client", "user", "realm"]
            .map(|kind| self.run([kind, "list", "--output", "json"]).good().out)
            .join("")
    }
}

/// The binary in a directory, with an environment that holds nothing of ours.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenry"));
    command.args(arguments).current_dir(directory);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOKENRY_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever does not read it closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let code = child.wait().unwrap().code();
    Ran { code, out, err: errors.join().unwrap() }
}
