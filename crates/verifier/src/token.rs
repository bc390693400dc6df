//! An access token that was checked.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenry_core::jose::Claims;
use tokenry_core::{Binding, Scope, Timestamp};

use crate::Rejection;

/// An access token whose signature and claims were checked. Only a [`Verifier`](crate::Verifier) makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessToken {
    claims: Claims,
    scope: Scope,
    expires_at: Timestamp,
    binding: Binding,
}

impl AccessToken {
    pub(crate) const fn new(
        claims: Claims,
        scope: Scope,
        expires_at: Timestamp,
        binding: Binding,
    ) -> Self {
        Self { claims, scope, expires_at, binding }
    }

    /// `sub`: who the token is about. For a client acting on its own behalf this is the client.
    pub fn subject(&self) -> Option<&str> {
        self.claims.sub.as_deref()
    }

    /// `client_id`: the client it was issued to; `azp` where an issuer writes that instead.
    pub fn client_id(&self) -> Option<&str> {
        self.claims
            .client_id
            .as_deref()
            .or_else(|| self.claims.other.get("azp").and_then(|azp| azp.as_str()))
    }

    /// `jti`: the identifier to log; the token itself never belongs in a log.
    pub fn jti(&self) -> Option<&str> {
        self.claims.jti.as_deref()
    }

    /// `exp`: from when on it is no longer good.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `scope`: what it allows.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// `cnf`: the keys that its sender must prove to have (RFC 9449 §6, RFC 8705 §3), and has proved to
    /// [`verify_request`](crate::Verifier::verify_request).
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }

    /// All claims as read.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims as a type of the caller's own; times are numbers of seconds, `aud` is text or a list as written.
    ///
    /// # Errors
    ///
    /// The first claim that the type needs and the token has not, or not like that.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.claims.to_object()))
    }

    /// Refuses a token that lacks any part of `needed`.
    ///
    /// # Errors
    ///
    /// [`Rejection::InsufficientScope`].
    pub fn require(&self, needed: &Scope) -> Result<(), Rejection> {
        match needed.first_outside(&self.scope) {
            None => Ok(()),
            Some(_) => Err(Rejection::InsufficientScope { needed: needed.clone() }),
        }
    }
}
