//! Checks machine tokens at the API: whose they are, whom they are for, and what they allow (RFC 9068, RFC 6750),
//! and that whoever sends them has the key that they are bound to (RFC 9449, RFC 8705).
//!
//! A [`Verifier`] trusts one issuer, or [several](VerifierBuilder::issuer). It keeps their public keys in memory and up to
//! date by itself, so that checking a token needs no call to anybody:
//!
//! - A fetch never stands in the way of a request whose key is known.
//! - A token with an unknown key costs at most one fetch per cooldown, however many ask; only the requests that
//!   bring such tokens wait for it, and not for long.
//! - While the issuer is down, the keys at hand stay in use, up to a bound. After that requests are answered with
//!   503, since a client that is told 401 would throw away a good token.
//! - A token that was found good is [remembered](VerifierBuilder::cache), so that its next request costs a look instead
//!   of a signature check, until it expires, is revoked, or its key is withdrawn.
//! - A token that only its issuer can read is [asked about](VerifierBuilder::introspection) (RFC 7662) where that is
//!   set: once in a few seconds, however many requests bring it.
//! - What the issuer revokes is refused within a moment where its [feed](VerifierBuilder::feed) is followed. A follower
//!   that has fallen behind says so, and what becomes of tokens then is [decided beforehand](WhenBehind).
//! - A token that names a place in a status list is [looked up](VerifierBuilder::status_lists) there where that is set.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tokenry_verifier::Verifier;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://id.example/realms/main")
//!     .audience("https://api.example")
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/invoices", get(|| async { "all of them" }))
//!     .layer(verifier.layer().realm("api").require_scope("invoices:read".parse()?));
//! # Ok(())
//! # }
//! ```
//!
//! Handlers find the token as `Arc<AccessToken>` in the extensions of the request.
//!
//! # Tokens that are bound to their sender
//!
//! A token with `cnf` is good only together with a key, and the layer lets it in only with a proof of that key: a DPoP
//! proof for this very request, or the client certificate of the connection. That a token is bound nobody has to know
//! beforehand; a bound token is never taken for a bearer token.
//!
//! ```no_run
//! # use axum::{Router, routing::get};
//! # use tokenry_verifier::Verifier;
//! # async fn run(nonce_key: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://id.example/realms/main")
//!     .audience("https://api.example")
//!     // Under which address clients know this API: what DPoP proofs are compared with.
//!     .resource_url("https://api.example")
//!     // Proofs are to be made after we were asked, not in advance; all replicas have the same key.
//!     .dpop_nonces(&nonce_key)
//!     // FAPI 2.0: no bearer tokens at all.
//!     .require_sender_constraint()
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/invoices", get(|| async { "all of them" }))
//!     .layer(verifier.layer());
//! # Ok(())
//! # }
//! ```
//!
//! Certificates are read where TLS ends, and handed over as [`ClientCertificate`]. Without tower, the same is
//! [`Verifier::verify_request`], or a [`Guard`].
//!
//! What this crate does not do: issue tokens, log anybody in, decide what a scope means, or follow an address that
//! a token brings along, but for a status list of its issuer where those are looked at.

#[cfg(feature = "axum")]
pub mod axum;
mod builder;
mod cache;
mod certificate;
mod challenge;
mod clock;
mod credentials;
mod dpop;
mod feed;
mod fetch;
mod head;
mod introspection;
mod issuer;
mod keys;
mod layer;
mod metadata;
mod metrics;
mod policy;
mod rejection;
mod status;
mod token;
mod verifier;

pub use builder::{BuildError, VerifierBuilder};
pub use certificate::ClientCertificate;
pub use clock::{Clock, SystemClock};
pub use dpop::{ProofId, ProofStore, ProofStoreError};
pub use feed::{FeedError, FeedMetrics, FeedSettings, FeedSource, FeedStream, WhenBehind};
pub use fetch::ClientSecret;
pub use head::{Admitted, Head, Renewal};
pub use introspection::{IntrospectionMetrics, IntrospectionSettings, IntrospectionSource};
pub use issuer::TooManyDenied;
pub use keys::{
    FetchError, Fetched, HttpConfigError, HttpKeySource, HttpKeySourceBuilder, KeySource,
};
pub use layer::{Guard, VerifierLayer, VerifierService};
pub use metadata::{NotAResource, ResourceMetadata};
pub use metrics::{IssuerMetrics, VerifierMetrics};
pub use policy::Policy;
pub use rejection::Rejection;
pub use status::{StatusListMetrics, StatusListSettings, StatusListSource};
pub use token::AccessToken;
pub use verifier::Verifier;

use std::future::Future;
use std::pin::Pin;

/// A future that can be kept anywhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
