//! Refresh tokens that outlive the process (RFC 6749 §6, §10.4).
//!
//! A refresh token that is used once and lost is lost for good, so what is stored is always ahead of what is done:
//!
//! | when | stored |
//! | --- | --- |
//! | a refresh that may use up its token is about to be sent | the token, and when it was presented |
//! | the answer brought a new token | the new token, before anybody gets the access token |
//! | the answer brought none, or the token was not used up: it was never sent, or the server said no for another reason | the old token, no longer presented |
//! | no answer, or one that does not say | nothing new: the token stays presented, since it was so first |
//! | credentials brought a new token | it, and the presented one as abandoned |
//! | credentials brought none | what is abandoned, or nothing |
//! | what was abandoned is revoked | the rest |
//!
//! # Doubt
//!
//! A token that is found *presented*, at the start or after an answer was lost, may be used up, and to present a used
//! one looks like theft (RFC 9700 §4.14.2). Some servers answer it alike for a while:
//!
//! | the provider has | the token is |
//! | --- | --- |
//! | a grace that lasts | presented again: the answer is the lost one, or the first |
//! | a grace that is over, or none; a revocation endpoint | abandoned: credentials are used, and it is revoked (RFC 7009), so that its family does not live on beside the new one |
//! | neither | given up: credentials are used, and its family ends when the server lets it |
//!
//! A clock that was set back to before the token was presented makes the grace one that is over.
//!
//! While a good token is held, revocation comes after its successor: it may end the access tokens of the family (RFC
//! 7009 §2.1), which callers still have. While none is held it comes first, and what it cannot reach it leaves: the
//! token stays abandoned, credentials are used all the same, and after the next token it is tried again.

mod file;
mod ledger;

#[cfg(test)]
mod tests;

use tokenry_core::{Secret, Timestamp};

pub use self::file::RefreshTokenFile;
pub(crate) use self::ledger::Ledger;

/// What is stored of a keeper's refresh tokens. `Debug` does not show them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredRefreshToken {
    /// The token in use.
    pub token: Option<Secret>,
    /// When it was first sent, if no answer has said yet what became of it.
    pub presented_at: Option<Timestamp>,
    /// Tokens that were given up while they may be good, and are still to be revoked.
    pub abandoned: Vec<Secret>,
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
    /// That it cannot be read, or is not of this keeper.
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
