//! Extractors for axum (feature `axum`): the token of a request as a handler wants it.
//!
//! They read what [`VerifierLayer`](crate::VerifierLayer) has left in the request. Behind no layer they let nobody in: the
//! answer is 500, and the log says why.
//!
//! ```no_run
//! use axum::{Router, routing::{get, post}};
//! use serde::Deserialize;
//! use tokenry_verifier::Verifier;
//! use tokenry_verifier::axum::{Allowed, Claims, NeededScope, Token};
//!
//! /// What this API reads of a token.
//! #[derive(Deserialize)]
//! struct Tenant {
//!     tenant_id: u64,
//! }
//!
//! /// May write invoices.
//! struct Writes;
//!
//! impl NeededScope for Writes {
//!     const SCOPE: &'static str = "invoices:write";
//! }
//!
//! async fn list(Claims(tenant): Claims<Tenant>) -> String {
//!     format!("the invoices of tenant {}", tenant.tenant_id)
//! }
//!
//! async fn create(_: Allowed<Writes>, Token(token): Token) -> String {
//!     format!("made for {}", token.client_id().unwrap_or_default())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier =
//!     Verifier::builder("https://id.example").audience("https://api.example").build()?;
//! let app: Router = Router::new()
//!     .route("/invoices", get(list))
//!     .route("/invoices", post(create))
//!     .layer(verifier.layer().realm("api").require_scope("invoices".parse()?));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use tokenry_core::Scope;

use crate::{AccessToken, Guard, Head, Rejection};

/// The token of the request.
#[derive(Clone, Debug)]
pub struct Token(pub Arc<AccessToken>);

/// The claims of the token, as a type of the API's own. Claims that the type does not name are passed over.
///
/// A token without a claim that the type needs is refused as one that is not valid: 401 `invalid_token`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Claims<T>(pub T);

/// Names what a handler asks of tokens, for [`Allowed`].
pub trait NeededScope {
    /// Scope tokens with spaces between them, all of which are needed. Checked when the first request comes: what is no
    /// scope lets nobody in.
    const SCOPE: &'static str;
}

/// The request may do what `S` needs. Others get 403 `insufficient_scope` (RFC 6750 §3.1).
pub struct Allowed<S>(PhantomData<fn() -> S>);

impl<S> fmt::Debug for Allowed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowed")
    }
}

/// The gate that a request has passed, for who refuses it later.
#[derive(Clone)]
pub(crate) struct Passed(pub(crate) Arc<Guard>);

/// The answer to a request that is not let in.
#[derive(Debug)]
pub struct Refused(Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl Refused {
    fn new(parts: &Parts, gate: &Passed, rejection: &Rejection) -> Self {
        let Parts { method, uri, headers, extensions, .. } = parts;
        let head = Head { method, uri, headers, extensions };
        tracing::debug!(cause = %rejection, "request refused by a handler");
        Self(Box::new(gate.0.refuse::<Body>(head, rejection)))
    }

    /// Closed, since nobody has looked at the token.
    fn no_layer() -> Self {
        tracing::error!("a handler asks for a token, and no VerifierLayer stands in front of it");
        Self(Box::new(StatusCode::INTERNAL_SERVER_ERROR.into_response()))
    }
}

/// The token of a request, and the gate that it has passed.
fn passed(parts: &Parts) -> Result<(&Arc<AccessToken>, &Passed), Refused> {
    let extensions = &parts.extensions;
    extensions.get().zip(extensions.get()).ok_or_else(Refused::no_layer)
}

impl<S: Sync> FromRequestParts<S> for Token {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Ok(Self(passed(parts)?.0.clone()))
    }
}

/// Where some routes stand behind a layer and others do not.
impl<S: Sync> OptionalFromRequestParts<S> for Token {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned().map(Self))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Claims<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let (token, gate) = passed(parts)?;
        token.claims_as().map(Self).map_err(|error| {
            tracing::debug!(%error, "the claims are not those of this API");
            Refused::new(parts, gate, &Rejection::UnfitClaims)
        })
    }
}

impl<S: Sync, N: NeededScope> FromRequestParts<S> for Allowed<N> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let (token, gate) = passed(parts)?;
        let Ok(needed) = N::SCOPE.parse::<Scope>() else {
            tracing::error!(scope = N::SCOPE, "a handler needs what is no scope");
            return Err(Refused(Box::new(StatusCode::INTERNAL_SERVER_ERROR.into_response())));
        };
        match token.require(&needed) {
            Ok(()) => Ok(Self(PhantomData)),
            Err(rejection) => Err(Refused::new(parts, gate, &rejection)),
        }
    }
}
