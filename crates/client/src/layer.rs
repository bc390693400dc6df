//! The tower layer that puts a token on requests.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{Attempt, Verdict};
use crate::token::BoxFuture;
use crate::{AllowedHosts, Error, Keeper, TokenSource};

/// Puts a token on requests to allowed hosts.
///
/// - To an allowed host, `Authorization` is the token's, whatever the caller had there. If there is no token, the
///   request is not sent.
/// - To any other host, over plain http, or with a URL without a host, a request passes as it is, without a token.
///   Redirects that are followed outside of this layer come through it again, so each hop is judged by itself; do
///   not let a client inside of it follow them.
/// - A 401 withdraws the token that was sent and, if the body can be sent again ([`Replay`]) and there is another
///   token, the request is sent once more. What comes then is the answer. A 403 is never retried.
/// - A token that is bound to a key goes with a proof for each request (RFC 9449 §7.1). A 401 that asks for a nonce is
///   answered once with the same token and a proof that has it; the newest nonce of each origin goes into the next.
#[derive(Clone)]
pub struct BearerLayer {
    source: Arc<dyn TokenSource>,
    hosts: Arc<AllowedHosts>,
}

impl BearerLayer {
    /// Tokens from this source, to these hosts.
    pub fn new(source: impl TokenSource + 'static, hosts: AllowedHosts) -> Self {
        Self { source: Arc::new(source), hosts: Arc::new(hosts) }
    }

    /// Tokens from this keeper, to the hosts that its provider names.
    pub fn of_keeper(keeper: &Keeper) -> Self {
        Self::new(keeper.clone(), keeper.provider().api_hosts().clone())
    }
}

impl std::fmt::Debug for BearerLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BearerLayer").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, layer: self.clone() }
    }
}

/// The service of [`BearerLayer`].
#[derive(Clone, Debug)]
pub struct Bearer<S> {
    inner: S,
    layer: BearerLayer,
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum BearerError<E> {
    /// There was no token, so nothing was sent.
    #[error("no token: {0}")]
    Token(#[source] Error),
    /// The inner service failed.
    #[error(transparent)]
    Inner(E),
}

/// A body that may be one that can be sent again.
pub trait Replay: Sized {
    /// A copy of the whole body. `None` if it can only be sent once.
    fn replay(&self) -> Option<Self>;
}

impl Replay for () {
    fn replay(&self) -> Option<Self> {
        Some(())
    }
}

impl Replay for Bytes {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Replay for Full<Bytes> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D> Replay for Empty<D> {
    fn replay(&self) -> Option<Self> {
        Some(Self::new())
    }
}

impl<D, E> Replay for BoxBody<D, E> {
    fn replay(&self) -> Option<Self> {
        None
    }
}

impl<D, E> Replay for UnsyncBoxBody<D, E> {
    fn replay(&self) -> Option<Self> {
        None
    }
}

impl Replay for hyper::body::Incoming {
    fn replay(&self) -> Option<Self> {
        None
    }
}

impl<S, B, R> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Replay + Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = BearerError<S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(BearerError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready has to be the one that is called.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(send(inner, self.layer.clone(), request))
    }
}

async fn send<S, B, R>(
    mut inner: S,
    layer: BearerLayer,
    mut request: Request<B>,
) -> Result<Response<R>, BearerError<S::Error>>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Replay,
{
    if !layer.hosts.allows(request.uri()) {
        return inner.call(request).await.map_err(BearerError::Inner);
    }
    let mut attempt = Attempt::begin(&layer.source).await.map_err(BearerError::Token)?;
    loop {
        let kept = copy(&request);
        let url = request.uri().clone();
        let method = request.method().clone();
        attempt.attach(&method, &url, request.headers_mut()).map_err(BearerError::Token)?;
        let response = inner.call(request).await.map_err(BearerError::Inner)?;
        let verdict =
            attempt.judge(&url, response.status(), response.headers(), kept.is_some()).await;
        let (Verdict::Repeat, Some(again)) = (verdict, kept) else { return Ok(response) };
        drop(response);
        request = again;
        let ready = std::future::poll_fn(|context| inner.poll_ready(context));
        ready.await.map_err(BearerError::Inner)?;
    }
}

/// The request once more, if its body can be sent again.
fn copy<B: Replay>(request: &Request<B>) -> Option<Request<B>> {
    let mut copy = Request::new(request.body().replay()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

#[cfg(test)]
mod dpop_tests;
#[cfg(test)]
mod tests;
