//! Keeps machine tokens fresh at the caller (RFC 6749).
//!
//! [`TokenSource`] is the smallest interface: ask, get a token that is good now. [`Keeper`] is the source that
//! obtains a token, renews it in the background before it expires, and lives through outages, refusals and bursts;
//! its policy is a pure [state machine](machine), whose table is there to read. [`BearerLayer`] puts the token on
//! requests, and only on those to the hosts that it was meant for. [`Provider`] says how vendors differ.
//!
//! A keeper can bind its tokens to a key (DPoP, RFC 9449), ask for those of one resource (RFC 8707), authenticate by a
//! key or a certificate instead of a secret, and [store](RefreshTokenStore) its refresh token; see [`KeeperBuilder`].
//!
//! What this crate does not do: log people in, verify tokens, follow redirects with credentials, or send a request
//! without a token because none was to be had.

pub mod agent;
pub mod config;
pub mod machine;
pub mod provider;
pub mod proxy;

mod attempt;
#[cfg(test)]
mod canary;
mod clock;
mod credentials;
mod dpop;
mod durable;
mod error;
mod event;
mod exchange;
mod feed;
mod hosts;
mod keeper;
mod layer;
mod metrics;
#[cfg(feature = "reqwest")]
mod middleware;
mod randomness;
mod replay;
mod request;
mod response;
mod revocation;
mod rt;
mod secret;
#[cfg(test)]
mod testing;
mod token;
mod transport;

pub use config::{KeeperConfig, KeeperConfigError};
pub use credentials::Credentials;
pub use durable::{RefreshTokenFile, RefreshTokenStore, StoreError, StoredRefreshToken};
pub use error::{Defect, Error, ServerError};
pub use event::Event;
pub use feed::{FeedError, FeedMetrics, FeedState};
pub use hosts::AllowedHosts;
pub use keeper::{BuildError, Keeper, KeeperBuilder};
pub use layer::{Bearer, BearerError, BearerLayer, GrpcBearer, GrpcBearerLayer, GrpcBody};
pub use machine::Grant;
pub use metrics::KeeperMetrics;
#[cfg(feature = "reqwest")]
pub use middleware::{BearerMiddleware, MiddlewareError};
pub use provider::{Provider, ProviderError};
pub use replay::{REPLAY_LIMIT, Replay, ReplayBody, ReplayError, ReplayLayer, Replaying};
pub use revocation::RevocationError;
pub use secret::{ReadSecret, SecretError, SecretSource, SecretSourceError};
pub use token::{BoxFuture, StaticToken, Token, TokenSource};
pub use transport::{
    ConfigError, HttpTransport, HttpTransportBuilder, Pieces, Streaming, Transport, TransportError,
};
