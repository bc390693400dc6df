//! `tokenry verify`: tells a reverse proxy whether a request's token is good (forward-auth).

mod answer;
mod check;
mod claims;
mod counters;
mod file;
mod lines;
mod original;
mod path;
mod ready;
mod rules;
mod serve;
mod settings;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokenry_client::proxy::Workers;
use tokenry_core::Scope;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::answer::Door;
use self::counters::Metrics;
use self::original::Proxy;
use self::settings::{Api, Cache, DEFAULT_LISTEN, Dpop, Issuer, Server, Settings};
use super::figures::{self, Figures};
use super::listen::{Bound, Listen};
use super::serve::{Signals, log_filter_or, set_up_log};
use super::{Outcome, USAGE};
use crate::args::Global;
use crate::config::LogFormat;
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::harden::harden;
use crate::output::Output;

/// Tells a reverse proxy whether the tokens of requests are good (forward-auth).
///
/// nginx (`auth_request`), Traefik (ForwardAuth), Caddy (`forward_auth`) and Envoy (`ext_authz` over HTTP) ask it about
/// every request, and pass on those that it answers with 200, with claims of the token as headers. The arguments say
/// whose tokens are good, where they are those of one issuer:
///
///     tokenry verify --proxy nginx --issuer https://auth.example --audience https://api.example
///
/// A file says it for several issuers, and has what no argument says: rules by path and method, names of headers, opaque
/// tokens (introspection), the issuer's revocation feed, DPoP nonces. --check reads it and ends:
///
///     tokenry verify --config verify.toml --check
///
///     tokenry verify --config verify.toml
///
/// Without a file a token is checked by its signature and its claims alone: one that was revoked is good until it expires.
///
/// docs/forward-auth.md has the proxies' side, and says what they have to overwrite. It runs until SIGTERM or SIGINT, and
/// logs to standard error; TOKENRY_LOG sets the level. Secrets are read again when they are needed, and SIGHUP changes nothing.
#[derive(Args, Debug)]
#[command(
    override_usage = "tokenry verify --proxy <KIND> --issuer <URL> --audience <NAME>... [OPTIONS]\n       \
                            tokenry verify --config <FILE> [--check] [--listen <ADDR:PORT>] [--admin <ADDR:PORT>]"
)]
pub(crate) struct Arguments {
    /// The issuer whose tokens are good, exactly as in `iss`.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What the API calls itself: what the token's `aud` must hold. May be repeated.
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// The proxy that asks. It decides which headers are believed.
    #[arg(long, value_name = "KIND")]
    proxy: Option<Kind>,
    /// What every token has to allow.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Where the issuer's keys are. Without it: where its metadata say (RFC 8414).
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Trust the certificates in this PEM file for the issuer, and no others.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Connect to ADDR:PORT2 instead of HOST, as curl does. May be repeated.
    #[arg(long, value_name = "HOST:PORT:ADDR:PORT2")]
    connect_to: Vec<String>,
    /// Fetch keys without TLS. Whoever can change an answer on the way can then issue tokens.
    #[arg(long)]
    allow_plain_http: bool,
    /// Accept `typ: JWT` besides `at+jwt`, for issuers from before RFC 9068 such as Keycloak.
    #[arg(long)]
    legacy_typ: bool,
    /// Accept tokens that are bound to a key (DPoP), at an API that its clients know under this URL. May be repeated.
    #[arg(long, value_name = "URL")]
    resource_url: Vec<String>,
    /// Where to listen. Without it: where the file says, or on 127.0.0.1:9180.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where health and metrics are served. Without it: where the file says, or nowhere.
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// Let --listen be an address that other machines reach. Only the proxy should reach it.
    #[arg(long)]
    open_to_network: bool,
    /// Say whether the settings are good, and end. Nothing is bound, and nobody is asked.
    #[arg(long)]
    check: bool,
}

/// The proxies that are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// `auth_request`, with X-Original-Method and X-Original-URI.
    Nginx,
    /// ForwardAuth: X-Forwarded-Method and X-Forwarded-Uri.
    Traefik,
    /// `forward_auth`: the same headers.
    Caddy,
    /// `ext_authz` over HTTP, without a path prefix.
    Envoy,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    let unprotected = harden();
    if let Some(misuse) = arguments.misuse(global.config_given) {
        output.complain(&misuse.into());
        return Ok(ExitCode::from(USAGE));
    }
    let (settings, questionable) = arguments.settings(global)?;
    if arguments.check {
        output.complain(&questionable);
        return check::run(&settings, output);
    }
    let filter = log_filter_or(&settings.log_level)?;
    let (listener, admin) = bind(&settings.server).await?;
    set_up_log(settings.log_format, filter);
    if let Some(warning) = unprotected {
        tracing::warn!("{}", warning.message);
    }
    for warning in questionable.0 {
        tracing::warn!("{}", warning.headline());
    }
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "how many files this process may open is not known");
    }
    let verifier = settings.verifier().map_err(|error| Diagnostic::error(error.to_string()))?;
    let door = Arc::new(Door::new(&settings, verifier));
    let workers = Workers::start(settings.server.threads).map_err(|error| {
        Diagnostic::error(format!("the threads do not start: {}", plain(&error)))
    })?;
    // Before anybody knows that it runs, and may tell it to end.
    let signals = Signals::new()?;
    announce(&settings, &listener, admin.as_ref(), output);
    until_told_to_end(&settings.server, door, (listener, admin), &workers, signals).await;
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// What is to be done, and what about it is questionable.
    fn settings(&self, global: &Global) -> Result<(Settings, Diagnostics), Diagnostics> {
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && !self.open_to_network
        {
            return Err(settings::open(listen).into());
        }
        let (mut settings, questionable) = match &self.issuer {
            Some(issuer) => (self.of_issuer(issuer)?, Diagnostics::default()),
            None => file::read(&global.config)?,
        };
        settings.server.listen = self.listen.unwrap_or(settings.server.listen);
        settings.server.admin = self.admin.or(settings.server.admin);
        Ok((settings, questionable))
    }

    /// What the arguments say about one issuer.
    fn of_issuer(&self, name: &str) -> Result<Settings, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut issuer = Issuer::new(name.to_owned(), self.audience.clone());
        issuer.legacy_typ = self.legacy_typ;
        issuer.jwks_uri.clone_from(&self.jwks_uri);
        issuer.allow_plain_http = self.allow_plain_http;
        if let Some(path) = &self.cacert {
            let read = settings::authorities(path).map_err(Diagnostic::error);
            issuer.cacert = read.map_err(|error| diagnostics.push(error)).ok();
        }
        let (option, url) = match &self.jwks_uri {
            Some(uri) => ("--jwks-uri", uri.as_str()),
            None => ("--issuer", name),
        };
        if let Some(why) = settings::not_https(url, self.allow_plain_http) {
            let help = "--allow-plain-http allows it, for an issuer on this machine";
            diagnostics.push(Diagnostic::error(format!("{option} {why}")).help(help));
        }
        for text in &self.connect_to {
            match settings::connect_to(text) {
                Some(known) => issuer.connect_to.push(known),
                None => diagnostics.push(Diagnostic::error(format!(
                    "--connect-to must be HOST:PORT:ADDR:PORT2, where ADDR is an address, got {}",
                    quoted(text)
                ))),
            }
        }
        let listen = match DEFAULT_LISTEN.parse() {
            Ok(listen) if !diagnostics.has_errors() => listen,
            _ => return Err(diagnostics),
        };
        let scope = self.scope.clone().unwrap_or_default();
        Ok(Settings {
            server: Server::new(listen, None),
            proxy: match self.proxy {
                Some(Kind::Traefik) => Proxy::Traefik,
                Some(Kind::Caddy) => Proxy::Caddy,
                Some(Kind::Envoy) => Proxy::Envoy { path_prefix: String::new() },
                // It was seen to that there is one.
                Some(Kind::Nginx) | None => Proxy::Nginx,
            },
            api: Api { scope, ..Api::default() },
            issuers: vec![issuer],
            dpop: Dpop { resource_urls: self.resource_url.clone(), ..Dpop::default() },
            rules: Vec::new(),
            headers: claims::ClaimHeaders::default(),
            cache: Cache::default(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Json,
        })
    }
}

/// Binds both listeners, or says what could not be bound.
async fn bind(server: &Server) -> Result<(TcpListener, Option<TcpListener>), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut bound = Vec::new();
    for address in std::iter::once(server.listen).chain(server.admin) {
        match Listen::Tcp(address).bind().await {
            Ok(listener) => bound.extend(Bound::into_tcp(listener)),
            Err(error) => diagnostics.push(error),
        }
    }
    let mut bound = bound.into_iter();
    match (bound.next(), diagnostics.has_errors()) {
        (Some(listener), false) => Ok((listener, bound.next())),
        _ => Err(diagnostics),
    }
}

/// Says where it listens, to the log and on standard output.
fn announce(
    settings: &Settings,
    listener: &TcpListener,
    admin: Option<&TcpListener>,
    output: Output,
) {
    let url = |listener: &TcpListener| listener.local_addr().map(|at| format!("http://{at}")).ok();
    let (at, admin) = (url(listener).unwrap_or_default(), admin.and_then(url));
    let issuers: Vec<&str> = settings.issuers.iter().map(|it| it.issuer.as_str()).collect();
    let (version, all) = (env!("CARGO_PKG_VERSION"), issuers.join(", "));
    tracing::info!(version, url = at, admin, issuers = all, "listening");
    let json = json!({ "listening": at, "admin": admin, "issuers": issuers });
    let printed = output.answer(&json, || match &admin {
        Some(admin) => {
            format!("listening on {at} for tokens of {all}\nhealth and metrics on {admin}")
        }
        None => format!("listening on {at} for tokens of {all}"),
    });
    if let Err(unprinted) = printed {
        // Whoever has no standard output is answered all the same.
        tracing::warn!("{}", unprinted.message);
    }
}

async fn until_told_to_end(
    server: &Server,
    door: Arc<Door>,
    (listener, admin): (TcpListener, Option<TcpListener>),
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
    let admin = admin.map(|listener| {
        let well = Arc::clone(&door);
        let figures =
            Figures::new(Metrics(Arc::clone(&door))).with_readiness(move || well.readiness());
        tokio::spawn(figures::serve(listener, figures, shutdown()))
    });
    let told = tokio::spawn(tell_left_out(Arc::clone(&door)));
    let signal = tokio::spawn(async move {
        signals.next().await;
        tracing::info!("ending: requests under way are finished; a second signal ends at once");
        let _ = end.send(true);
        signals.next().await;
        std::process::exit(1);
    });
    serve::serve(listener, Arc::clone(&door), server, workers, shutdown()).await;
    told.abort();
    door.tell_left_out();
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    signal.abort();
}

/// Says from time to time how many requests have had no line in the log.
async fn tell_left_out(door: Arc<Door>) {
    loop {
        tokio::time::sleep(lines::SPAN).await;
        door.tell_left_out();
    }
}
