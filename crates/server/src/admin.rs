//! The admin listener: `/health` and `/metrics`. It is meant for a private address.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::app::App;
use crate::http_answer::{Body, error, full, json};
use crate::life::Alive;
use crate::serve::Accepting;
use crate::workers::Workers;

/// A few scrapers and probes.
const MAX_CONNECTIONS: usize = 64;

/// Answers `/health` and `/metrics` until `shutdown` is done.
///
/// `/health` is 200 as long as tokens can be issued. `"store":"down"` in its body says that what needs the store
/// (rotation, changes) is answered 503 for now.
pub async fn serve_admin(app: Arc<App>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let accepting = Accepting {
        workers: &Workers::here(),
        max_connections: MAX_CONNECTIONS,
        idle_timeout: app.limits.header_timeout,
        drain_timeout: Duration::from_secs(1),
    };
    let connection = move |stream, _, alive: Alive| {
        let app = Arc::clone(&app);
        async move {
            let service = service_fn(|request| {
                let app = Arc::clone(&app);
                let _under_way = alive.request();
                async move { Ok::<_, Infallible>(answer(&app, &request)) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = alive.drive(Box::pin(connection)).await;
        }
    };
    accepting.run(listener, shutdown, connection).await;
}

fn answer(app: &App, request: &Request<Incoming>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    }
    match request.uri().path() {
        "/health" => {
            let store = if app.store_is_up() { "up" } else { "down" };
            json(StatusCode::OK, format!(r#"{{"status":"ok","store":"{store}"}}"#))
        }
        "/metrics" => {
            const OPEN_METRICS: HeaderValue = HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            );
            let mut response = full(StatusCode::OK, Bytes::from(app.metrics.text()));
            response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
            response
        }
        _ => error(StatusCode::NOT_FOUND, "not_found"),
    }
}
