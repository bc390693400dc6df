//! Passwords of people: argon2id, on a pool of its own.
//!
//! A comparison takes tens of milliseconds and 19 MiB by design (the memory is kept for the next one). Done beside the token endpoint it would be a way to
//! stop it, so only a few run at once, few wait, and the rest is told to come again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokenry_core::Secret;
use tokenry_core::user::PasswordHash;
use tokio::sync::Semaphore;

/// How many comparisons may wait. At 30 ms each the last one waits a second on two cores; more is an attack.
const MAX_WAITING: usize = 64;

/// How many of them may be of one realm, so that a flood in one leaves room for the others.
const MAX_WAITING_OF_ONE: usize = 16;

/// The longest password that is hashed, in bytes. Longer ones cost time and add nothing.
pub const MAX_PASSWORD: usize = 1024;

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HashError {
    /// Empty, or longer than [`MAX_PASSWORD`].
    #[error("a password has 1 to {MAX_PASSWORD} bytes")]
    Length,
    /// The hash function refused; out of memory.
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes a password with argon2id (19 MiB, 2 passes, 1 lane: OWASP's recommendation) and a salt of 16 random bytes.
pub fn hash(password: &Secret, salt: [u8; 16]) -> Result<PasswordHash, HashError> {
    if password.is_empty() || password.expose().len() > MAX_PASSWORD {
        return Err(HashError::Length);
    }
    let phc: Phc = Argon2::default()
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|_| HashError::Failed)?;
    Ok(PasswordHash::from_phc(phc.to_string()))
}

/// Whether a password is the one of a hash. `memory` is used and grows to what the hash wants: memory of this size,
/// given back and taken again for each comparison, would not come back to the operating system.
fn verify(hash: &PasswordHash, password: &Secret, memory: &mut Vec<Block>) -> bool {
    matches(hash, password, memory).unwrap_or(false)
}

fn matches(hash: &PasswordHash, password: &Secret, memory: &mut Vec<Block>) -> Option<bool> {
    let phc = Phc::new(hash.as_phc()).ok()?;
    let (salt, expected) = (phc.salt.as_ref()?, phc.hash.as_ref()?);
    if password.expose().len() > MAX_PASSWORD {
        return None;
    }
    let algorithm = Algorithm::new(phc.algorithm.as_str()).ok()?;
    let version = phc.version.map_or_else(|| Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&phc).ok()?;
    memory.resize(memory.len().max(params.block_count()), Block::default());
    let mut computed = vec![0; expected.as_bytes().len()];
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(
            password.expose().as_bytes(),
            salt.as_ref(),
            &mut computed,
            &mut memory[..],
        )
        .ok()?;
    Some(verify_slices_are_equal(&computed, expected.as_bytes()).is_ok())
}

/// Too many comparisons are waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Busy;

/// Compares passwords, a few at a time.
pub(crate) struct PasswordPool {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Compared with where there is no user, so that nobody can tell by the time. Made when the first password is
    /// compared, whoever's it is: it takes as long as a comparison, which a start need not wait for.
    nobody: Arc<OnceLock<Option<PasswordHash>>>,
    salt: [u8; 16],
    /// The memory of comparisons that are over, as many as may run at once.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl std::fmt::Debug for PasswordPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordPool").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// The comparisons of one realm that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue(AtomicUsize);

impl PasswordPool {
    /// A pool that runs up to `threads` comparisons at once.
    pub(crate) fn new(threads: usize, salt: [u8; 16]) -> Self {
        Self {
            running: Arc::new(Semaphore::new(threads.max(1))),
            waiting: AtomicUsize::new(0),
            nobody: Arc::default(),
            salt,
            memory: Arc::default(),
        }
    }

    /// Whether the password is the one of the hash; never for `None`, which takes as long.
    pub(crate) async fn matches(
        &self,
        queue: &Queue,
        hash: Option<PasswordHash>,
        password: Secret,
    ) -> Result<bool, Busy> {
        let _of_realm = Waiting::enter(&queue.0, MAX_WAITING_OF_ONE)?;
        let _waiting = Waiting::enter(&self.waiting, MAX_WAITING)?;
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        let known = hash.is_some();
        let (nobody, salt, memory) =
            (Arc::clone(&self.nobody), self.salt, Arc::clone(&self.memory));
        let compared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let kept = || memory.lock().unwrap_or_else(PoisonError::into_inner);
            let mut blocks = kept().pop().unwrap_or_default();
            let make = || self::hash(&Secret::new("nobody has this password"), salt).ok();
            let nobody = nobody.get_or_init(make).as_ref();
            let hash = hash.as_ref().or(nobody);
            let same = hash.is_some_and(|hash| verify(hash, &password, &mut blocks));
            kept().push(blocks);
            same
        });
        compared.await.map(|same| same && known).map_err(|_| Busy)
    }
}

/// Counts itself among those that wait, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, most: usize) -> Result<Self, Busy> {
        let entered = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= most { Err(Busy) } else { Ok(entered) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_hash_and_nothing_matches_nobody() {
        let pool = PasswordPool::new(1, [1; 16]);
        let stored = hash(&Secret::new("correct horse"), [2; 16]).unwrap();
        assert!(stored.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(
            pool.matches(&Queue::default(), Some(stored.clone()), Secret::new("correct horse"))
                .await,
            Ok(true)
        );
        assert_eq!(
            pool.matches(&Queue::default(), Some(stored), Secret::new("wrong")).await,
            Ok(false)
        );
        assert_eq!(
            pool.matches(&Queue::default(), None, Secret::new("nobody has this password")).await,
            Ok(false)
        );
    }

    #[tokio::test]
    async fn beyond_its_queue_the_pool_is_busy() {
        let pool = PasswordPool::new(1, [1; 16]);
        let full = Queue(AtomicUsize::new(MAX_WAITING_OF_ONE));
        assert_eq!(pool.matches(&full, None, Secret::new("x")).await, Err(Busy));
        assert_eq!(full.0.load(Ordering::Relaxed), MAX_WAITING_OF_ONE);
        pool.waiting.store(MAX_WAITING, Ordering::Relaxed);
        assert_eq!(pool.matches(&Queue::default(), None, Secret::new("x")).await, Err(Busy));
        assert_eq!(pool.waiting.load(Ordering::Relaxed), MAX_WAITING);
    }

    #[test]
    fn a_password_has_a_length() {
        assert_eq!(hash(&Secret::new(""), [0; 16]).unwrap_err(), HashError::Length);
        assert_eq!(hash(&Secret::new("x".repeat(1025)), [0; 16]).unwrap_err(), HashError::Length);
    }
}
