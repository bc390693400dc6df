//! HTTP/1.1 and HTTP/2 within the process, for tests.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tower_service::Service;

use crate::BoxFuture;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

type Handler = dyn Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync;

/// Where every connection leads to the same server, whatever the URL says.
#[derive(Clone)]
pub(super) struct Network {
    version: Version,
    handler: Arc<Handler>,
}

impl Network {
    pub(super) fn new<F, A>(version: Version, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self { version, handler: Arc::new(move |request| Box::pin(handler(request))) }
    }

    /// hyper's client.
    pub(super) fn client<B>(&self) -> Client<Self, B>
    where
        B: http_body::Body + Send,
        B::Data: Send,
    {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(self.version == Version::HTTP_2).build(self.clone())
    }

    async fn serve(self, io: DuplexStream) {
        let io = TokioIo::new(io);
        let handler = self.handler;
        let service = service_fn(move |request| {
            let answer = handler(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        // How a connection ends is for the test to see at the other end.
        let _ended = if self.version == Version::HTTP_2 {
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.enable_connect_protocol().serve_connection(io, service).await
        } else {
            let server = hyper::server::conn::http1::Builder::new();
            server.serve_connection(io, service).with_upgrades().await
        };
    }
}

impl Service<Uri> for Network {
    type Response = Wire;
    type Error = Infallible;
    type Future = Ready<Result<Wire, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        tokio::spawn(self.clone().serve(theirs));
        ready(Ok(Wire(TokioIo::new(ours))))
    }
}

/// The client's end of a connection.
pub(super) struct Wire(TokioIo<DuplexStream>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

pub(super) fn answer(status: u16, text: &'static str) -> Answer {
    Response::builder().status(status).body(Full::from(text).boxed_unsync()).unwrap()
}

/// The `Authorization` of a request.
pub(super) fn authorization<B>(request: &Request<B>) -> String {
    let header = request.headers().get(http::header::AUTHORIZATION);
    header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
