//! The programs of `interop/`: one per language, each with the libraries that people use there.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::installation::Installation;
use super::{quietly, target};
use crate::command::succeeds;
use crate::{Problem, root};

/// A program that is a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Program {
    /// Python: Authlib, requests-oauthlib, python-keycloak.
    Authlib,
    /// Node: oauth4webapi, openid-client, simple-oauth2, jose.
    Oauth4webapi,
    /// Go: golang.org/x/oauth2, go-oidc.
    Golang,
    /// Node the other way round: our keeper, and a server of other people.
    Keeper,
    /// The same server, and our verifier.
    Verifier,
}

/// Says of which lock file an installation was made.
const INSTALLED: &str = "installed";

impl Program {
    pub(super) const ALL: [Self; 5] =
        [Self::Authlib, Self::Oauth4webapi, Self::Golang, Self::Keeper, Self::Verifier];

    /// As `--only` has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Authlib => "authlib",
            Self::Oauth4webapi => "oauth4webapi",
            Self::Golang => "golang",
            Self::Keeper => "keeper",
            Self::Verifier => "verifier",
        }
    }

    /// The folder with its packages: the verifier lives in that of the keeper, and meets the same server.
    const fn home(self) -> &'static str {
        match self {
            Self::Verifier => Self::Keeper.name(),
            _ => self.name(),
        }
    }

    /// Whether it is a client of `tokenry serve`.
    pub(super) fn is_client(self) -> bool {
        !matches!(self, Self::Keeper | Self::Verifier)
    }

    /// What must be on the machine, and how it is asked whether it is.
    const fn language(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Authlib => ("python3", "--version", "Python 3.11 or newer, with venv"),
            Self::Oauth4webapi | Self::Keeper | Self::Verifier => {
                ("npm", "--version", "Node 20 or newer, with npm")
            }
            Self::Golang => ("go", "version", "Go 1.26 or newer"),
        }
    }

    /// What is locked.
    const fn lock(self) -> &'static str {
        match self {
            Self::Authlib => "requirements.txt",
            Self::Oauth4webapi | Self::Keeper | Self::Verifier => "package-lock.json",
            Self::Golang => "go.sum",
        }
    }

    fn source(self) -> PathBuf {
        root().join("interop").join(self.home())
    }

    /// Where its packages are, and its logs.
    pub(super) fn folder(self) -> PathBuf {
        target().join(self.home())
    }

    /// Installs the packages, unless those of the lock file are installed already.
    pub(super) fn prepare(self) -> Result<(), Problem> {
        let (program, version, needed) = self.language();
        if !succeeds(Command::new(program).arg(version)) {
            return Err(format!("`{program}` is missing; please install {needed}"));
        }
        let (folder, lock) = (self.folder(), self.source().join(self.lock()));
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let (mark, wanted) = (folder.join(INSTALLED), read(&lock)?);
        if read(&mark).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        println!("installing the packages of {}", self.name());
        let failed = |error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for command in &mut self.installing() {
            quietly(command)?;
        }
        std::fs::write(&mark, wanted).map_err(failed)
    }

    fn installing(self) -> Vec<Command> {
        let (source, folder) = (self.source(), self.folder());
        match self {
            Self::Authlib => {
                let mut venv = Command::new("python3");
                venv.args(["-m", "venv", "--clear"]).arg(folder.join("venv"));
                let mut pip = Command::new(folder.join("venv/bin/pip"));
                pip.args(["install", "--quiet", "--require-hashes", "--requirement"]);
                pip.arg(source.join(self.lock()));
                vec![venv, pip]
            }
            Self::Oauth4webapi | Self::Keeper | Self::Verifier => {
                // Node looks for packages beside and above the file that imports them.
                for file in ["package.json", self.lock()] {
                    let _ = std::fs::copy(source.join(file), folder.join(file));
                }
                let mut npm = Command::new("npm");
                npm.current_dir(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
                vec![npm]
            }
            Self::Golang => {
                let mut go = self.go();
                go.args(["mod", "download", "-modcacherw"]);
                vec![go]
            }
        }
    }

    fn go(self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(self.source()).env("GOMODCACHE", self.folder().join("modules"));
        go
    }

    /// Runs a client of the installation.
    pub(super) fn meet(self, installation: &Installation) -> Result<(), Problem> {
        let mut command = self.command()?;
        command.arg(&installation.facts);
        // Each of them asks one of these whom to trust, and requests would ask a proxy for localhost.
        for trust in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
            command.env(trust, &installation.authority);
        }
        command.env("NO_PROXY", "localhost").env("no_proxy", "localhost");
        self.run(&mut command)
    }

    /// Runs every case and prints a line for each.
    pub(super) fn run(self, command: &mut Command) -> Result<(), Problem> {
        let name = self.name();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("{name} cannot be run: {error}"))?;
        let (mut good, mut failed) = (0_u32, 0_u32);
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let Ok(line) = line else { break };
            good += u32::from(line.starts_with("ok "));
            failed += u32::from(line.starts_with("FAILED "));
            println!("{line}");
        }
        let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
        match (status.success(), good, failed) {
            (true, 1.., 0) => Ok(()),
            (_, _, 1..) => Err(format!("{name}: {failed} of {} cases failed", good + failed)),
            (_, _, 0) => Err(format!("{name}: {status} after {good} cases")),
        }
    }

    /// What runs it; it is given what it has to know.
    pub(super) fn command(self) -> Result<Command, Problem> {
        let (source, folder) = (self.source(), self.folder());
        Ok(match self {
            Self::Authlib => {
                let mut python = Command::new(folder.join("venv/bin/python"));
                // -B: nothing is written beside the sources.
                python.arg("-B").arg(source.join("main.py"));
                python
            }
            Self::Oauth4webapi | Self::Keeper => {
                copy_modules(&source, &folder)?;
                let mut node = Command::new("node");
                node.arg(folder.join("main.mjs"));
                node
            }
            Self::Verifier => {
                copy_modules(&source, &folder)?;
                let own = folder.join(self.name());
                std::fs::create_dir_all(&own)
                    .map_err(|error| format!("{}: {error}", own.display()))?;
                copy_modules(&source.join(self.name()), &own)?;
                let mut node = Command::new("node");
                node.arg(own.join("main.mjs"));
                node
            }
            Self::Golang => {
                let mut go = self.go();
                go.args(["run", "-mod=readonly", "-modcacherw", "."]);
                go
            }
        })
    }
}

/// Copies the modules to where their packages are.
fn copy_modules(from: &std::path::Path, to: &std::path::Path) -> Result<(), Problem> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    for file in from.read_dir().map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            let name = path.file_name().unwrap_or_default();
            std::fs::copy(&path, to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}
