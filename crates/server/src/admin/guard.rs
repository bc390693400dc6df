//! Who may administer: asked before anything else, and decided outside of this crate.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

/// Decides who may use the admin API.
#[async_trait]
pub trait AdminGuard: Send + Sync + fmt::Debug {
    /// Who a request is from, if it may do what it asks for.
    ///
    /// # Errors
    ///
    /// [`Denied`]: what the caller is told instead.
    async fn admit(&self, request: &Parts, needed: Access) -> Result<Admin, Denied>;
}

/// What a request needs to be let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// It reads.
    Read,
    /// It changes something.
    Write,
}

/// Who was let in, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// The client that its token was issued to.
    pub client: String,
    /// Whom the token is about, where that is not the client.
    pub subject: Option<String>,
    /// The token's `jti`.
    pub jti: Option<String>,
}

/// Why a request is not let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denied {
    /// The status of the answer: 401, 403, 400, or 503 where nothing can be said.
    pub status: StatusCode,
    /// `WWW-Authenticate` (RFC 6750 §3).
    pub challenge: Option<HeaderValue>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// What the caller is told.
    pub detail: &'static str,
    /// What the operator is told; nothing of the token.
    pub reason: String,
}
