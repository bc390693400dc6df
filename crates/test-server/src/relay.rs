//! A TCP relay whose connections can be cut.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes on what comes to a port of its own, so that a test can cut the connections of a client that keeps them for long,
/// and have them lead elsewhere: to the same server after a restart, or nowhere. Nothing passes once it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    /// Where new connections lead. All that there are end when it is sent.
    target: watch::Sender<Option<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on loopback, for connections that lead to `target`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// There is no port.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (target, told) = watch::channel(Some(target));
        let task = tokio::spawn(accept(listener, told));
        Ok(Self { address, target, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections; new ones lead to where the last ones did.
    pub fn cut(&self) {
        self.target.send_modify(|_| {});
    }

    /// Cuts all connections; new ones are closed as soon as they are there, until [`lead`](Self::lead).
    pub fn close(&self) {
        self.target.send_replace(None);
    }

    /// Cuts all connections; new ones lead to `target`.
    pub fn lead(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The connections end with their channel.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, told: watch::Receiver<Option<SocketAddr>>) {
    while let Ok((incoming, _)) = listener.accept().await {
        let mut told = told.clone();
        let target = *told.borrow_and_update();
        if let Some(target) = target {
            tokio::spawn(async move {
                tokio::select! {
                    // However it ends, both ends are closed.
                    _ = pass(incoming, target) => {}
                    _ = told.changed() => {}
                }
            });
        }
    }
}

async fn pass(mut incoming: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut outgoing = TcpStream::connect(target).await?;
    incoming.set_nodelay(true)?;
    outgoing.set_nodelay(true)?;
    copy_bidirectional(&mut incoming, &mut outgoing).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Says its name to whoever comes, and then nothing more.
    async fn named(name: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name).await.unwrap();
                kept.push(stream);
            }
        });
        address
    }

    async fn heard(stream: &mut TcpStream) -> Option<u8> {
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn connections_are_cut_and_led_elsewhere() {
        let (a, b) = (named(b"a").await, named(b"b").await);
        let relay = Relay::start(a).await.unwrap();
        let connect = || async { TcpStream::connect(relay.address()).await.unwrap() };
        let mut first = connect().await;
        assert_eq!(heard(&mut first).await, Some(b'a'));
        relay.cut();
        assert_eq!(heard(&mut first).await, None);
        let mut second = connect().await;
        assert_eq!(heard(&mut second).await, Some(b'a'));
        relay.close();
        assert_eq!(heard(&mut second).await, None);
        assert_eq!(heard(&mut connect().await).await, None);
        relay.lead(b);
        let mut third = connect().await;
        assert_eq!(heard(&mut third).await, Some(b'b'));
        drop(relay);
        assert_eq!(heard(&mut third).await, None);
    }
}
