//! The server's state, and the upkeep that keeps it current.

use std::borrow::Cow;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{Response, StatusCode};
use tokenry_core::family::FamilyId;
use tokenry_core::key::{KeyStep, steps};
use tokenry_core::master::Pepper;
use tokenry_core::{MasterKey, Timestamp};
use tokenry_store::{Change, Item, Revision, Store, StoreError};

use crate::admission::Admission;
use crate::clients::Clients;
use crate::clock::{Clock, NoEntropy, random};
use crate::dialect::{Place, Voice, not_found};
use crate::directory::{Directory, RealmState, Resource};
use crate::endpoint::Walk;
use crate::feed::Feed;
use crate::fetch::{Fetch, HttpsFetch};
use crate::http_answer::{Body, error};
use crate::keyring;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::password::PasswordPool;
use crate::peer::{Peer, Proxies};
use crate::remote_keys::RemoteKeys;
use crate::reuse::Reuse;
use crate::status_list;
use crate::throttle::Throttle;

/// The authorization server, without a socket.
#[derive(Debug)]
pub struct App {
    pub(crate) store: Arc<dyn Store>,
    master: MasterKey,
    pub(crate) pepper: Pepper,
    clock: Arc<dyn Clock>,
    directory: ArcSwap<Directory>,
    /// Held while changes are taken up.
    reloading: tokio::sync::Mutex<()>,
    /// Up to where the store's changes have been taken up.
    seen: AtomicU64,
    pub(crate) clients: Clients,
    pub(crate) admission: Admission,
    pub(crate) revoked_here: RevokedHere,
    pub(crate) passwords: PasswordPool,
    /// The keys of issuers that realms trust. Apart from those of clients, so that no client can crowd them out.
    pub(crate) trusted_keys: RemoteKeys,
    /// The keys of clients that the operator has registered.
    pub(crate) client_keys: RemoteKeys,
    /// The keys of clients that have registered themselves: what the operator allows for others is not for them.
    pub(crate) strangers_keys: RemoteKeys,
    pub(crate) reuse: Reuse,
    pub(crate) throttle: Throttle,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Arc<Feed>,
    pub(crate) limits: Limits,
    proxies: Proxies,
}

/// What lies between the server and others.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Proxies that pass on the certificates of clients.
    pub proxies: Proxies,
    /// How what trusted issuers and registered clients publish is fetched.
    pub fetch: Arc<dyn Fetch>,
    /// How what clients publish is fetched that have registered themselves: from public addresses alone.
    pub strangers: Arc<dyn Fetch>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the store holds was sealed under another master key.
    #[error("the master key is not the one this store was made with")]
    WrongMasterKey,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing key could not be made.
    #[error("a signing key could not be made")]
    Key,
    /// No random numbers.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// How often the store is asked whether somebody else changed something.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// How often keys are looked after.
const KEYS_EVERY: Duration = Duration::from_secs(1);

/// How often expired families are deleted.
const GARBAGE_EVERY: Duration = Duration::from_secs(60);

/// How far the clocks of nodes that share a store may be apart: nothing is forgotten earlier than that.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// How often a change is tried again that somebody else's came before.
const MAX_CONFLICTS: usize = 10;

impl App {
    /// Loads what is stored, checks the master key, and makes the keys that are missing.
    ///
    /// What others publish is fetched from public addresses alone.
    pub async fn start(
        store: Arc<dyn Store>,
        master: MasterKey,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Arc<Self>, StartError> {
        Self::start_with(store, master, clock, limits, Arc::new(HttpsFetch::default())).await
    }

    /// [`start`](Self::start)s with another way to fetch what others publish.
    pub async fn start_with(
        store: Arc<dyn Store>,
        master: MasterKey,
        clock: Arc<dyn Clock>,
        limits: Limits,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<Self>, StartError> {
        let strangers = Arc::clone(&fetch);
        let ways = Ways { proxies: Proxies::default(), fetch, strangers };
        Self::start_behind(ways, store, master, clock, limits).await
    }

    /// The same with all that lies between the server and others.
    pub async fn start_behind(
        ways: Ways,
        store: Arc<dyn Store>,
        master: MasterKey,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Arc<Self>, StartError> {
        let Ways { proxies, fetch, strangers } = ways;
        let snapshot = store.outline().await?;
        match snapshot.master_key_check {
            Some(check) if check != master.check() => return Err(StartError::WrongMasterKey),
            Some(_) => {}
            None => {
                let check = vec![Change::PutMasterKeyCheck(master.check())];
                store.change(check, None, clock.now()).await?;
            }
        }
        let metrics = Metrics::new();
        let feed = Feed::new(Arc::clone(&store), &limits, metrics.feed.clone());
        let app = Arc::new(Self {
            pepper: master.pepper(),
            passwords: PasswordPool::new(limits.password_threads, random()?),
            trusted_keys: RemoteKeys::new(Arc::clone(&fetch)),
            client_keys: RemoteKeys::new(fetch),
            strangers_keys: RemoteKeys::new(strangers),
            clients: Clients::new(Arc::clone(&store), limits.max_clients),
            admission: Admission::default(),
            seen: AtomicU64::new(snapshot.revision.0),
            store,
            master,
            clock,
            directory: ArcSwap::default(),
            reloading: tokio::sync::Mutex::default(),
            revoked_here: RevokedHere::default(),
            reuse: Reuse::default(),
            throttle: Throttle::default(),
            metrics,
            feed: Arc::new(feed),
            limits,
            proxies,
        });
        app.rebuild().await?;
        app.look_after_keys().await?;
        app.clients.learn_if_few().await?;
        Ok(app)
    }

    /// The time, by the server's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes up what has changed in the store, whoever changed it.
    pub async fn reload(&self) -> Result<(), StartError> {
        // Of two at once the later one must not be undone by what the earlier one has read.
        let _alone = self.reloading.lock().await;
        let seen = Revision(self.seen.load(Ordering::Acquire));
        let stale = self.directory.load().stale_at.is_some_and(|at| at <= self.now());
        let touched = self.store.touched(seen).await;
        self.metrics.store_up.set(i64::from(touched.is_ok()));
        let touched = touched?;
        let mut clients = Vec::new();
        let mut rest = stale;
        let everything = touched.what.is_none();
        match touched.what {
            None => {
                self.clients.forget();
                rest = true;
            }
            Some(items) => {
                for item in items {
                    match item {
                        Item::Client { realm, id } => clients.push((realm, id)),
                        Item::Rest => rest = true,
                    }
                }
            }
        }
        for (realm, client) in &clients {
            tracing::info!(realm, client, "client taken up as it is stored");
        }
        self.clients.touch(&clients).await?;
        if rest {
            self.rebuild().await?;
            self.look_after_keys().await?;
        }
        // Who has changed shows again who it is; nothing is told of a realm that is gone.
        if rest || !clients.is_empty() {
            let directory = self.directory.load_full();
            let changed = |realm: &str, client: &str| {
                everything
                    || clients.iter().any(|(of, id)| of == realm && id == client)
                    || directory.realm(realm).is_none()
            };
            self.feed.finish(changed).await;
        }
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.clients.set(gauge(self.clients.count()));
        self.metrics.clients_held.set(gauge(self.clients.held()));
        self.seen.store(touched.revision.0, Ordering::Release);
        Ok(())
    }

    /// Takes a new snapshot of everything but clients.
    async fn rebuild(&self) -> Result<(), StartError> {
        let stored = self.store.outline().await?;
        let before = self.directory.load_full();
        let now = self.now();
        let after = Directory::build(stored, &self.master, &self.metrics, now, Some(&before));
        if before.revision != after.revision {
            let realms = after.realms().count();
            tracing::info!(
                revision = after.revision.0,
                realms,
                "realms, users and keys taken up as they are stored"
            );
        }
        self.directory.store(Arc::new(after));
        Ok(())
    }

    /// Announces, retires and forgets keys as their realms' policies say. Repeating it changes nothing.
    pub async fn look_after_keys(&self) -> Result<(), StartError> {
        for _ in 0..MAX_CONFLICTS {
            let directory = self.directory.load_full();
            let mut changes = Vec::new();
            for state in directory.realms() {
                self.key_changes(state, &mut changes)?;
            }
            if changes.is_empty() {
                return Ok(());
            }
            // Another node may be at the same: whoever comes second starts again from what the first has made.
            match self.store.change(changes, Some(directory.revision), self.now()).await {
                Ok(_) | Err(StoreError::Conflict) => self.rebuild().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StartError::Store(StoreError::Conflict))
    }

    fn key_changes(&self, state: &RealmState, changes: &mut Vec<Change>) -> Result<(), StartError> {
        let (realm, now) = (&state.realm, self.now());
        let longest = state.access_expired(now).since(now);
        let mut algorithms = state.algorithms();
        algorithms.extend(state.keyring.algorithms());
        for algorithm in algorithms {
            let records = state.keyring.records(algorithm);
            for step in steps(&records, &realm.keys, longest, now) {
                let record = |kid: &str| records.iter().find(|r| r.kid == kid).cloned();
                match step {
                    KeyStep::Announce { signs_at } => {
                        let made =
                            keyring::make(&self.master, &realm.name, algorithm, now, signs_at);
                        let key = made.ok_or(StartError::Key)?;
                        tracing::info!(realm = realm.name, kid = key.kid, %algorithm, "signing key announced");
                        changes.push(Change::PutKey(key));
                    }
                    KeyStep::Retire { kid, retired_at, gone_at } => {
                        tracing::info!(realm = realm.name, kid, "signing key retired");
                        changes.extend(record(&kid).map(|mut key| {
                            (key.retired_at, key.gone_at) = (Some(retired_at), Some(gone_at));
                            Change::PutKey(key)
                        }));
                    }
                    KeyStep::Forget { kid } => {
                        changes.push(Change::RemoveKey { realm: realm.name.clone(), kid });
                    }
                }
            }
        }
        Ok(())
    }

    /// Follows changes of the store, keys and garbage until `shutdown` is done, and tells followers what was revoked.
    pub async fn upkeep(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        // Beside the rest, of which some takes its time: what was revoked is told at once.
        tokio::select! {
            () = self.look_after(shutdown) => {}
            () = self.feed.run() => {}
        }
    }

    async fn look_after(&self, shutdown: impl Future<Output = ()>) {
        let mut watch = interval(WATCH_EVERY);
        let mut keys = interval(KEYS_EVERY);
        let mut garbage = interval(GARBAGE_EVERY);
        let mut admission = pin!(self.admission.watch());
        let mut shutdown = pin!(shutdown);
        loop {
            let done = tokio::select! {
                () = &mut shutdown => return,
                () = &mut admission => return,
                _ = watch.tick() => self.follow().await,
                _ = keys.tick() => self.look_after_keys().await,
                _ = garbage.tick() => self.collect_garbage().await,
            };
            if let Err(error) = done {
                self.metrics.store_up.set(0);
                tracing::error!(%error, "upkeep did not succeed; it will be tried again");
            }
        }
    }

    async fn follow(&self) -> Result<(), StartError> {
        self.reload().await?;
        if !self.clients.knows_all() {
            self.clients.learn().await?;
        }
        Ok(())
    }

    async fn collect_garbage(&self) -> Result<(), StartError> {
        let deleted = self.store.collect_garbage(self.now() - CLOCK_SKEW).await?;
        if deleted > 0 {
            tracing::debug!(deleted, "expired families deleted");
        }
        self.revoked_here
            .clear_those_in(|realm, family| self.directory.load().is_revoked(realm, family));
        for state in self.directory.load().realms() {
            state.status_lists.forget_those_in(&state.ended);
        }
        Ok(())
    }

    /// Answers one request whose body has been read. `request_id` names it in the log.
    pub async fn handle(
        &self,
        parts: &Parts,
        body: &[u8],
        peer: &Peer,
        request_id: &str,
    ) -> Response<Body> {
        let directory = self.directory.load();
        let Some(host) = host(parts) else {
            return error(StatusCode::BAD_REQUEST, "invalid_request");
        };
        let Some((route, rest)) = directory.find(&host, parts.uri.path()) else {
            return not_found(directory.realm_of(&host, parts.uri.path()));
        };
        match &route.resource {
            Resource::Document(document) => document.answer(&parts.method, &parts.headers),
            Resource::StatusLists => {
                Box::pin(status_list::answer(self, &route.realm, rest, parts)).await
            }
            Resource::Clients(place, endpoint) => {
                let (state, endpoint) = (&route.realm, endpoint.as_deref());
                let certificate = match self.proxies.certificate(peer, &parts.headers) {
                    Ok(certificate) => certificate,
                    Err(error) => {
                        let peer = peer.ip;
                        tracing::warn!(%peer, request_id, %error, "a proxy's header not understood");
                        return self::error(StatusCode::BAD_REQUEST, "invalid_request");
                    }
                };
                let walk = Walk {
                    app: self,
                    directory: &directory,
                    state,
                    voice: Voice { realm: &state.realm, place: *place, endpoint },
                    now: self.now(),
                    peer: peer.ip,
                    certificate,
                    request_id,
                };
                match (place, rest) {
                    (Place::Registration, id) => Box::pin(walk.registration(parts, body, id)).await,
                    _ => walk.answer(parts, body).await,
                }
            }
        }
    }

    /// The realms as they are now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Whether the store answered when it was asked last.
    pub(crate) fn store_is_up(&self) -> bool {
        self.metrics.store_up.get() == 1
    }

    /// How many client secrets and realms there are, for the start-up message.
    pub fn summary(&self) -> Summary {
        let directory = self.directory.load();
        Summary {
            realms: directory.realms().map(|state| state.realm.issuer.to_string()).collect(),
            clients: self.clients.count(),
        }
    }
}

/// What a server holds, in numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The issuers.
    pub realms: Vec<String>,
    /// How many clients they have.
    pub clients: usize,
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// The host that a request is for, in lower case and without its port.
fn host(parts: &Parts) -> Option<Cow<'_, str>> {
    let host = match parts.uri.host() {
        Some(host) => host,
        None => {
            let mut hosts = parts.headers.get_all(http::header::HOST).iter();
            let host = hosts.next()?.to_str().ok()?;
            // RFC 9112 §3.2: 400 to "any request message that contains more than one Host header".
            if hosts.next().is_some() {
                return None;
            }
            match host.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => host,
            }
        }
    };
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// Families that this node revoked since its last snapshot.
#[derive(Debug, Default)]
pub(crate) struct RevokedHere(RwLock<HashSet<(String, FamilyId)>>);

impl RevokedHere {
    pub(crate) fn insert(&self, realm: &str, family: FamilyId) {
        let mut revoked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        revoked.insert((realm.to_owned(), family));
    }

    pub(crate) fn contains(&self, realm: &str, family: FamilyId) -> bool {
        let revoked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !revoked.is_empty() && revoked.contains(&(realm.to_owned(), family))
    }

    fn clear_those_in(&self, snapshot: impl Fn(&str, FamilyId) -> bool) {
        let mut revoked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|(realm, family)| !snapshot(realm, *family));
    }
}
