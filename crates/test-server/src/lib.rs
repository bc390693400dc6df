//! An authorization server that misbehaves on command, for tests of token clients.
//!
//! It takes the place of a mock server. A mock says what it was told to say; this one is an authorization server: it
//! knows clients and users, issues tokens, rotates refresh tokens and knows which token is good, so a test asks for what
//! matters (*did the caller get through?*) instead of listing answers. And it does wrong what servers, networks and
//! firewalls do wrong, when a test says so.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, header};
//! use tokenry_test_server::{ExpiresIn, Fault, TestServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TestServer::new();
//! let ask = || {
//!     Request::post("https://as.test/token")
//!         .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
//!         .body(Bytes::from("grant_type=client_credentials&client_id=client&client_secret=secret"))
//! };
//!
//! server.next(Fault::AnswerLost);
//! server.next(Fault::ExpiresIn(ExpiresIn::Null));
//! assert!(server.answer(ask()?).await.is_err());
//! let answer = server.answer(ask()?).await?;
//!
//! let answer: serde_json::Value = serde_json::from_slice(answer.body())?;
//! assert!(answer["expires_in"].is_null());
//! let token = answer["access_token"].as_str().unwrap_or_default();
//! assert!(server.is_good(token));
//!
//! // Five minutes later, without waiting for them.
//! server.clock().wind(std::time::Duration::from_secs(300));
//! assert!(!server.is_good(token));
//! assert_eq!(server.token_requests(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Ways in
//!
//! | | for |
//! | --- | --- |
//! | [`TestServer::answer`] | clients whose transport can be replaced: no socket, and a paused clock works |
//! | [`TestServer::serve_connection`] | any connection, such as `tokio::io::duplex`: real HTTP, and a paused clock works |
//! | [`TestServer::listen`] | any client in any language: loopback, until the handle is dropped |
//!
//! A [`Relay`] before any server cuts connections that a client keeps for long.
//!
//! # What answers where
//!
//! | path | |
//! | --- | --- |
//! | any that ends in `/token` | the token endpoint: `client_credentials`, `password`, `refresh_token`; HTTP Basic, secret in the form, DPoP (RFC 9449) |
//! | `/api`, and all below | 200 to a good token, 401 to another, 403 if the token has not the scope of `?scope=…`; answers method and length of the body |
//! | `/.well-known/oauth-authorization-server`, `…/openid-configuration` | metadata (RFC 8414), with the host of the request as issuer |
//!
//! [`RefreshPolicy`] says what a refresh does: none, rotation with or without a grace for lost answers and the end of the
//! family for thieves, another token each time, or the same one for ever.
//!
//! # Faults
//!
//! A [`Fault`] is for the [next](TestServer::next) request, [for so many](TestServer::for_requests), or
//! [until cleared](TestServer::until_cleared); they queue. Access tokens can be
//! [revoked](TestServer::revoke_access_tokens) and families [ended](TestServer::end_families) at any time.
//!
//! # Time
//!
//! The server's [`Clock`] follows tokio's, so that `tokio::time::pause` and `advance` drive it, and can be
//! [wound](Clock::wind) besides, for clients that live in other processes.
//!
//! # What it does not do
//!
//! Sign tokens (they are opaque), check client assertions and certificates (whoever sends an assertion is taken at its
//! word), remember which DPoP proofs were used, log people in, or keep anything secret: it is for tests alone.

mod answer;
mod api;
mod body;
mod clock;
mod fault;
mod form;
mod issued;
mod record;
mod relay;
mod serve;
mod server;
mod token;

pub use clock::Clock;
pub use fault::{ExpiresIn, Fault, RetryAfter};
pub use issued::RefreshPolicy;
pub use record::{Endpoint, Recorded};
pub use relay::Relay;
pub use serve::Listening;
pub use server::{Builder, TestServer};

/// There is no answer: the connection ended before it was whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the connection ended before the answer was whole")]
pub struct Lost;
