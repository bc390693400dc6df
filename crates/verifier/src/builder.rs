//! Settings of a verifier.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokio::runtime::Handle;

use crate::cache::TokenCache;
use crate::introspection::can_tell_apart;
use crate::issuer::Settings;
use crate::keys::{HttpConfigError, KeySource};
use crate::metrics::Counters;
use crate::verifier::Inner;
use crate::{Clock, SystemClock, Verifier};

/// Clocks that are further apart than this are broken, and every token lives longer by it.
const MAX_LEEWAY: Duration = Duration::from_mins(2);

/// About how many tokens are remembered where nobody says: 10,000 of common size take 8 MiB.
const DEFAULT_CACHE: usize = 10_000;

/// Settings of a [`Verifier`].
///
/// Needed is an audience. Without [`jwks_uri`](Self::jwks_uri) or [`key_source`](Self::key_source) the keys are
/// found through the issuer's metadata (RFC 8414).
///
/// More than one issuer may be trusted: [`issuer`](Self::issuer) names a further one, and what is said about tokens,
/// keys and connections after it is said about that one alone. Which of them issued a token, its `iss` decides; no
/// token is ever verified with the keys of another.
///
/// ```no_run
/// # use tokenry_verifier::{BuildError, Verifier};
/// # fn f() -> Result<Verifier, BuildError> {
/// Verifier::builder("https://id.example/realms/main")
///     .audience("https://api.example")
///     .issuer("https://keycloak.example/realms/partners")
///     .audience("api")
///     .accept_legacy_typ()
///     .build()
/// # }
/// ```
pub struct VerifierBuilder {
    /// The issuers before the one that is spoken about.
    others: Vec<Settings>,
    pub(crate) current: Settings,
    clock: Arc<dyn Clock>,
    cache: usize,
    pub(crate) dpop: crate::dpop::Settings,
    pub(crate) bound_only: bool,
}

impl VerifierBuilder {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            others: Vec::new(),
            current: Settings::new(issuer),
            clock: Arc::new(SystemClock),
            cache: DEFAULT_CACHE,
            dpop: crate::dpop::Settings::default(),
            bound_only: false,
        }
    }

    /// Trusts a further issuer. Settings of tokens, keys and connections that follow are about this one.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        let before = std::mem::replace(&mut self.current, Settings::new(issuer.into()));
        self.others.push(before);
        self
    }

    /// Remembers about this many tokens that were found good (10,000; never more than twice as many), so that they are not
    /// verified again. With 0 every request is verified anew.
    ///
    /// A token takes about 800 bytes. Its text is not kept, only a keyed print of it.
    ///
    /// A token that is remembered is refused just when it would be without: once it has expired, was revoked, or its key
    /// is no longer published.
    #[must_use]
    pub const fn cache(mut self, tokens: usize) -> Self {
        self.cache = tokens;
        self
    }

    /// A name of this resource server; tokens must have one of its names in `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.current.policy.audiences.push(audience.into());
        self
    }

    /// Accepts only these algorithms. By default all that the issuer publishes keys for.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.current.policy.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the issuer's clock and ours may be apart; two minutes at most.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.current.policy.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Accepts `typ: JWT` besides `at+jwt`, for issuers from before RFC 9068 such as Keycloak.
    #[must_use]
    pub const fn accept_legacy_typ(mut self) -> Self {
        self.current.policy.legacy_typ = true;
        self
    }

    /// Fetches the keys from this address, without asking for metadata.
    #[must_use]
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.current.http = self.current.http.jwks_uri(uri);
        self
    }

    /// Trusts these certificates (PEM) for the issuer's host, instead of what the operating system trusts.
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.current.http = self.current.http.with_root_certificates(pem);
        self
    }

    /// Connects to this address whenever `host` is meant, as `curl --connect-to` does.
    #[must_use]
    pub fn connect_to(mut self, host: &str, addr: SocketAddr) -> Self {
        self.current.http = self.current.http.connect_to(host, addr);
        self
    }

    /// Accepts `http` addresses. Whoever can change an answer on the way can then issue tokens.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.current.http = self.current.http.allow_plain_http();
        self
    }

    /// Takes the keys from elsewhere; the settings of addresses and connections are then without meaning.
    #[must_use]
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.current.source = Some(Arc::new(source));
        self
    }

    /// The longest time from one fetch of the keys to the next (5 minutes). The issuer may ask for a shorter one by
    /// `Cache-Control: max-age`.
    #[must_use]
    pub const fn refresh_every(mut self, every: Duration) -> Self {
        self.current.schedule.refresh_every = at_most_a_year(every);
        self
    }

    /// The shortest time between two fetches that tokens with unknown keys cause (30 seconds).
    #[must_use]
    pub const fn cooldown(mut self, cooldown: Duration) -> Self {
        self.current.schedule.cooldown = at_most_a_year(cooldown);
        self
    }

    /// How long keys are used after the last fetch that went well (24 hours), a year at most. After that the answer is 503.
    #[must_use]
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.current.schedule.max_stale = at_most_a_year(max_stale);
        self
    }

    /// How long a request with an unknown key waits for newer keys (3 seconds).
    #[must_use]
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.current.schedule.wait = wait;
        self
    }

    /// The clock that [`VerifierLayer`](crate::VerifierLayer) and [`Verifier::refuse`] go by.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes the verifier and starts to fetch the keys, without waiting for them. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: what is wrong with the settings.
    pub fn build(self) -> Result<Verifier, BuildError> {
        let Self { others, current, clock, cache, dpop, bound_only } = self;
        let settings: Vec<Settings> = others.into_iter().chain([current]).collect();
        for (i, one) in settings.iter().enumerate() {
            one.check()?;
            let name = &one.policy.issuer;
            for other in settings.iter().take(i) {
                if other.policy.issuer == *name {
                    return Err(BuildError::SameIssuer(name.clone()));
                }
                if let (Some(a), Some(b)) = (&other.introspection, &one.introspection)
                    && !can_tell_apart(a, b)
                {
                    return Err(BuildError::OpaquePrefix(
                        other.policy.issuer.clone(),
                        name.clone(),
                    ));
                }
            }
        }
        let dpop = dpop.build()?;
        if Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let cache = Arc::new(TokenCache::new(cache));
        let issuers = settings.into_iter().enumerate();
        let issuers =
            issuers.map(|(i, one)| one.start(&clock, (&cache, i))).collect::<Result<_, _>>()?;
        Ok(Verifier::new(Inner {
            issuers,
            cache,
            counters: Counters::default(),
            clock,
            dpop,
            bound_only,
            told: AtomicBool::new(false),
        }))
    }
}

/// Who means for ever says so with [`Duration::MAX`], for which there is no point in time.
const fn at_most_a_year(time: Duration) -> Duration {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    if time.as_secs() > YEAR.as_secs() { YEAR } else { time }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("policy", &self.current.policy)
            .field("others", &self.others.len())
            .finish_non_exhaustive()
    }
}

/// What is wrong with the settings of a verifier.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An address of a revocation feed that is none to ask. It is not shown, since there may be a password in it.
    #[error("the endpoint of the revocation feed must be an https URL without user and fragment")]
    FeedEndpoint,
    /// The settings of fetching.
    #[error(transparent)]
    Http(#[from] HttpConfigError),
    /// An address to ask about tokens that is none (the text).
    #[error("the introspection endpoint must be an https URL, got `{0}`")]
    IntrospectionEndpoint(String),
    /// No algorithm is accepted.
    #[error("no algorithm is accepted")]
    NoAlgorithm,
    /// No audience is given: every token of the issuer would be good, whoever it is for.
    #[error("no audience is given")]
    NoAudience,
    /// The revocation feed is to be asked for without an identifier, or without a secret.
    #[error("the revocation feed needs a client id and a secret")]
    NoFeedClient,
    /// While the revocation feed of an issuer (named) is lost it is to be asked about tokens, and nothing says how.
    #[error("introspection of `{0}` is to replace its revocation feed, and is not set")]
    NoIntrospection(String),
    /// No issuer is given.
    #[error("no issuer is given")]
    NoIssuer,
    /// Something is set for DPoP, and no resource URL.
    #[error("DPoP proofs need a resource_url")]
    NoResourceUrl,
    /// Not called within a Tokio runtime, which the fetching needs.
    #[error("no Tokio runtime")]
    NoRuntime,
    /// Two issuers (named) are to be asked about tokens that only they can read, and no prefix says whose one is.
    #[error(
        "it cannot be told whose an opaque token is, that of `{0}` or of `{1}`: both need an opaque_prefix of their own"
    )]
    OpaquePrefix(String, String),
    /// Two issuers of one name (given).
    #[error("the issuer `{0}` is named twice")]
    SameIssuer(String),
    /// A prefix of status lists that is no address to ask. It is not shown, since there may be a password in it.
    #[error(
        "a prefix of status lists must be an https URL without user, query, fragment and hidden dots"
    )]
    StatusListPrefix,
    /// A resource URL that is none (the text).
    #[error("resource_url must be an https or http URL without query and fragment, got `{0}`")]
    ResourceUrl(String),
}
