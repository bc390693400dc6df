//! Refresh tokens that outlive the process (RFC 6749 §6, §10.4).
//!
//! A refresh token that is used once and lost is lost for good, so what is stored is always ahead of what is done:
//!
//! | when | stored |
//! | --- | --- |
//! | a refresh that may use up its token is about to be sent | the token, presented |
//! | the answer brought a new token | the new token, before anybody gets the access token |
//! | the answer brought none | the old token, no longer presented |
//! | credentials brought none | nothing |
//!
//! A token that is found *presented* at the start was on its way when the process died. Nobody knows whether the server
//! has used it up, and to present a used one looks like theft (RFC 9700 §4.14.2); credentials are used instead.

mod file;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tokenry_core::Secret;

pub use self::file::RefreshTokenFile;

/// A refresh token as it is stored. `Debug` does not show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRefreshToken {
    /// The token.
    pub token: Secret,
    /// It was sent, and no answer has said yet what became of it.
    pub presented: bool,
}

/// Where the refresh token of one keeper is stored. [`RefreshTokenFile`] is one.
///
/// Its methods may block: they are called where that is allowed, one at a time. What `save` and `clear` did must
/// outlive a power failure once they return, and a failure within must leave what there was, or what there is to be.
pub trait RefreshTokenStore: Send + Sync {
    /// What is stored, if anything is.
    ///
    /// # Errors
    ///
    /// That it cannot be read, or is not a refresh token of this keeper.
    fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError>;

    /// Replaces what is stored.
    ///
    /// # Errors
    ///
    /// That it is not sure to be stored. The token is then not used.
    fn save(&self, token: &StoredRefreshToken) -> Result<(), StoreError>;

    /// Forgets what is stored.
    ///
    /// # Errors
    ///
    /// That it is not sure to be forgotten.
    fn clear(&self) -> Result<(), StoreError>;
}

/// Why a refresh token is not stored, or not found. Names places, never their content.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system says no.
    #[error("refresh token file {path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// The file is not as it was written, or was never written by a keeper.
    #[error(
        "refresh token file {path}: damaged, or not a refresh token file; remove it to begin anew"
    )]
    Corrupt {
        /// The file.
        path: String,
    },
    /// The file is another keeper's.
    #[error(
        "refresh token file {path}: of another server, client, scope, resource or key; \
         name another file, or remove it to begin anew"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// The runtime ended, or the store panicked.
    #[error("the refresh token store was abandoned")]
    Abandoned,
    /// Anything else, for stores of other makes.
    #[error("{0}")]
    Other(String),
}

/// A store, called on threads that may block.
#[derive(Clone)]
pub(crate) struct Durable(Arc<dyn RefreshTokenStore>);

impl Durable {
    pub(crate) fn new(store: Arc<dyn RefreshTokenStore>) -> Self {
        Self(store)
    }

    pub(crate) async fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError> {
        let store = self.0.clone();
        apart(move || store.load()).await
    }

    pub(crate) async fn save(&self, token: &Secret, presented: bool) -> Result<(), StoreError> {
        let store = self.0.clone();
        let token = StoredRefreshToken { token: token.clone(), presented };
        apart(move || store.save(&token)).await
    }

    pub(crate) async fn clear(&self) -> Result<(), StoreError> {
        let store = self.0.clone();
        apart(move || store.clear()).await
    }
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Abandoned))
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable(..)")
    }
}
