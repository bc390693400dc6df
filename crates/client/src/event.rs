//! What a keeper tells whoever watches it.

use std::time::Duration;

use crate::Error;
use crate::durable::StoreError;
use crate::feed::FeedError;
use crate::machine::Grant;
use crate::revocation::RevocationError;

/// Something happened to a keeper's token. Never holds a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A token was obtained with credentials.
    Obtained {
        /// How: always [`Grant::Credentials`].
        grant: Grant,
        /// How long it lives.
        lifetime: Duration,
        /// Which token it is, counted from 1.
        generation: u64,
    },
    /// A token was obtained with the refresh token.
    Refreshed {
        /// How long it lives.
        lifetime: Duration,
        /// Which token it is, counted from 1.
        generation: u64,
    },
    /// The answer to a refresh brought a new refresh token, and the old one is forgotten.
    RefreshTokenReplaced,
    /// The answer to a refresh brought no refresh token: the old one stays.
    RefreshTokenKept,
    /// A refresh token was found where the last process had stored it.
    RefreshTokenRestored,
    /// A refresh token was sent, by this process or the last one, and nobody knows what became of it. Within the
    /// server's grace it is sent again; else credentials are used.
    RefreshTokenDoubtful,
    /// A refresh token came that could not be stored: it is not used.
    RefreshTokenNotStored {
        /// Why.
        error: StoreError,
    },
    /// A refresh token that was given up while it may have been good is revoked (RFC 7009).
    RefreshTokenRevoked,
    /// A refresh token that was given up while it may be good is not revoked.
    RefreshTokenNotRevoked {
        /// Why.
        error: RevocationError,
    },
    /// A refresh brought no token.
    RefreshFailed {
        /// Why.
        error: Error,
        /// When the keeper tries again, if it waits.
        retry_in: Option<Duration>,
    },
    /// Credentials brought no token.
    ObtainFailed {
        /// Why.
        error: Error,
        /// When the keeper tries again at the earliest.
        retry_in: Option<Duration>,
    },
    /// The server refused the refresh token or revoked it, so credentials are used.
    FellBackToCredentials,
    /// An API refused the token of this generation: it is not handed out any more.
    Invalidated {
        /// Which token.
        generation: u64,
    },
    /// An API refused the token of this generation, which is kept: it was replaced already, or so many fresh tokens
    /// were refused in a row that the fault is the API's.
    InvalidationIgnored {
        /// Which token.
        generation: u64,
    },
    /// The issuer's revocation feed says that the token of this generation was revoked: it is not handed out any more, and
    /// another is on its way. Where that has happened to several fresh tokens in a row, it is handed out for a while.
    Revoked {
        /// Which token.
        generation: u64,
    },
    /// The keeper knows what its issuer has revoked, and hears of whatever it revokes from now on.
    FeedFollowed,
    /// The keeper does not hear of what its issuer revokes. Told once for each reason, and not where that is over soon.
    FeedLost {
        /// Why.
        error: FeedError,
        /// When it asks again.
        retry_in: Duration,
    },
    /// Nobody asked for a lifetime: the token is not renewed until somebody does.
    Idle,
}

impl Event {
    /// Writes it to the log.
    pub(crate) fn log(&self, provider: &str) {
        match self {
            Self::Obtained { lifetime, generation, .. } => {
                tracing::info!(
                    provider,
                    generation,
                    lifetime_secs = lifetime.as_secs(),
                    "token obtained"
                );
            }
            Self::Refreshed { lifetime, generation } => {
                tracing::info!(
                    provider,
                    generation,
                    lifetime_secs = lifetime.as_secs(),
                    "token refreshed"
                );
            }
            Self::RefreshTokenReplaced => tracing::debug!(provider, "refresh token replaced"),
            Self::RefreshTokenKept => tracing::debug!(provider, "refresh token kept"),
            Self::RefreshTokenRestored => tracing::info!(provider, "refresh token restored"),
            Self::RefreshTokenDoubtful => {
                tracing::warn!(provider, "refresh token may be used up");
            }
            Self::RefreshTokenNotStored { error } => {
                tracing::warn!(provider, %error, "refresh token not stored");
            }
            Self::RefreshTokenRevoked => tracing::info!(provider, "refresh token revoked"),
            Self::RefreshTokenNotRevoked { error } => {
                tracing::warn!(provider, %error, "refresh token not revoked");
            }
            Self::RefreshFailed { error, retry_in } => {
                tracing::warn!(provider, %error, retry_in_secs = retry_in.map(|time| time.as_secs_f64()), "token not refreshed");
            }
            Self::ObtainFailed { error, retry_in } => {
                tracing::warn!(provider, %error, retry_in_secs = retry_in.map(|time| time.as_secs_f64()), "token not obtained");
            }
            Self::FellBackToCredentials => {
                tracing::info!(provider, "refresh token refused or revoked, using credentials");
            }
            Self::Invalidated { generation } => {
                tracing::info!(provider, generation, "token refused by an API, withdrawn");
            }
            Self::InvalidationIgnored { generation } => {
                tracing::debug!(provider, generation, "token refused by an API, not withdrawn");
            }
            Self::Revoked { generation } => {
                tracing::info!(provider, generation, "token revoked by its issuer");
            }
            Self::FeedFollowed => tracing::info!(provider, "revocation feed followed"),
            Self::FeedLost { error: error @ FeedError::NoFeed, .. } => {
                tracing::info!(provider, %error, "revocation feed not followed");
            }
            Self::FeedLost { error, retry_in } => {
                tracing::warn!(provider, %error, retry_in_secs = retry_in.as_secs_f64(), "revocation feed not followed");
            }
            Self::Idle => tracing::debug!(provider, "nobody asks, token not renewed"),
        }
    }
}
