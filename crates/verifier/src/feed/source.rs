//! Where a feed comes from.

use std::time::Duration;

use bytes::Bytes;

use crate::{BoxFuture, FetchError};

/// Opens an issuer's revocation feed. How often, and what is done when it fails, is decided elsewhere.
pub trait FeedSource: Send + Sync + 'static {
    /// Opens the feed: what comes after the cursor, or everything without one.
    ///
    /// It is given up, by dropping it, when it takes too long.
    fn open<'a>(
        &'a self,
        issuer: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn FeedStream>, FeedError>>;
}

/// A feed that is open: server-sent events (WHATWG HTML §9.2), in pieces of any size.
pub trait FeedStream: Send + 'static {
    /// The next piece; `None` once the feed was closed.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, FeedError>>;
}

/// Why there is no feed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// It could not be asked for, or broke.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The issuer has none: its metadata name none, or there is nothing at the address.
    #[error("the issuer has no revocation feed")]
    NoFeed,
    /// The issuer does not know the client, or does not let it follow (the status).
    #[error("the issuer does not let this client follow the feed: status {0}")]
    NotAllowed(u16),
    /// What came is something else than a feed.
    #[error("the answer is not text/event-stream")]
    NotAFeed,
    /// Not now.
    #[error("status {status}")]
    Unavailable {
        /// The status of the answer.
        status: u16,
        /// When to ask again, if it says so.
        retry_after: Option<Duration>,
    },
}
