//! The outbound proxy: puts a fresh token on the requests of programs that cannot do so themselves.
//!
//! A [`Proxy`] is a *reverse* proxy of one [`Upstream`], whose every request gets the token; or a *forward* proxy, as
//! `HTTP_PROXY` names it, where [`Rule`]s say which hosts get one. It serves any stream of bytes
//! ([`Proxy::serve_connection`]), and [`serve`] does so for listeners, on threads of its own.
//!
//! - What the program sent as `Authorization` is replaced. Without a token nothing is sent (502, 503).
//! - A token goes to hosts that a rule names and no others, over https, or http that does not leave the machine.
//! - A 401, or gRPC's `UNAUTHENTICATED`, is answered once with another token, if the body is at hand: 64 KiB of it are
//!   kept. Redirects are the program's
//!   to follow.
//! - HTTP/1.1 and HTTP/2 on both sides, each with the other; bodies stream both ways; WebSocket and other upgrades over
//!   HTTP/1.1.
//! - Whoever reaches a listener has the token's rights, though not the token. Web pages are
//!   kept out: the `Host` has to be `localhost`, an address or a [name](ProxyBuilder::name) of the listener, and there
//!   must be no foreign `Origin`. TRACE is refused, as its answer holds the token.

mod body;
mod counters;
mod dial;
mod fields;
mod forward;
mod guard;
mod life;
mod limits;
mod pool;
mod serve;
mod sniff;
mod trouble;
mod tunnel;
mod upstream;
mod workers;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use self::body::{RequestBody, ResponseBody};
use self::counters::Counters;
pub use self::counters::Counts;
pub use self::dial::{Dial, Dialer, Dialled, Stream};
use self::fields::Wants;
use self::forward::Forward;
pub use self::forward::Rule;
use self::guard::Guard;
use self::life::{Counted, Life};
pub use self::limits::Limits;
use self::pool::{Answer, Head, Link, Pool};
pub use self::serve::{Listener, serve};
use self::trouble::{Blame, Trouble};
use self::tunnel::Afterwards;
pub use self::upstream::{Destination, Upstream, UpstreamError};
pub use self::workers::Workers;
use crate::TokenSource;
use crate::attempt::{Attempt, Verdict, is_grpc};

/// How many requests a program may have under way on one connection of HTTP/2.
const MAX_STREAMS: u32 = 256;

/// How long whoever has sent half of a head when the end comes may take for the rest.
const SETTLE: Duration = Duration::from_secs(1);

/// Adds tokens to requests. Clones share connections to upstreams.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    link: Link,
    guard: Guard,
    via: bool,
    way: Way,
}

enum Way {
    Reverse(Reverse),
    Forward(Forward),
}

struct Reverse {
    upstream: Upstream,
    source: Arc<dyn TokenSource>,
    pool: Arc<Pool>,
}

/// Where a request goes, and whose token it gets.
struct Plan<'a> {
    pool: Arc<Pool>,
    path: PathAndQuery,
    source: Option<&'a Arc<dyn TokenSource>>,
}

/// Settings of a [`Proxy`].
pub struct ProxyBuilder {
    dial: Arc<dyn Dial>,
    limits: Limits,
    guard: Guard,
    via: bool,
    kind: Kind,
}

enum Kind {
    Reverse(Upstream, Arc<dyn TokenSource>),
    Forward { rules: Vec<Rule>, passes_others: bool, tunnels: bool },
}

impl ProxyBuilder {
    fn new(dial: impl Dial, kind: Kind) -> Self {
        let (limits, guard) = (Limits::default(), Guard::default());
        Self { dial: Arc::new(dial), limits, guard, via: true, kind }
    }

    /// Other limits than those by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A name of the listener, besides `localhost` and addresses, that a `Host` header may have. Its port does not matter.
    #[must_use]
    pub fn name(mut self, host: &str) -> Self {
        self.guard.names.push(host.to_ascii_lowercase());
        self
    }

    /// An origin whose web pages may ask, such as `https://app.example`.
    #[must_use]
    pub fn origin(mut self, origin: &str) -> Self {
        self.guard.origins.push(origin.to_ascii_lowercase());
        self
    }

    /// It listens where no browser can reach it, such as on a Unix socket: any `Host` will do.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.guard.is_private = true;
        self
    }

    /// Whether requests say in `Via` that they came through a proxy, as RFC 9110 §7.6.3 wants. They do by default.
    #[must_use]
    pub fn via(mut self, via: bool) -> Self {
        self.via = via;
        self
    }

    /// A forward proxy refuses requests to hosts that no rule names, instead of passing them on without a token.
    #[must_use]
    pub fn refuse_others(mut self) -> Self {
        if let Kind::Forward { passes_others, .. } = &mut self.kind {
            *passes_others = false;
        }
        self
    }

    /// A forward proxy refuses tunnels (CONNECT), which no token can be put into.
    #[must_use]
    pub fn refuse_tunnels(mut self) -> Self {
        if let Kind::Forward { tunnels, .. } = &mut self.kind {
            *tunnels = false;
        }
        self
    }

    /// The proxy.
    pub fn build(self) -> Proxy {
        let Self { dial, limits, guard, via, kind } = self;
        let way = match kind {
            Kind::Reverse(upstream, source) => {
                let pool = Pool::new(upstream.destination.clone(), upstream.http2, &limits);
                Way::Reverse(Reverse { upstream, source, pool })
            }
            Kind::Forward { rules, passes_others, tunnels } => {
                let pools = forward::Pools::default();
                Way::Forward(Forward { rules, passes_others, tunnels, pools })
            }
        };
        let counters = Arc::new(Counters::default());
        Proxy(Arc::new(Inner { link: Link { dial, limits, counters }, guard, via, way }))
    }
}

impl Proxy {
    /// A reverse proxy: all requests go to this upstream, with tokens of this source.
    pub fn reverse(
        upstream: Upstream,
        source: impl TokenSource + 'static,
        dial: impl Dial,
    ) -> ProxyBuilder {
        ProxyBuilder::new(dial, Kind::Reverse(upstream, Arc::new(source)))
    }

    /// A forward proxy: requests go where they say, and get a token where a rule says so; the first that does counts.
    ///
    /// What a program asks of such a host over http is asked over https, at the port of https if the URL names none.
    pub fn forward(rules: impl IntoIterator<Item = Rule>, dial: impl Dial) -> ProxyBuilder {
        let rules = rules.into_iter().collect();
        ProxyBuilder::new(dial, Kind::Forward { rules, passes_others: true, tunnels: true })
    }

    /// The same with connections of its own, for another thread.
    fn apart(&self) -> Self {
        let Inner { link, guard, via, way } = &*self.0;
        let link = Link {
            dial: Arc::clone(&link.dial),
            limits: link.limits.clone(),
            counters: Arc::clone(&link.counters),
        };
        let way = match way {
            Way::Reverse(Reverse { upstream, source, .. }) => {
                let pool = Pool::new(upstream.destination.clone(), upstream.http2, &link.limits);
                let (upstream, source) = (upstream.clone(), Arc::clone(source));
                Way::Reverse(Reverse { upstream, source, pool })
            }
            Way::Forward(Forward { rules, passes_others, tunnels, .. }) => Way::Forward(Forward {
                rules: rules.clone(),
                passes_others: *passes_others,
                tunnels: *tunnels,
                pools: forward::Pools::default(),
            }),
        };
        Self(Arc::new(Inner { link, guard: guard.clone(), via: *via, way }))
    }

    /// What was counted, over all threads.
    pub fn counts(&self) -> Counts {
        self.0.link.counters.counts()
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.0.link.limits
    }

    /// Closes connections to upstreams that were idle for too long.
    fn close_idle(&self) {
        match &self.0.way {
            Way::Reverse(reverse) => reverse.pool.close_idle(),
            Way::Forward(forward) => forward.pools.close_idle(),
        }
    }

    /// Serves a connection of a program to its end, or until `end` is done and what was begun is answered.
    ///
    /// It needs a tokio runtime with time enabled.
    pub async fn serve_connection<I>(&self, io: I, end: impl Future<Output = ()>)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut end = pin!(end);
        let limit = self.limits().header_timeout;
        let sniffed = tokio::select! {
            sniffed = timeout(limit, sniff::is_http2(io)) => sniffed,
            () = &mut end => return,
        };
        let Ok(Ok((is_http2, io))) = sniffed else { return };
        let (afterwards, life) = (Afterwards::default(), Life::default());
        let (proxy, slot, requests) = (self.clone(), afterwards.clone(), life.clone());
        let service = service_fn(move |request| {
            let (proxy, slot, under_way) = (proxy.clone(), slot.clone(), requests.begin());
            // In pieces of below 1 KiB each: the C library's allocator is quick only there, and hyper would copy what is
            // not boxed.
            let request = Box::new(request);
            Box::pin(async move {
                let answer = proxy.answer(request, &slot).await;
                Ok::<_, Infallible>(answer.map(|body| Counted { body, _under_way: under_way }))
            })
        });
        macro_rules! drive {
            ($connection:expr) => {{
                let mut connection = Box::pin($connection);
                let ended = tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = &mut end => {
                        connection.as_mut().graceful_shutdown();
                        tokio::select! {
                            biased;
                            ended = &mut connection => ended,
                            () = life.idle(SETTLE) => Ok(()),
                        }
                    }
                    () = life.idle(limit) => Ok(()),
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
            }};
        }
        if is_http2 {
            drive!(self.http2().serve_connection(TokioIo::new(io), service));
        } else {
            drive!(self.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        }
        if let Some(afterwards) = afterwards.take() {
            afterwards.await;
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        // No timer of its own, which would be set anew for every request: `Life` sees slow heads too. And what is
        // written at once is copied together, which is cheaper than to name its parts in a list.
        builder.header_read_timeout(None).max_header_size(self.limits().max_head).writev(false);
        builder
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits().header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(self.limits().max_head).unwrap_or(u32::MAX));
        builder
    }

    async fn answer(
        &self,
        request: Box<Request<Incoming>>,
        afterwards: &Afterwards,
    ) -> Response<ResponseBody> {
        let counters = &self.0.link.counters;
        counters.requests.add();
        match self.0.handle(request, afterwards).await {
            Ok(response) => {
                if response.status() == StatusCode::UNAUTHORIZED {
                    counters.unauthorized.add();
                }
                response
            }
            Err(trouble) => {
                match trouble.blame() {
                    Blame::Program => counters.refused.add(),
                    Blame::Source => counters.without_token.add(),
                    Blame::Upstream => counters.unanswered.add(),
                }
                tracing::warn!(status = trouble.status().as_u16(), "no answer: {trouble}");
                trouble.answer()
            }
        }
    }
}

impl Inner {
    async fn handle(
        &self,
        request: Box<Request<Incoming>>,
        afterwards: &Afterwards,
    ) -> Result<Response<ResponseBody>, Trouble> {
        let (mut parts, body) = request.into_parts();
        let plan = match &self.way {
            Way::Forward(forward) if parts.method == Method::CONNECT => {
                return Box::pin(tunnel::connect(forward, &self.link, &mut parts, afterwards))
                    .await;
            }
            Way::Forward(forward) => {
                forward.plan(&parts.uri, &parts.headers, &self.guard, &self.link.limits)?
            }
            Way::Reverse(reverse) => {
                self.guard.check(&parts.uri, &parts.headers)?;
                reverse.plan(&parts.method, &parts.uri)?
            }
        };
        if plan.source.is_some() && parts.method == Method::TRACE {
            return Err(Trouble::NoTrace);
        }
        let program = parts.extensions.remove::<OnUpgrade>();
        let mut headers = parts.headers;
        let wants = fields::clean_request(&mut headers, parts.version);
        if plan.source.is_some() {
            fields::remove_credentials(&mut headers);
        }
        if self.via {
            fields::add_via(&mut headers, parts.version);
        }
        let url = plan.pool.destination.url(&plan.path);
        let Plan { pool, path, source } = plan;
        let mut head = Head { method: parts.method, path, url, headers, wants };
        let body = RequestBody::new(body, self.link.limits.replay_buffer);
        let (answer, attempt) = Box::pin(self.exchange(&pool, source, &mut head, &body)).await?;
        self.finish(answer, attempt, &head.wants, program, afterwards)
    }

    /// Sends a request, with a token and once more after a 401 if it has a source.
    async fn exchange(
        &self,
        pool: &Arc<Pool>,
        source: Option<&Arc<dyn TokenSource>>,
        head: &mut Head,
        body: &RequestBody,
    ) -> Result<(Answer, Option<Box<Attempt>>), Trouble> {
        let Some(source) = source else {
            return Ok((pool.send(&self.link, head, body).await?, None));
        };
        let limit = self.link.limits.token_timeout;
        let attempt = at_once_or_within(limit, Attempt::begin(source)).await;
        let mut attempt =
            attempt.map_err(|_| Trouble::TokenTimeout(limit))?.map_err(Trouble::NoToken)?;
        loop {
            attempt.attach(&head.method, &head.url, &mut head.headers).map_err(Trouble::NoToken)?;
            let answer = pool.send(&self.link, head, body).await?;
            let (status, headers) = (answer.0.status(), answer.0.headers());
            let judging = attempt.judge(&head.url, status, headers, body.is_repeatable());
            match at_once_or_within(limit, judging).await {
                Ok(Verdict::Repeat) => self.link.counters.repeated.add(),
                // A successor that does not come in time is none.
                Ok(Verdict::Deliver) | Err(_) => {
                    let attempt = is_grpc(answer.0.headers()).then(|| Box::new(attempt));
                    return Ok((answer, attempt));
                }
            }
        }
    }

    /// Makes an upstream's answer the program's.
    fn finish(
        &self,
        (mut response, lease): Answer,
        attempt: Option<Box<Attempt>>,
        wants: &Wants,
        program: Option<OnUpgrade>,
        afterwards: &Afterwards,
    ) -> Result<Response<ResponseBody>, Trouble> {
        let protocol = response.headers().get(UPGRADE).cloned();
        fields::clean_answer(response.headers_mut(), matches!(self.way, Way::Reverse(_)));
        *response.version_mut() = Version::HTTP_11;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|body| ResponseBody::Upstream(body, lease, attempt)));
        }
        let (Some(_), Some(program)) = (&wants.upgrade, program) else {
            return Err(Trouble::Unasked);
        };
        afterwards.set(tunnel::join(program, hyper::upgrade::on(&mut response)));
        self.link.counters.tunnels.add();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, const { HeaderValue::from_static("upgrade") });
        headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
        Ok(response.map(|_| ResponseBody::Own(Bytes::new())))
    }
}

impl Reverse {
    fn plan(&self, method: &Method, uri: &http::Uri) -> Result<Plan<'_>, Trouble> {
        if *method == Method::CONNECT {
            return Err(Trouble::NoTunnel);
        }
        let path = self.upstream.path(uri)?;
        Ok(Plan { pool: Arc::clone(&self.pool), path, source: Some(&self.source) })
    }
}

/// A future's output, if there within a time. One that is ready at once, as nearly all are, needs no timer.
async fn at_once_or_within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Proxy");
        match &self.0.way {
            Way::Reverse(reverse) => debug.field("upstream", &reverse.upstream),
            Way::Forward(forward) => debug.field("rules", &forward.rules),
        };
        debug.finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
