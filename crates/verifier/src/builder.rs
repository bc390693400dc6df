//! Settings of a verifier.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokio::runtime::Handle;

use crate::denied::Denied;
use crate::dpop::Settings;
use crate::keys::{
    HttpConfigError, HttpKeySource, HttpKeySourceBuilder, KeyCache, KeySource, Schedule,
};
use crate::verifier::Inner;
use crate::{Clock, Policy, SystemClock, Verifier};

/// Clocks that are further apart than this are broken, and every token lives longer by it.
const MAX_LEEWAY: Duration = Duration::from_mins(2);

/// Settings of a [`Verifier`].
///
/// Needed is an audience. Without [`jwks_uri`](Self::jwks_uri) or [`key_source`](Self::key_source) the keys are
/// found through the issuer's metadata (RFC 8414).
pub struct VerifierBuilder {
    policy: Policy,
    schedule: Schedule,
    http: HttpKeySourceBuilder,
    source: Option<Arc<dyn KeySource>>,
    clock: Arc<dyn Clock>,
    pub(crate) dpop: Settings,
    pub(crate) bound_only: bool,
}

impl VerifierBuilder {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            policy: Policy {
                issuer,
                audiences: Vec::new(),
                algorithms: Algorithm::ALL.to_vec(),
                leeway: Policy::DEFAULT_LEEWAY,
                legacy_typ: false,
            },
            schedule: Schedule::default(),
            http: HttpKeySource::builder(),
            source: None,
            clock: Arc::new(SystemClock),
            dpop: Settings::default(),
            bound_only: false,
        }
    }

    /// A name of this resource server; tokens must have one of its names in `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.policy.audiences.push(audience.into());
        self
    }

    /// Accepts only these algorithms. By default all that the issuer publishes keys for.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.policy.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the issuer's clock and ours may be apart; two minutes at most.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.policy.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Accepts `typ: JWT` besides `at+jwt`, for issuers from before RFC 9068 such as Keycloak.
    #[must_use]
    pub const fn accept_legacy_typ(mut self) -> Self {
        self.policy.legacy_typ = true;
        self
    }

    /// Fetches the keys from this address, without asking for metadata.
    #[must_use]
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.http = self.http.jwks_uri(uri);
        self
    }

    /// Trusts these certificates (PEM) for the issuer's host, instead of what the operating system trusts.
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http = self.http.with_root_certificates(pem);
        self
    }

    /// Connects to this address whenever `host` is meant, as `curl --connect-to` does.
    #[must_use]
    pub fn connect_to(mut self, host: &str, addr: SocketAddr) -> Self {
        self.http = self.http.connect_to(host, addr);
        self
    }

    /// Accepts `http` addresses. Whoever can change an answer on the way can then issue tokens.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.http = self.http.allow_plain_http();
        self
    }

    /// Takes the keys from elsewhere; the settings of addresses and connections are then without meaning.
    #[must_use]
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The longest time from one fetch of the keys to the next (5 minutes). The issuer may ask for a shorter one by
    /// `Cache-Control: max-age`.
    #[must_use]
    pub const fn refresh_every(mut self, every: Duration) -> Self {
        self.schedule.refresh_every = every;
        self
    }

    /// The shortest time between two fetches that tokens with unknown keys cause (30 seconds).
    #[must_use]
    pub const fn cooldown(mut self, cooldown: Duration) -> Self {
        self.schedule.cooldown = cooldown;
        self
    }

    /// How long keys are used after the last fetch that went well (24 hours). After that the answer is 503.
    #[must_use]
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.schedule.max_stale = max_stale;
        self
    }

    /// How long a request with an unknown key waits for newer keys (3 seconds).
    #[must_use]
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.schedule.wait = wait;
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
        let Self { policy, schedule, http, source, clock, dpop, bound_only } = self;
        if policy.issuer.is_empty() {
            return Err(BuildError::NoIssuer);
        }
        if policy.audiences.is_empty() || policy.audiences.iter().any(String::is_empty) {
            return Err(BuildError::NoAudience);
        }
        if policy.algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        let dpop = dpop.build()?;
        if Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let source = match source {
            Some(source) => source,
            None => Arc::new(http.build()?),
        };
        let keys =
            KeyCache::start(source, policy.issuer.clone(), policy.algorithms.clone(), schedule);
        let denied = Denied::default();
        Ok(Verifier::new(Inner {
            policy,
            keys,
            denied,
            clock,
            dpop,
            bound_only,
            told: AtomicBool::new(false),
        }))
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("policy", &self.policy)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the settings of a verifier.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The settings of fetching.
    #[error(transparent)]
    Http(#[from] HttpConfigError),
    /// No algorithm is accepted.
    #[error("no algorithm is accepted")]
    NoAlgorithm,
    /// No audience is given: every token of the issuer would be good, whoever it is for.
    #[error("no audience is given")]
    NoAudience,
    /// No issuer is given.
    #[error("no issuer is given")]
    NoIssuer,
    /// Something is set for DPoP, and no resource URL.
    #[error("DPoP proofs need a resource_url")]
    NoResourceUrl,
    /// Not called within a Tokio runtime, which the fetching needs.
    #[error("no Tokio runtime")]
    NoRuntime,
    /// A resource URL that is none (the text).
    #[error("resource_url must be an https or http URL without query and fragment, got `{0}`")]
    ResourceUrl(String),
}
