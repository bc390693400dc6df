//! The gate in front of an HTTP service: a tower layer, and what it is made of.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokenry_core::Scope;
use tower_layer::Layer;
use tower_service::Service;
use tracing::debug;

use crate::challenge::Challenge;
use crate::credentials::Scheme;
use crate::dpop::DPOP_NONCE;
use crate::{Admitted, BoxFuture, Head, Rejection, Verifier};

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
    /// Whether a request may go on: its token is good, is its sender's, and allows what is needed.
    ///
    /// # Errors
    ///
    /// [`Rejection`], which [`refuse`](Self::refuse) turns into an answer.
    pub async fn check(&self, head: Head<'_>) -> Result<Admitted, Rejection> {
        let admitted = self.verifier.verify_request(head, self.verifier.now()).await?;
        admitted.token().require(&self.needed)?;
        Ok(admitted)
    }

    /// The answer to a request that is not let in: a status, challenges, and no body.
    pub fn refuse<B: Default>(&self, head: Head<'_>, rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = rejection.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if rejection.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, retry_after_secs(rejection).into());
        } else {
            self.challenge(Scheme::of(head.headers), rejection, headers);
        }
        if *rejection == Rejection::NonceNeeded
            && let Some(nonce) = self.verifier.dpop_nonce(self.verifier.now())
            && let Ok(nonce) = HeaderValue::try_from(nonce)
        {
            headers.insert(DPOP_NONCE, nonce);
        }
        response
    }

    /// Writes one challenge for each way in which a token could have been sent; what was wrong stands first, in that of
    /// the way that was used.
    fn challenge(&self, used: Scheme, rejection: &Rejection, headers: &mut HeaderMap) {
        let algs = self.verifier.dpop().map(|dpop| dpop.algs().join(" "));
        let used = if algs.is_some() { used } else { Scheme::Bearer };
        let needed = match rejection {
            Rejection::InsufficientScope { needed } => needed,
            _ => &self.needed,
        };
        let mut write = |scheme, rejection| {
            let challenge = Challenge {
                scheme,
                realm: &self.realm,
                rejection,
                needed,
                resource_metadata: self.resource_metadata.as_deref(),
                algs: algs.as_deref().filter(|_| scheme == Scheme::Dpop),
            };
            headers.append(WWW_AUTHENTICATE, challenge.to_header());
        };
        // Where only bound tokens are good, nobody is invited to send another.
        let invites_bearer = algs.is_none() || !self.verifier.bound_only();
        match used {
            Scheme::Dpop => {
                write(Scheme::Dpop, Some(rejection));
                if invites_bearer {
                    write(Scheme::Bearer, None);
                }
            }
            Scheme::Bearer => {
                if invites_bearer || *rejection != Rejection::NoCredentials {
                    write(Scheme::Bearer, Some(rejection));
                }
                if algs.is_some() {
                    write(Scheme::Dpop, None);
                }
            }
        }
    }
}

/// After how many seconds the client should ask again.
fn retry_after_secs(rejection: &Rejection) -> u64 {
    match rejection {
        // Rounded up: a client that comes too early comes in vain.
        Rejection::FeedBehind { retry_after } | Rejection::Unavailable { retry_after } => {
            let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            secs.max(1)
        }
        _ => 1,
    }
}

/// Lets only requests with a good token through to the service it wraps.
///
/// The service finds the token as `Arc<AccessToken>` in the extensions of the request. Requests that are not let in
/// are answered by [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3) and
/// [RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1), without a body.
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
            let head = Head::of(&request);
            match guard.check(head).await {
                Ok(admitted) => {
                    let renewal = admitted.attach(request.extensions_mut());
                    #[cfg(feature = "axum")]
                    request.extensions_mut().insert(crate::axum::Passed(guard));
                    let mut response = inner.call(request).await?;
                    renewal.answer(response.headers_mut());
                    Ok(response)
                }
                Err(rejection) => {
                    debug!(cause = %rejection, "request refused");
                    Ok(guard.refuse(head, &rejection))
                }
            }
        })
    }
}
