//! Other authorization servers on the same core, each as its own documentation recommends it for production.
//!
//! They are installed below `target/`, at the versions that `bench/peers` pins, from the registries that the machine's
//! own package tools are set up for. What cannot be installed is left blank in the report.

mod authlib;
mod keycloak;
mod node;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::request::{head, posted};
use crate::load::{Plan, RequestPlan};
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Launch, Process};
use crate::rounds::Contender;
use crate::tokenry::{plan, workspace};

/// What every peer's client proves itself with. It is worth nothing: the peers listen on this machine, for a minute.
const SECRET: &str = "bench-9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d";

/// client_credentials with the scopes that the other servers are asked for too.
const FORM: &str = "grant_type=client_credentials&scope=read+write";

/// How long an installation may take, with all that it downloads.
const INSTALLING: Duration = Duration::from_secs(900);

/// A peer that can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Node,
    Authlib,
    Keycloak,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Node, Self::Authlib, Self::Keycloak];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Node => "node-oidc-provider",
            Self::Authlib => "Authlib",
            Self::Keycloak => "Keycloak",
        }
    }

    /// How long it runs before it is measured: what compiles itself while it runs is slow at first.
    pub(crate) const fn warmup(self) -> Duration {
        match self {
            Self::Node => Duration::from_secs(5),
            Self::Authlib => Duration::from_secs(1),
            Self::Keycloak => Duration::from_secs(30),
        }
    }

    /// Installs what is not installed yet, and starts it on a core.
    pub(crate) async fn start(self, algorithm: &str, core: &str) -> Result<Peer> {
        self.start_with(algorithm, core, false).await
    }

    async fn start_with(self, algorithm: &str, core: &str, refreshes: bool) -> Result<Peer> {
        match self {
            Self::Node => node::start(algorithm, core).await,
            Self::Authlib => authlib::start(algorithm, core).await,
            Self::Keycloak => keycloak::start(algorithm, core, refreshes).await,
        }
    }
}

/// Keycloak, giving refresh tokens to machines: the one of the peers that does.
pub(crate) async fn with_refresh(algorithm: &str, core: &str) -> Result<Peer> {
    Kind::Keycloak.start_with(algorithm, core, true).await
}

/// A peer that runs; it ends with this value.
pub(crate) struct Peer {
    /// Its name and the versions that it runs on.
    pub(crate) name: String,
    address: SocketAddr,
    path: &'static str,
    /// What it is asked with client_credentials.
    form: &'static str,
    process: Process,
}

impl Peer {
    /// What asks it for tokens.
    pub(crate) fn asking(&self) -> Plan {
        plan(self.address, RequestPlan::Same { text: self.first() })
    }

    /// What refreshes at it.
    pub(crate) fn refreshing(&self) -> Plan {
        let head = head(self.path, &credentials());
        plan(self.address, RequestPlan::Refresh { first: self.first(), head })
    }

    fn first(&self) -> String {
        posted(self.path, &credentials(), self.form)
    }

    /// It under a load.
    pub(crate) fn contender(&self, plan: Plan) -> Contender {
        Contender::load(self.name.clone(), &self.process, plan)
    }

    pub(crate) async fn end(self) {
        self.process.end().await;
    }
}

fn credentials() -> String {
    format!("bench:{SECRET}")
}

/// Where peers are installed.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).ok_or_else(|| Problem::new("no folder to install in"))?;
    let folder = target.join("bench-peers").join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Copies what the project keeps of a peer into its folder. Gives whether it is installed as the copied files say.
pub(crate) fn copied(name: &str, files: &[&str], folder: &Path) -> Result<bool> {
    let source = workspace().join("bench/peers").join(name);
    let mut all = String::new();
    for file in files {
        let text = std::fs::read_to_string(source.join(file)).doing(file)?;
        std::fs::write(folder.join(file), &text)?;
        all.push_str(&text);
    }
    Ok(std::fs::read_to_string(folder.join(INSTALLED)).is_ok_and(|before| before == all))
}

/// Remembers that all of it is installed.
pub(crate) fn installed(files: &[&str], folder: &Path) -> Result<()> {
    let mut all = String::new();
    for file in files {
        all.push_str(&std::fs::read_to_string(folder.join(file))?);
    }
    Ok(std::fs::write(folder.join(INSTALLED), all)?)
}

/// Says of what files an installation was made.
const INSTALLED: &str = ".installed";

/// Runs one step of an installation.
pub(crate) async fn step(folder: &Path, program: &str, args: &[&str]) -> Result<()> {
    eprintln!("  installing: {program} {}", args.join(" "));
    let launch = Launch::new(program).args(args).folder(folder);
    launch.output(None, INSTALLING).await.map(|_| ())
}

/// A port that nobody has.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until `path` is answered with 200.
async fn until_ready(address: SocketAddr, path: &str, within: Duration) -> Result<()> {
    const EVERY: Duration = Duration::from_millis(200);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for _ in 0..within.as_millis() / EVERY.as_millis() {
        tokio::time::sleep(EVERY).await;
        if get(address, &request).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 ")) {
            return Ok(());
        }
    }
    Err(Problem::new("it was not ready in time"))
}

fn get(address: SocketAddr, request: &str) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}
