//! The accept loop: sockets in, answers out, within limits, until it is told to end.
//!
//! It is our own, since the ready-made ones set no timer: a connection whose head does not arrive would never be
//! closed. The protocol is settled by ALPN before hyper sees the connection, for the same reason: guessing
//! it from the first bytes would wait for them without limit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::App;
use crate::clock::random;
use crate::http_answer::{Body, error, unavailable};
use crate::life::{Alive, Lives};
use crate::limits::Limits;
use crate::peer::Peer;
use crate::socket::{Socket, set_up};
use crate::tls::{Tls, certificate, h2};
use crate::workers::Workers;

/// How long to wait after the operating system refused to accept (out of file descriptors, mostly).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long connections go on as before once a shutdown has begun: what their peers had sent by then is there, and the
/// operating system has not told yet.
const SETTLE: Duration = Duration::from_millis(20);

/// How many requests one HTTP/2 connection may have under way. Enough for a keeper, few enough that a connection
/// cannot hold many half-sent bodies.
const MAX_STREAMS: u32 = 32;

/// The largest head of a request, in bytes. Ours have a Basic header and little else.
const MAX_HEAD: usize = 16 * 1024;

/// The header that names a request, in both directions and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers requests on `listener` until `shutdown` is done, and then finishes those it has accepted.
///
/// This task accepts; `workers` answer.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<Tls>,
    workers: &Workers,
    shutdown: impl Future<Output = ()>,
) {
    let mut watching = JoinSet::new();
    for worker in workers.iter() {
        let app = Arc::clone(&app);
        watching.spawn_on(async move { app.admission.feel().await }, worker.runtime());
    }
    let limits = app.limits.clone();
    let server = Arc::new(Server {
        requests: Places { taken: AtomicUsize::new(0), limit: limits.max_requests },
        // Without randomness the names begin at zero, and nothing can be issued anyway.
        first_name: random().map_or(0, u64::from_ne_bytes),
        app,
        tls,
    });
    let accepting = Accepting {
        workers,
        max_connections: limits.max_connections,
        idle_timeout: limits.header_timeout,
        drain_timeout: limits.drain_timeout,
    };
    let feed = Arc::clone(&server.app.feed);
    let shutdown = async {
        shutdown.await;
        // Nobody waits for what does not end.
        feed.end();
    };
    let connection = move |stream, peer, alive| Arc::clone(&server).connection(stream, peer, alive);
    accepting.run(listener, shutdown, connection).await;
}

/// How connections are accepted.
pub(crate) struct Accepting<'a> {
    pub(crate) workers: &'a Workers,
    pub(crate) max_connections: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

impl Accepting<'_> {
    /// Accepts connections within a limit until `shutdown` is done, then lets them finish.
    pub(crate) async fn run<F>(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
        connection: impl Fn(TcpStream, SocketAddr, Alive) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let lives = Arc::new(Lives::default());
        // Whoever is still there once the draining is over ends with this.
        let mut connections = JoinSet::new();
        let places = Arc::new(Semaphore::new(self.max_connections));
        let mut looks = interval((self.idle_timeout / 2).max(Duration::from_millis(1)));
        // After a pause of the whole process the two looks that close a connection must not come at once.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                _ = looks.tick() => {
                    lives.close_idle();
                    continue;
                }
                next = next => next,
            };
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
            match (accepted, self.workers.least_busy()) {
                (_, None) => break,
                (Ok((stream, peer)), Some(worker)) => {
                    let (connection, alive, busy) =
                        (connection.clone(), lives.begin(), worker.busy());
                    let answered = async move {
                        // From here on its readiness is the worker's own.
                        match TcpStream::from_std(stream) {
                            Ok(stream) => connection(stream, peer, alive).await,
                            Err(error) => tracing::warn!(%error, "connection not taken over"),
                        }
                        drop((place, busy));
                    };
                    connections.spawn_on(answered, worker.runtime());
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(listener);
        tokio::time::sleep(SETTLE).await;
        lives.finish();
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(self.drain_timeout, finished).await.is_err() {
            tracing::warn!("some connections did not finish in time and were closed");
        }
        connections.shutdown().await;
    }
}

struct Server {
    app: Arc<App>,
    tls: Option<Tls>,
    requests: Places,
    /// The name of the first request of the first connection.
    first_name: u64,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, alive: Alive) {
        set_up(&stream);
        let connections = self.app.metrics.connections.clone();
        connections.inc();
        let conversation = Conversation {
            names: AtomicU64::new(self.first_name.wrapping_add(alive.number << 32)),
            peer: peer.ip().into(),
            server: self,
            alive,
        };
        conversation.hold(stream).await;
        connections.dec();
    }
}

/// A connection: what its requests share, and no other core touches.
struct Conversation {
    server: Arc<Server>,
    peer: Peer,
    alive: Alive,
    names: AtomicU64,
}

impl Conversation {
    // What is large is boxed: otherwise every task would have room for all kinds of connections at once, and thousands
    // of them would not fit into a processor's caches.

    async fn hold(self, stream: TcpStream) {
        let stream = Socket::new(stream);
        match self.server.tls.clone() {
            None => self.http1(stream).await,
            Some(tls) => Box::pin(self.encrypted(tls, stream)).await,
        }
    }

    async fn encrypted(mut self, tls: Tls, stream: Socket) {
        let peer = self.peer.ip;
        match timeout(self.server.app.limits.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.peer.certificate = certificate(&stream).map(Arc::new);
                if h2(&stream) { self.http2(stream).await } else { self.http1(stream).await }
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    fn http1(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> impl Future<Output = ()> + Send {
        let (this, asked) = self.shared();
        let service = service_fn(move |request| Arc::clone(&asked).answer(request));
        // No timer of its own, which would be set anew for every request: `Lives` sees slow heads too. And no look
        // at whether the peer is still there, for which hyper makes a new buffer each time: `Socket` sees that.
        let connection = http1::Builder::new()
            .half_close(true)
            // Head and body are so small that a copy costs less than to name them in a list.
            .writev(false)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        this.drive(Box::pin(connection))
    }

    fn http2(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> impl Future<Output = ()> + Send {
        let (this, asked) = self.shared();
        let service = service_fn(move |request| Arc::clone(&asked).answer(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(this.server.app.limits.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .serve_connection(TokioIo::new(stream), service);
        this.drive(Box::pin(connection))
    }

    fn shared(self) -> (Arc<Self>, Arc<Self>) {
        let this = Arc::new(self);
        (Arc::clone(&this), this)
    }

    async fn drive<C>(self: Arc<Self>, connection: Pin<Box<C>>)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let peer = self.peer.ip;
        match self.alive.drive(connection).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
            None => tracing::debug!(%peer, "connection closed: no request began for a while"),
        }
    }

    /// An answer under way. Boxed, since hyper has a place for it in each connection, and copies it there.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Pin<Box<impl Future<Output = Result<Response<Body>, Infallible>> + Send>> {
        let under_way = self.alive.request();
        let (parts, body) = request.into_parts();
        Box::pin(async move {
            let response = self.request(&parts, body).await;
            response.body().keep(under_way);
            Ok(response)
        })
    }

    async fn request(&self, parts: &Parts, body: Incoming) -> Response<Body> {
        let server = &*self.server;
        let id = self.name(&parts.headers);
        let name = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        // A place is taken once the whole request is there: who sends half of one holds nothing.
        let mut response = match read_body(&server.app.limits, &parts.headers, body).await {
            Err(status) => closing(status),
            Ok(body) => match server.requests.take() {
                Some(_place) => server.app.handle(parts, &body, &self.peer, name).await,
                None => {
                    server.app.metrics.shed.inc();
                    unavailable()
                }
            },
        };
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// The names of a process begin anywhere, those of each connection 2³² after those of the one before.
    fn name(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        request_name(headers, &self.names)
    }
}

/// The caller's name for a request, if it is harmless; otherwise the next of ours: 16 hex digits.
///
/// Names tell requests apart in a log, and are no secret.
pub(crate) fn request_name(headers: &HeaderMap, names: &AtomicU64) -> Option<HeaderValue> {
    let theirs = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
    theirs.cloned().or_else(|| {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let next = names.fetch_add(1, Ordering::Relaxed);
        let digit = |i: usize| HEX[(next >> (60 - 4 * i)) as usize & 15];
        HeaderValue::from_bytes(&std::array::from_fn::<u8, 16, _>(digit)).ok()
    })
}

/// Reads a body within its limits; otherwise the status that says why not.
pub(crate) async fn read_body(
    limits: &Limits,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Bytes, StatusCode> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if announced.and_then(|v| v.parse::<u64>().ok()).is_some_and(|n| n > limits.max_body as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut collected = pin!(collect(body, limits.max_body));
    // Nearly always the body came with the head; then no timer is set.
    let body = match poll_fn(|context| Poll::Ready(collected.as_mut().poll(context))).await {
        Poll::Ready(body) => Ok(body),
        Poll::Pending => Box::pin(timeout(limits.body_timeout, collected)).await,
    };
    match body {
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(Unread::TooLarge)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(Unread::Broken)) => Err(StatusCode::BAD_REQUEST),
        Ok(Ok(body)) => Ok(body),
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
