//! Where an agent listens: a socket of its user, and a port of this machine for containers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::access::Peer;
use super::server::AgentServer;

/// How many connections are open at once; more wait to be accepted. A thousand processes that start together are held
/// several times over, and each takes some kilobytes.
const CONNECTIONS: usize = 4096;

/// How long to wait after the operating system refused to accept (out of file descriptors, mostly).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long those who wait for a token may go on at the end. They have somewhere else to go.
const DRAIN: Duration = Duration::from_secs(2);

/// How often it is looked for lent keepers that nobody uses any more.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// Something that connections come from.
pub(super) trait Accept: Send {
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

struct Loopback(TcpListener);

impl Accept for Loopback {
    type Io = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, address) = self.0.accept().await?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not from this machine"));
        }
        Ok((stream, Peer::Loopback))
    }
}

impl AgentServer {
    /// Serves named tokens to whoever reaches a port of this machine and has the
    /// [secret](super::AgentServerBuilder::loopback), until `shutdown` is done.
    pub async fn serve_loopback(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        self.run(Loopback(listener), shutdown).await;
    }

    /// Accepts until `shutdown` is done, then lets everybody finish for a moment.
    pub(super) async fn run<A: Accept>(
        &self,
        mut listener: A,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let graceful = GracefulShutdown::new();
        // Whoever is still there once the draining is over ends with this.
        let mut connections = JoinSet::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                _ = sweeps.tick() => {
                    self.sweep();
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok((io, peer)) => {
                    let (server, watcher) = (self.clone(), graceful.watcher());
                    connections.spawn(async move {
                        server.serve_watched(io, peer, Some(watcher)).await;
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
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::info!("some callers still waited for a token, and were sent away");
        }
        connections.shutdown().await;
    }
}
