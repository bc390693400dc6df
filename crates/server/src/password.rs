//! Passwords of people: argon2id, on a pool of its own.
//!
//! A comparison takes tens of milliseconds and 19 MiB by design. Done beside the token endpoint it would be a way to
//! stop it, so only a few run at once, few wait, and the rest is told to come again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokenry_core::Secret;
use tokenry_core::user::PasswordHash;
use tokio::sync::Semaphore;

/// How many comparisons may wait. At 30 ms each the last one waits a second on two cores; more is an attack.
const MAX_WAITING: usize = 64;

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

fn verify(hash: &PasswordHash, password: &Secret) -> bool {
    password.expose().len() <= MAX_PASSWORD
        && Phc::new(hash.as_phc()).is_ok_and(|phc| {
            Argon2::default().verify_password(password.expose().as_bytes(), &phc).is_ok()
        })
}

/// Too many comparisons are waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Busy;

/// Compares passwords, a few at a time.
#[derive(Debug)]
pub(crate) struct PasswordPool {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Compared with where there is no user, so that nobody can tell by the time. Made when the first password is
    /// compared, whoever's it is: it takes as long as a comparison, which a start need not wait for.
    nobody: Arc<OnceLock<Option<PasswordHash>>>,
    salt: [u8; 16],
}

impl PasswordPool {
    /// A pool that runs up to `threads` comparisons at once.
    pub(crate) fn new(threads: usize, salt: [u8; 16]) -> Self {
        Self {
            running: Arc::new(Semaphore::new(threads.max(1))),
            waiting: AtomicUsize::new(0),
            nobody: Arc::default(),
            salt,
        }
    }

    /// Whether the password is the one of the hash; never for `None`, which takes as long.
    pub(crate) async fn matches(
        &self,
        hash: Option<PasswordHash>,
        password: Secret,
    ) -> Result<bool, Busy> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        let known = hash.is_some();
        let (nobody, salt) = (Arc::clone(&self.nobody), self.salt);
        let compared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let make = || self::hash(&Secret::new("nobody has this password"), salt).ok();
            let nobody = nobody.get_or_init(make).as_ref();
            hash.as_ref().or(nobody).is_some_and(|hash| verify(hash, &password))
        });
        compared.await.map(|same| same && known).map_err(|_| Busy)
    }
}

/// Counts itself among those that wait, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Result<Self, Busy> {
        let entered = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING { Err(Busy) } else { Ok(entered) }
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
            pool.matches(Some(stored.clone()), Secret::new("correct horse")).await,
            Ok(true)
        );
        assert_eq!(pool.matches(Some(stored), Secret::new("wrong")).await, Ok(false));
        assert_eq!(pool.matches(None, Secret::new("nobody has this password")).await, Ok(false));
    }

    #[tokio::test]
    async fn beyond_its_queue_the_pool_is_busy() {
        let pool = PasswordPool::new(1, [1; 16]);
        pool.waiting.store(MAX_WAITING, Ordering::Relaxed);
        assert_eq!(pool.matches(None, Secret::new("x")).await, Err(Busy));
        assert_eq!(pool.waiting.load(Ordering::Relaxed), MAX_WAITING);
    }

    #[test]
    fn a_password_has_a_length() {
        assert_eq!(hash(&Secret::new(""), [0; 16]).unwrap_err(), HashError::Length);
        assert_eq!(hash(&Secret::new("x".repeat(1025)), [0; 16]).unwrap_err(), HashError::Length);
    }
}
