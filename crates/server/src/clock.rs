//! The edge where time and randomness come in. Everything below takes them as arguments.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokenry_core::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the edge that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_millis(
            since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The operating system gave no randomness; nothing can be issued without.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoEntropy;

/// Draws random bytes from the cryptographic generator of this process.
#[expect(clippy::disallowed_methods, reason = "this is the edge that draws randomness")]
pub fn random<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// How many bytes are drawn at a time for identifiers: those of some twenty tokens.
const DRAWN: usize = 26 * 20;

/// Random bytes for identifiers that are told to the caller anyway: `jti`, and the family of a refresh token.
///
/// They are as unpredictable as those of [`random`], from which they come; but for keys and nonces take that. A draw
/// sets up the generator's cipher anew, which costs more than the bytes: so many are drawn at once, by each thread
/// for itself, and overwritten as they are given out.
pub(crate) fn identifiers<const N: usize>() -> Result<[u8; N], NoEntropy> {
    struct Drawn {
        bytes: [u8; DRAWN],
        left: usize,
    }
    thread_local! {
        static POOL: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; DRAWN], left: 0 }) };
    }
    const { assert!(N <= DRAWN) };
    POOL.with_borrow_mut(|pool| {
        if pool.left < N {
            pool.bytes = random()?;
            pool.left = DRAWN;
        }
        let (from, to) = (pool.left - N, pool.left);
        pool.left = from;
        let mut out = [0; N];
        out.copy_from_slice(&pool.bytes[from..to]);
        pool.bytes[from..to].fill(0);
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_are_never_given_twice() {
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let id: [u8; 26] = identifiers().unwrap();
            // Every part of it: none is left over from a draw before.
            assert!(id.chunks(13).all(|half| seen.insert(half.to_vec()) && half != [0; 13]));
        }
    }
}
