//! A socket that gives nothing more from a peer who has gone.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// How long a peer may leave unacknowledged, or take nothing of, what was sent: longer than networks are away for a moment.
/// Without that, who has vanished without a word is there for a quarter of an hour, and keeps the place of a follower.
#[cfg(target_os = "linux")]
const MAX_UNTAKEN_MILLIS: u32 = 30_000;

/// Has what is written sent at once, and the connection end with its peer, where the operating system can do that
/// (RFC 5482).
pub(crate) fn set_up(stream: &TcpStream) {
    // Where it is refused, the connection serves as well.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, MAX_UNTAKEN_MILLIS);
}

/// A TCP stream whose end is seen before what was sent ahead of it.
///
/// Under overload those who gave up have left requests behind, and nobody waits for their answers. The end is known
/// once the operating system has told of it, without a call: that is what hyper's own look costs, and a new buffer.
/// Who closes the sending half alone, and still expects an answer, gets none.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    fn has_ended(&self, context: &mut Context<'_>) -> bool {
        // The first is cheaper, and false for nearly all.
        self.0.poll_read_ready(context).is_ready()
            && match pin!(self.0.ready(Interest::READABLE)).poll(context) {
                Poll::Ready(Ok(state)) => state.is_read_closed(),
                _ => false,
            }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        if buffer.filled().len() > before && self.has_ended(context) {
            buffer.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_peer_who_has_vanished_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = listener.accept().await.unwrap().0;
        set_up(&stream);
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 30_000);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn nothing_is_read_from_a_peer_who_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);

        peer.write_all(b"asked").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(socket.read(&mut buffer).await.unwrap(), 5);

        peer.write_all(b"asked, and gone").await.unwrap();
        drop(peer);
        while !socket.0.ready(Interest::READABLE).await.unwrap().is_read_closed() {
            tokio::task::yield_now().await;
        }
        assert_eq!(socket.read(&mut buffer).await.unwrap(), 0);
    }
}
