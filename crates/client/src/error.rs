//! Why there is no token, grouped by who can do something about it.

use std::time::Duration;

use crate::durable::StoreError;
use crate::machine::Grant;
use crate::secret::SecretError;
use crate::transport::TransportError;

/// Why there is no token.
///
/// It is cheap to clone, since every caller that waited for the same request gets the same error. It never holds a
/// secret: texts from the server are cut, cleaned, and dropped if they echo what was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Ours to repair: the server understood the request and refused it (RFC 6749 §5.2), or answered 401.
    #[error("the server refused the {}: {refusal}", name(*.grant))]
    Refused {
        /// What was refused.
        grant: Grant,
        /// What the server said.
        refusal: ServerError,
    },
    /// The server's to repair: it answered with something that is no token.
    #[error("the token endpoint answered {status}: {what}")]
    Unusable {
        /// The HTTP status of the answer.
        status: u16,
        /// What was wrong with it.
        what: Defect,
    },
    /// The network's, or whoever configured it: no answer.
    #[error("no answer from the token endpoint: {0}")]
    Transport(#[from] TransportError),
    /// The machine's to repair: a proof or an assertion could not be signed, so nothing was sent.
    #[error("the request could not be signed")]
    Unsigned,
    /// The disk's, or whoever configured it: what may be a refresh token is not to be read, or a new one not to be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place's where a secret is kept, or whoever configured it: it cannot be read, so nothing was sent.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The keeper waits before it asks again, and longer than the caller would.
    #[error("the token endpoint is not asked again for {} ms", .retry_in.as_millis())]
    HeldBack {
        /// When it will.
        retry_in: Duration,
    },
    /// The agent has no token to give, or cannot be asked and there is nobody else to ask.
    #[error("the agent: {0}")]
    Agent(crate::agent::AgentFault),
    /// The caller's to repair: a keeper needs a tokio runtime with time enabled.
    #[error("a keeper can only be asked inside a tokio runtime")]
    NoRuntime,
    /// The runtime that carried the request ended, or the transport panicked. The next ask starts anew.
    #[error("the token request was abandoned")]
    Abandoned,
}

impl Error {
    /// Whether the server may have done what was asked and only failed to say so: then a refresh token that it uses up
    /// by answering may be used up.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            // Proxies answer for servers that they have lost: 502, 504, and some 503.
            Self::Unusable { status, what } => match what {
                Defect::ServerSide(_) => *status >= 500,
                _ => (200..300).contains(status) || *status >= 500,
            },
            Self::Transport(error) => match error {
                TransportError::Connect { .. } | TransportError::InTheClear { .. } => false,
                TransportError::Broken { .. }
                | TransportError::Timeout { .. }
                | TransportError::TooLong { .. }
                | TransportError::Other(_) => true,
            },
            Self::Abandoned => true,
            Self::Refused { .. }
            | Self::Unsigned
            | Self::Store(_)
            | Self::Secret(_)
            | Self::Agent(_)
            | Self::HeldBack { .. }
            | Self::NoRuntime => false,
        }
    }
}

/// What the server said when it refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerError {
    /// The HTTP status.
    pub status: u16,
    /// The `error` member, such as `invalid_grant`. A 401 may come without.
    pub code: Option<String>,
    /// The `error_description` member, as far as it can be shown.
    pub description: Option<String>,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(description) = &self.description {
            write!(f, " ({description})")?;
        }
        Ok(())
    }
}

/// What is wrong with an answer that should have been a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// A redirect, which a request with credentials does not follow.
    #[error("a redirect, which is not followed with credentials")]
    Redirect,
    /// Neither a token nor an error of RFC 6749: a proxy, a firewall, an outage.
    #[error("not an answer of RFC 6749")]
    Foreign,
    /// An error that is the server's own, such as `temporarily_unavailable`.
    #[error("{0}")]
    ServerSide(ServerError),
    /// A token that expired before it arrived, or never lived.
    #[error("the token is dead on arrival")]
    DeadOnArrival,
    /// A token type that we do not know how to use (RFC 6749 §7.1).
    #[error("unknown token type {0:?}")]
    TokenType(String),
    /// A bearer token, where one that is bound to the DPoP key was asked for (RFC 9449 §5).
    #[error("the token is not bound to the DPoP key: its type is Bearer")]
    NotBound,
    /// A token with a character that no header can carry.
    #[error("the token cannot be sent in a header")]
    Text,
}

fn name(grant: Grant) -> &'static str {
    match grant {
        Grant::Credentials => "credentials",
        Grant::Refresh => "refresh token",
    }
}
