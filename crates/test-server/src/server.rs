//! The server: who it knows, what it has issued, and what is to go wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenry_core::{Secret, Timestamp};

use crate::clock::{self, Clock};
use crate::fault::Queue;
use crate::issued::{Issued, Lives};
use crate::record::Record;
use crate::{Endpoint, Fault, Recorded, RefreshPolicy};

/// The lifetime that most servers come with.
const LIFETIME: Duration = Duration::from_secs(300);

/// Longer than any test.
const REFRESH_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// An authorization server, and an API that takes its tokens. Clones share it; see the [crate](crate).
#[derive(Clone)]
pub struct TestServer(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) clients: BTreeMap<String, Option<Secret>>,
    pub(crate) users: BTreeMap<String, Secret>,
    pub(crate) lives: Lives,
    pub(crate) latency: Duration,
    pub(crate) api_latency: Duration,
    pub(crate) clock: Clock,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) issued: Issued,
    pub(crate) faults: Queue,
    pub(crate) api_faults: Queue,
    pub(crate) record: Record,
    /// The number of the newest nonce of the token endpoint, and of the API.
    pub(crate) nonces: (u64, u64),
    pub(crate) in_flight: usize,
    pub(crate) most_at_once: usize,
}

impl Shared {
    /// The state. A panic elsewhere must not poison a server: every step leaves the state whole.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings of a [`TestServer`].
#[derive(Clone, Debug)]
pub struct Builder {
    clients: BTreeMap<String, Option<Secret>>,
    users: BTreeMap<String, Secret>,
    lives: Lives,
    latency: Duration,
    api_latency: Duration,
    beginning: Option<Timestamp>,
}

impl Builder {
    /// Knows a client by this secret, by HTTP Basic or in the form.
    #[must_use]
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.clients.insert(id.into(), Some(Secret::new(secret)));
        self
    }

    /// Knows a client without a secret.
    #[must_use]
    pub fn public_client(mut self, id: impl Into<String>) -> Self {
        self.clients.insert(id.into(), None);
        self
    }

    /// Knows a user, for the password grant.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.insert(name.into(), Secret::new(password));
        self
    }

    /// How long access tokens live: 5 min by default.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lives.access = lifetime;
        self
    }

    /// What becomes of refresh tokens. There are none by default.
    #[must_use]
    pub fn refresh(mut self, policy: RefreshPolicy) -> Self {
        self.lives.policy = policy;
        self
    }

    /// How long refresh tokens live: 30 days by default.
    #[must_use]
    pub fn refresh_lifetime(mut self, lifetime: Duration) -> Self {
        self.lives.refresh = lifetime;
        self
    }

    /// How long the token endpoint takes to answer, by tokio's time: not at all by default.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// How long the API takes to answer, by tokio's time: not at all by default.
    #[must_use]
    pub fn api_latency(mut self, latency: Duration) -> Self {
        self.api_latency = latency;
        self
    }

    /// What the wall clock says when the server is built. By default the time of the operating system.
    #[must_use]
    pub fn beginning(mut self, beginning: Timestamp) -> Self {
        self.beginning = Some(beginning);
        self
    }

    /// The server.
    pub fn build(self) -> TestServer {
        let state = State {
            issued: Issued::new(),
            faults: Queue::default(),
            api_faults: Queue::default(),
            record: Record::default(),
            nonces: (0, 0),
            in_flight: 0,
            most_at_once: 0,
        };
        TestServer(Arc::new(Shared {
            clients: self.clients,
            users: self.users,
            lives: self.lives,
            latency: self.latency,
            api_latency: self.api_latency,
            clock: Clock::new(self.beginning.unwrap_or_else(clock::system)),
            state: Mutex::new(state),
        }))
    }
}

impl TestServer {
    /// One that knows the client `client` by the secret `secret` and the user `user` by the password `password`, and
    /// whose tokens live for 5 min.
    pub fn new() -> Self {
        Self::builder().client("client", "secret").user("user", "password").build()
    }

    /// Settings of one that knows nobody.
    pub fn builder() -> Builder {
        let policy = RefreshPolicy::Never;
        Builder {
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            lives: Lives { access: LIFETIME, refresh: REFRESH_LIFETIME, policy },
            latency: Duration::ZERO,
            api_latency: Duration::ZERO,
            beginning: None,
        }
    }

    /// Does this wrong with the next request.
    pub fn next(&self, fault: Fault) {
        self.for_requests(1, fault);
    }

    /// Does this wrong with the next `n` requests, after those that wait already.
    pub fn for_requests(&self, n: usize, fault: Fault) {
        self.queue(fault, Some(n));
    }

    /// Does this wrong until [`clear`](Self::clear).
    pub fn until_cleared(&self, fault: Fault) {
        self.queue(fault, None);
    }

    /// Behaves again.
    pub fn clear(&self) {
        let mut state = self.0.state();
        state.faults.clear();
        state.api_faults.clear();
    }

    fn queue(&self, fault: Fault, requests: Option<usize>) {
        let mut state = self.0.state();
        let queue = if fault.is_of_the_api() { &mut state.api_faults } else { &mut state.faults };
        queue.push(fault, requests);
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// Whether the API takes this access token: it was issued here, and has neither expired nor been revoked.
    pub fn is_good(&self, access_token: &str) -> bool {
        self.good_for(access_token).is_some()
    }

    /// How long the API takes this access token for; `None` if not any more.
    pub fn good_for(&self, access_token: &str) -> Option<Duration> {
        let good = |state: &State| {
            state.issued.good(access_token, self.0.clock.now()).map(|(_, left)| left)
        };
        good(&self.0.state())
    }

    /// Revokes every access token. Refresh tokens stay good.
    pub fn revoke_access_tokens(&self) {
        self.0.state().issued.revoke_access_tokens(self.0.clock.now());
    }

    /// Ends every family: no token that was issued so far is good any more.
    pub fn end_families(&self) {
        self.0.state().issued.end_families();
    }

    /// How many families have a refresh token that can still be used.
    pub fn living_families(&self) -> usize {
        self.0.state().issued.living_families(self.0.clock.now())
    }

    /// What it was asked, in order: the newest 100,000 requests.
    pub fn requests(&self) -> Vec<Recorded> {
        self.0.state().record.all()
    }

    /// The newest request to this endpoint.
    pub fn last_request(&self, endpoint: Endpoint) -> Option<Recorded> {
        self.0.state().record.last(endpoint)
    }

    /// How many token requests there were.
    pub fn token_requests(&self) -> usize {
        self.0.state().record.token
    }

    /// How many requests to the API there were.
    pub fn api_requests(&self) -> usize {
        self.0.state().record.api
    }

    /// How many token requests there were at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.0.state().most_at_once
    }
}

impl Default for TestServer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("TestServer")
            .field("issued", &state.issued.count())
            .field("token_requests", &state.record.token)
            .field("api_requests", &state.record.api)
            .finish_non_exhaustive()
    }
}
