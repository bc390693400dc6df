//! The accept loops: sockets in, within limits, until they are told to end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::{Proxy, Workers};

/// How long to wait after the operating system refused to accept (out of file descriptors, mostly).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where programs connect.
#[derive(Debug)]
pub enum Listener {
    /// A port. Whoever reaches it has the rights of the tokens: it should be one of loopback.
    Tcp(TcpListener),
    /// A socket in the file system, whose permissions say who may connect.
    #[cfg(unix)]
    Unix(UnixListener),
}

/// A connection as accepted, not yet of any runtime.
enum Accepted {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Ok(Accepted::Tcp(listener.accept().await?.0.into_std()?)),
            #[cfg(unix)]
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0.into_std()?)),
        }
    }
}

/// Serves each listener's connections with its proxy until `shutdown` is done, and then finishes what was begun.
///
/// The limits of the first proxy count for all: how many connections there may be, and how long finishing takes.
/// This task accepts; `workers` do the rest.
pub async fn serve(
    fronts: Vec<(Listener, Proxy)>,
    workers: &Workers,
    shutdown: impl Future<Output = ()>,
) {
    let Some(limits) = fronts.first().map(|(_, proxy)| proxy.limits().clone()) else { return };
    let (end, ended) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let accepting = fronts.into_iter().map(|(listener, proxy)| {
        let front = Front {
            listener,
            proxies: apart(&proxy, workers),
            places: places.clone(),
            ended: ended.clone(),
        };
        front.accept(workers)
    });
    let mut accepting = pin!(join_all(accepting.collect()));
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        // They never end before they are told to.
        _ = &mut accepting => return,
        () = &mut shutdown => {}
    }
    // An error means that nobody is left to tell.
    let _ = end.send(true);
    let sets = accepting.await;
    let finishing = async {
        for mut connections in sets {
            while connections.join_next().await.is_some() {}
        }
    };
    // Whoever is still there ends with the set that it is in.
    if timeout(limits.drain_timeout, finishing).await.is_err() {
        tracing::warn!("some connections did not finish in time and were closed");
    }
}

/// A copy of the proxy for each thread, so that none shares connections with another.
fn apart(proxy: &Proxy, workers: &Workers) -> Vec<Proxy> {
    (0..workers.len()).map(|_| proxy.apart()).collect()
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *output = Some(done),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

struct Front {
    listener: Listener,
    /// One per thread.
    proxies: Vec<Proxy>,
    places: Arc<Semaphore>,
    ended: watch::Receiver<bool>,
}

impl Front {
    /// Accepts until the end, and gives back the connections that are open then.
    async fn accept(self, workers: &Workers) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        let mut ended = self.ended.clone();
        let idle = self.proxies.first().map_or(Duration::MAX, |p| p.limits().idle_timeout);
        let mut looks = interval((idle / 2).max(Duration::from_millis(1)));
        loop {
            let next = async {
                // It is never closed.
                let place = Arc::clone(&self.places).acquire_owned().await.ok();
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                _ = ended.wait_for(|ended| *ended) => return connections,
                Some(_) = connections.join_next() => continue,
                _ = looks.tick() => {
                    self.proxies.iter().for_each(Proxy::close_idle);
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok(accepted) => self.take(accepted, place, workers, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Gives a connection to a thread.
    fn take(
        &self,
        accepted: Accepted,
        place: Option<OwnedSemaphorePermit>,
        workers: &Workers,
        connections: &mut JoinSet<()>,
    ) {
        let Some((number, worker)) = workers.least_busy() else { return };
        let Some(proxy) = self.proxies.get(number).cloned() else { return };
        let (busy, mut ended) = (worker.busy(), self.ended.clone());
        let serving = async move {
            let end = async {
                let _ = ended.wait_for(|ended| *ended).await;
            };
            if let Err(error) = hold(accepted, &proxy, end).await {
                tracing::warn!(%error, "connection not taken over");
            }
            drop((place, busy));
        };
        connections.spawn_on(serving, &worker.runtime);
    }
}

/// Serves a connection, whose readiness is the thread's own from here on.
async fn hold(accepted: Accepted, proxy: &Proxy, end: impl Future<Output = ()>) -> io::Result<()> {
    match accepted {
        Accepted::Tcp(stream) => {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let _ = stream.set_nodelay(true);
            proxy.serve_connection(stream, end).await;
        }
        #[cfg(unix)]
        Accepted::Unix(stream) => {
            proxy.serve_connection(tokio::net::UnixStream::from_std(stream)?, end).await;
        }
    }
    Ok(())
}
