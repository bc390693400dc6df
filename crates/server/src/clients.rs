//! Clients, loaded as they are needed and held within a limit.
//!
//! - A client that is held costs a look-up in memory, and goes on working while the store is down.
//! - One that is not is loaded; so many at once and no more.
//! - An identifier that no client has never reaches the store, once the identifiers are known: nobody can wear out
//!   the store or the memory by asking for clients that do not exist.
//! - What changes is forgotten at once; what was loaded while it changed is not held.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use quick_cache::sync::Cache;
use tokenry_core::Client;
use tokenry_store::{Store, StoreError};
use tokio::sync::Semaphore;

/// How many clients are loaded at once. More would only wait for each other in the store.
const MAX_LOADS: usize = 16;

/// How many requests may wait for one of those places; at some 50 µs each that is a tenth of a second.
const MAX_WAITING: usize = 2_048;

/// How many clients may stand in for those that do not exist: more than a processor keeps at hand.
const DECOYS: usize = 4_096;

/// How many clients are read in one go when all of them are.
const PAGE: usize = 1_000;

/// The clients in memory.
#[derive(Debug)]
pub(crate) struct Clients {
    store: Arc<dyn Store>,
    held: Cache<u64, Arc<Client>>,
    /// Some of those that are held, for who asks for one that does not exist: see [`decoy`](Self::decoy).
    decoys: RwLock<Vec<Arc<Client>>>,
    /// A keyed digest of the realm and identifier of every client that there is, and perhaps of some that were.
    known: RwLock<HashSet<u64, BuildHasherDefault<Same>>>,
    /// Whether `known` holds all of them.
    all_known: AtomicBool,
    /// Counts the changes; what was loaded before one is not held after it.
    epoch: AtomicU64,
    /// Counts the times that everything was forgotten.
    generation: AtomicU64,
    /// Held while clients are forgotten, and while one that was loaded is put in.
    changing: Mutex<()>,
    places: Semaphore,
    waiting: AtomicU64,
    keys: RandomState,
}

impl Clients {
    /// Holds up to `limit` clients.
    pub(crate) fn new(store: Arc<dyn Store>, limit: usize) -> Self {
        Self {
            store,
            held: Cache::new(limit),
            decoys: RwLock::default(),
            known: RwLock::default(),
            all_known: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
            places: Semaphore::new(MAX_LOADS),
            waiting: AtomicU64::new(0),
            keys: RandomState::new(),
        }
    }

    /// The client with this identifier.
    pub(crate) async fn get(
        &self,
        realm: &str,
        id: &str,
    ) -> Result<Option<Arc<Client>>, StoreError> {
        let key = self.key(realm, id);
        if let Some(client) = self.held.get(&key)
            && client.id == id
            && client.realm == realm
        {
            return Ok(Some(client));
        }
        if self.all_known.load(Ordering::Acquire) && !self.is_known(key) {
            return Ok(None);
        }
        // Boxed: it is rare, and every request would keep the room for it.
        Box::pin(self.load(key, realm, id)).await
    }

    /// Some client or other, the same each time, to be looked at in place of one that does not exist: to fetch a client
    /// from a memory of many takes a time of its own, by which one could tell that there is one.
    pub(crate) fn decoy(&self, realm: &str, id: &str) -> Option<Arc<Client>> {
        let decoys = self.decoys.read().unwrap_or_else(PoisonError::into_inner);
        let place = (self.key(realm, id) as usize).checked_rem(decoys.len())?;
        decoys.get(place).cloned()
    }

    /// Does for a client that exists what is done for one that does not, so that a wrong secret takes as long.
    pub(crate) fn pretend(&self, realm: &str, id: &str) {
        std::hint::black_box(self.is_known(self.key(realm, id)));
    }

    async fn load(
        &self,
        key: u64,
        realm: &str,
        id: &str,
    ) -> Result<Option<Arc<Client>>, StoreError> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let busy = |_| StoreError::Unavailable("clients cannot be loaded any more".into());
        let _place = self.places.acquire().await.map_err(busy)?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let client = self.store.client(realm, id).await?.map(compact);
        if let Some(client) = &client {
            self.hold(epoch, key, client);
        }
        Ok(client)
    }

    /// Holds a client that was loaded in `epoch`, unless something changed since.
    fn hold(&self, epoch: u64, key: u64, client: &Arc<Client>) {
        let _changing = self.changing();
        if self.epoch.load(Ordering::Acquire) == epoch {
            self.held.insert(key, Arc::clone(client));
            let mut decoys = self.decoys.write().unwrap_or_else(PoisonError::into_inner);
            if decoys.len() < DECOYS {
                decoys.push(Arc::clone(client));
            } else {
                decoys[key as usize % DECOYS] = Arc::clone(client);
            }
        }
    }

    /// Forgets what was held of these clients, and learns which of them there are.
    pub(crate) async fn touch(&self, touched: &[(String, String)]) -> Result<(), StoreError> {
        {
            let _changing = self.changing();
            self.epoch.fetch_add(1, Ordering::AcqRel);
            for (realm, id) in touched {
                let key = self.key(realm, id);
                self.held.remove(&key);
                // Known until the store says otherwise: a new client must not be refused in between.
                self.known_mut(|known| known.insert(key));
            }
        }
        for (realm, id) in touched {
            let key = self.key(realm, id);
            if self.load(key, realm, id).await?.is_none() {
                self.known_mut(|known| known.remove(&key));
            }
        }
        Ok(())
    }

    /// Forgets everything; until [`learn`](Self::learn) has ended, every identifier is asked for in the store.
    pub(crate) fn forget(&self) {
        let _changing = self.changing();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.all_known.store(false, Ordering::Release);
        self.known_mut(HashSet::clear);
        self.held.clear();
        self.decoys.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// [`learn`](Self::learn)s where that takes a moment; otherwise it is left to be done while requests are answered.
    pub(crate) async fn learn_if_few(&self) -> Result<(), StoreError> {
        if self.store.client_ids(None, PAGE).await?.len() < PAGE {
            self.learn().await
        } else {
            Ok(())
        }
    }

    /// Learns every identifier; and holds all clients, if there is room for all. Of too many, those that ask are held.
    pub(crate) async fn learn(&self) -> Result<(), StoreError> {
        let generation = self.generation.load(Ordering::Acquire);
        let mut after: Option<(String, String)> = None;
        loop {
            let page = self.store.client_ids(names(after.as_ref()), PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            // What was removed in the meantime may stay known: that costs a look-up in the store, no more.
            self.known_mut(|known| {
                known.extend(page.iter().map(|(realm, id)| self.key(realm, id)));
            });
            after = Some(last);
            tokio::task::yield_now().await;
        }
        {
            let _changing = self.changing();
            if self.generation.load(Ordering::Acquire) == generation {
                self.all_known.store(true, Ordering::Release);
            }
        }
        if self.count() as u64 <= self.held.capacity() {
            self.hold_all().await?;
        }
        Ok(())
    }

    async fn hold_all(&self) -> Result<(), StoreError> {
        let mut after: Option<(String, String)> = None;
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            let clients = self.store.clients(names(after.as_ref()), PAGE).await?;
            let Some(last) = clients.last() else { return Ok(()) };
            after = Some((last.realm.clone(), last.id.clone()));
            for client in clients {
                let key = self.key(&client.realm, &client.id);
                self.hold(epoch, key, &compact(client));
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether every identifier is known.
    pub(crate) fn knows_all(&self) -> bool {
        self.all_known.load(Ordering::Acquire)
    }

    /// How many clients there are, as far as they are known.
    pub(crate) fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many clients are in memory.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn key(&self, realm: &str, id: &str) -> u64 {
        self.keys.hash_one((realm, id))
    }

    fn is_known(&self, key: u64) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    fn known_mut<T>(
        &self,
        change: impl FnOnce(&mut HashSet<u64, BuildHasherDefault<Same>>) -> T,
    ) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(client: Option<&(String, String)>) -> Option<(&str, &str)> {
    client.map(|(realm, id)| (realm.as_str(), id.as_str()))
}

/// A copy that lies together in memory and takes no more than it needs.
///
/// What the store reads lies between all else that reading needed, in the memory of the thread that read it; of
/// 100,000 clients that would keep nearly twice as much from ever being given back.
fn compact(client: Client) -> Arc<Client> {
    let copy = client.clone();
    drop(client);
    Arc::new(copy)
}

/// Counts itself among those that wait, for as long as it lives.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicU64) -> Result<Self, StoreError> {
        let entered = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING as u64 {
            return Err(StoreError::Unavailable("too many clients are being loaded".into()));
        }
        Ok(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The hash of a digest is the digest.
#[derive(Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only digests are hashed, and they come by `write_u64`.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}
