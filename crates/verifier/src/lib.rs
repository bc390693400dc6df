//! Checks machine tokens at the API: whose they are, whom they are for, and what they allow (RFC 9068, RFC 6750).
//!
//! A [`Verifier`] trusts one issuer. It keeps that issuer's public keys in memory and up to date by itself, so that
//! checking a token needs no call to anybody:
//!
//! - A fetch never stands in the way of a request whose key is known.
//! - A token with an unknown key costs at most one fetch per cooldown, however many ask; only the requests that
//!   bring such tokens wait for it, and not for long.
//! - While the issuer is down, the keys at hand stay in use, up to a bound. After that requests are answered with
//!   503, since a client that is told 401 would throw away a good token.
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
//! What this crate does not do: issue tokens, log anybody in, decide what a scope means, or follow an address that
//! a token brings along.

mod builder;
mod challenge;
mod clock;
mod credentials;
mod denied;
mod keys;
mod layer;
mod policy;
mod rejection;
mod token;
mod verifier;

pub use builder::{BuildError, VerifierBuilder};
pub use clock::{Clock, SystemClock};
pub use denied::TooManyDenied;
pub use keys::{
    FetchError, Fetched, HttpConfigError, HttpKeySource, HttpKeySourceBuilder, KeySource,
};
pub use layer::{Guard, VerifierLayer, VerifierService};
pub use policy::Policy;
pub use rejection::Rejection;
pub use token::AccessToken;
pub use verifier::Verifier;

use std::future::Future;
use std::pin::Pin;

/// A future that can be kept anywhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
