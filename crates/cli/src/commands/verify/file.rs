//! The file of `tokenry verify`.
//!
//! | key | is | default |
//! | --- | --- | --- |
//! | `[server] listen` | address and port for the proxy | `127.0.0.1:9180` |
//! | `[server] admin` | address and port for health and metrics | none |
//! | `[server] open_to_network` | whether `listen` may be an address that other machines reach | `false` |
//! | `[server] threads` | threads that answer | as many as there are cores |
//! | `[server] max_connections` | connections that may be open at once | 4096 |
//! | `[server] drain_timeout` | how long checks may still run after SIGTERM | `10s` |
//! | `[proxy] kind` | `nginx`, `traefik`, `caddy` or `envoy` | must be given |
//! | `[proxy] path_prefix` | what Envoy puts before the path | none |
//! | `[api] realm` | the realm of challenges | `api` |
//! | `[api] scopes` | what every token needs | `[]` |
//! | `[api] resource_metadata` | where the API describes itself (RFC 9728), told in challenges | none |
//! | `[[issuers]] issuer`, `audiences` | whose tokens are good, and one of whom they must be for | must be given |
//! | `[[issuers]] algorithms` | such as `["ES256"]` | all that the issuer has keys for |
//! | `[[issuers]] leeway` | how far clocks may be apart | `10s` |
//! | `[[issuers]] legacy_typ` | whether `typ` may be `JWT`, as Keycloak has it | `false` |
//! | `[[issuers]] jwks_uri` | where its keys are | what its metadata say |
//! | `[[issuers]] cacert` | PEM file of authorities that are trusted for it | those of the operating system |
//! | `[[issuers]] connect_to` | as curl's `--connect-to` | `[]` |
//! | `[[issuers]] allow_plain_http` | whether keys may be fetched without TLS | `false` |
//! | `[issuers.introspection] client_id`, `client_secret` | as whom it is asked about tokens that only it can read (RFC 7662) | not at all |
//! | `[issuers.introspection] endpoint` | where | what its metadata say |
//! | `[issuers.introspection] always` | whether it is asked about JWTs, too | `false` |
//! | `[issuers.introspection] ttl` | how long its word is believed | `10s` |
//! | `[issuers.introspection] opaque_prefix` | how its tokens begin, where several issuers are asked | any |
//! | `[issuers.introspection] accept_without_audience` | whether it is trusted to vouch only for tokens that are for this API | `false` |
//! | `[issuers.feed] client_id`, `client_secret` | as whom its revocation feed is followed | not at all |
//! | `[issuers.feed] endpoint` | where | what its metadata say |
//! | `[issuers.feed] when_behind` | `trust`, `refuse` or `introspect` tokens while the feed is lost | `trust` |
//! | `[issuers.feed] max_silence` | how long it may be silent before it is lost | `15s` |
//! | `[issuers.status_lists]` | that tokens are looked up in the status lists that they name | not at all |
//! | `[issuers.status_lists] allow_uri_prefixes` | where lists may be besides the issuer's own origin | `[]` |
//! | `[dpop] resource_urls` | under which addresses clients know the API | `[]`: tokens bound to a key are refused |
//! | `[dpop] nonces` | whether proofs need a nonce | `false` |
//! | `[dpop] nonce_key` | file with 32 bytes as 64 hex digits or in base64, the same for all replicas | a new one |
//! | `[dpop] required` | whether tokens bound to nothing are refused | `false` |
//! | `[[rules]] path`, `methods`, `scopes` | what tokens need there, besides what they need everywhere | none |
//! | `[headers]` | headers and the claims for them | issuer, subject, client and scope |
//! | `[cache] entries` | how many tokens that were found good are remembered | 10000 |
//! | `[cache] max_age` | for how long the proxy may give the same answer again | not at all |
//! | `[log] level`, `format` | as in `tokenry.toml` | `info`, `json` |
//!
//! Paths are relative to the file. A `client_secret` is named by where it is kept, as the keeper's are (`"file:PATH"`,
//! `"env:NAME"`, `"systemd:NAME"`, `"command:…"`, `"vault:MOUNT/PATH#FIELD"`), or `{ file = "PATH" }`, `{ env = "NAME" }`. It is
//! read again when the issuer refuses it, and whenever the feed is asked for.

mod asked;
mod issuers;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, Method};
use tokenry_core::Scope;

use self::issuers::issuers;
use super::claims::{Claim, ClaimHeaders, forbidden};
use super::original::Proxy;
use super::path::Place;
use super::rules::Rule;
use super::settings::{Api, Cache, DEFAULT_LISTEN, Dpop, Server, Settings, open};
use crate::config::{LOG_LEVEL, LogFormat, is_log_level, master_key};
use crate::diagnostic::{Diagnostics, Source, quoted};
use crate::document::{self, At, Field, Table, Value};
use crate::edge;

/// As many rules as anybody may configure: each request is held against all.
const MAX_RULES: usize = 256;

/// As many headers as anybody may configure; they have to fit into one answer.
const MAX_HEADERS: usize = 32;

/// As many connections as anybody may configure: more than a process has file descriptors.
const MAX_CONNECTIONS: u64 = 1_000_000;

/// As many threads as anybody may configure.
const MAX_THREADS: u64 = 1024;

/// The longest drain: beyond it a supervisor has lost its patience.
const MAX_DRAIN: Duration = Duration::from_secs(3600);

/// As many tokens as anybody may configure to be remembered: some 15 GiB of them.
const MAX_ENTRIES: u64 = 10_000_000;

/// The longest time for which a proxy may not ask: so late it may hear of a revocation.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Reads the file, and tells what is questionable in it, or all that is wrong with it.
pub(super) fn read(path: &Path) -> Result<(Settings, Diagnostics), Diagnostics> {
    let source = Source::read(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let (settings, diagnostics) = document::read(&source, |root| settings(root, folder));
    match settings {
        Some(settings) if !diagnostics.has_errors() => Ok((settings, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// `None` where something is missing, which has been noted.
fn settings(root: &Table<'_>, folder: &Path) -> Option<Settings> {
    let server = root.table("server", server).into_value().flatten();
    let proxy = root.required_table("proxy", proxy).into_value().flatten();
    let api = root.table("api", api).into_value().unwrap_or_default();
    let issuers = root.required("issuers", |value| issuers(value, folder));
    let dpop = root.table("dpop", |table| dpop(table, folder)).into_value().unwrap_or_default();
    let rules = root.tables("rules", rule).into_value().unwrap_or_default();
    check_rules(root, &rules);
    let headers = root.table("headers", headers);
    check_issuer_is_told(root, &headers, issuers.value().map_or(0, Vec::len));
    let headers = headers.into_value().unwrap_or_default();
    let cache = root.table("cache", cache).into_value().unwrap_or_default();
    let log = root.table("log", log).into_value();
    let (log_level, log_format) = log.unwrap_or_else(|| ("info".to_owned(), LogFormat::Json));
    Some(Settings {
        server: server.or_else(|| Some(Server::new(DEFAULT_LISTEN.parse().ok()?, None)))?,
        proxy: proxy?,
        api,
        issuers: issuers.into_value()?,
        dpop,
        rules: rules.into_iter().filter_map(|rule| rule.value).collect(),
        headers,
        cache,
        log_level,
        log_format,
    })
}

fn server(table: &Table<'_>) -> Option<Server> {
    let address = |value: &Value<'_>| {
        let must = "an address and port such as 127.0.0.1:9180";
        value.text_that(must)?.parse::<SocketAddr>().ok().or_else(|| value.must(must, None))
    };
    let listen = table.optional("listen", address);
    let admin = table.optional("admin", address).into_value();
    let is_open = table.optional("open_to_network", |v| v.boolean()).into_value();
    if let Some(listen) = listen.given()
        && !listen.value.ip().is_loopback()
        && is_open != Some(true)
    {
        let refused = open(listen.value);
        let help = refused.help_text().map(str::to_owned);
        table.notes.error(&listen.span, refused.message, help);
    }
    let listen = listen.into_value().or_else(|| DEFAULT_LISTEN.parse().ok())?;
    let mut server = Server::new(listen, admin);
    let count = |key, most| {
        let number = table.optional(key, |v| v.integer(1..=most)).into_value();
        number.and_then(|number| usize::try_from(number).ok())
    };
    server.threads = count("threads", MAX_THREADS).and_then(NonZeroUsize::new);
    if let Some(most) = count("max_connections", MAX_CONNECTIONS) {
        server.max_connections = most;
    }
    let drain = table.optional("drain_timeout", |v| v.duration(Duration::ZERO..=MAX_DRAIN));
    if let Some(drain) = drain.into_value() {
        server.drain_timeout = drain;
    }
    Some(server)
}

fn proxy(table: &Table<'_>) -> Option<Proxy> {
    let kind = table.required("kind", |v| {
        v.choice(&[("nginx", 0_u8), ("traefik", 1), ("caddy", 2), ("envoy", 3)])
    });
    let prefix = table.optional("path_prefix", |v| {
        v.matching("a path such as `/verify`, without a slash at its end", |text| {
            Place::new(text).is_some_and(|place| place.depth() > 0) && !text.ends_with('/')
        })
    });
    let kind = *kind.value()?;
    if let Some(prefix) = prefix.given()
        && kind != 3
    {
        let message = "path_prefix is Envoy's: the others say in headers what they were asked";
        table.notes.error(&prefix.span, message, None);
    }
    Some(match kind {
        0 => Proxy::Nginx,
        1 => Proxy::Traefik,
        2 => Proxy::Caddy,
        _ => Proxy::Envoy { path_prefix: prefix.into_value().unwrap_or_default() },
    })
}

fn api(table: &Table<'_>) -> Api {
    let text = |v: &Value<'_>| v.matching("a text in quotation marks", |text| !text.is_empty());
    Api {
        realm: table.optional("realm", text).into_value().unwrap_or_else(|| Api::default().realm),
        scope: scopes(table),
        resource_metadata: table
            .optional("resource_metadata", |v| v.matching("an https URL", is_url))
            .into_value(),
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn scopes(table: &Table<'_>) -> Scope {
    let list = table.optional("scopes", |v| {
        v.list(|item| {
            item.matching("a scope such as `orders:read`", |text| {
                !text.contains(' ') && text.parse::<Scope>().is_ok_and(|scope| !scope.is_empty())
            })
        })
    });
    list.value().into_iter().flatten().map(|scope| scope.value.as_str()).collect()
}

fn texts(table: &Table<'_>, key: &'static str, must: &str, good: fn(&str) -> bool) -> Vec<String> {
    let list = table.optional(key, |v| v.list(|item| item.matching(must, good)));
    list.into_value().unwrap_or_default().into_iter().map(|text| text.value).collect()
}

fn dpop(table: &Table<'_>, folder: &Path) -> Dpop {
    let resource_urls = texts(table, "resource_urls", "an https URL", is_url);
    let nonces = table.optional("nonces", |v| v.boolean()).into_value().unwrap_or(false);
    let nonce_key = table.optional("nonce_key", |v| {
        let path = folder.join(v.text_that("a path")?);
        warn_if_exposed(v, &path);
        let text = edge::read_secret(&path, "the key of nonces");
        let key = text.map_err(|error| error.message).and_then(|text| {
            let must = "holds no 32 bytes as 64 hex digits or in base64";
            let key = master_key::parse(text.expose().trim());
            key.map(|key| *key).ok_or_else(|| format!("{} {must}", path.display()))
        });
        key.map_err(|message| v.notes.error(&v.span(), message, None)).ok()
    });
    let required = table.optional("required", |v| v.boolean()).into_value().unwrap_or(false);
    if let Some(key) = nonce_key.given()
        && !nonces
    {
        table.notes.error(&key.span, "there is a nonce_key, and not `nonces = true`", None);
    }
    if resource_urls.is_empty() && nonces {
        table.notes.error(&table.span, "nonces are for proofs, which need resource_urls", None);
    }
    let nonce_key = match nonce_key.into_value() {
        None if nonces => {
            edge::random().map_err(|error| table.notes.error(&table.span, error.message, None)).ok()
        }
        given => given,
    };
    Dpop { resource_urls, nonce_key, required }
}

/// Notes that others than its owner can read a file with a secret.
fn warn_if_exposed(value: &Value<'_>, path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if let Err(mode) = master_key::only_its_owner(&metadata) {
        let name = path.display();
        let message = format!("{name} can be read by others (mode {mode:03o}): `chmod 600 {name}`");
        value.notes.warning(&value.span(), message);
    }
}

fn rule(table: &Table<'_>) -> Option<Rule> {
    let place = table.required("path", |v| {
        let must = "a path such as `/orders`, without escapes, dots and empty segments";
        Place::new(v.text_that(must)?).or_else(|| v.must(must, None))
    });
    let methods = table.optional("methods", |v| {
        let must = "a method such as `GET`";
        let list = v.list(|item| {
            let text = item.matching(must, |text| {
                !text.is_empty() && text.bytes().all(|it| it.is_ascii_uppercase() || it == b'-')
            })?;
            Method::from_bytes(text.as_bytes()).ok()
        })?;
        if list.is_empty() { v.must("a list of one at least", None) } else { Some(list) }
    });
    let scope = scopes(table);
    let methods = methods.into_value().unwrap_or_default().into_iter().map(|it| it.value);
    Some(Rule { place: place.into_value()?, methods: methods.collect(), scope })
}

fn check_rules(root: &Table<'_>, rules: &[At<Option<Rule>>]) {
    if rules.len() > MAX_RULES {
        root.notes.error(&root.span, format!("there are more than {MAX_RULES} rules"), None);
    }
    for (number, rule) in rules.iter().enumerate() {
        let earlier = rules[..number].iter().filter_map(|rule| rule.value.as_ref());
        let Some(this) = &rule.value else { continue };
        if earlier.into_iter().any(|other| other.clashes(this)) {
            let message = "another rule before is for the same path and method";
            root.notes.error(&rule.span, message, None);
        }
    }
}

fn headers(table: &Table<'_>) -> ClaimHeaders {
    let read: Vec<_> = table.each(|name, value| {
        let wrong = |why: &str| {
            let message = format!("{} can be no header for a claim: {why}", quoted(&name.value));
            value.notes.error(&name.span, message, None);
            None
        };
        let Ok(header) = HeaderName::from_bytes(name.value.as_bytes()) else {
            return wrong("it is no name of a header");
        };
        if let Some(why) = forbidden(&header) {
            return wrong(why);
        }
        let must = "the name of a claim such as `sub`, or a pointer such as `/realm_access/roles`";
        let claim = Claim::named(value.text_that(must)?).or_else(|| value.must(must, None))?;
        Some((header, claim))
    });
    let read: Vec<_> = read.into_iter().flatten().collect();
    if read.len() > MAX_HEADERS {
        table.notes.error(&table.span, format!("there are more than {MAX_HEADERS} headers"), None);
    }
    for (number, (header, _)) in read.iter().enumerate() {
        if read[..number].iter().any(|(other, _)| other == header) {
            let message = format!("the header {header} stands here twice");
            table.notes.error(&table.span, message, None);
        }
    }
    ClaimHeaders(read)
}

/// Notes that the API cannot tell two of one name apart.
fn check_issuer_is_told(root: &Table<'_>, headers: &Field<ClaimHeaders>, issuers: usize) {
    let Some(headers) = headers.given() else { return };
    if issuers > 1 && !headers.value.0.iter().any(|(_, claim)| *claim == Claim::Issuer) {
        let message = "there are several issuers, and no header says whose token it is: a client of the one can have the name of a client of the other; add `X-Token-Issuer = \"iss\"`";
        root.notes.warning(&headers.span, message);
    }
}

fn cache(table: &Table<'_>) -> Cache {
    let max_age = table.optional("max_age", |v| v.duration(Duration::from_secs(1)..=MAX_AGE));
    let entries = table.optional("entries", |v| v.integer(0..=MAX_ENTRIES)).into_value();
    let entries = entries.and_then(|entries| usize::try_from(entries).ok());
    Cache { entries, max_age: max_age.into_value() }
}

fn log(table: &Table<'_>) -> (String, LogFormat) {
    let level = table.optional("level", |v| v.matching(LOG_LEVEL, is_log_level)).into_value();
    let format = table
        .optional("format", |v| v.choice(&[("json", LogFormat::Json), ("text", LogFormat::Text)]));
    (level.unwrap_or_else(|| "info".to_owned()), format.into_value().unwrap_or(LogFormat::Json))
}

#[cfg(test)]
mod tests;
