//! `tokenry proxy`: puts tokens on the requests of programs that cannot do so themselves.

mod admin;
mod file;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde_json::json;
use tokenry_client::Keeper;
use tokenry_client::proxy::{Proxy, Upstream, Workers, serve};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use super::Outcome;
use super::figures::{self, Figures};
use super::listen::{Bound, Listen};
use super::serve::{Signals, set_up_log};
use super::source::Source;
use crate::args::Global;
use crate::config::{LOG_LEVEL, LogFormat, is_log_level};
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::harden::harden;
use crate::output::Output;

/// Passes requests on with a fresh token, until SIGTERM or SIGINT; then finishes those that it has begun.
///
/// Either to one upstream, as the arguments say:
///
///     tokenry proxy --upstream https://api.example --issuer https://auth.example --client-id billing
///
/// or as a file says, with any number of listeners, upstreams and tokens, and as HTTP_PROXY for plain HTTP:
///
///     tokenry proxy --config proxy.toml
///
/// Whatever a program sends as `Authorization` is replaced, a 401 is answered once with another token, and hosts that
/// nothing names get none. Whoever can connect has the rights of the token: a port of this machine is open to all its
/// users, a socket (`unix:PATH`) to one. Web pages are kept out. It logs to standard error; TOKENRY_LOG sets the level.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("flags").args(Source::ORIGINS).requires("upstream")))]
#[command(group(ArgGroup::new("to").args(["upstream"]).requires("origin")))]
pub(crate) struct Arguments {
    /// Where requests go: an https URL, or an http URL of this machine. Its path is put before theirs.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where to listen: an address of this machine and a port, or `unix:PATH`.
    #[arg(
        long,
        value_name = "ADDR:PORT|unix:PATH",
        default_value = "127.0.0.1:9000",
        requires = "upstream"
    )]
    listen: Listen,
    /// Speak HTTP/2 to an upstream without TLS, as gRPC servers want it.
    #[arg(long, requires = "upstream")]
    http2: bool,
    /// Where health and metrics are served.
    #[arg(long, value_name = "ADDR:PORT", requires = "upstream")]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    source: Source,
}

/// What is to be run, all of it found to be good.
struct Plan {
    fronts: Vec<Front>,
    /// The keepers by the names of their tokens.
    keepers: Vec<(String, Keeper)>,
    admin: Option<SocketAddr>,
    threads: Option<NonZeroUsize>,
    log_level: String,
    log_format: LogFormat,
}

/// A listener, and what it does.
struct Front {
    listen: Listen,
    /// The upstream's URL, or `forward`.
    name: String,
    proxy: Proxy,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    // Before there is any secret.
    let unprotected = harden();
    let plan = match &arguments.upstream {
        Some(upstream) => arguments.plan(upstream).await?,
        None if global.config_given => file::plan(&global.config).await?,
        None => {
            let message = "neither --upstream nor --config says what is to be done";
            return Err(Diagnostic::error(message).help("see `tokenry proxy --help`").into());
        }
    };
    let filter = log_filter(&plan.log_level)?;
    let (bound, admin) = bind(&plan).await?;
    set_up_log(plan.log_format, filter);
    if let Some(questionable) = unprotected {
        tracing::warn!("{}", questionable.message);
    }
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "how many files this process may open is not known");
    }
    let workers = Workers::start(plan.threads).map_err(|error| {
        Diagnostic::error(format!("the threads do not start: {}", plain(&error)))
    })?;
    // Before anybody knows that it runs, and may tell it to end.
    let signals = Signals::new()?;
    announce(&plan, &bound, admin.as_ref(), output)?;
    until_told_to_end(plan, bound, admin, &workers, signals).await;
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    async fn plan(&self, url: &str) -> Result<Plan, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        if let Listen::Tcp(address) = &self.listen
            && !address.ip().is_loopback()
        {
            diagnostics.push(open(*address));
        }
        let upstream = Upstream::new(url)
            .map_err(|error| {
                let message = format!("--upstream {}: {error}", quoted(url));
                diagnostics.push(Diagnostic::error(message));
            })
            .ok();
        let source = self.source.keeper().await.map_err(|error| diagnostics.append(error)).ok();
        let (Some(upstream), Some((keeper, dialer)), false) =
            (upstream, source, diagnostics.has_errors())
        else {
            return Err(diagnostics);
        };
        check_hosts(&keeper, url)?;
        let upstream = if self.http2 { upstream.with_http2() } else { upstream };
        let mut proxy = Proxy::reverse(upstream, keeper.clone(), dialer);
        if self.listen.is_unix() {
            proxy = proxy.private();
        }
        let front =
            Front { listen: self.listen.clone(), name: url.to_owned(), proxy: proxy.build() };
        Ok(Plan {
            fronts: vec![front],
            keepers: vec![("default".to_owned(), keeper)],
            admin: self.admin,
            threads: None,
            log_level: "info".to_owned(),
            log_format: LogFormat::Json,
        })
    }
}

/// That a listener would be open to a network.
fn open(address: SocketAddr) -> Diagnostic {
    Diagnostic::error(format!("{address} is no address of this machine alone: whoever reaches it has the token's rights"))
        .help("listen on 127.0.0.1, [::1] or unix:PATH, or say `open_to_network = true` under `[proxy]` of a file")
}

/// That a token which is meant for some hosts is not sent to another.
fn check_hosts(keeper: &Keeper, url: &str) -> Result<(), Diagnostic> {
    let hosts = keeper.provider().api_hosts();
    let allowed = url.parse().is_ok_and(|url| hosts.allows(&url));
    if hosts.is_empty() || allowed {
        return Ok(());
    }
    let message = format!("the provider's tokens are not meant for {}", quoted(url));
    Err(Diagnostic::error(message)
        .help("--api-host says where else they may go, or `api_hosts` in a file"))
}

fn log_filter(level: &str) -> Result<EnvFilter, Diagnostic> {
    match std::env::var("TOKENRY_LOG") {
        Ok(level) if !level.is_empty() => {
            if !is_log_level(&level) {
                let message = format!("TOKENRY_LOG must be {LOG_LEVEL}, got {}", quoted(&level));
                return Err(Diagnostic::error(message));
            }
            Ok(EnvFilter::new(level))
        }
        _ => Ok(EnvFilter::new(level)),
    }
}

/// Binds everything, or says what could not be.
async fn bind(plan: &Plan) -> Result<(Vec<Bound>, Option<Bound>), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut bound = Vec::new();
    let admin = plan.admin.map(Listen::Tcp);
    let all = plan.fronts.iter().map(|front| &front.listen).chain(&admin);
    for listen in all {
        match listen.bind().await {
            Ok(listener) => bound.push(listener),
            Err(error) => diagnostics.push(error),
        }
    }
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let admin = if admin.is_some() { bound.pop() } else { None };
    Ok((bound, admin))
}

/// Says where it listens, to the log and on standard output.
fn announce(
    plan: &Plan,
    bound: &[Bound],
    admin: Option<&Bound>,
    output: Output,
) -> Result<(), Diagnostic> {
    let version = env!("CARGO_PKG_VERSION");
    let listeners: Vec<_> = plan
        .fronts
        .iter()
        .zip(bound)
        .map(|(front, bound)| (bound.url(), front.name.as_str()))
        .collect();
    for (url, upstream) in &listeners {
        tracing::info!(version, url, upstream, "listening");
    }
    let admin = admin.map(Bound::url);
    let json: Vec<_> =
        listeners.iter().map(|(url, to)| json!({ "url": url, "upstream": to })).collect();
    let json = json!({ "listening": json, "admin": admin });
    let printed = output.answer(&json, || {
        let lines = listeners.iter().map(|(url, to)| format!("listening on {url} for {to}"));
        let admin = admin.iter().map(|admin| format!("health and metrics on {admin}"));
        lines.chain(admin).collect::<Vec<_>>().join("\n")
    });
    if let Err(unprinted) = printed {
        // A proxy without a standard output serves all the same.
        tracing::warn!("{}", unprinted.message);
    }
    Ok(())
}

async fn until_told_to_end(
    plan: Plan,
    bound: Vec<Bound>,
    admin: Option<Bound>,
    workers: &Workers,
    mut signals: Signals,
) {
    let (end, ended) = watch::channel(false);
    let shutdown = || {
        let mut ended = ended.clone();
        async move {
            // An error means that the sender is gone, which is an end as well.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    };
    let proxies =
        plan.fronts.iter().map(|front| (front.name.clone(), front.proxy.clone())).collect();
    let admin = admin.and_then(Bound::into_tcp).map(|listener| {
        let metrics = admin::Figures { proxies, keepers: plan.keepers };
        tokio::spawn(figures::serve(listener, Figures::new(metrics), shutdown()))
    });
    let signal = tokio::spawn(async move {
        signals.next().await;
        tracing::info!("ending: requests under way are finished; a second signal ends at once");
        let _ = end.send(true);
        signals.next().await;
        std::process::exit(1);
    });
    let (fronts, files): (Vec<_>, Vec<_>) = plan
        .fronts
        .into_iter()
        .zip(bound)
        .map(|(front, bound)| {
            let (listener, file) = bound.into_listener();
            ((listener, front.proxy), file)
        })
        .unzip();
    // Before those under way are finished: by then another process may listen there.
    let ended = async move {
        shutdown().await;
        drop(files);
    };
    serve(fronts, workers, ended).await;
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    signal.abort();
}
