//! Where secrets are read from: not once, but whenever they are needed.
//!
//! A secret that is rotated while a process runs is found by the next request that needs it. What cannot be read for a
//! while, because the vault is down or a file is just being written, is used as it was read last.

mod source;
mod vault;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use tokenry_core::Secret;

pub use self::source::{SecretSource, SecretSourceError};
use crate::token::BoxFuture;

/// Gives a secret whenever it is needed. [`SecretSource`] and [`Secret`] do.
pub trait ReadSecret: Send + Sync {
    /// The secret as it is now.
    ///
    /// # Errors
    ///
    /// That it cannot be read; see [`SecretError`].
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>>;
}

impl ReadSecret for Secret {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

/// Why a secret cannot be read. Names places, never what is there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The operating system says no.
    #[error("{place} cannot be read: {cause}")]
    Unreadable {
        /// The variable, file, command or vault.
        place: String,
        /// Why.
        cause: String,
    },
    /// There is nothing.
    #[error("{place} is empty")]
    Empty {
        /// The variable, file, command or vault.
        place: String,
    },
    /// What is there is no secret: not text, or too long.
    #[error("{place} holds no secret: {cause}")]
    NoSecret {
        /// The variable, file, command or vault.
        place: String,
        /// Why not.
        cause: String,
    },
}

/// A secret that may change while it is used.
pub(crate) struct LiveSecret {
    reader: Box<dyn ReadSecret>,
    /// As it was read last.
    last: Mutex<Option<Secret>>,
}

impl LiveSecret {
    pub(crate) fn new(reader: impl ReadSecret + 'static) -> Self {
        Self { reader: Box::new(reader), last: Mutex::default() }
    }

    /// The secret as it is now, else as it was read last.
    pub(crate) async fn get(&self) -> Result<Secret, SecretError> {
        let read = self.reader.read().await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (read, &*last) {
            (Ok(secret), _) => {
                *last = Some(secret.clone());
                Ok(secret)
            }
            (Err(error), Some(secret)) => {
                tracing::warn!(%error, "a secret cannot be read, it is used as it was");
                Ok(secret.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

impl std::fmt::Debug for LiveSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveSecret(..)")
    }
}
