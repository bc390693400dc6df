//! The proxy's file.
//!
//! ```toml
//! [tokens.orders]                       # any number, by name; see `KeeperConfig` in the library for all keys
//! issuer = "https://auth.example"
//! client_id = "orders"
//! client_secret = "file:/run/secrets/orders"
//! follow_revocations = true             # another token as soon as the issuer says that one is revoked
//!
//! [[upstream]]                          # a reverse proxy
//! listen = ["127.0.0.1:9000", "unix:/run/tokenry/orders.sock"]
//! url = "https://api.example/v1"
//! token = "orders"
//! names = ["proxy.internal"]            # what a Host header may say besides localhost and addresses
//! origins = ["https://app.example"]     # whose web pages may ask
//! http2 = false                         # whether an upstream without TLS speaks HTTP/2, as gRPC servers do
//! cacert = "/etc/ssl/private-ca.pem"
//! connect_to = ["api.example:443:127.0.0.1:8443"]
//!
//! [forward]                             # HTTP_PROXY
//! listen = ["127.0.0.1:3128"]
//! others = "pass"                       # or "refuse": hosts that no rule names
//! tunnels = true                        # CONNECT, without a token
//!
//! [[forward.rule]]
//! token = "orders"
//! hosts = ["*.api.example"]             # or else where the provider says that its tokens may go
//!
//! [proxy]
//! admin = "127.0.0.1:9100"              # health and metrics
//! threads = 2                           # as many as there are cores
//! max_connections = 4096
//! response_timeout = "60s"
//! drain_timeout = "30s"
//! via = true
//! open_to_network = false               # whether to listen on addresses that others reach
//!
//! [log]
//! level = "info"
//! format = "json"
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tokenry_client::proxy::{Dialer, Limits, Proxy, ProxyBuilder, Rule, Upstream};
use tokenry_client::{AllowedHosts, Keeper, KeeperConfig};
use toml::Spanned;

use super::{Front, Plan, check_hosts, open};
use crate::commands::listen::Listen;
use crate::config::{LOG_LEVEL, LogFormat, is_log_level};
use crate::diagnostic::{Diagnostic, Diagnostics, Source, did_you_mean, quoted};
use crate::duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tokens: BTreeMap<String, Spanned<KeeperConfig>>,
    #[serde(default)]
    upstream: Vec<UpstreamTable>,
    forward: Option<ForwardTable>,
    #[serde(default)]
    proxy: ProxyTable,
    #[serde(default)]
    log: LogTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamTable {
    #[serde(deserialize_with = "one_or_more")]
    listen: Vec<Spanned<Listen>>,
    url: Spanned<String>,
    token: Spanned<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    http2: bool,
    cacert: Option<PathBuf>,
    #[serde(default)]
    connect_to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForwardTable {
    #[serde(deserialize_with = "one_or_more")]
    listen: Vec<Spanned<Listen>>,
    #[serde(default)]
    others: Others,
    #[serde(default = "yes")]
    tunnels: bool,
    #[serde(default)]
    rule: Vec<RuleTable>,
    cacert: Option<PathBuf>,
    #[serde(default)]
    connect_to: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Others {
    #[default]
    Pass,
    Refuse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    token: Spanned<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProxyTable {
    admin: Option<SocketAddr>,
    threads: Option<NonZeroUsize>,
    max_connections: NonZeroUsize,
    response_timeout: Time,
    drain_timeout: Time,
    via: bool,
    open_to_network: bool,
}

impl Default for ProxyTable {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            admin: None,
            threads: None,
            max_connections: NonZeroUsize::new(limits.max_connections).unwrap_or(NonZeroUsize::MIN),
            response_timeout: Time(limits.response_timeout.unwrap_or_default()),
            drain_timeout: Time(limits.drain_timeout),
            via: true,
            open_to_network: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogTable {
    level: Spanned<String>,
    format: Format,
}

impl Default for LogTable {
    fn default() -> Self {
        Self { level: Spanned::new(0..0, "info".to_owned()), format: Format::Json }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
}

/// A duration such as `30s`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        duration::parse(&text).map(Self).ok_or("must be a duration such as `30s` or `5m`")
    }
}

fn yes() -> bool {
    true
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Spanned<Listen>>, D::Error> {
    Vec::deserialize(from)
}

/// Reads the file and builds all that it says, or tells all that is wrong with it.
pub(super) async fn plan(path: &Path) -> Result<Plan, Diagnostics> {
    let source = Source::read(path)?;
    let file: File = toml::from_str(&source.text).map_err(|error| {
        let diagnostic = Diagnostic::error(error.message().to_owned());
        match error.span() {
            // The line may hold a secret that stands where it should not.
            Some(span) => diagnostic.at(&source, span).hide_source(),
            None => diagnostic,
        }
    })?;
    let mut reading =
        Reading { source, diagnostics: Diagnostics::default(), keepers: BTreeMap::new() };
    let plan = reading.plan(&file).await;
    if reading.diagnostics.has_errors() { Err(reading.diagnostics) } else { Ok(plan) }
}

struct Reading {
    source: Arc<Source>,
    diagnostics: Diagnostics,
    /// `None` for one that is no good, which has been said.
    keepers: BTreeMap<String, Option<(Keeper, KeeperConfig)>>,
}

impl Reading {
    fn error(&mut self, span: std::ops::Range<usize>, error: Diagnostic) {
        self.diagnostics.push(error.at(&self.source, span));
    }

    async fn plan(&mut self, file: &File) -> Plan {
        for (name, config) in &file.tokens {
            let keeper = config.get_ref().build().await;
            let keeper = keeper.map_err(|error| {
                let message = format!("the token {}: {error}", quoted(name));
                self.error(config.span(), Diagnostic::error(message).hide_source());
            });
            let kept = keeper.ok().map(|keeper| (keeper, config.get_ref().clone()));
            self.keepers.insert(name.clone(), kept);
        }
        let mut fronts = Vec::new();
        for table in &file.upstream {
            self.upstream(table, file, &mut fronts).await;
        }
        if let Some(table) = &file.forward {
            self.forward(table, file, &mut fronts).await;
        }
        if file.upstream.is_empty() && file.forward.is_none() {
            let message = "there is neither `[[upstream]]` nor `[forward]`: nothing is to be done";
            self.error(0..0, Diagnostic::error(message));
        }
        let level = &file.log.level;
        if !is_log_level(level.get_ref()) {
            let message = format!("level must be {LOG_LEVEL}, got {}", quoted(level.get_ref()));
            self.error(level.span(), Diagnostic::error(message));
        }
        Plan {
            fronts,
            keepers: self.kept(),
            admin: file.proxy.admin,
            threads: file.proxy.threads,
            log_level: level.get_ref().clone(),
            log_format: match file.log.format {
                Format::Json => LogFormat::Json,
                Format::Text => LogFormat::Text,
            },
        }
    }

    fn kept(&self) -> Vec<(String, Keeper)> {
        let kept = self.keepers.iter();
        kept.filter_map(|(name, kept)| Some((name.clone(), kept.as_ref()?.0.clone()))).collect()
    }

    async fn upstream(&mut self, table: &UpstreamTable, file: &File, fronts: &mut Vec<Front>) {
        let url = table.url.get_ref();
        let upstream = Upstream::new(url).map_err(|error| {
            self.error(
                table.url.span(),
                Diagnostic::error(format!("url: {error}, got {}", quoted(url))),
            );
        });
        let token = self.token(&table.token);
        if let Some((keeper, _)) = &token
            && let Err(error) = check_hosts(keeper, url)
        {
            self.error(table.url.span(), error);
        }
        let config = token.as_ref().map(|(_, config)| config);
        let dialer = self.dialer(config, &table.cacert, &table.connect_to, table.url.span()).await;
        let (Ok(upstream), Some((keeper, _)), Some(dialer)) = (upstream, token, dialer) else {
            self.check_listen(&table.listen, file);
            return;
        };
        let upstream = if table.http2 { upstream.with_http2() } else { upstream };
        for listen in self.check_listen(&table.listen, file) {
            let mut proxy = Proxy::reverse(upstream.clone(), keeper.clone(), dialer.clone());
            proxy = table.names.iter().fold(proxy, |proxy, name| proxy.name(name));
            proxy = table.origins.iter().fold(proxy, |proxy, origin| proxy.origin(origin));
            fronts.push(front(proxy, listen, url, file));
        }
    }

    async fn forward(&mut self, table: &ForwardTable, file: &File, fronts: &mut Vec<Front>) {
        let mut rules = Vec::new();
        for rule in &table.rule {
            let Some((keeper, _)) = self.token(&rule.token) else { continue };
            let hosts = if rule.hosts.is_empty() {
                keeper.provider().api_hosts().clone()
            } else {
                AllowedHosts::new(&rule.hosts)
            };
            if hosts.is_empty() {
                let message = "the rule names no hosts, and neither does the token's provider";
                self.error(rule.token.span(), Diagnostic::error(message));
            }
            rules.push(Rule::new(hosts, keeper));
        }
        let at = table.listen.first().map_or(0..0, Spanned::span);
        let dialer = self.dialer(None, &table.cacert, &table.connect_to, at).await;
        let listens = self.check_listen(&table.listen, file);
        let Some(dialer) = dialer else { return };
        for listen in listens {
            let mut proxy = Proxy::forward(rules.clone(), dialer.clone());
            if table.others == Others::Refuse {
                proxy = proxy.refuse_others();
            }
            if !table.tunnels {
                proxy = proxy.refuse_tunnels();
            }
            fronts.push(front(proxy, listen, "forward", file));
        }
    }

    fn token(&mut self, name: &Spanned<String>) -> Option<(Keeper, KeeperConfig)> {
        if let Some(kept) = self.keepers.get(name.get_ref()) {
            return kept.clone();
        }
        let mut error = Diagnostic::error(format!("there is no token {}", quoted(name.get_ref())));
        if let Some(meant) = did_you_mean(name.get_ref(), self.keepers.keys().map(String::as_str)) {
            error = error.help(format!("did you mean `{meant}`?"));
        }
        self.error(name.span(), error);
        None
    }

    /// Opens connections with the certificate that the token is bound to, if there is one, and trusts what the table says.
    async fn dialer(
        &mut self,
        token: Option<&KeeperConfig>,
        cacert: &Option<PathBuf>,
        connect_to: &[String],
        at: std::ops::Range<usize>,
    ) -> Option<Dialer> {
        let config = KeeperConfig {
            cacert: cacert.clone(),
            connect_to: connect_to.to_vec(),
            client_certificate: token.and_then(|token| token.client_certificate.clone()),
            client_certificate_key: token.and_then(|token| token.client_certificate_key.clone()),
            ..KeeperConfig::default()
        };
        let transport = config.transport().await;
        let transport =
            transport.map_err(|error| self.error(at, Diagnostic::error(error.to_string())));
        transport.ok().map(|transport| transport.dialer())
    }

    /// Notes which listeners would be open to a network, and gives the others.
    fn check_listen(&mut self, listens: &[Spanned<Listen>], file: &File) -> Vec<Listen> {
        for listen in listens {
            if let Listen::Tcp(address) = listen.get_ref()
                && !address.ip().is_loopback()
                && !file.proxy.open_to_network
            {
                self.error(listen.span(), open(*address));
            }
        }
        listens.iter().map(|listen| listen.get_ref().clone()).collect()
    }
}

fn front(mut proxy: ProxyBuilder, listen: Listen, name: &str, file: &File) -> Front {
    if listen.is_unix() {
        proxy = proxy.private();
    }
    let limits = Limits {
        max_connections: file.proxy.max_connections.get(),
        response_timeout: Some(file.proxy.response_timeout.0),
        drain_timeout: file.proxy.drain_timeout.0,
        ..Limits::default()
    };
    let proxy = proxy.limits(limits).via(file.proxy.via).build();
    Front { listen, name: name.to_owned(), proxy }
}
