//! What an authorization server for machines decides, without its input and output.
//!
//! Everything here is a function of its arguments: the request as received, the client as stored, the time and
//! the random bytes as given. Nothing here reads a socket, a file, a database, a clock or a generator.
//!
//! A token request takes steps that cannot be left out or done twice, since each needs what the one before it
//! leaves behind:
//!
//! 1. [`TokenRequest::parse`] reads the form and the headers.
//! 2. [`client::authenticate`] turns the stored [`Client`] into an [`AuthenticatedClient`](client::AuthenticatedClient).
//! 3. [`grant`] says what to issue, as an [`Issue`](grant::Issue): data, neither signed nor stored.
//!
//! Each step may end in a [`Refusal`], which knows its own error code.
//!
//! What this crate does not do: transport, storage, password hashing (it is slow, and its cost has to be bounded by
//! the caller), browsers.

pub mod assertion;
pub mod binding;
pub mod certificate;
pub mod client;
pub mod dpop;
pub mod duration;
pub mod family;
pub mod foreign;
mod form;
pub mod grant;
pub mod introspection;
pub mod jose;
pub mod key;
mod keycloak;
pub mod master;
pub mod opaque;
pub mod particulars;
pub mod realm;
pub mod refresh;
pub mod refusal;
pub mod registration;
pub mod request;
pub mod revocation;
pub mod scope;
pub mod secret;
pub mod status_list;
pub mod time;
pub mod user;

pub use binding::Binding;
pub use client::Client;
pub use grant::Issue;
pub use master::MasterKey;
pub use particulars::Particulars;
pub use realm::Realm;
pub use refusal::Refusal;
pub use request::TokenRequest;
pub use scope::Scope;
pub use secret::Secret;
pub use time::Timestamp;
pub use user::User;
