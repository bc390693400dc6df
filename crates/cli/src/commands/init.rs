//! `tokenry init`: a new installation, ready to be looked at and run.

pub(crate) mod certificates;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokenry_core::MasterKey;
use tokenry_core::realm::is_host;
use tokenry_store::{Change, OpenError};

use super::Outcome;
use crate::args::Global;
use crate::config::{Config, master_key};
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::edge;
use crate::installation::store_failed;
use crate::output::Output;

const CONFIG: &str = include_str!("init/tokenry.toml");
const REALM: &str = include_str!("init/realm.toml");

/// As many names as a certificate for development needs, and fewer than make it too large for a handshake.
const MAX_HOSTS: usize = 100;

/// Makes a new installation: configuration, master key, certificates, database and a first realm file.
///
/// In a directory: tokenry.toml, master.key, a realm file to begin with, a certificate for localhost with an authority of
/// its own (ca.pem), and an empty database. Nothing that exists is overwritten.
///
/// With --store only the empty store is made that an existing configuration (--config) names.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where; it is made if it is not there.
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// A host name that the certificate is for too. May be repeated.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Make only the store that the configuration names, for its master key.
    #[arg(long, conflicts_with_all = ["directory", "hosts"])]
    store: bool,
}

/// A file to be made.
struct NewFile {
    name: &'static str,
    content: zeroize::Zeroizing<String>,
    private: bool,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    if arguments.store {
        return store_alone(global, output).await;
    }
    if global.config_given {
        let message = "init makes a configuration of its own, in DIR, and reads no other";
        let help = "leave --config out; to make the store that a configuration names add --store";
        return Err(Diagnostic::error(message).help(help).into());
    }
    let directory = &arguments.directory;
    let key: [u8; 32] = edge::random()?;
    let diagnostics = check(arguments);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let files = files(arguments, &key)?;
    let database = directory.join("tokenry.db");
    let paths: Vec<PathBuf> =
        files.iter().map(|f| directory.join(f.name)).chain([database.clone()]).collect();
    nothing_there(&paths)?;
    std::fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    for file in &files {
        file.write(directory)?;
    }
    make_store(&format!("sqlite:{}", database.display()), &MasterKey::new(key)).await?;

    let mut made: Vec<&str> = files.iter().map(|file| file.name).collect();
    made.push("tokenry.db");
    let next = next_steps(directory, global);
    let json = json!({ "directory": directory, "files": made, "next": next });
    output.done(&json, || format!("made {} in {}", made.join(", "), directory.display()))?;
    output.note(&format!("next:\n  {}", next.join("\n  ")));
    Ok(ExitCode::SUCCESS)
}

/// Makes the store of a configuration that is there.
async fn store_alone(global: &Global, output: Output) -> Outcome {
    let mut diagnostics = Diagnostics::default();
    let Some(config) = Config::read(&global.config, &mut diagnostics) else {
        return Err(diagnostics);
    };
    let master = master_key::load(&config)?;
    let url = &config.store.value;
    if !matches!(tokenry_store::open_existing(url).await, Err(OpenError::Missing { .. })) {
        let message = format!("there is something at {url} already");
        return Err(config
            .error(&config.store.span, message)
            .help("`tokenry check` says what is wrong with it, if anything")
            .into());
    }
    make_store(url, &master).await?;
    output.done(&json!({ "store": url }), || format!("made {url}"))?;
    Ok(ExitCode::SUCCESS)
}

/// That none of these is there; otherwise all that are, and once what to do.
fn nothing_there(paths: &[PathBuf]) -> Result<(), Diagnostics> {
    let mut there: Vec<Diagnostic> = paths
        .iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| Diagnostic::error(format!("{} exists already", path.display())))
        .collect();
    match there.pop() {
        None => Ok(()),
        Some(last) => {
            there.push(
                last.help("nothing is overwritten: choose another directory, or move them away"),
            );
            Err(Diagnostics(there))
        }
    }
}

fn check(arguments: &Arguments) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    for host in arguments.hosts.iter().filter(|host| !is_host(host)) {
        let error = Diagnostic::error(if host.contains('*') {
            format!(
                "a certificate is made for whole host names, not for the wildcard {}",
                quoted(host)
            )
        } else {
            format!("a host name is in lower case, without port, not {}", quoted(host))
        });
        diagnostics.push(if host.contains('*') {
            error.help("--host may be repeated: name each host")
        } else {
            error
        });
    }
    if arguments.hosts.len() > MAX_HOSTS {
        diagnostics.push(Diagnostic::error(format!(
            "a certificate is made for up to {MAX_HOSTS} further hosts"
        )));
    }
    diagnostics
}

fn files(arguments: &Arguments, key: &[u8; 32]) -> Result<Vec<NewFile>, Diagnostic> {
    let certificates = certificates::make(&arguments.hosts, edge::now())
        .map_err(|error| Diagnostic::error(format!("no certificate could be made: {error}")))?;
    let mut master = master_key::write(key);
    master.push('\n');
    let public = |name, content: String| NewFile { name, content: content.into(), private: false };
    let private = |name, content| NewFile { name, content, private: true };
    Ok(vec![
        public("tokenry.toml", CONFIG.to_owned()),
        private("master.key", master),
        public("ca.pem", certificates.authority),
        public("server.pem", certificates.certificate),
        private("server.key", certificates.key),
        public("realm.toml", REALM.to_owned()),
    ])
}

impl NewFile {
    fn write(&self, directory: &Path) -> Result<(), Diagnostic> {
        let path = directory.join(self.name);
        if self.private {
            edge::write_private(&path, &self.content)
        } else {
            let open = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
            open.and_then(|mut file| std::io::Write::write_all(&mut file, self.content.as_bytes()))
        }
        .map_err(|error| cannot(&path, &error))
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(format!("{} cannot be made: {}", path.display(), plain(error)))
}

async fn make_store(url: &str, master: &MasterKey) -> Result<(), Diagnostic> {
    let store =
        tokenry_store::open(url).await.map_err(|error| Diagnostic::error(error.to_string()))?;
    store
        .change(vec![Change::PutMasterKeyCheck(master.check())], None, edge::now())
        .await
        .map_err(|error| store_failed(&error))?;
    Ok(())
}

/// From here to a first token.
fn next_steps(directory: &Path, global: &Global) -> Vec<String> {
    if is_configured(directory, global) {
        // Whoever wrote that configuration has realms of their own to apply.
        return ["tokenry check", "tokenry apply REALM.toml", "tokenry serve"]
            .map(str::to_owned)
            .to_vec();
    }
    let mut steps = Vec::new();
    if directory != Path::new(".") {
        steps.push(format!("cd {}", directory.display()));
    }
    steps.extend(
        [
            "tokenry apply realm.toml",
            "tokenry client secret add example first --to first.secret",
            "tokenry serve &",
            "tokenry token --issuer https://localhost:8443 --cacert ca.pem --client-id first \
             --client-secret-file first.secret",
        ]
        .map(str::to_owned),
    );
    steps
}

/// Whether the configuration outside of this directory is one for what was made in it.
fn is_configured(directory: &Path, global: &Global) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let Some(config) = Config::read(&global.config, &mut Diagnostics::default()) else {
        return false;
    };
    let own = real(&global.config) == real(&directory.join("tokenry.toml"));
    let store = config.store.value.strip_prefix("sqlite:").map(Path::new);
    !own && store
        .and_then(real)
        .is_some_and(|store| Some(store) == real(&directory.join("tokenry.db")))
}
