//! The accept loop: sockets in, answers out, within limits, until it is told to end.
//!
//! It is our own, since the ready-made ones set no timer: a connection whose head does not arrive would never be
//! closed. The protocol is settled by ALPN before hyper sees the connection, for the same reason: guessing
//! it from the first bytes would wait for them without limit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::App;
use crate::clock::random;
use crate::http_answer::{Body, error, unavailable};
use crate::idle::Activity;
use crate::tls::{Tls, h2};

/// How long to wait after the operating system refused to accept (out of file descriptors, mostly).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How many requests one HTTP/2 connection may have under way. Enough for a keeper, few enough that a connection
/// cannot hold many half-sent bodies.
const MAX_STREAMS: u32 = 32;

/// The largest head of a request, in bytes. Ours have a Basic header and little else.
const MAX_HEAD: usize = 16 * 1024;

/// The header that names a request, in both directions and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers requests on `listener` until `shutdown` is done, and then finishes those it has accepted.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) {
    let server = Arc::new(Server {
        requests: Places { taken: AtomicUsize::new(0), limit: app.limits.max_requests },
        ids: RequestIds::new(),
        app,
        tls,
    });
    let answer = |server: &Arc<Server>, stream, peer, watcher| {
        let server = Arc::clone(server);
        async move { server.connection(stream, peer, watcher).await }
    };
    let limits = server.app.limits.clone();
    accept(
        listener,
        limits.max_connections,
        limits.drain_timeout,
        shutdown,
        |stream, peer, watcher| answer(&server, stream, peer, watcher),
    )
    .await;
}

/// Accepts connections within a limit until `shutdown` is done, then lets them finish.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    max_connections: usize,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
    connection: impl Fn(TcpStream, SocketAddr, Watcher) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    // Whoever is still there once the draining is over ends with this.
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(max_connections));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let answered = connection(stream, peer, graceful.watcher());
                connections.spawn(async move {
                    answered.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time and were closed");
    }
    connections.shutdown().await;
}

struct Server {
    app: Arc<App>,
    tls: Option<Tls>,
    requests: Places,
    ids: RequestIds,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        let connections = self.app.metrics.connections.clone();
        connections.inc();
        match &self.tls {
            None => self.http(stream, false, peer.ip(), watcher).await,
            Some(tls) => {
                let shaken = timeout(self.app.limits.handshake_timeout, tls.accept(stream)).await;
                match shaken {
                    Ok(Ok(stream)) => {
                        let h2 = h2(&stream);
                        self.http(stream, h2, peer.ip(), watcher).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                }
            }
        }
        connections.dec();
    }

    async fn http(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        h2: bool,
        peer: IpAddr,
        watcher: Watcher,
    ) {
        let (limits, own) = (&self.app.limits, Arc::clone(self));
        let io = TokioIo::new(stream);
        let activity = Arc::new(Activity::default());
        let counted = Arc::clone(&activity);
        let service = service_fn(move |request| {
            let (server, under_way) = (Arc::clone(&own), counted.begin());
            async move {
                let response = server.request(request, peer).await;
                drop(under_way);
                Ok::<_, Infallible>(response)
            }
        });
        let served = async {
            if h2 {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(limits.header_timeout)
                    .max_concurrent_streams(MAX_STREAMS)
                    .max_header_list_size(MAX_HEAD as u32)
                    .serve_connection(io, service);
                watcher.watch(connection).await
            } else {
                // No timer of its own, which would be set anew for every request: `Activity` sees slow heads too.
                let connection =
                    http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, service);
                watcher.watch(connection).await
            }
        };
        tokio::select! {
            biased;
            ended = served => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            },
            () = activity.idle_for(limits.header_timeout) => {
                tracing::debug!(%peer, "connection closed: no request began for a while");
            }
        }
    }

    async fn request(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let id = self.ids.of(&parts.headers);
        let name = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        // A place is taken once the whole request is there: who sends half of one holds nothing.
        let mut response = match self.read(&parts.headers, body).await {
            Err(response) => response,
            Ok(body) => match self.requests.take() {
                Some(_place) => self.app.handle(&parts, &body, peer, name).await,
                None => {
                    self.app.metrics.shed.inc();
                    unavailable()
                }
            },
        };
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// Reads a body within its limits.
    async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Response<Body>> {
        let limits = &self.app.limits;
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if announced.and_then(|v| v.parse::<u64>().ok()).is_some_and(|n| n > limits.max_body as u64)
        {
            return Err(closing(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let mut collected = pin!(collect(body, limits.max_body));
        // Nearly always the body came with the head; then no timer is set.
        let body = match poll_fn(|context| Poll::Ready(collected.as_mut().poll(context))).await {
            Poll::Ready(body) => Ok(body),
            Poll::Pending => timeout(limits.body_timeout, collected).await,
        };
        match body {
            Err(_) => Err(closing(StatusCode::REQUEST_TIMEOUT)),
            Ok(Err(Unread::TooLarge)) => Err(closing(StatusCode::PAYLOAD_TOO_LARGE)),
            Ok(Err(Unread::Broken)) => Err(closing(StatusCode::BAD_REQUEST)),
            Ok(Ok(body)) => Ok(body),
        }
    }
}

/// How many requests are under way at once, at most. Nobody waits here, so a number is enough: a semaphore's queue has
/// a lock, which the cores would pass to and fro.
struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// A place of one request; it is free again when this is dropped.
struct Place<'a>(&'a Places);

impl Places {
    fn take(&self) -> Option<Place<'_>> {
        let place = Place(self);
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Unread {
    TooLarge,
    Broken,
}

/// The whole body, if it is no larger than `limit`. One chunk, as nearly always, is not copied.
async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + chunk.remaining() > limit {
            return Err(Unread::TooLarge);
        }
        if first.is_empty() {
            first = chunk;
        } else {
            rest.extend_from_slice(&chunk);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// An error after which the connection is of no more use: the rest of the body was not read.
fn closing(status: StatusCode) -> Response<Body> {
    let mut response = error(status, "invalid_request");
    response.headers_mut().insert(header::CONNECTION, const { HeaderValue::from_static("close") });
    response
}

/// Names requests that come without a harmless name of their own.
///
/// A name is 16 hex digits: a random start for the process, and a count. It tells requests apart in a log; it is no
/// secret.
struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // Without randomness the count begins at zero, and nothing can be issued anyway.
        Self { next: AtomicU64::new(random().map_or(0, u64::from_ne_bytes)) }
    }

    /// The caller's request id, if it is harmless; otherwise the next of ours.
    fn of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let theirs = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        theirs.cloned().or_else(|| {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let digit = |i: usize| HEX[(next >> (60 - 4 * i)) as usize & 15];
            HeaderValue::from_bytes(&std::array::from_fn::<u8, 16, _>(digit)).ok()
        })
    }
}

/// 1 to 64 of `A-Z a-z 0-9 . _ -`: safe in every log.
fn is_request_id(id: &[u8]) -> bool {
    (1..=64).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_as_there_are_can_be_taken_at_once() {
        let places = Places { taken: AtomicUsize::new(0), limit: 2 };
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some());
        // Who is turned away takes nothing.
        assert!(places.take().is_none() && places.take().is_none());
        drop(first);
        let third = places.take();
        assert!(third.is_some() && places.take().is_none());
        drop((second, third));
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
