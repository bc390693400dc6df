//! What `tokenry verify` is to do, all of it found to be good.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use tokenry_core::Scope;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    BuildError, ClientSecret, FeedSettings, HttpConfigError, HttpKeySource, IntrospectionSettings,
    Policy, StatusListSettings, Verifier, VerifierBuilder, WhenBehind,
};

use super::claims::ClaimHeaders;
use super::original::Proxy;
use super::rules::Rule;
use crate::config::LogFormat;
use crate::diagnostic::{Diagnostic, plain, quoted};

/// Where it listens where nobody says.
pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:9180";

/// All settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    pub(super) api: Api,
    /// One at least.
    pub(super) issuers: Vec<Issuer>,
    pub(super) dpop: Dpop,
    pub(super) rules: Vec<Rule>,
    pub(super) headers: ClaimHeaders,
    pub(super) cache: Cache,
    pub(super) log_level: String,
    pub(super) log_format: LogFormat,
}

/// How the process runs.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    pub(super) threads: Option<NonZeroUsize>,
    pub(super) max_connections: usize,
    pub(super) drain_timeout: Duration,
}

impl Server {
    /// Several proxies with a few hundred connections each.
    pub(super) const MAX_CONNECTIONS: usize = 4096;
    /// A check is answered in far less, even one that waits for keys.
    pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

    pub(super) const fn new(listen: SocketAddr, admin: Option<SocketAddr>) -> Self {
        Self {
            listen,
            admin,
            threads: None,
            max_connections: Self::MAX_CONNECTIONS,
            drain_timeout: Self::DRAIN_TIMEOUT,
        }
    }
}

/// The API that is protected.
#[derive(Clone, Debug)]
pub(super) struct Api {
    /// The `realm` of challenges.
    pub(super) realm: String,
    /// What every token needs.
    pub(super) scope: Scope,
    /// Told in challenges (RFC 9728 §5.1).
    pub(super) resource_metadata: Option<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self { realm: "api".to_owned(), scope: Scope::empty(), resource_metadata: None }
    }
}

/// An issuer whose tokens are good.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    /// `None`: all that it publishes keys for.
    pub(super) algorithms: Option<Vec<Algorithm>>,
    pub(super) leeway: Duration,
    pub(super) legacy_typ: bool,
    pub(super) jwks_uri: Option<String>,
    /// The content of a PEM file.
    pub(super) cacert: Option<Vec<u8>>,
    /// Hosts, and where they are.
    pub(super) connect_to: Vec<(String, SocketAddr)>,
    pub(super) allow_plain_http: bool,
    /// How it is asked about tokens that only it can read.
    pub(super) introspection: Option<Introspection>,
    /// How its revocation feed is followed.
    pub(super) feed: Option<Feed>,
    /// How tokens are looked up in its status lists.
    pub(super) status_lists: Option<StatusLists>,
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Clone, Debug)]
pub(super) struct Introspection {
    pub(super) client_id: String,
    pub(super) client_secret: ClientSecret,
    pub(super) endpoint: Option<String>,
    pub(super) always: bool,
    pub(super) ttl: Option<Duration>,
    pub(super) opaque_prefix: Option<String>,
    pub(super) without_audience: bool,
}

/// How an issuer's revocation feed is followed.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) client_id: String,
    pub(super) client_secret: ClientSecret,
    pub(super) endpoint: Option<String>,
    pub(super) when_behind: WhenBehind,
    pub(super) max_silence: Option<Duration>,
}

/// How tokens are looked up in the status lists that they name.
#[derive(Clone, Debug)]
pub(super) struct StatusLists {
    /// Where lists may be, besides the issuer's own origin.
    pub(super) allow_uri_prefixes: Vec<String>,
}

impl Introspection {
    fn settings(&self) -> IntrospectionSettings {
        let mut settings =
            IntrospectionSettings::basic(&self.client_id, self.client_secret.clone());
        if let Some(url) = &self.endpoint {
            settings = settings.endpoint(url);
        }
        if self.always {
            settings = settings.always();
        }
        if let Some(ttl) = self.ttl {
            settings = settings.ttl(ttl);
        }
        if let Some(prefix) = &self.opaque_prefix {
            settings = settings.opaque_prefix(prefix);
        }
        if self.without_audience {
            settings = settings.accept_without_audience();
        }
        settings
    }
}

impl Feed {
    fn settings(&self) -> FeedSettings {
        let mut settings = FeedSettings::client(&self.client_id, self.client_secret.clone())
            .when_behind(self.when_behind);
        if let Some(url) = &self.endpoint {
            settings = settings.endpoint(url);
        }
        if let Some(silence) = self.max_silence {
            settings = settings.max_silence(silence);
        }
        settings
    }
}

impl StatusLists {
    fn settings(&self) -> StatusListSettings {
        let prefixes = self.allow_uri_prefixes.iter();
        prefixes.fold(StatusListSettings::new(), |it, prefix| it.allow_uri_prefix(prefix))
    }
}

impl Issuer {
    pub(super) fn new(issuer: String, audiences: Vec<String>) -> Self {
        Self {
            issuer,
            audiences,
            algorithms: None,
            leeway: Policy::DEFAULT_LEEWAY,
            legacy_typ: false,
            jwks_uri: None,
            cacert: None,
            connect_to: Vec::new(),
            allow_plain_http: false,
            introspection: None,
            feed: None,
            status_lists: None,
        }
    }
}

/// Tokens that are bound to a key (RFC 9449).
#[derive(Clone, Default)]
pub(super) struct Dpop {
    /// Under which addresses clients know the API.
    pub(super) resource_urls: Vec<String>,
    /// With what nonces are made, if proofs need one.
    pub(super) nonce_key: Option<[u8; 32]>,
    /// Whether tokens that are bound to nothing are refused.
    pub(super) required: bool,
}

impl std::fmt::Debug for Dpop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dpop").field("resource_urls", &self.resource_urls).finish_non_exhaustive()
    }
}

/// What is remembered, here and at the proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    /// How many tokens that were found good are remembered; `None`: as many as the verifier does by itself.
    pub(super) entries: Option<usize>,
    /// For how long the proxy may give the same answer again without asking.
    pub(super) max_age: Option<Duration>,
}

impl Settings {
    /// The verifier of these settings. It begins to fetch keys.
    pub(super) fn verifier(&self) -> Result<Verifier, BuildError> {
        let [first, others @ ..] = self.issuers.as_slice() else {
            return Err(BuildError::NoIssuer);
        };
        let mut builder = first.tell(Verifier::builder(&first.issuer));
        for other in others {
            builder = other.tell(builder.issuer(&other.issuer));
        }
        if let Some(entries) = self.cache.entries {
            builder = builder.cache(entries);
        }
        builder = self.dpop.resource_urls.iter().fold(builder, |it, url| it.resource_url(url));
        if let Some(key) = &self.dpop.nonce_key {
            builder = builder.dpop_nonces(key);
        }
        if self.dpop.required {
            builder = builder.require_sender_constraint();
        }
        builder.build()
    }
}

impl Issuer {
    /// Tells a builder that speaks about this issuer what is known of it.
    fn tell(&self, mut builder: VerifierBuilder) -> VerifierBuilder {
        builder = self.audiences.iter().fold(builder, |it, audience| it.audience(audience));
        if let Some(algorithms) = &self.algorithms {
            builder = builder.algorithms(algorithms.iter().copied());
        }
        builder = builder.leeway(self.leeway);
        if self.legacy_typ {
            builder = builder.accept_legacy_typ();
        }
        if let Some(uri) = &self.jwks_uri {
            builder = builder.jwks_uri(uri);
        }
        if let Some(pem) = &self.cacert {
            builder = builder.with_root_certificates(pem.clone());
        }
        for (host, address) in &self.connect_to {
            builder = builder.connect_to(host, *address);
        }
        if self.allow_plain_http {
            builder = builder.allow_plain_http();
        }
        if let Some(introspection) = &self.introspection {
            builder = builder.introspection(introspection.settings());
        }
        if let Some(feed) = &self.feed {
            builder = builder.feed(feed.settings());
        }
        if let Some(status_lists) = &self.status_lists {
            builder = builder.status_lists(status_lists.settings());
        }
        builder
    }
}

/// That a listener would be open to a network.
pub(super) fn open(address: SocketAddr) -> Diagnostic {
    Diagnostic::error(format!(
        "{address} is no address of this machine alone: everybody who can connect to it may try tokens, and may write the headers in which only the proxy should say what it was asked"
    ))
    .help("listen on 127.0.0.1 or [::1]. Where the proxy is on another machine, and nobody else is on its network: --open-to-network, or `open_to_network = true` under `[server]` of a file")
}

/// Why the name of an issuer cannot be used to find its keys; `None` where it can.
pub(super) fn not_https(issuer: &str, allow_plain_http: bool) -> Option<String> {
    let is_good =
        issuer.starts_with("https://") || (allow_plain_http && issuer.starts_with("http://"));
    (!is_good).then(|| format!("must be an https URL, got {}", quoted(issuer)))
}

/// Reads a PEM file of authorities, or says what is wrong with it.
pub(super) fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let pem =
        std::fs::read(path).map_err(|error| format!("{name} cannot be read: {}", plain(&error)))?;
    // What it is for finds out what it is: here, and not when the keys are fetched.
    HttpKeySource::builder().with_root_certificates(pem.as_slice()).build().map_err(|error| {
        match error {
            HttpConfigError::RootCertificates => {
                format!("{name} holds no certificates in PEM (`-----BEGIN CERTIFICATE-----`)")
            }
            other => format!("{name}: {other}"),
        }
    })?;
    Ok(pem)
}

/// Reads `HOST:PORT:ADDR:PORT2`, as curl writes it.
pub(super) fn connect_to(text: &str) -> Option<(String, SocketAddr)> {
    let (host, rest) = text.split_once(':')?;
    let (port, address) = rest.split_once(':')?;
    port.parse::<u16>().ok()?;
    Some((host.to_owned(), address.parse().ok()?)).filter(|_| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_asking_and_following_is_passed_on() {
        let (client_id, client_secret) = ("api".to_owned(), ClientSecret::from("sesame"));
        let introspection = Introspection {
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            endpoint: Some("https://a.example/ask".to_owned()),
            always: true,
            ttl: Some(Duration::from_secs(7)),
            opaque_prefix: Some("x_".to_owned()),
            without_audience: true,
        };
        let shown = format!("{:?}", introspection.settings());
        for part in ["/ask", "\"x_\"", "always: true", "ttl: 7s", "without_audience: true"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let (when_behind, max_silence) = (WhenBehind::Refuse, Some(Duration::from_secs(20)));
        let feed = Feed { client_id, client_secret, endpoint: None, when_behind, max_silence };
        let shown = format!("{:?}", feed.settings());
        for part in ["\"api\"", "Refuse", "max_silence: 20s"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[tokio::test]
    async fn what_is_said_about_an_issuer_is_its_policy() {
        let mut issuer = Issuer::new("https://a.example".to_owned(), vec!["api".to_owned()]);
        issuer.algorithms = Some(vec![Algorithm::Ps256]);
        issuer.leeway = Duration::from_secs(3);
        issuer.legacy_typ = true;
        let builder = issuer.tell(Verifier::builder(&issuer.issuer));
        let verifier = builder.build().unwrap();
        let [policy] = &verifier.policies().collect::<Vec<_>>()[..] else { panic!("one issuer") };
        assert_eq!(policy.audiences, ["api"]);
        assert_eq!(policy.algorithms, [Algorithm::Ps256]);
        assert_eq!((policy.leeway, policy.legacy_typ), (Duration::from_secs(3), true));
    }
}
