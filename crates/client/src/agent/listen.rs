//! Where an agent listens: a socket of its user, and a port of this machine for containers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
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

/// How many of them one user may have who is neither the agent's nor root, so that nobody keeps the others out.
const CONNECTIONS_OF_A_USER: usize = 256;

/// How long a connection lasts. Whoever waits for a token asks again before; whoever reads no answers is not waited for.
const LIFE: Duration = Duration::from_secs(5 * 60);

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
        let users = Users::of(self.0.register.owner());
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
                    // Without a word: it has had its share.
                    let Some(counted) = users.count(peer) else { continue };
                    let (server, watcher) = (self.clone(), graceful.watcher());
                    connections.spawn(async move {
                        let _ = timeout(LIFE, server.serve_watched(io, peer, Some(watcher))).await;
                        drop((place, counted));
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

/// How many connections each user has who is neither the agent's own nor root.
#[derive(Clone, Debug)]
struct Users {
    owner: u32,
    counts: Arc<Mutex<BTreeMap<u32, usize>>>,
}

/// A connection of a user; it is counted until this is dropped.
struct Counted(Option<(Users, u32)>);

impl Users {
    fn of(owner: u32) -> Self {
        Self { owner, counts: Arc::default() }
    }

    /// Counts a connection, if its user may have one more.
    fn count(&self, peer: Peer) -> Option<Counted> {
        let user = match peer {
            Peer::User { uid, .. } if uid != 0 && uid != self.owner => uid,
            Peer::User { .. } | Peer::Loopback => return Some(Counted(None)),
        };
        let mut users = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(user).or_default();
        if *count >= CONNECTIONS_OF_A_USER {
            return None;
        }
        *count += 1;
        Some(Counted(Some((self.clone(), user))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((users, user)) = self.0.take() else { return };
        let mut users = users.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_keeps_the_others_out() {
        let users = Users::of(1000);
        let peer = |uid| Peer::User { uid, gid: 1 };
        let mut all: Vec<_> =
            (0..CONNECTIONS_OF_A_USER).filter_map(|_| users.count(peer(7))).collect();
        assert_eq!(all.len(), CONNECTIONS_OF_A_USER);
        assert!(users.count(peer(7)).is_none());
        for other in [peer(8), peer(1000), peer(0), Peer::Loopback] {
            assert!(users.count(other).is_some());
        }
        all.pop();
        assert!(users.count(peer(7)).is_some());
    }
}
