//! The proxy's health and metrics (OpenMetrics).

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokenry_client::proxy::{Counts, Proxy};
use tokenry_client::{Keeper, KeeperMetrics};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A few scrapers and probes.
const MAX_CONNECTIONS: usize = 16;

/// How long somebody may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after the operating system refused to accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What is told.
#[derive(Debug)]
pub(super) struct Figures {
    /// By the names of their upstreams.
    pub(super) proxies: Vec<(String, Proxy)>,
    /// By the names of their tokens.
    pub(super) keepers: Vec<(String, Keeper)>,
}

/// Answers until `shutdown` is done.
pub(super) async fn serve(
    listener: TcpListener,
    figures: Figures,
    shutdown: impl Future<Output = ()>,
) {
    let mut registry = Registry::with_prefix("tokenry");
    registry.register_collector(Box::new(figures));
    let registry = Arc::new(registry);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // Whoever holds all places must not hold up the end.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => return,
            next = next => next,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &registry);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let mut text = String::new();
            // Writing to a String does not fail.
            let _ = encode(&mut text, registry);
            (StatusCode::OK, OPEN_METRICS, text)
        }
        (&Method::GET, "/health") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "see /health and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

type Count<T> = (&'static str, &'static str, fn(&T) -> u64);

const OF_PROXIES: [Count<Counts>; 8] = [
    ("proxy_requests", "Requests that began", |c| c.requests),
    ("proxy_requests_refused", "Requests refused: malformed, misdirected, from web pages", |c| {
        c.refused
    }),
    ("proxy_requests_without_token", "Requests not sent, for want of a token", |c| c.without_token),
    ("proxy_requests_unanswered", "Requests that the upstream did not answer", |c| c.unanswered),
    ("proxy_requests_repeated", "Requests sent once more, after a 401 or for a nonce", |c| {
        c.repeated
    }),
    ("proxy_answers_unauthorized", "Answers that say 401, as programs got them", |c| {
        c.unauthorized
    }),
    ("proxy_connections_opened", "Connections to upstreams that were opened", |c| c.dialled),
    ("proxy_tunnels", "Connections that became something else than HTTP", |c| c.tunnels),
];

const OF_KEEPERS: [Count<KeeperMetrics>; 6] = [
    ("keeper_tokens_obtained", "Tokens obtained with credentials", |m| m.obtained),
    ("keeper_tokens_refreshed", "Tokens obtained with a refresh token", |m| m.refreshed),
    ("keeper_obtain_failures", "Requests with credentials that brought no token", |m| {
        m.obtain_failures
    }),
    ("keeper_refresh_failures", "Requests with a refresh token that brought none", |m| {
        m.refresh_failures
    }),
    ("keeper_tokens_withdrawn", "Tokens withdrawn after a 401", |m| m.withdrawn),
    ("keeper_served_while_failing", "Callers served although the last request failed", |m| {
        m.served_while_failing
    }),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let proxies: Vec<_> = self
            .proxies
            .iter()
            .map(|(name, proxy)| ([("upstream", name.as_str())], proxy.counts()))
            .collect();
        let keepers: Vec<_> = self
            .keepers
            .iter()
            .map(|(name, keeper)| ([("token", name.as_str())], keeper.metrics()))
            .collect();
        counters(&mut encoder, &OF_PROXIES, &proxies)?;
        counters(&mut encoder, &OF_KEEPERS, &keepers)?;
        let help = "For how long the token is good, 0 if there is none";
        let name = "keeper_token_good_for_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, metrics) in &keepers {
            let seconds = metrics.good_for.unwrap_or_default().as_secs_f64();
            ConstGauge::new(seconds).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

fn counters<T>(
    encoder: &mut DescriptorEncoder<'_>,
    counts: &[Count<T>],
    of: &[([(&str, &str); 1], T)],
) -> Result<(), fmt::Error> {
    for (name, help, read) in counts {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in of {
            ConstCounter::new(read(value)).encode(family.encode_family(labels)?)?;
        }
    }
    Ok(())
}
