//! What an issuer tells of tokens that it has revoked, for keepers that hold one; see [`tokenry_core::revocation`].
//!
//! A keeper that follows hears of it before an API says so with a 401, and has another token by then. It needs no feed to
//! work: one that is lost, refused or not there at all changes nothing but the keeper's metrics.

mod marked;
mod open;
mod recent;
mod standing;

use std::time::Duration;

use tokenry_core::revocation::{EventError, Outcome};

pub(crate) use self::marked::Marked;
pub(crate) use self::standing::{Feed, MAX_SILENCE};
pub use self::standing::{FeedMetrics, FeedState};
use crate::transport::TransportError;

/// Why a keeper does not follow its issuer's revocation feed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// There is none: the issuer's metadata name none, or there is nothing at the address. It is looked for every few minutes.
    #[error("the issuer has no revocation feed")]
    NoFeed,
    /// The issuer does not know the client, or does not let it follow. It is asked again after pauses that grow to a minute.
    #[error("the issuer does not let this client follow the feed: status {status}")]
    NotAllowed {
        /// The HTTP status.
        status: u16,
    },
    /// Not now.
    #[error("the revocation feed answered {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// When to ask again, if it says so.
        retry_after: Option<Duration>,
    },
    /// What came is something else than a feed.
    #[error("the answer is not text/event-stream")]
    NotAFeed,
    /// No answer, or a connection that broke.
    #[error("no revocation feed: {0}")]
    Transport(#[from] TransportError),
    /// The client's secret could not be read, or nothing could be signed.
    #[error("the client could not be proven to the revocation feed")]
    Unproven,
    /// Something was told that is not understood.
    #[error("the revocation feed: {0}")]
    Unreadable(#[from] EventError),
    /// The server ended it, as it does every few minutes.
    #[error("the revocation feed was closed")]
    Closed,
    /// It said nothing for longer than it may.
    #[error("the revocation feed fell silent")]
    Silent,
    /// The transport panicked.
    #[error("the transport of the revocation feed panicked")]
    Panicked,
}

impl FeedError {
    /// Whether more has to be told than what comes after the cursor: what was read is in doubt, or who is let in again may
    /// be told more than before.
    pub(crate) const fn forgets_cursor(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::NotAllowed { .. })
    }

    /// Whether the feed may have moved, or may be there now.
    pub(crate) const fn forgets_place(&self) -> bool {
        matches!(self, Self::NoFeed | Self::NotAFeed | Self::Transport(_))
    }

    /// Whether who watches should know at once. All others happen with every restart of a server.
    pub(crate) const fn is_serious(&self) -> bool {
        !matches!(self, Self::Closed | Self::Transport(_) | Self::Unavailable { .. })
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::NoFeed => Outcome::NoFeed,
            Self::NotAllowed { .. } => Outcome::Refused,
            Self::Unavailable { retry_after, .. } => Outcome::Failed { retry_after: *retry_after },
            Self::NotAFeed
            | Self::Transport(_)
            | Self::Unproven
            | Self::Unreadable(_)
            | Self::Closed
            | Self::Silent
            | Self::Panicked => Outcome::Failed { retry_after: None },
        }
    }
}
