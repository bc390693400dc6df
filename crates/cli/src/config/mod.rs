//! `tokenry.toml`: how this process runs.
//!
//! | key | is | default |
//! | --- | --- | --- |
//! | `[server] listen` | address and port of the authorization server | `127.0.0.1:8443` |
//! | `[server] admin` | address and port for health, metrics and administration | none |
//! | `[admin.api] realm`, `audience` | whose access tokens open the admin API | none: it is closed |
//! | `[admin.api] read_scope`, `write_scope` | what they need | `tokenry:read`, `tokenry:write` |
//! | `[server] max_connections` | connections that may be open at once | 10000 |
//! | `[server] max_requests` | requests that may be under way at once; further ones get 503 | 4096 |
//! | `[server] max_clients` | clients held in memory; further ones are read from the store as they ask | 150000 |
//! | `[server] max_followers` | followers of the revocation feed at once; further ones get 503; half of the places are for those alone that are told everything | 1000 |
//! | `[server] max_followers_per_client` | the same for each client; 20 at most of one that is not told everything | 200 |
//! | `[server] threads` | threads that answer requests | as many as there are cores |
//! | `[server] password_threads` | password comparisons that may run at once | half the cores |
//! | `[server] drain_timeout` | how long requests may still run after SIGTERM | `30s` |
//! | `[server] insecure_plain_http` | whether to serve without TLS on other than loopback addresses | `false` |
//! | `[server] trusted_proxies` | networks of the proxies at which connections of clients end | none |
//! | `[server] client_certificate_header` | where those pass on client certificates, such as `Client-Cert` | none |
//! | `[tls] certificate`, `key` | PEM files | none: plain HTTP, on loopback alone |
//! | `[tls] client_certificates` | whether to ask clients for a certificate: they need none, but browsers ask people | `false` |
//! | `[store] url` | `sqlite:tokenry.db` | must be given |
//! | `[master_key] file` or `env` | 32 bytes as 64 hex digits or in base64 | must be given |
//! | `[fetch] allow` | hosts, addresses and networks that keys may be fetched from though they are not public | `[]` |
//! | `[fetch] ca` | PEM file of authorities that are trusted then, beside those of the operating system | none |
//! | `[log] level` | `info`, or directives such as `info,tokenry_server=debug` | `info` |
//! | `[log] format` | `text` or `json` | `json` |
//!
//! Paths are relative to the file.

mod admin;
pub(crate) mod fetch;
pub(crate) mod master_key;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokenry_server::{Limits, Network, Proxies};
use tracing_subscriber::EnvFilter;

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::document::{self, At, Field, Span, Table, Value};
use fetch::Fetching;

pub(crate) use admin::AdminApi;

/// Where the server listens where the file does not say.
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);

/// As many connections or requests as anybody may configure: more than a process has file descriptors.
const MAX_CONNECTIONS: u64 = 1_000_000;

/// As many clients as anybody may configure to be held: some 6 GiB of them.
const MAX_CLIENTS: u64 = 10_000_000;

/// As many threads as anybody may configure to answer requests.
const MAX_THREADS: u64 = 1024;

/// As many threads as anybody may configure: each takes 19 MiB, which is 5 GiB.
const MAX_PASSWORD_THREADS: u64 = 256;

/// The longest drain: beyond it a supervisor has lost its patience.
const MAX_DRAIN: Duration = Duration::from_secs(3600);

/// How this process runs. Every value knows its place in the file, so that what goes wrong later can name it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    source: Arc<Source>,
    /// Where the authorization server listens.
    pub(crate) listen: At<SocketAddr>,
    /// Where health, metrics and administration listen.
    pub(crate) admin: Option<At<SocketAddr>>,
    /// Whose tokens open the admin API; `None`: it is closed.
    pub(crate) admin_api: Option<AdminApi>,
    /// How many threads answer requests; `None`: one for each core.
    pub(crate) threads: Option<usize>,
    /// The server's limits.
    pub(crate) limits: Limits,
    /// The networks of the proxies that are believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The header in which they pass on the certificates of clients.
    pub(crate) client_certificate_header: Option<HeaderName>,
    /// The certificate chain and its private key.
    pub(crate) tls: Option<TlsFiles>,
    /// Whether it is meant to serve without TLS, behind a proxy that does it.
    pub(crate) insecure_plain_http: bool,
    /// The URL of the store; the path of an SQLite database is absolute.
    pub(crate) store: At<String>,
    /// Where the master key comes from.
    pub(crate) master_key: At<MasterKeySource>,
    /// What may be fetched.
    pub(crate) fetch: Fetching,
    /// What is logged, as directives of tracing's filter.
    pub(crate) log_level: String,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
}

/// PEM files.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub(crate) certificate: At<PathBuf>,
    /// Its private key.
    pub(crate) key: At<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub(crate) asks: bool,
}

/// Where the master key comes from.
#[derive(Clone, Debug)]
pub(crate) enum MasterKeySource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Config {
    /// Reads the file. Everything wrong with it is noted; what it gives is then not to be used.
    pub(crate) fn read(path: &Path, diagnostics: &mut Diagnostics) -> Option<Self> {
        let source = match Source::read(path) {
            Ok(source) => source,
            Err(unreadable) => {
                let help =
                    "make one with `tokenry init`, or name it with --config or TOKENRY_CONFIG";
                diagnostics.push(unreadable.help(help));
                return None;
            }
        };
        let (config, found) = document::read(&source, |root| {
            let written = Written::read(root);
            written.check(root);
            written.into_config(&source, path.parent().unwrap_or_else(|| Path::new("")))
        });
        let good = !found.has_errors();
        diagnostics.append(found);
        config.filter(|_| good)
    }

    /// The proxies that are believed.
    pub(crate) fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.clone(), self.client_certificate_header.clone())
    }

    /// Whether a client that has a certificate can show it.
    pub(crate) fn sees_certificates(&self) -> bool {
        self.client_certificate_header.is_some() || self.tls.as_ref().is_some_and(|tls| tls.asks)
    }

    /// An error about a value of this file.
    pub(crate) fn error(&self, at: &Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(&self.source, at.clone())
    }

    /// Something questionable about a value of this file.
    pub(crate) fn warning(&self, at: &Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(message).at(&self.source, at.clone())
    }
}

/// The file as written.
struct Written {
    listen: Field<SocketAddr>,
    admin: Field<SocketAddr>,
    admin_api: Field<admin::Written>,
    max_connections: Field<u64>,
    max_requests: Field<u64>,
    max_clients: Field<u64>,
    max_followers: Field<u64>,
    max_followers_per_client: Field<u64>,
    threads: Field<u64>,
    password_threads: Field<u64>,
    drain_timeout: Field<Duration>,
    insecure_plain_http: Field<bool>,
    trusted_proxies: Field<Vec<At<Network>>>,
    client_certificate_header: Field<HeaderName>,
    tls: Field<WrittenTls>,
    store: Field<String>,
    master_key: Field<MasterKeySource>,
    fetch: Field<fetch::Written>,
    level: Field<String>,
    format: Field<LogFormat>,
}

/// `[tls]` as written.
struct WrittenTls {
    certificate: Field<String>,
    key: Field<String>,
    client_certificates: Field<bool>,
}

impl Written {
    fn read(root: &Table<'_>) -> Self {
        let mut this = Self {
            listen: Field::Absent,
            admin: Field::Absent,
            admin_api: Field::Absent,
            max_connections: Field::Absent,
            max_requests: Field::Absent,
            max_clients: Field::Absent,
            max_followers: Field::Absent,
            max_followers_per_client: Field::Absent,
            threads: Field::Absent,
            password_threads: Field::Absent,
            drain_timeout: Field::Absent,
            insecure_plain_http: Field::Absent,
            trusted_proxies: Field::Absent,
            client_certificate_header: Field::Absent,
            tls: root.table("tls", |t| WrittenTls {
                certificate: t.required("certificate", path),
                key: t.required("key", path),
                client_certificates: t.optional("client_certificates", Value::boolean),
            }),
            store: Field::Wrong,
            master_key: root.required("master_key", master_key),
            fetch: root.table("fetch", fetch::Written::read),
            level: Field::Absent,
            format: Field::Absent,
        };
        root.table("server", |t| {
            this.listen = t.optional("listen", address);
            this.admin = t.optional("admin", address);
            this.max_connections =
                t.optional("max_connections", |v| v.integer(1..=MAX_CONNECTIONS));
            this.max_requests = t.optional("max_requests", |v| v.integer(1..=MAX_CONNECTIONS));
            this.max_clients = t.optional("max_clients", |v| v.integer(1..=MAX_CLIENTS));
            this.max_followers = t.optional("max_followers", |v| v.integer(0..=MAX_CONNECTIONS));
            this.max_followers_per_client =
                t.optional("max_followers_per_client", |v| v.integer(0..=MAX_CONNECTIONS));
            this.threads = t.optional("threads", |v| v.integer(1..=MAX_THREADS));
            this.password_threads =
                t.optional("password_threads", |v| v.integer(1..=MAX_PASSWORD_THREADS));
            this.drain_timeout =
                t.optional("drain_timeout", |v| v.duration(Duration::ZERO..=MAX_DRAIN));
            this.insecure_plain_http = t.optional("insecure_plain_http", Value::boolean);
            this.trusted_proxies = t.optional("trusted_proxies", |v| v.list(network));
            this.client_certificate_header = t.optional("client_certificate_header", header);
        });
        root.table("admin", |t| this.admin_api = t.table("api", admin::Written::read));
        root.required_table("store", |t| this.store = t.required("url", store_url));
        root.table("log", |t| {
            this.level = t.optional("level", level);
            this.format = t.optional("format", |v| {
                v.choice(&[("json", LogFormat::Json), ("text", LogFormat::Text)])
            });
        });
        this
    }

    fn check(&self, root: &Table<'_>) {
        let listen = self.listen.value().copied().unwrap_or(DEFAULT_LISTEN);
        let plain = matches!(self.tls, Field::Absent);
        let admitted =
            self.insecure_plain_http.is_wrong() || self.insecure_plain_http.value() == Some(&true);
        if let (Some(at), true, false) = (self.listen.given(), plain, listen.ip().is_loopback()) {
            if admitted {
                root.notes.warning(&at.span, "secrets and tokens travel in plain HTTP");
            } else {
                let help = "add `[tls]` with `certificate` and `key`, or listen on 127.0.0.1; behind a proxy that \
                            does TLS set `insecure_plain_http = true`";
                let message =
                    format!("without TLS only loopback addresses are served, not `{listen}`");
                root.notes.error(&at.span, message, Some(help.to_owned()));
            }
        }
        if let (Some(header), Field::Absent) =
            (self.client_certificate_header.given(), &self.trusted_proxies)
        {
            let help = "add `trusted_proxies`: from anybody else the header could say anything";
            let message = "client_certificate_header is believed from no proxy";
            root.notes.error(&header.span, message, Some(help.to_owned()));
        }
        if let Some(admin) = self.admin.given()
            && admin.value == listen
            && admin.value.port() != 0
        {
            root.notes.error(
                &admin.span,
                format!("admin is the same address as listen, `{listen}`"),
                None,
            );
        }
        self.check_admin_api(root);
    }

    /// Tokens go to the API, and new secrets come from it.
    fn check_admin_api(&self, root: &Table<'_>) {
        let Some(api) = self.admin_api.given() else { return };
        let admin = match &self.admin {
            Field::Given(admin) => admin,
            Field::Wrong => return,
            Field::Absent => {
                let help = "add `admin = \"127.0.0.1:9090\"` to `[server]`".to_owned();
                root.notes.error(&api.span, "the admin API has no address", Some(help));
                return;
            }
        };
        if admin.value.ip().is_loopback() || self.insecure_plain_http.is_wrong() {
            return;
        }
        let message = format!("the admin API speaks plain HTTP, also on `{}`", admin.value);
        if self.insecure_plain_http.value() == Some(&true) {
            root.notes.warning(&admin.span, &message);
        } else {
            let help = "put `admin` on a loopback address; behind a proxy that does TLS set `insecure_plain_http = true`";
            root.notes.error(&admin.span, message, Some(help.to_owned()));
        }
    }

    fn into_config(self, source: &Arc<Source>, directory: &Path) -> Option<Config> {
        let tls = match self.tls.into_value() {
            Some(WrittenTls {
                certificate: Field::Given(certificate),
                key: Field::Given(key),
                client_certificates,
            }) => Some(TlsFiles {
                certificate: At {
                    value: directory.join(certificate.value),
                    span: certificate.span,
                },
                key: At { value: directory.join(key.value), span: key.span },
                asks: client_certificates.value() == Some(&true),
            }),
            _ => None,
        };
        let listen = match self.listen {
            Field::Given(at) => at,
            _ => At { value: DEFAULT_LISTEN, span: 0..0 },
        };
        let count = |field: &Field<u64>, default| {
            field.value().and_then(|n| usize::try_from(*n).ok()).unwrap_or(default)
        };
        let default = Limits::default();
        let limits = Limits {
            max_connections: count(&self.max_connections, default.max_connections),
            max_requests: count(&self.max_requests, default.max_requests),
            max_clients: count(&self.max_clients, default.max_clients),
            max_followers: count(&self.max_followers, default.max_followers),
            max_followers_per_client: count(
                &self.max_followers_per_client,
                default.max_followers_per_client,
            ),
            password_threads: count(&self.password_threads, default.password_threads),
            drain_timeout: self.drain_timeout.value().copied().unwrap_or(default.drain_timeout),
            ..default
        };
        let Field::Given(store) = self.store else { return None };
        let Field::Given(master_key) = self.master_key else { return None };
        let master_key_source = match master_key.value {
            MasterKeySource::File(path) => MasterKeySource::File(directory.join(path)),
            env @ MasterKeySource::Env(_) => env,
        };
        Some(Config {
            source: Arc::clone(source),
            listen,
            admin: match self.admin {
                Field::Given(at) => Some(at),
                _ => None,
            },
            admin_api: self.admin_api.into_value().and_then(admin::Written::into_api),
            threads: self.threads.value().and_then(|n| usize::try_from(*n).ok()),
            limits,
            trusted_proxies: {
                let networks = self.trusted_proxies.into_value().unwrap_or_default();
                networks.into_iter().map(|network| network.value).collect()
            },
            client_certificate_header: self.client_certificate_header.into_value(),
            tls,
            insecure_plain_http: self.insecure_plain_http.value() == Some(&true),
            store: At { value: absolute(&store.value, directory), span: store.span },
            master_key: At { value: master_key_source, span: master_key.span },
            fetch: self
                .fetch
                .into_value()
                .map_or_else(Fetching::default, |written| written.into_fetching(directory)),
            log_level: self.level.into_value().unwrap_or_else(|| "info".to_owned()),
            log_format: self.format.into_value().unwrap_or(LogFormat::Json),
        })
    }
}

fn address(v: &Value<'_>) -> Option<SocketAddr> {
    const MUST: &str = "an address and a port such as `0.0.0.0:8443` or `[::]:8443`";
    let text = v.text_that(MUST)?;
    text.parse().ok().or_else(|| v.must(MUST, None))
}

fn network(v: &Value<'_>) -> Option<Network> {
    const MUST: &str = "a network such as `10.0.0.0/8`, or one address";
    v.text_that(MUST)?.parse().ok().or_else(|| v.must(MUST, None))
}

fn header(v: &Value<'_>) -> Option<HeaderName> {
    const MUST: &str = "the name of a header such as `Client-Cert`";
    v.text_that(MUST)?.parse().ok().or_else(|| v.must(MUST, None))
}

fn path(v: &Value<'_>) -> Option<String> {
    v.matching("the path of a file", |text| !text.is_empty() && !text.contains('\0'))
}

fn level(v: &Value<'_>) -> Option<String> {
    v.matching(LOG_LEVEL, is_log_level)
}

/// What a log level is, in messages.
pub(crate) const LOG_LEVEL: &str =
    "`error`, `warn`, `info`, `debug`, `trace` or directives such as `info,tokenry_server=debug`";

/// Whether these are levels, by themselves or for parts of the program.
///
/// The filter itself would take a mistyped level for a part, and log nothing.
pub(crate) fn is_log_level(text: &str) -> bool {
    let level = |text: &str| matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let directive = |text: &str| level(text.rsplit_once('=').map_or(text, |(_, level)| level));
    text.split(',').all(directive) && EnvFilter::try_new(text).is_ok()
}

fn master_key(v: &Value<'_>) -> Option<MasterKeySource> {
    v.table(|t| {
        let file = t.optional("file", path);
        let env = t.optional("env", |v| {
            v.matching("the name of an environment variable", |name| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
        });
        match (file, env) {
            (Field::Given(file), Field::Absent) => Some(MasterKeySource::File(file.value.into())),
            (Field::Absent, Field::Given(env)) => Some(MasterKeySource::Env(env.value)),
            (Field::Wrong, _) | (_, Field::Wrong) => None,
            (Field::Absent, Field::Absent) => {
                t.notes.error(&t.span, "master_key needs either `file` or `env`", None);
                None
            }
            (Field::Given(_), Field::Given(env)) => {
                t.notes.error(&env.span, "master_key needs either `file` or `env`, not both", None);
                None
            }
        }
    })?
}

fn store_url(v: &Value<'_>) -> Option<String> {
    let text = v.text_that("a URL such as `sqlite:tokenry.db`")?;
    match tokenry_store::check_url(text) {
        Ok(()) => Some(text.to_owned()),
        Err(error) => {
            // Not repeated: the URL of a database server may hold a password.
            v.notes.hidden_error(&v.span(), error.to_string());
            None
        }
    }
}

/// The URL with the path of a database file made independent of the working directory.
fn absolute(url: &str, directory: &Path) -> String {
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            format!("sqlite:{}", directory.join(path).display())
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[store]\nurl = \"sqlite:tokenry.db\"\n[master_key]\nfile = \"master.key\"\n";

    fn read(text: &str) -> (Option<Config>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenry.toml");
        std::fs::write(&path, text).unwrap();
        let mut found = Diagnostics::default();
        let config = Config::read(&path, &mut found);
        let prefix = format!("{}/", directory.path().display());
        let mut found = found.0;
        found.sort_by_key(Diagnostic::line);
        (config, found.iter().map(|d| d.headline().replace(&prefix, "")).collect())
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let (config, problems) = read(GOOD);
        assert_eq!(problems, Vec::<String>::new());
        let config = config.unwrap();
        assert!(config.store.value.starts_with("sqlite:/"), "{}", config.store.value);
        assert!(config.store.value.ends_with("/tokenry.db"), "{}", config.store.value);
        assert_eq!(config.listen.value, DEFAULT_LISTEN);
        let MasterKeySource::File(path) = config.master_key.value else { panic!("a file") };
        assert!(path.is_absolute());
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.threads, None);
    }

    #[test]
    fn limits_are_the_servers_own_unless_said_otherwise() {
        let limits = "max_connections = 10\nmax_requests = 20\nmax_clients = 30\nmax_followers = 40\nmax_followers_per_client = 5\nthreads = 4\npassword_threads = 3\ndrain_timeout = \"5s\"\n";
        let config = read(&format!("{GOOD}[server]\n{limits}")).0.unwrap();
        let expected = Limits {
            max_connections: 10,
            max_requests: 20,
            max_clients: 30,
            max_followers: 40,
            max_followers_per_client: 5,
            password_threads: 3,
            drain_timeout: Duration::from_secs(5),
            ..Limits::default()
        };
        assert_eq!(config.limits, expected);
        assert_eq!(config.threads, Some(4));
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let text = "[server]\nlisten = \"localhost\"\nadmin = 1\nmax_connections = 0\nlissten = 1\n\
                    [tls]\ncertificate = \"c.pem\"\n[store]\nurl = \"mysql://x\"\n[log]\nlevel = \"inof\"\nformat = \"xml\"\n";
        let (config, problems) = read(text);
        assert!(config.is_none());
        let expected = [
            "tokenry.toml:1:1: master_key is missing",
            "tokenry.toml:2:10: listen must be an address and a port such as `0.0.0.0:8443` or `[::]:8443`, got `localhost`",
            "tokenry.toml:3:9: admin must be an address and a port such as `0.0.0.0:8443` or `[::]:8443`, got `1`",
            "tokenry.toml:4:19: max_connections must be a whole number from 1 to 1000000, got `0`",
            "tokenry.toml:5:1: unknown key `lissten`",
            "tokenry.toml:6:1: key is missing",
            "tokenry.toml:9:7: there is no store `mysql:`; write `sqlite:PATH` or `memory:`",
            "tokenry.toml:11:9: level must be `error`, `warn`, `info`, `debug`, `trace` or directives such as `info,tokenry_server=debug`, got `inof`",
            "tokenry.toml:12:10: format must be `json` or `text`, got `xml`",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn without_tls_only_loopback_is_served_unless_said_otherwise() {
        let (config, problems) = read(&format!("{GOOD}[server]\nlisten = \"0.0.0.0:8443\"\n"));
        assert!(config.is_none());
        assert_eq!(
            problems,
            [
                "tokenry.toml:6:10: without TLS only loopback addresses are served, not `0.0.0.0:8443`"
            ]
        );
        let text =
            format!("{GOOD}[server]\nlisten = \"0.0.0.0:8443\"\ninsecure_plain_http = true\n");
        let (config, problems) = read(&text);
        assert!(config.is_some());
        assert_eq!(
            problems,
            ["tokenry.toml:6:10: warning: secrets and tokens travel in plain HTTP"]
        );
        let text = format!(
            "{GOOD}[server]\nlisten = \"0.0.0.0:1\"\n[tls]\ncertificate = \"a\"\nkey = \"b\"\n"
        );
        assert!(read(&text).0.unwrap().tls.is_some());
    }

    #[test]
    fn row_095_a_header_of_certificates_is_believed_from_named_proxies() {
        let server = |text: &str| read(&format!("{GOOD}[server]\n{text}"));
        let (config, problems) = server(
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nclient_certificate_header = \"Client-Cert\"\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.client_certificate_header, Some("client-cert".parse().unwrap()));
        assert!(config.sees_certificates());
        assert_eq!(
            server("client_certificate_header = \"Client-Cert\"\n").1,
            ["tokenry.toml:6:29: client_certificate_header is believed from no proxy"]
        );
        let bad = "trusted_proxies = [\"10.0.0.1/8\"]\nclient_certificate_header = \"a b\"\n";
        assert_eq!(
            server(bad).1,
            [
                "tokenry.toml:6:20: trusted_proxies must be a network such as `10.0.0.0/8`, or one address, got `10.0.0.1/8`",
                "tokenry.toml:7:29: client_certificate_header must be the name of a header such as `Client-Cert`, got `a b`",
            ]
        );
        let tls = "[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
        let sees = |more: &str| read(&format!("{GOOD}{tls}{more}")).0.unwrap().sees_certificates();
        assert!(sees("client_certificates = true\n"));
        assert!(!sees("client_certificates = false\n") && !sees(""));
    }

    #[test]
    fn the_master_key_has_one_origin() {
        let store = "[store]\nurl = \"sqlite:a\"\n[master_key]\n";
        assert_eq!(read(store).1, ["tokenry.toml:3:1: master_key needs either `file` or `env`"]);
        assert_eq!(
            read(&format!("{store}file = \"a\"\nenv = \"B\"\n")).1,
            ["tokenry.toml:5:7: master_key needs either `file` or `env`, not both"]
        );
        assert!(read(&format!("{store}env = \"B\"\n")).0.is_some());
    }

    #[test]
    fn row_170_what_is_not_public_is_fetched_only_where_the_file_says_so() {
        assert!(read(GOOD).0.unwrap().fetch.allow.is_empty());
        let fetch = "[fetch]\nallow = [\"kubernetes.default.svc\", \"10.96.0.0/12\", \"::1\"]\nca = \"ca.pem\"\n";
        let (config, problems) = read(&format!("{GOOD}{fetch}"));
        assert_eq!(problems, Vec::<String>::new());
        let fetching = config.unwrap().fetch;
        assert_eq!(fetching.allow.len(), 3);
        assert!(fetching.ca.unwrap().value.is_absolute());

        let bad = "[fetch]\nallow = [\"https://a.example\", \"10.0.0.1/8\", \"a\", 1]\nca = \"\"\nalow = 1\n";
        let (config, problems) = read(&format!("{GOOD}{bad}"));
        assert!(config.is_none());
        let must =
            "allow must be a host name in lower case, an address or a network such as `10.0.0.0/8`";
        let expected = [
            format!("tokenry.toml:6:10: {must}, got `https://a.example`"),
            format!("tokenry.toml:6:31: {must}, got `10.0.0.1/8`"),
            format!("tokenry.toml:6:50: {must}, got `1`"),
            "tokenry.toml:7:6: ca must be the path of a file, got ``".to_owned(),
            "tokenry.toml:8:1: unknown key `alow`".to_owned(),
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn authorities_that_cannot_be_used_are_named_at_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenry.toml");
        std::fs::write(&path, format!("{GOOD}[fetch]\nca = \"ca.pem\"\n")).unwrap();
        let config = Config::read(&path, &mut Diagnostics::default()).unwrap();
        let unreadable = fetch::rules(&config).unwrap_err().headline();
        assert!(unreadable.contains("tokenry.toml:6:6: the certificates "), "{unreadable}");
        std::fs::write(directory.path().join("ca.pem"), "x").unwrap();
        let none = fetch::rules(&config).unwrap_err().headline();
        let expected = "tokenry.toml:6:6: the file holds no PEM certificate that can be trusted";
        assert!(none.ends_with(expected), "{none}");
    }
}
