//! Where key sets come from.

use std::time::Duration;

use bytes::Bytes;

use crate::BoxFuture;

/// Fetches an issuer's key set. How often, and what is done when it fails, is decided elsewhere.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the key set of an issuer once, as the text of a JSON Web Key Set (RFC 7517 §5).
    ///
    /// It is given up, by dropping it, when it takes too long.
    fn fetch<'a>(&'a self, issuer: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// A key set as fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The text.
    pub body: Bytes,
    /// How long it may be used without asking again, if its source says so (`Cache-Control: max-age`).
    pub max_age: Option<Duration>,
}

/// Why no key set came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address that is not one to ask (named).
    #[error("{0}")]
    Address(String),
    /// The answer is longer than a key set may be.
    #[error("the answer is too long")]
    BodyTooLong,
    /// The connection could not be made or broke.
    #[error("{0}")]
    Connection(String),
    /// The issuer's metadata are not usable (why).
    #[error("metadata: {0}")]
    Metadata(String),
    /// The secret with which to ask cannot be read (why).
    #[error("the client's secret cannot be read: {0}")]
    Secret(String),
    /// The answer has another status than 200.
    #[error("status {0}")]
    Status(u16),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
}
