//! Tokenry under measurement: an installation of its own, made and run by the `tokenry` command like any other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::load::{Plan, RequestPlan, TlsPlan, request};
use crate::problem::{Doing as _, Result};
use crate::process::{Launch, Process};

/// What each realm of the benchmark has at the end of its file.
const CLIENT: &str = "
[[realm.clients]]
id = \"bench\"
grants = [\"client_credentials\"@]
scope = [\"read\", \"write\"]
";

/// How long any of its commands may take.
const COMMAND: Duration = Duration::from_secs(120);

/// How long it may take to start, with a million clients as well.
const START: Duration = Duration::from_secs(120);

/// The command, built, and what its installations have in common.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    path: PathBuf,
    log_level: Option<String>,
}

impl Binary {
    /// Builds the command as it is released, and keeps a copy in a folder: a later build must not change what is
    /// measured.
    pub(crate) async fn build(folder: &Path, log_level: Option<&str>) -> Result<Self> {
        let own = std::env::current_exe()?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Launch::new(cargo)
            .args(["build", "--release", "--quiet", "--package", "tokenry"])
            .folder(&workspace())
            .output(None, Duration::from_secs(3600))
            .await
            .doing("building tokenry")?;
        let path = folder.join("tokenry");
        std::fs::copy(own.with_file_name("tokenry"), &path)
            .doing("run the benchmark with `cargo xtask bench issue`")?;
        Ok(Self { path, log_level: log_level.map(str::to_owned) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an installation in a folder of its own below `parent`.
    pub(crate) async fn install(&self, parent: &Path) -> Result<Installation> {
        let folder = tempfile::tempdir_in(parent)?;
        let installation = Installation { binary: self.clone(), folder };
        installation.run(&["init", "."]).await?;
        let written = std::fs::read_to_string(installation.path().join("tokenry.toml"))?;
        for (name, tls) in [("plain.toml", false), ("tls.toml", true)] {
            let text = configuration(&written, tls, self.log_level.as_deref());
            std::fs::write(installation.path().join(name), text)?;
        }
        Ok(installation)
    }
}

/// The folder of the whole project.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// What `tokenry init` wrote, with any free port, no second listener, with or without TLS; all else stays.
fn configuration(written: &str, tls: bool, log_level: Option<&str>) -> String {
    let mut table = "";
    let mut out = String::new();
    for line in written.lines() {
        if line.starts_with('[') {
            table = line;
        }
        let key = line.split('=').next().unwrap_or("").trim();
        match (key, log_level) {
            ("listen", _) => out.push_str("listen = \"127.0.0.1:0\""),
            ("admin", _) => {}
            ("level", Some(level)) => out.push_str(&format!("level = \"{level}\"")),
            _ if table.starts_with("[tls]") && !tls => {}
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// An installation; its folder goes with it.
pub(crate) struct Installation {
    binary: Binary,
    folder: TempDir,
}

/// A realm of the benchmark.
pub(crate) struct Realm<'a> {
    pub(crate) name: &'a str,
    pub(crate) signing: &'a str,
    /// What `[realm.tokens]` says besides lifetime and algorithm.
    pub(crate) tokens: &'a str,
    /// Whether its client may refresh.
    pub(crate) refreshes: bool,
    /// Other clients, as TOML.
    pub(crate) others: &'a str,
}

impl Realm<'_> {
    fn file(&self) -> String {
        let Self { name, signing, tokens, refreshes, others } = self;
        let client = CLIENT.replace('@', if *refreshes { ", \"refresh_token\"" } else { "" });
        format!(
            "[realm]\nname = \"{name}\"\nissuer = \"https://localhost/{name}\"\nscopes = [\"read\", \"write\"]\n\
             \n[realm.tokens]\naccess = \"5m\"\nsigning = \"{signing}\"\n{tokens}\n{client}{others}"
        )
    }
}

impl Installation {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn run(&self, args: &[&str]) -> Result<String> {
        Launch::new(&self.binary.path)
            .args(args)
            .folder(self.path())
            .env("TOKENRY_OUTPUT", "json")
            .output(None, COMMAND)
            .await
    }

    /// Applies realms, and gives the client of each a secret.
    pub(crate) async fn realms(&self, realms: &[Realm<'_>]) -> Result<()> {
        if realms.is_empty() {
            return Ok(());
        }
        let mut args = vec!["apply".to_owned()];
        for realm in realms {
            let file = format!("{}.realm.toml", realm.name);
            std::fs::write(self.path().join(&file), realm.file())?;
            args.push(file);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.run(&args).await?;
        for realm in realms {
            self.secret(realm.name, "bench").await?;
        }
        Ok(())
    }

    /// Gives a client a secret.
    pub(crate) async fn secret(&self, realm: &str, client: &str) -> Result<String> {
        let file = format!("{realm}.{client}.secret");
        self.run(&["client", "secret", "add", realm, client, "--to", &file]).await?;
        Ok(std::fs::read_to_string(self.path().join(file))?.trim_end().to_owned())
    }

    /// `id:secret` of a realm's client.
    pub(crate) fn credentials(&self, realm: &str) -> Result<String> {
        let path = self.path().join(format!("{realm}.bench.secret"));
        Ok(format!("bench:{}", std::fs::read_to_string(path)?.trim_end()))
    }

    /// The bytes of the database with its log.
    pub(crate) fn database_size(&self) -> u64 {
        ["tokenry.db", "tokenry.db-wal"]
            .iter()
            .filter_map(|name| std::fs::metadata(self.path().join(name)).ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Starts the server on cores; it starts as many threads.
    pub(crate) async fn serve(&self, how: Serve<'_>) -> Result<Server> {
        let config = if how.tls { "tls.toml" } else { "plain.toml" };
        let log = self.path().join("start.log");
        let mut launch = Launch::new(&self.binary.path)
            .args(["serve", "--output", "json", "--config", config])
            .folder(self.path())
            .on(how.cores);
        if how.log_kept {
            launch = launch.log(&log);
        }
        let mut process = launch.start()?;
        let line = process.first_line(START).await?;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        let url = said["listening"].as_str().unwrap_or_default();
        let address = url.rsplit('/').next().unwrap_or_default().parse().doing(&line)?;
        Ok(Server { process, address })
    }

    /// What trusts this installation's certificate.
    pub(crate) fn trust(&self) -> TlsPlan {
        let authority = self.path().join("ca.pem").display().to_string();
        TlsPlan { authority, name: "localhost".to_owned() }
    }

    /// What asks a realm for tokens with client_credentials.
    pub(crate) fn asking(&self, realm: &str) -> Result<RequestPlan> {
        let text =
            request::client_credentials(&format!("/{realm}/token"), &self.credentials(realm)?);
        Ok(RequestPlan::Same { text })
    }

    /// What refreshes at a realm.
    pub(crate) fn refreshing(&self, realm: &str) -> Result<RequestPlan> {
        let (path, credentials) = (format!("/{realm}/token"), self.credentials(realm)?);
        Ok(RequestPlan::Refresh {
            first: request::client_credentials(&path, &credentials),
            head: request::head(&path, &credentials),
        })
    }
}

/// How the server is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serve<'a> {
    pub(crate) cores: &'a str,
    pub(crate) tls: bool,
    /// Whether its log is kept in the folder, instead of being thrown away.
    pub(crate) log_kept: bool,
}

/// A server that runs; it ends with this value.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// A load of 64 kept connections, whose times the rounds fill in.
    pub(crate) fn plan(&self, request: RequestPlan) -> Plan {
        plan(self.address, request)
    }
}

/// A load of 64 kept connections, whose times the rounds fill in.
pub(crate) fn plan(address: SocketAddr, request: RequestPlan) -> Plan {
    Plan {
        address,
        tls: None,
        connections: 64,
        warmup_ms: 0,
        measure_ms: 0,
        at_most: None,
        every_us: None,
        new_connection: false,
        request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_stays_as_init_writes_it_but_for_ports_and_tls() {
        let written = "[server]\nlisten = \"a\"\nadmin = \"b\"\n[tls]\nkey = \"k\"\n[log]\nlevel = \"info\" # why\n";
        let listen = "[server]\nlisten = \"127.0.0.1:0\"\n\n";
        assert_eq!(
            configuration(written, false, None),
            format!("{listen}\n\n[log]\nlevel = \"info\" # why\n")
        );
        assert_eq!(
            configuration(written, true, Some("warn")),
            format!("{listen}[tls]\nkey = \"k\"\n[log]\nlevel = \"warn\"\n")
        );
    }
}
