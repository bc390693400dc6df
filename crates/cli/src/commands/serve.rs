//! `tokenry serve`: the authorization server as a process.

mod reload;

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokenry_server::{Administration, App, HttpsFetch, StartError, SystemClock, Ways, Workers};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::admin_guard::TokenGuard;
use crate::args::Global;
use crate::certificate;
use crate::config::{Config, LOG_LEVEL, LogFormat, fetch, is_log_level};
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::document::Span;
use crate::edge;
use crate::installation::{Installation, Read};
use crate::output::Output;

/// Runs the authorization server until SIGTERM or SIGINT, then finishes the requests it has accepted.
///
/// Everything is looked at before a port is bound. It logs to standard error; TOKENRY_LOG overrides `[log] level`.
/// Once it listens, its addresses are printed to standard output; the issuers are in the log.
///
/// The files of `[tls]` are read again on SIGHUP, and by themselves within a minute of a change. New connections then
/// get the new certificate, open ones stay; where the new files are no good, the log says so and the old certificate
/// stays. Realms, clients and users are changed with the other commands while it runs; for a change of tokenry.toml
/// it has to be started again.
#[derive(Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: &Arguments, global: &Global, output: Output) -> Outcome {
    warm_up();
    let mut diagnostics = Diagnostics::default();
    let installation = Installation::open_noting(global, Read::Outline, &mut diagnostics).await;
    let Some(installation) = installation else {
        // The store or the master key stand in the way; the certificates may as well.
        if let Some(config) = Config::read(&global.config, &mut Diagnostics::default()) {
            diagnostics.append(certificate::load(&config).err().unwrap_or_default());
        }
        return Err(diagnostics);
    };
    let Installation { config, store, master, snapshot } = installation;
    let stamp = reload::Stamp::of(&config);
    let loaded = certificate::load(&config).map_err(|bad| diagnostics.append(bad)).ok().flatten();
    let filter = log_filter(&config).map_err(|bad| diagnostics.push(bad)).ok();
    let rules = fetch::rules(&config).map_err(|bad| diagnostics.push(bad)).ok();
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let listeners = listen(&config).await.map_err(|bad| diagnostics.append(bad)).ok();
    let (Some((listener, admin)), Some(filter)) = (listeners, filter) else {
        return Err(diagnostics);
    };

    set_up_log(config.log_format, filter);
    diagnostics.0.extend(loaded.as_ref().and_then(|loaded| loaded.aging(&config, edge::now())));
    diagnostics.0.extend(certificate::exposed_key(&config));
    diagnostics.0.extend(too_few_files(rlimit::increase_nofile_limit(u64::MAX), &config));
    for questionable in &diagnostics.0 {
        tracing::warn!("{}", questionable.message);
    }
    if snapshot.realms.is_empty() {
        tracing::warn!("there is no realm, so that there are no tokens: `tokenry apply` makes one");
    }
    for realm in snapshot.realms.iter().filter(|realm| realm.password_grant) {
        tracing::warn!(realm = realm.name, "the password grant is on; RFC 9700 forbids it");
    }
    let threads = NonZeroUsize::new(config.threads.unwrap_or_default());
    let workers = Workers::start(threads).map_err(|error| {
        Diagnostic::error(format!("the threads that answer do not start: {}", plain(&error)))
    })?;
    let ways = Ways {
        proxies: config.proxies(),
        fetch: Arc::new(HttpsFetch::new(rules.unwrap_or_default())),
        strangers: Arc::new(HttpsFetch::default()),
    };
    let (clock, limits) = (Arc::new(SystemClock), config.limits.clone());
    let app = App::start_behind(ways, store, master, clock, limits)
        .await
        .map_err(|error| not_started(&config, &error))?;
    // Before anybody knows that it runs, and may tell it to end.
    let signals = (Signals::new()?, reload::Hangups::new()?);
    announce(&config, &app, &listener, admin.as_ref(), output)?;
    let administration = administration(&app, &config);
    let admin = admin.map(|listener| (listener, administration));
    let watch = reload::Watch::new(config, loaded, stamp);
    until_told_to_end(app, listener, admin, &workers, watch, signals).await;
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// Lets the cryptographic generator start while the store is opened.
///
/// Its first byte takes some 20 ms, as it gathers its own entropy first; the others take nothing.
fn warm_up() {
    // Whoever draws in earnest waits for it, and sees the error if there is one.
    let drawing = || {
        let _ = tokenry_server::random::<1>();
    };
    let _ = std::thread::Builder::new().name("entropy".to_owned()).spawn(drawing);
}

/// Files that are open beside the connections: the store and its journals, listeners, what the runtime waits with.
const OTHER_FILES: u64 = 64;

/// Why not all connections that are allowed will be accepted, after the limit was raised as far as it goes.
fn too_few_files(raised: io::Result<u64>, config: &Config) -> Option<Diagnostic> {
    let connections = config.limits.max_connections;
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let message = match raised {
        Ok(files) if files >= needed => return None,
        Ok(files) => format!(
            "this process may open {files} files, too few for {connections} connections: raise the hard limit (ulimit -Hn, LimitNOFILE) to {needed}, or lower max_connections"
        ),
        Err(error) => {
            format!("how many files this process may open is not known: {}", plain(&error))
        }
    };
    Some(Diagnostic::warning(message))
}

/// Binds every port, or says which could not be.
async fn listen(config: &Config) -> Result<(TcpListener, Option<TcpListener>), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let main = bind(config, config.listen.value, &config.listen.span).await;
    let admin = match &config.admin {
        Some(at) => bind(config, at.value, &at.span).await.map(Some),
        None => Ok(None),
    };
    match (main, admin) {
        (Ok(main), Ok(admin)) => Ok((main, admin)),
        (main, admin) => {
            for error in [main.err(), admin.err()].into_iter().flatten() {
                diagnostics.push(error);
            }
            Err(diagnostics)
        }
    }
}

async fn bind(config: &Config, address: SocketAddr, at: &Span) -> Result<TcpListener, Diagnostic> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => config
            .error(at, format!("{address} is in use by another process"))
            .help("end that process (is Tokenry running already?), or choose another port"),
        io::ErrorKind::PermissionDenied => config
            .error(at, format!("this user may not listen on {address}"))
            .help("choose a port from 1024 on, or allow it, such as with the capability CAP_NET_BIND_SERVICE"),
        io::ErrorKind::AddrNotAvailable => config
            .error(at, format!("{address} is no address of this machine"))
            .help("0.0.0.0 and [::] stand for all of them"),
        _ => config.error(at, format!("cannot listen on {address}: {}", plain(&error))),
    })
}

fn log_filter(config: &Config) -> Result<EnvFilter, Diagnostic> {
    log_filter_or(&config.log_level)
}

/// What TOKENRY_LOG says, or else this.
pub(super) fn log_filter_or(configured: &str) -> Result<EnvFilter, Diagnostic> {
    match std::env::var("TOKENRY_LOG") {
        Ok(level) if level.is_empty() => Ok(EnvFilter::new(configured)),
        Ok(level) if is_log_level(&level) => Ok(EnvFilter::new(level)),
        Ok(level) => {
            let message = format!("TOKENRY_LOG must be {LOG_LEVEL}, got {}", quoted(&level));
            Err(Diagnostic::error(message))
        }
        Err(_) => Ok(EnvFilter::new(configured)),
    }
}

pub(super) fn set_up_log(format: LogFormat, filter: EnvFilter) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // It fails only where a log is set up already.
    let _ = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.try_init(),
    };
}

fn not_started(config: &Config, error: &StartError) -> Diagnostic {
    let at = match error {
        StartError::WrongMasterKey => &config.master_key.span,
        StartError::Store(_) => &config.store.span,
        _ => return Diagnostic::error(error.to_string()),
    };
    config.error(at, error.to_string())
}

/// Says where the server listens, to the log and on standard output.
fn announce(
    config: &Config,
    app: &App,
    listener: &TcpListener,
    admin: Option<&TcpListener>,
    output: Output,
) -> Result<(), Diagnostic> {
    let address = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| Diagnostic::error(format!("the socket is gone: {error}")))
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", address(listener)?);
    let admin = admin.map(|a| address(a).map(|a| format!("http://{a}"))).transpose()?;
    let summary = app.summary();
    let version = env!("CARGO_PKG_VERSION");
    // One text: JSON logs have no lists, and this one is searched for an issuer.
    let realms = summary.realms.join(", ");
    tracing::info!(version, url, admin, realms, clients = summary.clients, "listening");
    let json = json!({ "listening": url, "admin": admin, "realms": summary.realms, "clients": summary.clients });
    let printed = output.answer(&json, || match &admin {
        Some(admin) => format!("listening on {url}\nhealth and metrics on {admin}"),
        None => format!("listening on {url}"),
    });
    if let Err(unprinted) = printed {
        // A server without a standard output serves all the same.
        tracing::warn!("{}", unprinted.message);
    }
    Ok(())
}

/// What the admin listener serves: the API only for those who have the tokens that the configuration names.
fn administration(app: &Arc<App>, config: &Config) -> Administration {
    let administration = Administration::new(Arc::clone(app));
    let Some(api) = config.admin_api.clone() else { return administration };
    let realm = &api.realm.value;
    if app.issues(realm).is_none() {
        tracing::warn!(realm, "the admin API stays closed until there is this realm");
    }
    administration.guarded_by(Arc::new(TokenGuard::new(Arc::clone(app), api)))
}

async fn until_told_to_end(
    app: Arc<App>,
    listener: TcpListener,
    admin: Option<(TcpListener, Administration)>,
    workers: &Workers,
    watch: reload::Watch,
    (mut signals, hangups): (Signals, reload::Hangups),
) {
    let (end, ended) = watch::channel(false);
    let shutdown = || {
        let mut ended = ended.clone();
        async move {
            // An error means that the sender is gone, which is an end as well.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    };
    let tls = watch.tls();
    let watch = tokio::spawn(watch.run(hangups));
    let upkeep = tokio::spawn(Arc::clone(&app).upkeep(shutdown()));
    let admin = admin.map(|(listener, administration)| {
        tokio::spawn(tokenry_server::serve_admin(administration, listener, shutdown()))
    });
    let signal = tokio::spawn(async move {
        signals.next().await;
        tracing::info!("ending: requests under way are finished; a second signal ends at once");
        let _ = end.send(true);
        signals.next().await;
        std::process::exit(1);
    });
    tokenry_server::serve(app, listener, tls, workers, shutdown()).await;
    // Their errors are panics, which the log has seen.
    let _ = upkeep.await;
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    signal.abort();
    watch.abort();
}

#[cfg(unix)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Result<Self, Diagnostic> {
        use tokio::signal::unix::{SignalKind, signal};
        let refused = |error| Diagnostic::error(format!("signals cannot be received: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            hangup: signal(SignalKind::hangup()).map_err(refused)?,
        })
    }

    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // A process that ends by it would surprise who wants it to read something again.
                Some(()) = self.hangup.recv() => tracing::info!(
                    "SIGHUP: settings are read at the start alone, secrets and certificates by themselves"
                ),
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) const fn new() -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_for_the_connections_are_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tokenry.toml");
        let text = "[server]\nmax_connections = 100\n[store]\nurl = \"sqlite:a\"\n[master_key]\nenv = \"A\"\n";
        std::fs::write(&path, text).unwrap();
        let mut diagnostics = Diagnostics::default();
        let config = Config::read(&path, &mut diagnostics).unwrap();
        let told = |raised| too_few_files(raised, &config).map(|warning| warning.message);
        assert_eq!(told(Ok(164)), None);
        let few = told(Ok(163)).unwrap();
        assert!(
            few.contains("163 files, too few for 100 connections") && few.contains("to 164"),
            "{few}"
        );
        assert!(told(Err(io::Error::other("no"))).unwrap().contains("is not known"));
    }
}
