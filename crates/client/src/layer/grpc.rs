//! Refused tokens in the trailers of gRPC's answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::{BearerError, BearerLayer, send, take_ready};
use crate::attempt::{self, Attempt};
use crate::replay::Replay;
use crate::token::BoxFuture;

/// A [`BearerLayer`] that also looks at the trailers of gRPC's answers.
///
/// A server says `UNAUTHENTICATED` in the headers of an answer without messages, and then the call is sent again like
/// any request after a 401. After messages it says so in the trailers: the token is withdrawn, so that the next call
/// has another, and the caller gets the status; messages that it has read cannot be taken back.
///
/// With tonic:
///
/// ```
/// use http::Request;
/// use tokenry_client::{BearerLayer, Keeper, ReplayBody, ReplayLayer};
/// use tonic::body::Body;
/// use tonic::transport::{Channel, Uri};
/// use tower::ServiceBuilder;
///
/// # async fn example(keeper: Keeper) -> Result<(), Box<dyn std::error::Error>> {
/// let api = Uri::from_static("https://grpc.example.com");
/// let channel = Channel::builder(api.clone()).connect_lazy();
/// let service = ServiceBuilder::new()
///     .layer(ReplayLayer::new())
///     .layer(BearerLayer::of_keeper(&keeper).for_grpc())
///     .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
///     .service(channel);
/// // Calls have no host before the channel gives them one, and without a host there is no token. `with_origin` of
/// // generated clients is the same.
/// let client = tonic::client::Grpc::with_origin(service, api);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GrpcBearerLayer(BearerLayer);

impl GrpcBearerLayer {
    pub(super) fn new(layer: BearerLayer) -> Self {
        Self(layer)
    }
}

impl<S> Layer<S> for GrpcBearerLayer {
    type Service = GrpcBearer<S>;

    fn layer(&self, inner: S) -> GrpcBearer<S> {
        GrpcBearer { inner, layer: self.0.clone() }
    }
}

/// The service of [`GrpcBearerLayer`].
#[derive(Clone, Debug)]
pub struct GrpcBearer<S> {
    inner: S,
    layer: BearerLayer,
}

impl<S, B, R> Service<Request<B>> for GrpcBearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Replay + Send + 'static,
    R: Send + 'static,
{
    type Response = Response<GrpcBody<R>>;
    type Error = BearerError<S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(BearerError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = send(take_ready(&mut self.inner), self.layer.clone(), request);
        Box::pin(async {
            let (response, attempt) = sent.await?;
            let attempt = attempt.filter(|_| attempt::is_grpc(response.headers()));
            Ok(response.map(|body| GrpcBody { body, attempt }))
        })
    }
}

/// The body of an answer, whose trailers are looked at.
pub struct GrpcBody<R> {
    body: R,
    attempt: Option<Attempt>,
}

impl<R: Body + Unpin> Body for GrpcBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(mut attempt) = this.attempt.take()
        {
            attempt.see_trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R> std::fmt::Debug for GrpcBody<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrpcBody(..)")
    }
}
