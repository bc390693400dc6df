//! The tower layer that puts a token on requests.

mod grpc;

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use self::grpc::{GrpcBearer, GrpcBearerLayer, GrpcBody};
use crate::attempt::{Attempt, Verdict};
use crate::replay::Replay;
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
/// - `UNAUTHENTICATED` of gRPC is a 401, if it comes before any message; for that after messages there is
///   [`for_grpc`](Self::for_grpc). `PERMISSION_DENIED` is a 403.
/// - A token that is bound to a key goes with a proof for each request (RFC 9449 §7.1). A 401 that asks for a nonce is
///   answered once with the same token and a proof that has it; the newest nonce of each origin goes into the next.
///
/// # What is sent again
///
/// - **Any method.** A 401 says that the request "has not been applied" (RFC 9110 §15.5.2), and that it may be repeated
///   with other credentials (§11.6.1); so a `POST` is not done twice. An API that acts before it looks at the token
///   breaks this, and should be called without `Replay`: a body in a `BoxBody` is sent once.
/// - **A body that is held in memory** (`Full`, `Empty`, `Bytes`), always. **A streamed one**, within
///   [`ReplayLayer`](crate::ReplayLayer), as long as no more of it was sent than its limit when the answer came. Else
///   the 401 is the answer, and the next request has a new token.
/// - **With `Expect: 100-continue`** it is the same, since hyper sends the body without waiting for the 100. What was not
///   sent when the refusal came goes out with the second request only.
/// - **Upgrades**, such as the handshake of a WebSocket, have no body: a refused one is sent again, and after a 101
///   `hyper::upgrade::on` gets the connection. What is said on it is not looked at; a token that expires then is no
///   matter until the program connects again.
///
/// # Clients
///
/// hyper's is a service, and so is anything that axum calls:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use tokenry_client::{BearerLayer, Keeper};
/// use tower::{Layer, ServiceExt};
///
/// # async fn example(keeper: Keeper) -> Result<(), Box<dyn std::error::Error>> {
/// let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let api = BearerLayer::of_keeper(&keeper).layer(http);
/// let request = http::Request::post("http://localhost:8080/orders").body(Full::from("{}"))?;
/// let response = api.oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// For tonic's `Channel` see [`GrpcBearerLayer`]; for reqwest, `BearerMiddleware` (feature `reqwest`).
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

    /// The same, that also looks at the trailers of gRPC's answers.
    pub fn for_grpc(self) -> GrpcBearerLayer {
        GrpcBearerLayer::new(self)
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
        let inner = take_ready(&mut self.inner);
        let sent = send(inner, self.layer.clone(), request);
        Box::pin(async { sent.await.map(|(response, _)| response) })
    }
}

/// The one that is ready has to be the one that is called.
fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    std::mem::replace(service, clone)
}

/// The answer, and the attempt that brought it, if the request had a token.
async fn send<S, B, R>(
    mut inner: S,
    layer: BearerLayer,
    mut request: Request<B>,
) -> Result<(Response<R>, Option<Attempt>), BearerError<S::Error>>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Replay,
{
    if !layer.hosts.allows(request.uri()) {
        let response = inner.call(request).await.map_err(BearerError::Inner)?;
        return Ok((response, None));
    }
    let mut attempt = Attempt::begin(&layer.source).await.map_err(BearerError::Token)?;
    loop {
        let kept = copy(&request);
        let url = request.uri().clone();
        let method = request.method().clone();
        attempt.attach(&method, &url, request.headers_mut()).map_err(BearerError::Token)?;
        let response = inner.call(request).await.map_err(BearerError::Inner)?;
        // Of a streamed body it is known only now how much was sent.
        let again = kept.as_ref().and_then(copy);
        let (status, headers) = (response.status(), response.headers());
        let verdict = attempt.judge(&url, status, headers, again.is_some()).await;
        let (Verdict::Repeat, Some(again)) = (verdict, again) else {
            return Ok((response, Some(attempt)));
        };
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
mod grpc_tests;
#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod network;
#[cfg(test)]
mod tests;
