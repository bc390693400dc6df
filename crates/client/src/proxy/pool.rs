//! Connections to one upstream, of one thread: taken, used and put back.
//!
//! A connection of HTTP/1.1 is of one request at a time, and goes back once the answer has been passed on. One of HTTP/2
//! is shared by all.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::body::RequestBody;
use super::counters::Counters;
use super::dial::{Dial, Dialled};
use super::fields::Wants;
use super::trouble::Trouble;
use super::{Destination, Limits};
use crate::BoxFuture;

/// What all pools of a proxy have in common.
pub(super) struct Link {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
}

/// The connections to one upstream.
pub(super) struct Pool {
    pub(super) destination: Destination,
    /// Whether it speaks HTTP/2 without being asked.
    http2: bool,
    limits: (usize, Duration),
    state: Mutex<State>,
    /// Held while a connection is opened that may be one for all.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The one that was used last is the last.
    idle: Vec<Idle>,
    shared: Option<http2::SendRequest<RequestBody>>,
    /// Whether the upstream was asked and does not speak HTTP/2.
    http1_only: bool,
    /// When a connection could not be opened, and why.
    failed: Option<(Instant, io::ErrorKind, String)>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    timer: Timer,
    since: Instant,
}

/// The time that an answer may take. One for all requests of a connection: to put it off costs nearly nothing.
type Timer = Option<Pin<Box<Sleep>>>;

/// A request without its body, as often as it has to be sent.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) url: Uri,
    /// Those of the connection are not among them.
    pub(super) headers: HeaderMap,
    pub(super) wants: Wants,
}

/// An answer, and the connection that it comes from, if nobody else may use that meanwhile.
pub(super) type Answer = (Response<Incoming>, Option<Lease>);

impl Pool {
    pub(super) fn new(destination: Destination, http2: bool, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            destination,
            http2,
            limits: (limits.max_idle, limits.idle_timeout),
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        })
    }

    /// Sends a request, and once more where a connection that was kept turns out to have been closed meanwhile.
    pub(super) async fn send(
        self: &Arc<Self>,
        link: &Link,
        head: &Head,
        body: &RequestBody,
    ) -> Result<Answer, Trouble> {
        let mut kept = if head.wants.upgrade.is_some() { self.take_http1() } else { self.take() };
        loop {
            let is_kept = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                // Boxed, since it is large and rare: each request has room for all that it may wait for.
                None => Box::pin(self.open(link, head.wants.upgrade.is_some())).await?,
            };
            let Some(copy) = body.again() else { return Err(Trouble::Unrepeatable) };
            let request = head.request(connection.is_http2(), &self.destination, copy);
            let Some(begun) = connection.begin(request) else { return Err(Trouble::Unrepeatable) };
            let limit = link.limits.response_timeout;
            match in_time(begun, limit, connection.timer(), body).await? {
                Ok(answer) => return Ok((answer, connection.into_lease())),
                Err(mut error) => {
                    // RFC 9110 §9.2.2: what was sent may have been done, unless it does not matter how often.
                    let unsent = error.take_message().is_some();
                    let again = is_kept && (unsent || head.method.is_idempotent());
                    if !again || !body.is_repeatable() {
                        return Err(Trouble::Broken(error.into_error()));
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>) -> Option<Connection> {
        if let Some(shared) = self.take_http2() {
            return Some(shared);
        }
        self.take_http1()
    }

    fn take_http1(self: &Arc<Self>) -> Option<Connection> {
        let mut state = self.state();
        while let Some(Idle { sender, timer, since }) = state.idle.pop() {
            if sender.is_ready() && since.elapsed() < self.limits.1 {
                return Some(Connection::Http1(self.lease(sender, timer)));
            }
        }
        None
    }

    fn take_http2(&self) -> Option<Connection> {
        let mut state = self.state();
        if state.shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            state.shared = None;
        }
        state.shared.clone().map(Connection::Http2)
    }

    fn lease(self: &Arc<Self>, sender: http1::SendRequest<RequestBody>, timer: Timer) -> Lease {
        Lease { sender: Some(sender), timer, pool: Arc::clone(self) }
    }

    fn put(&self, sender: http1::SendRequest<RequestBody>, timer: Timer) {
        let mut state = self.state();
        if state.idle.len() < self.limits.0 {
            state.idle.push(Idle { sender, timer, since: Instant::now() });
        }
    }

    /// Closes what nobody has used for too long.
    pub(super) fn close_idle(&self) {
        self.state()
            .idle
            .retain(|idle| idle.sender.is_ready() && idle.since.elapsed() < self.limits.1);
    }

    /// Whether nobody would miss it.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state();
        state.idle.is_empty() && state.shared.as_ref().is_none_or(http2::SendRequest::is_closed)
    }

    async fn open(self: &Arc<Self>, link: &Link, http1: bool) -> Result<Connection, Trouble> {
        let may_be_shared =
            !http1 && (self.http2 || self.destination.is_https() && !self.state().http1_only);
        if !may_be_shared {
            return self.connect(link, false).await;
        }
        // All who come before it is known wait for the first, instead of opening one each.
        let began = Instant::now();
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.take_http2() {
            return Ok(connection);
        }
        let state_of_failure = self.state().failed.clone();
        if let Some((at, kind, text)) = state_of_failure
            && at > began
        {
            return Err(match kind {
                // All of them are told the same, whoever dialled.
                io::ErrorKind::TimedOut => Trouble::ConnectTimeout(link.limits.connect_timeout),
                _ => Trouble::Unreachable(io::Error::new(kind, text)),
            });
        }
        self.connect(link, true).await
    }

    async fn connect(self: &Arc<Self>, link: &Link, http2: bool) -> Result<Connection, Trouble> {
        let limit = link.limits.connect_timeout;
        let opening = async {
            let dialled = link.dial.dial(&self.destination, http2).await?;
            link.counters.dialled.add();
            let speaks_http2 = dialled.http2 || http2 && self.http2;
            Ok((self.shake_hands(dialled, speaks_http2, link).await, speaks_http2))
        };
        let (connection, speaks_http2) = match timeout(limit, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                return Err(self.note_failure(error));
            }
            Err(_) => {
                self.note_failure(io::ErrorKind::TimedOut.into());
                return Err(Trouble::ConnectTimeout(limit));
            }
        };
        if http2 && !speaks_http2 {
            self.state().http1_only = true;
        }
        let connection = connection.map_err(Trouble::Broken)?;
        if let Connection::Http2(sender) = &connection {
            self.state().shared = Some(sender.clone());
        }
        Ok(connection)
    }

    fn note_failure(&self, error: io::Error) -> Trouble {
        self.state().failed = Some((Instant::now(), error.kind(), error.to_string()));
        Trouble::Unreachable(error)
    }

    async fn shake_hands(
        self: &Arc<Self>,
        dialled: Dialled,
        http2: bool,
        link: &Link,
    ) -> hyper::Result<Connection> {
        let io = TokioIo::new(dialled.stream);
        if !http2 {
            let (sender, connection) = http1::Builder::new()
                .max_header_size(link.limits.max_head)
                .writev(false)
                .handshake(io)
                .await?;
            // It ends with its error, which the request under way has got as well.
            tokio::spawn(async move { drop(connection.with_upgrades().await) });
            return Ok(Connection::Http1(self.lease(sender, None)));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // A shared connection of which the other end is gone would keep all requests waiting.
            .keep_alive_interval(link.limits.idle_timeout)
            .max_header_list_size(u32::try_from(link.limits.max_head).unwrap_or(u32::MAX))
            .handshake(io)
            .await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection::Http2(sender))
    }
}

/// A connection that one request has now.
enum Connection {
    Http1(Lease),
    Http2(http2::SendRequest<RequestBody>),
}

type Began = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Connection {
    const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Hands a request over. What is to come is boxed, and small: whoever waits has no room for requests.
    fn begin(&mut self, request: Request<RequestBody>) -> Option<BoxFuture<'static, Began>> {
        match self {
            Self::Http2(sender) => Some(Box::pin(sender.try_send_request(request))),
            Self::Http1(lease) => Some(Box::pin(lease.sender.as_mut()?.try_send_request(request))),
        }
    }

    fn timer(&mut self) -> Option<&mut Timer> {
        match self {
            Self::Http2(_) => None,
            Self::Http1(lease) => Some(&mut lease.timer),
        }
    }

    /// What goes with the answer: the connection, if nobody else may use it meanwhile.
    fn into_lease(self) -> Option<Lease> {
        match self {
            Self::Http2(_) => None,
            Self::Http1(lease) => Some(lease),
        }
    }
}

/// Waits for the head of an answer. The time begins anew while the request's body is still on its way.
async fn in_time(
    mut future: BoxFuture<'static, Began>,
    limit: Option<Duration>,
    timer: Option<&mut Timer>,
    body: &RequestBody,
) -> Result<Began, Trouble> {
    let Some(limit) = limit else { return Ok(future.await) };
    let mut own = None;
    let timer = timer.unwrap_or(&mut own).get_or_insert_with(|| Box::pin(sleep(limit)));
    let mut progress = body.progress();
    loop {
        timer.as_mut().reset(Instant::now() + limit);
        tokio::select! {
            biased;
            output = &mut future => return Ok(output),
            () = timer.as_mut() => {}
        }
        if std::mem::replace(&mut progress, body.progress()) == body.progress() {
            return Err(Trouble::ResponseTimeout(limit));
        }
    }
}

/// A connection of HTTP/1.1; it goes back when this is dropped, if it can be used again.
pub(super) struct Lease {
    sender: Option<http1::SendRequest<RequestBody>>,
    timer: Timer,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        let timer = self.timer.take();
        if sender.is_ready() {
            self.pool.put(sender, timer);
        } else if !sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            // It has to see the end of the answer yet, or of the request, or that nobody wants the rest.
            let pool = Arc::clone(&self.pool);
            runtime.spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(sender, timer);
                }
            });
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lease(..)")
    }
}

impl Head {
    fn request(&self, http2: bool, to: &Destination, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if http2 {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.url.clone();
            request.headers_mut().remove(HOST);
            if self.wants.trailers {
                request.headers_mut().insert(TE, const { HeaderValue::from_static("trailers") });
            }
            return request;
        }
        *request.uri_mut() = Uri::from(self.path.clone());
        let headers = request.headers_mut();
        headers.insert(HOST, to.host_field.clone());
        if let Some(protocol) = &self.wants.upgrade {
            headers.insert(CONNECTION, const { HeaderValue::from_static("upgrade") });
            headers.insert(UPGRADE, protocol.clone());
        }
        request
    }
}
