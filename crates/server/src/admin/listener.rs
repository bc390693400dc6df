//! The socket of the admin listener.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::problem::Problem;
use super::{Administration, is_api};
use crate::clock::random;
use crate::http_answer::Body;
use crate::life::Alive;
use crate::serve::{Accepting, REQUEST_ID, read_body, request_name};
use crate::workers::Workers;

/// A few scrapers, probes and programs that administer.
const MAX_CONNECTIONS: usize = 64;

/// Answers health, metrics and the admin API until `shutdown` is done.
pub async fn serve_admin(
    administration: Administration,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let accepting = Accepting {
        workers: &Workers::here(),
        max_connections: MAX_CONNECTIONS,
        idle_timeout: administration.app.limits.header_timeout,
        drain_timeout: Duration::from_secs(1),
    };
    // Without randomness the names begin at zero, and nothing can be issued anyway.
    let names = Arc::new(AtomicU64::new(random().map_or(0, u64::from_ne_bytes)));
    let connection = move |stream, peer: std::net::SocketAddr, alive: Alive| {
        let (administration, names) = (administration.clone(), Arc::clone(&names));
        async move {
            let service = service_fn(|request| {
                let (administration, names) = (administration.clone(), Arc::clone(&names));
                let under_way = alive.request();
                async move {
                    let response = answer(administration, request, peer.ip(), &names).await;
                    drop(under_way);
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = alive.drive(Box::pin(connection)).await;
        }
    };
    accepting.run(listener, shutdown, connection).await;
}

async fn answer(
    administration: Administration,
    request: Request<Incoming>,
    peer: IpAddr,
    names: &AtomicU64,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let id = request_name(&parts.headers, names);
    let name = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let mut response = if is_api(parts.uri.path()) {
        match read_body(&administration.app.limits, &parts.headers, body).await {
            Err(status) => unread(status).answer(&name),
            // In a task of its own, which goes on when the caller hangs up: no change is made and not logged.
            Ok(body) => {
                let told = name.clone();
                let task = async move { administration.handle(&parts, &body, peer, &told).await };
                tokio::spawn(task).await.unwrap_or_else(|_| {
                    let detail = "the server failed at this";
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).answer(&name)
                })
            }
        }
    } else {
        administration.handle(&parts, &Bytes::new(), peer, &name).await
    };
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// After this the connection is of no more use: the rest of the body was not read.
fn unread(status: StatusCode) -> Problem {
    const CLOSE: HeaderValue = HeaderValue::from_static("close");
    let detail = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
        StatusCode::REQUEST_TIMEOUT => "the body took too long",
        _ => "the body cannot be read",
    };
    Problem::new(status, detail).with(header::CONNECTION, CLOSE)
}
