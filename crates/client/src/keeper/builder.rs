//! A keeper's settings.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokenry_core::Timestamp;
use tokio::sync::{Notify, broadcast};

use super::{Keeper, Owner, Shared, State};
use crate::clock::{self, Clock, Wall};
use crate::exchange::Exchange;
use crate::machine::{Machine, Policy};
use crate::provider::{ClientAuthentication, CredentialsGrant};
use crate::transport::{ConfigError, HttpTransport};
use crate::{Credentials, Provider, Transport};

/// How long a token lives if neither the answer, nor the token, nor the provider says: the shortest that is common.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// For transports that have no timeout of their own. The default one does, and it is shorter.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A watcher that is further behind than this is not watching.
const EVENTS_KEPT: usize = 256;

/// Settings of a [`Keeper`].
pub struct KeeperBuilder {
    provider: Provider,
    credentials: Credentials,
    transport: Option<Arc<dyn Transport>>,
    wall: Wall,
    randomness: Box<dyn Fn() -> f64 + Send + Sync>,
    patience: Option<Duration>,
    default_lifetime: Duration,
}

/// Why a keeper cannot be built. All of it is configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The provider's grant needs credentials that were not given.
    #[error("provider {provider:?} needs {needed}")]
    Credentials {
        /// The provider.
        provider: String,
        /// What is missing.
        needed: &'static str,
    },
    /// The default transport cannot be set up.
    #[error(transparent)]
    Transport(#[from] ConfigError),
}

impl KeeperBuilder {
    pub(super) fn new(provider: Provider, credentials: Credentials) -> Self {
        Self {
            provider,
            credentials,
            transport: None,
            wall: Box::new(clock::system),
            randomness: Box::new(os_randomness),
            patience: None,
            default_lifetime: DEFAULT_LIFETIME,
        }
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
        self.wall = Box::new(wall);
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

    /// The keeper. It makes no request before it is asked for a token.
    ///
    /// # Errors
    ///
    /// That the credentials are not of the provider's kind, or that TLS cannot be set up.
    pub fn build(self) -> Result<Keeper, BuildError> {
        // Keepers of one process get different numbers, so that a token is known by where it came from.
        static KEEPERS: AtomicU64 = AtomicU64::new(1);
        self.check_credentials()?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(HttpTransport::new()?),
        };
        let mut policy = Policy::of_instance((self.randomness)());
        policy.credentials_interval = self.provider.obtain.interval;
        policy.use_refresh_tokens = self.provider.refresh.is_some();
        if let Some(patience) = self.patience {
            policy.patience = patience;
        }
        let state = State {
            machine: Machine::new(policy),
            token: None,
            refresh_token: None,
            last_error: None,
            round: None,
            pending: None,
            driven: false,
            closed: false,
        };
        Ok(Keeper(Arc::new(Owner(Arc::new(Shared {
            id: KEEPERS.fetch_add(1, Ordering::Relaxed),
            slot: ArcSwapOption::empty(),
            served_at: AtomicU64::new(0),
            state: Mutex::new(state),
            changed: Notify::new(),
            clock: Clock::new(self.wall),
            randomness: self.randomness,
            exchange: Arc::new(Exchange {
                provider: self.provider,
                credentials: self.credentials,
                transport,
                timeout: REQUEST_TIMEOUT,
                default_lifetime: self.default_lifetime,
            }),
            events: broadcast::Sender::new(EVENTS_KEPT),
        })))))
    }

    fn check_credentials(&self) -> Result<(), BuildError> {
        let obtain = &self.provider.obtain;
        let needs_user = obtain.grant == CredentialsGrant::Password;
        let needs_client = obtain.client_authentication != ClientAuthentication::None;
        let needed = if needs_user && self.credentials.user.is_none() {
            "a username and a password"
        } else if needs_client && self.credentials.client.is_none() {
            "a client id and a client secret"
        } else {
            return Ok(());
        };
        Err(BuildError::Credentials { provider: self.provider.name.clone(), needed })
    }
}

impl fmt::Debug for KeeperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperBuilder")
            .field("provider", &self.provider)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A number in `[0, 1)` from the operating system.
fn os_randomness() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness an instance is as good as the middle of all.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
