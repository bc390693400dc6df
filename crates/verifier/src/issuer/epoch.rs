//! When what was found good has to be looked at again.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that moves on with everything that may have ended tokens of an issuer: a revocation, a key that left.
///
/// A token that was found good holds the number of that time. While it is the same, one comparison says that nothing
/// has happened. Whoever judges reads it first and looks afterwards; whoever changes something moves it on last.
#[derive(Debug, Default)]
pub(crate) struct Epoch(AtomicU64);

impl Epoch {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn move_on(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
