//! Bodies that can be sent again.

mod body;

use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};
use tower_layer::Layer;
use tower_service::Service;

pub use self::body::{ReplayBody, ReplayError};

/// How much of a body is kept by default.
///
/// What programs send to APIs, JSON and messages of gRPC, has a few kilobytes; what has more is an upload, and a
/// thousand of those at once would cost 64 MiB.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// A body that may be one that can be sent again.
///
/// It is asked twice: before a request is sent, for something to keep, and of what was kept before that is sent, since
/// a [`ReplayBody`] knows only then how much there was to be remembered.
pub trait Replay: Sized {
    /// The whole body once more. `None` if it can only be sent once.
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

/// Makes every body one that can be sent again, as long as not too much of it was sent; see [`ReplayBody`].
///
/// A body that is in memory as a whole (`Full`) needs none, and has no limit without it.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::combinators::BoxBody;
/// use tokenry_client::{BearerLayer, Keeper, ReplayBody, ReplayLayer};
/// use tower::{Service, ServiceBuilder};
///
/// # type Streamed = BoxBody<Bytes, std::io::Error>;
/// # fn client<S>(keeper: &Keeper, http: S) -> impl Service<Request<Streamed>, Response = S::Response>
/// # where
/// #     S: Service<Request<ReplayBody<Streamed>>, Response = Response<()>> + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Send,
/// # {
/// // Outside of the layer that sends again.
/// ServiceBuilder::new().layer(ReplayLayer::new()).layer(BearerLayer::of_keeper(keeper)).service(http)
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplayLayer {
    limit: usize,
}

impl ReplayLayer {
    /// Keeps up to [`REPLAY_LIMIT`] bytes of each body.
    pub fn new() -> Self {
        Self::with_limit(REPLAY_LIMIT)
    }

    /// Keeps up to so many bytes of each body. With 0, only bodies of which nothing was sent can be sent again.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit }
    }
}

impl Default for ReplayLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replaying<S>;

    fn layer(&self, inner: S) -> Replaying<S> {
        Replaying { inner, limit: self.limit }
    }
}

/// The service of [`ReplayLayer`].
#[derive(Clone, Debug)]
pub struct Replaying<S> {
    inner: S,
    limit: usize,
}

impl<S, B> Service<Request<B>> for Replaying<S>
where
    S: Service<Request<ReplayBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(request.map(|body| ReplayBody::new(body, self.limit)))
    }
}
