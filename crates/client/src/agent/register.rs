//! The keepers that an agent holds: those of its file, and those that processes lend.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use serde_json::Value;
use tokio::time::Instant;

use super::access::{Access, Peer, is_trusted};
use super::protocol::{AgentError, Trouble, Written};
use super::site::{Built, FAILURE_HOLD, Kept, Site};
use crate::token::BoxFuture;
use crate::{Keeper, KeeperConfig, KeeperConfigError, randomness};

/// How many lent keepers are held. A machine has tens of programs with credentials of their own; each keeper is some
/// kilobytes, and a request per token lifetime as long as it is used.
const LENT_LIMIT: usize = 1024;

/// How many of them one user may lend, so that nobody takes the places of all.
const LENT_PER_USER: usize = 256;

/// A lent keeper that nobody asked for this long is dropped. Longer than most tokens live: whoever comes back after
/// it would not have found a good one.
const IDLE_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// One that was asked since is not dropped to make room for another.
const BUSY: Duration = Duration::from_secs(10 * 60);

/// Builds a keeper of what a process lent. `trusted` says that the process could read the agent's own files as well.
pub(crate) type Lender =
    dyn Fn(Written, bool) -> BoxFuture<'static, Result<Keeper, AgentError>> + Send + Sync;

/// All keepers of an agent.
pub(crate) struct Register {
    /// The user that the agent runs as.
    owner: u32,
    named: BTreeMap<String, Named>,
    /// Who may lend, besides the owner and root.
    lending: Access,
    lender: Box<Lender>,
    lent: Mutex<HashMap<Digest, Lent>>,
    /// Makes digests that mean nothing outside of this process.
    key: hmac::Key,
    /// Tells the keepers of this run from those of others.
    run: String,
    next: AtomicU64,
}

struct Named {
    access: Access,
    keeper: Mutex<Site>,
    /// What it is built from when it is asked first, or after it could not be built.
    config: Option<KeeperConfig>,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

struct Lent {
    /// Who lent it.
    peer: Peer,
    used_at: Instant,
    site: Site,
}

impl Lent {
    fn is_of(&self, peer: Peer) -> bool {
        user(self.peer) == user(peer)
    }
}

impl Register {
    /// A register without a keeper.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unsigned`]: the operating system gives no randomness.
    pub(crate) fn new(owner: u32, lender: Box<Lender>) -> Result<Self, crate::Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &randomness::unique()?);
        let run =
            randomness::unique()?.iter().take(RUN_LEN).fold(String::new(), |mut run, byte| {
                // Writing to a String does not fail.
                let _ = write!(run, "{byte:02x}");
                run
            });
        Ok(Self {
            owner,
            named: BTreeMap::new(),
            lending: Access::default(),
            lender,
            lent: Mutex::default(),
            key,
            run,
            next: AtomicU64::new(1),
        })
    }

    pub(crate) fn name(&mut self, name: String, keeper: Keeper, access: Access) {
        let keeper = Mutex::new(Site::of(self.keep(Some(name.clone()), keeper)));
        self.named.insert(name, Named { access, keeper, config: None });
    }

    /// Holds a keeper under a name that is built when it is asked first.
    pub(crate) fn configure(&mut self, name: String, config: KeeperConfig, access: Access) {
        let keeper = Mutex::new(Site::empty());
        self.named.insert(name, Named { access, keeper, config: Some(config) });
    }

    pub(crate) fn allow_lending(&mut self, lending: Access) {
        self.lending = lending;
    }

    /// The user that the agent runs as.
    pub(super) const fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether anybody but the owner and root may have anything.
    pub(crate) fn is_for_others(&self) -> bool {
        self.lending.is_wider() || self.named.values().any(|named| named.access.is_wider())
    }

    /// Who may not is told so: names are no secret among the users of a machine, and an operator who looks for a missing line
    /// in a file needs to know.
    fn permitted(&self, name: &str, peer: Peer) -> Result<&Named, AgentError> {
        let named = self.named.get(name).ok_or_else(|| {
            AgentError::new(Trouble::Unknown, format!("the agent has no token {name:?}"))
        })?;
        if !named.access.allows(peer, self.owner) {
            tracing::warn!(name, ?peer, "token not given to a user who may not have it");
            let message = format!("this user may not have the token {name:?}");
            return Err(AgentError::new(Trouble::NotPermitted, message));
        }
        Ok(named)
    }

    /// The keeper of a name, if this peer may have its tokens. It is built if it is not there.
    pub(crate) async fn named(self: &Arc<Self>, name: &str, peer: Peer) -> Built {
        let named = self.permitted(name, peer)?;
        let site = {
            let mut site = lock(&named.keeper);
            if let Some(config) = named.config.as_ref().filter(|_| !site.is_of_use(Instant::now()))
            {
                let config = config.clone();
                *site = Site::begin(self, Some(name.to_owned()), async move {
                    config.build().await.map_err(|error| not_built(&error))
                });
            }
            site.clone()
        };
        site.built().await
    }

    /// The same, if it is there.
    pub(crate) fn find_named(&self, name: &str, peer: Peer) -> Built {
        let site = lock(&self.permitted(name, peer)?.keeper).clone();
        site.kept()
            .ok_or_else(|| AgentError::new(Trouble::Unknown, "this token was not asked for yet"))
    }

    /// The keeper that this is, or a new one.
    ///
    /// However many ask for one that is not there, it is built once, and it goes on being built if none of them waits.
    pub(crate) async fn lent(self: &Arc<Self>, written: Written, peer: Peer) -> Built {
        self.find_or_build(written, peer)?.built().await
    }

    /// The keeper that this is, if it is held.
    pub(crate) fn find(&self, written: &Written, peer: Peer) -> Built {
        self.may_lend(peer)?;
        let digest = self.digest(written, peer);
        let kept = self.held().get(&digest).and_then(|lent| lent.site.kept());
        kept.ok_or_else(|| AgentError::new(Trouble::Unknown, "the agent has no such token"))
    }

    /// The names that this peer may ask for, and nobody did yet.
    pub(crate) fn unasked(&self, peer: Peer) -> impl Iterator<Item = &str> {
        let named = self.named.iter().filter(move |(_, named)| {
            named.access.allows(peer, self.owner) && lock(&named.keeper).kept().is_none()
        });
        named.map(|(name, _)| name.as_str())
    }

    /// Every keeper whose tokens this peer may have.
    pub(crate) fn visible(&self, peer: Peer) -> Vec<Arc<Kept>> {
        let named = self.named.values().filter(|named| named.access.allows(peer, self.owner));
        let mut all: Vec<_> = named.filter_map(|named| lock(&named.keeper).kept()).collect();
        let may_see = |lent: &&Lent| match peer {
            Peer::User { uid, .. } => is_trusted(uid, self.owner) || lent.is_of(peer),
            Peer::Loopback => false,
        };
        all.extend(self.held().values().filter(may_see).filter_map(|lent| lent.site.kept()));
        all
    }

    /// Forgets the keepers, and with them the secrets, that nobody has used for long.
    pub(crate) fn sweep(&self) {
        sweep(&mut self.held(), Instant::now());
    }

    /// How many keepers are lent, built or not.
    pub(crate) fn lent_count(&self) -> usize {
        self.held().len()
    }

    fn may_lend(&self, peer: Peer) -> Result<(), AgentError> {
        let may = match peer {
            Peer::User { .. } => self.lending.allows(peer, self.owner),
            Peer::Loopback => false,
        };
        let message = "this user may not lend keepers to the agent";
        may.then_some(()).ok_or_else(|| AgentError::new(Trouble::NotPermitted, message))
    }

    fn find_or_build(self: &Arc<Self>, written: Written, peer: Peer) -> Result<Site, AgentError> {
        self.may_lend(peer)?;
        let digest = self.digest(&written, peer);
        let now = Instant::now();
        let mut held = self.held();
        if let Some(lent) = held.get_mut(&digest).filter(|lent| lent.site.is_of_use(now)) {
            lent.used_at = now;
            return Ok(lent.site.clone());
        }
        held.remove(&digest);
        make_room(&mut held, peer, now)?;
        let site = Site::begin(self, None, (self.lender)(written, self.is_trusted(peer)));
        held.insert(digest, Lent { peer, used_at: now, site: site.clone() });
        Ok(site)
    }

    fn is_trusted(&self, peer: Peer) -> bool {
        matches!(peer, Peer::User { uid, .. } if is_trusted(uid, self.owner))
    }

    pub(super) fn keep(&self, name: Option<String>, keeper: Keeper) -> Arc<Kept> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.run);
        Arc::new(Kept { name, id, keeper, asked: AtomicU64::new(0) })
    }

    /// Who lends, and all that was lent: nobody finds a keeper without having the secrets that it was made of.
    fn digest(&self, written: &Written, peer: Peer) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{:?}\0", user(peer)).as_bytes());
        // The members of an object are sorted, so that the same keeper gives the same text.
        let canonical = Written(canonical(&written.0));
        let text = zeroize::Zeroizing::new(canonical.0.to_string());
        context.update(text.as_bytes());
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Digest, Lent>> {
        lock(&self.lent)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a keeper of the agent's own file is not there: what its server does not say now it may say soon.
fn not_built(error: &KeeperConfigError) -> AgentError {
    let kind = match error {
        KeeperConfigError::Provider(_) | KeeperConfigError::Secret(_) => Trouble::Transient,
        _ => Trouble::Broken,
    };
    let mut error = AgentError::new(kind, error.to_string());
    error.retry_in_ms = Some(super::protocol::millis(FAILURE_HOLD));
    error
}

fn sweep(held: &mut HashMap<Digest, Lent>, now: Instant) {
    held.retain(|_, lent| {
        lent.site.is_of_use(now) && now.duration_since(lent.used_at) < IDLE_LIMIT
    });
}

const fn user(peer: Peer) -> Option<u32> {
    match peer {
        Peer::User { uid, .. } => Some(uid),
        Peer::Loopback => None,
    }
}

/// How many random bytes tell runs of agents apart: there are never many.
const RUN_LEN: usize = 6;

/// Drops who has been idle for long, and whoever was idle longest if there is no room otherwise.
fn make_room(held: &mut HashMap<Digest, Lent>, peer: Peer, now: Instant) -> Result<(), AgentError> {
    sweep(held, now);
    let own = held.values().filter(|lent| lent.is_of(peer)).count();
    let only_own = if own >= LENT_PER_USER {
        true
    } else if held.len() >= LENT_LIMIT {
        false
    } else {
        return Ok(());
    };
    let candidates = held.iter().filter(|(_, lent)| !only_own || lent.is_of(peer));
    let oldest = candidates.min_by_key(|(_, lent)| lent.used_at);
    let oldest = oldest.filter(|(_, lent)| now.duration_since(lent.used_at) >= BUSY);
    let Some(digest) = oldest.map(|(digest, _)| *digest) else {
        return Err(AgentError::new(
            Trouble::Full,
            "the agent holds as many lent keepers as it can",
        ));
    };
    held.remove(&digest);
    Ok(())
}

/// The same text for the same keeper: the order of the words of a scope does not matter (RFC 6749 §3.3).
fn canonical(written: &Value) -> Value {
    let mut written = written.clone();
    if let Some(Value::String(scope)) = written.get_mut("scope") {
        let words: std::collections::BTreeSet<&str> = scope.split_ascii_whitespace().collect();
        *scope = words.into_iter().collect::<Vec<_>>().join(" ");
    }
    written
}
