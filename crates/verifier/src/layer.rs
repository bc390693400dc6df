//! The gate in front of an HTTP service: a tower layer, and what it is made of.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use tokenry_core::Scope;
use tower_layer::Layer;
use tower_service::Service;
use tracing::debug;

use crate::challenge::challenge;
use crate::credentials::bearer;
use crate::{AccessToken, BoxFuture, Rejection, Verifier};

/// Decides who is let in, and writes the answer to those who are not.
///
/// What [`VerifierLayer`] uses, for servers that have no tower.
#[derive(Clone, Debug)]
pub struct Guard {
    verifier: Verifier,
    realm: String,
    needed: Scope,
    resource_metadata: Option<String>,
}

impl Guard {
    /// The token of a request, if it is good and allows what is needed.
    ///
    /// # Errors
    ///
    /// [`Rejection`], which [`refuse`](Self::refuse) turns into an answer.
    pub async fn check(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Arc<AccessToken>, Rejection> {
        let token = bearer(headers, uri)?;
        let token = self.verifier.verify(token, self.verifier.now()).await?;
        token.require(&self.needed)?;
        Ok(token)
    }

    /// The answer to a request that is not let in: a status, a challenge, and no body.
    pub fn refuse<B: Default>(&self, rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = rejection.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Rejection::Unavailable { retry_after } = rejection {
            // Rounded up: a client that comes too early comes in vain.
            let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, secs.max(1).into());
        }
        if rejection.status() != StatusCode::SERVICE_UNAVAILABLE {
            let metadata = self.resource_metadata.as_deref();
            headers.insert(
                WWW_AUTHENTICATE,
                challenge(rejection, &self.realm, &self.needed, metadata),
            );
        }
        response
    }
}

/// Lets only requests with a good token through to the service it wraps.
///
/// The service finds the token as `Arc<AccessToken>` in the extensions of the request. Requests that are not let in
/// are answered by [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3), without a body.
#[derive(Clone, Debug)]
pub struct VerifierLayer {
    guard: Guard,
}

impl VerifierLayer {
    pub(crate) fn new(verifier: Verifier) -> Self {
        let realm = "api".to_owned();
        let guard = Guard { verifier, realm, needed: Scope::empty(), resource_metadata: None };
        Self { guard }
    }

    /// The `realm` of challenges. Quotes, backslashes and what is not ASCII are left out of it.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.guard.realm = realm.into();
        self
    }

    /// Lets in only tokens with all of this scope, besides what was required before.
    #[must_use]
    pub fn require_scope(mut self, scope: Scope) -> Self {
        self.guard.needed = self.guard.needed.tokens().chain(scope.tokens()).collect();
        self
    }

    /// The address of this resource server's metadata, told in challenges (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.guard.resource_metadata = Some(url.into());
        self
    }

    /// The gate without tower.
    pub fn into_guard(self) -> Guard {
        self.guard
    }
}

impl<S> Layer<S> for VerifierLayer {
    type Service = VerifierService<S>;

    fn layer(&self, inner: S) -> VerifierService<S> {
        VerifierService { guard: Arc::new(self.guard.clone()), inner }
    }
}

/// A service behind a [`VerifierLayer`].
#[derive(Clone, Debug)]
pub struct VerifierService<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for VerifierService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let guard = self.guard.clone();
        // The one that was polled ready has to be the one that is called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match guard.check(request.headers(), request.uri()).await {
                Ok(token) => {
                    request.extensions_mut().insert(token);
                    inner.call(request).await
                }
                Err(rejection) => {
                    debug!(cause = %rejection, "request refused");
                    Ok(guard.refuse(&rejection))
                }
            }
        })
    }
}
