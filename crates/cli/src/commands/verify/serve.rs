//! The accept loop: connections of proxies in, within limits, until it is told to end.

use std::convert::Infallible;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokenry_client::proxy::Workers;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Door;
use super::settings::Server;

/// How long a connection may be idle or send a head: longer than proxies keep idle ones, so that they close them and none is
/// closed while they send. Caddy keeps them for two minutes, the others shorter or until they are closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(150);

/// The largest head of a request: what proxies let through of their clients, with the token.
const MAX_HEAD: usize = 64 * 1024;

/// How long to wait after the operating system refused to accept (out of file descriptors, mostly).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is done, and then finishes what was begun.
pub(super) async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    server: &Server,
    workers: &Workers,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ended) = watch::channel(false);
    let places = Arc::new(Semaphore::new(server.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            // It is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                let (door, ended) = (Arc::clone(&door), ended.clone());
                workers.spawn_into(&mut connections, async move {
                    hold(stream, &door, ended).await;
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
    // An error means that nobody is left to tell.
    let _ = end.send(true);
    let finishing = async { while connections.join_next().await.is_some() {} };
    if timeout(server.drain_timeout, finishing).await.is_err() {
        tracing::warn!("some connections did not finish in time and were closed");
    }
}

/// Serves a connection, whose readiness is the thread's own from here on.
async fn hold(stream: TcpStream, door: &Door, mut ended: watch::Receiver<bool>) {
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "connection not taken over"),
    };
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| async {
        // There is no content that says anything; what there is, is not read.
        let (parts, _) = request.into_parts();
        Ok::<_, Infallible>(door.answer(&parts).await)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD)
        .writev(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let told = async {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let served = tokio::select! {
        served = &mut connection => served,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}
