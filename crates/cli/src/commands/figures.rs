//! The admin listener of commands that have nothing to administer: health and metrics (OpenMetrics).

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
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A few scrapers and probes.
const MAX_CONNECTIONS: usize = 16;

/// How long somebody may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after the operating system refused to accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What is told.
pub(super) struct Figures {
    registry: Registry,
    ready: Option<Box<dyn Fn() -> Readiness + Send + Sync>>,
}

/// Whether the process can do now what it is there for, and how it stands with each thing that takes.
pub(super) struct Readiness {
    pub(super) is_ready: bool,
    pub(super) body: Value,
}

impl Figures {
    /// These metrics. `/health` says that the process answers, and nothing else: who restarts it because an issuer is down
    /// has no more keys than before.
    pub(super) fn new(metrics: impl Collector) -> Self {
        let mut registry = Registry::with_prefix("tokenry");
        registry.register_collector(Box::new(metrics));
        Self { registry, ready: None }
    }

    /// Tells at `/ready`, too, whether the process can do what it is there for.
    pub(super) fn with_readiness(
        self,
        ready: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        Self { ready: Some(Box::new(ready)), ..self }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let (status, kind, text) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                let mut text = String::new();
                // Writing to a String does not fail.
                let _ = encode(&mut text, &self.registry);
                (StatusCode::OK, OPEN_METRICS, text)
            }
            (&Method::GET, "/health") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            (&Method::GET, "/ready") => match &self.ready {
                Some(ready) => ready().answer(),
                None => nothing("/health and /metrics"),
            },
            _ if self.ready.is_some() => nothing("/health, /ready and /metrics"),
            _ => nothing("/health and /metrics"),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

impl Readiness {
    fn answer(self) -> (StatusCode, &'static str, String) {
        let status = if self.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, "application/json", format!("{}\n", self.body))
    }
}

fn nothing(instead: &str) -> (StatusCode, &'static str, String) {
    (StatusCode::NOT_FOUND, "text/plain", format!("see {instead}\n"))
}

/// Answers until `shutdown` is done.
pub(super) async fn serve(
    listener: TcpListener,
    figures: Figures,
    shutdown: impl Future<Output = ()>,
) {
    let figures = Arc::new(figures);
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
        let figures = Arc::clone(&figures);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = figures.answer(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// A counter: its name, what it counts, and where its value is.
pub(super) type Count<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Writes counters, one line for each of those that are counted.
pub(super) fn counters<T>(
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
