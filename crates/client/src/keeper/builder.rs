//! A keeper's settings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokenry_core::Timestamp;
use tokenry_core::dpop::ProofKey;
use tokenry_core::jose::{self, Algorithm, SigningKey};
use tokio::sync::{Notify, broadcast};

use super::check::{self, BuildError};
use super::identity::Identity;
use super::{Keeper, Owner, Shared, State};
use crate::clock::{self, Clock, Wall};
use crate::dpop::Dpop;
use crate::durable::{Ledger, RefreshTokenFile, RefreshTokenStore};
use crate::exchange::Exchange;
use crate::feed::Feed;
use crate::machine::Policy;
use crate::metrics::Counters;
use crate::rt::Mutex;
use crate::transport::HttpTransport;
use crate::{Credentials, Provider, Transport, randomness, token};

/// How long a token lives if neither the answer, nor the token, nor the provider says: the shortest that is common.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// For transports that have no timeout of their own. The default one does, and it is shorter.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What every server that knows DPoP knows.
const DPOP_ALGORITHM: Algorithm = Algorithm::Es256;

/// A watcher that is further behind than this is not watching.
const EVENTS_KEPT: usize = 256;

/// Settings of a [`Keeper`].
pub struct KeeperBuilder {
    provider: Provider,
    credentials: Credentials,
    resource: Option<String>,
    dpop: Option<DpopKey>,
    store: Option<Store>,
    transport: Option<Arc<dyn Transport>>,
    wall: Wall,
    randomness: Box<dyn Fn() -> f64 + Send + Sync>,
    patience: Option<Duration>,
    default_lifetime: Duration,
    follow_revocations: bool,
}

/// The key that tokens are to be bound to.
enum DpopKey {
    Generated,
    Given(Box<SigningKey>),
}

/// Where the refresh token is to be stored.
enum Store {
    File(PathBuf),
    Other(Arc<dyn RefreshTokenStore>),
}

impl KeeperBuilder {
    pub(super) fn new(provider: Provider, credentials: Credentials) -> Self {
        Self {
            provider,
            credentials,
            resource: None,
            dpop: None,
            store: None,
            transport: None,
            wall: Arc::new(clock::system),
            randomness: Box::new(randomness::share),
            patience: None,
            default_lifetime: DEFAULT_LIFETIME,
            follow_revocations: false,
        }
    }

    /// Asks for tokens for this API alone (RFC 8707): an absolute URI without a fragment.
    ///
    /// A keeper is for one resource; whoever calls two APIs has two keepers.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Binds tokens to a key (DPoP, RFC 9449) that is made with the keeper and never leaves it: ES256.
    ///
    /// A bearer token is then not taken. A public client's refresh token is bound as well, so it ends with the keeper;
    /// to keep one in a file, give the [key](Self::dpop_key).
    #[must_use]
    pub fn dpop(mut self) -> Self {
        self.dpop = Some(DpopKey::Generated);
        self
    }

    /// Binds tokens to this key (DPoP, RFC 9449), and takes no bearer token.
    #[must_use]
    pub fn dpop_key(mut self, key: SigningKey) -> Self {
        self.dpop = Some(DpopKey::Given(Box::new(key)));
        self
    }

    /// Stores the refresh token in this file, so that the next process goes on with it; see [`RefreshTokenFile`].
    ///
    /// A file of another server, client, user, grant, scope, resource or DPoP key is an error, and stays as it is.
    #[must_use]
    pub fn refresh_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.store = Some(Store::File(path.into()));
        self
    }

    /// Stores the refresh token here. Nothing but this keeper may use the store.
    #[must_use]
    pub fn refresh_token_store(mut self, store: impl RefreshTokenStore + 'static) -> Self {
        self.store = Some(Store::Other(Arc::new(store)));
        self
    }

    /// Sends token requests by this transport. By default by [`HttpTransport::new`].
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Reads the wall clock here. By default the operating system's.
    #[must_use]
    pub fn wall_clock(mut self, wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.wall = Arc::new(wall);
        self
    }

    /// Draws numbers in `[0, 1)` here, for jitter. By default from the operating system.
    #[must_use]
    pub fn randomness(mut self, randomness: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.randomness = Box::new(randomness);
        self
    }

    /// How long a caller waits for the next attempt after a failure before it gets the error. 10 s by default.
    ///
    /// With zero, a caller gets the error of the first attempt.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How long a token lives if neither the answer, nor the token, nor the provider says. 5 min by default.
    #[must_use]
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.default_lifetime = lifetime;
        self
    }

    /// Follows what the issuer revokes, so that a token that was revoked is replaced within about a second, instead of when an
    /// API answers 401. The connection is there while the keeper has a token that is used; an idle keeper has none.
    ///
    /// The feed is where the provider says, or else the issuer's metadata (`revocation_feed_endpoint`), and is asked for as
    /// tokens are. One that is lost, or not there at all, changes nothing but the [metrics](Keeper::metrics).
    #[must_use]
    pub fn follow_revocations(mut self) -> Self {
        self.follow_revocations = true;
        self
    }

    /// The keeper. It makes no request, and reads no file, before it is asked for a token.
    ///
    /// # Errors
    ///
    /// That the credentials are not of the provider's kind, that what was set makes no sense, or that TLS cannot be set
    /// up.
    pub fn build(mut self) -> Result<Keeper, BuildError> {
        check::credentials(&self.provider, &self.credentials)?;
        check::settings(&self.provider, self.resource.as_deref(), self.store.is_some())?;
        let dpop = self.dpop.take().map(proof_key).transpose()?;
        let store = self.store(dpop.as_ref().and_then(|(_, given)| given.clone()));
        let dpop = dpop.map(|(key, _)| Arc::new(Dpop::new(key, self.wall.clone())));
        let mut policy = self.policy();
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(HttpTransport::new()?),
        };
        let provider = check::transport(self.provider, &self.credentials, &*transport)?;
        if self.follow_revocations {
            check::following(&provider, &self.credentials, &*transport)?;
        }
        let place = provider.revocation_feed_url().cloned();
        let feed = self.follow_revocations.then(|| Box::new(Feed::new(place)));
        let revocable = provider.refresh.as_ref().is_some_and(|rules| rules.revocation.is_some());
        let ledger = Ledger::new(store, revocable);
        let exchange = Exchange {
            provider,
            credentials: self.credentials,
            resource: self.resource,
            dpop,
            ledger,
            events: broadcast::Sender::new(EVENTS_KEPT),
            transport,
            wall: self.wall.clone(),
            timeout: REQUEST_TIMEOUT,
            default_lifetime: self.default_lifetime,
        };
        policy.grace = exchange.grace();
        Ok(Keeper(Arc::new(Owner(Arc::new(Shared {
            id: token::new_source(),
            slot: ArcSwapOption::empty(),
            served_at: AtomicU64::new(0),
            state: Mutex::new(State::new(policy, !exchange.ledger.is_stored())),
            changed: Notify::new(),
            clock: Clock::new(self.wall),
            randomness: self.randomness,
            exchange: Arc::new(exchange),
            counters: Counters::default(),
            feed,
        })))))
    }

    fn policy(&self) -> Policy {
        let mut policy = Policy::of_instance((self.randomness)());
        policy.credentials_interval = self.provider.obtain.interval;
        policy.use_refresh_tokens = self.provider.refresh.is_some();
        if let Some(patience) = self.patience {
            policy.patience = patience;
        }
        policy
    }

    /// The store, if there is one. A file is told whose token it holds.
    fn store(&mut self, key: Option<String>) -> Option<Arc<dyn RefreshTokenStore>> {
        Some(match self.store.take()? {
            Store::Other(store) => store,
            Store::File(path) => {
                let resource = self.resource.as_deref();
                let owner = Identity::new(&self.provider, &self.credentials, resource, key);
                Arc::new(RefreshTokenFile::new(path, owner.digest()))
            }
        })
    }
}

/// The key, and its thumbprint if it was given.
fn proof_key(key: DpopKey) -> Result<(ProofKey, Option<String>), BuildError> {
    let make = |key| ProofKey::new(key).map_err(|_| BuildError::DpopKey);
    match key {
        DpopKey::Given(key) => {
            let key = make(*key)?;
            let thumbprint = key.thumbprint();
            Ok((key, Some(thumbprint)))
        }
        DpopKey::Generated => {
            let der = jose::generate(DPOP_ALGORITHM).map_err(|_| BuildError::DpopKey)?;
            let key = SigningKey::from_pkcs8(DPOP_ALGORITHM, der.as_bytes());
            Ok((make(key.map_err(|_| BuildError::DpopKey)?)?, None))
        }
    }
}

impl fmt::Debug for KeeperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperBuilder")
            .field("provider", &self.provider)
            .field("credentials", &self.credentials)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}
