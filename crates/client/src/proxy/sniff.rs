//! Whether a connection speaks HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 §3.3), as gRPC without TLS does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 sends first (RFC 9113 §3.4). No request of HTTP/1.1 begins so.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream of which the first bytes have been read, and are read again.
#[derive(Debug)]
pub(super) struct Rewound<I> {
    first: [u8; PREFACE.len()],
    /// Which of them are still to be read.
    left: std::ops::Range<usize>,
    io: I,
}

/// Reads as much as it takes to know. Whoever calls it limits the time.
pub(super) async fn is_http2<I: AsyncRead + Unpin>(mut io: I) -> io::Result<(bool, Rewound<I>)> {
    let mut first = [0; PREFACE.len()];
    let mut read = 0;
    let is_http2 = loop {
        let Some(rest) = first.get_mut(read..).filter(|rest| !rest.is_empty()) else { break true };
        let more = io.read(rest).await?;
        read += more;
        if more == 0 || first.get(..read) != PREFACE.get(..read) {
            break false;
        }
    };
    Ok((is_http2, Rewound { first, left: 0..read, io }))
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left.is_empty() {
            return Pin::new(&mut this.io).poll_read(context, buffer);
        }
        let end = this.left.end.min(this.left.start + buffer.remaining());
        buffer.put_slice(this.first.get(this.left.start..end).unwrap_or_default());
        this.left.start = end;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn http2_is_known_by_its_preface_and_nothing_is_lost() {
        let mut preface = PREFACE.to_vec();
        preface.extend_from_slice(b"frames");
        for (sent, http2) in [
            (&preface[..], true),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"PROPFIND / HTTP/1.1\r\n\r\n", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", false),
            (b"PRI * HTTP/2.0\r\n\r\nsm\r\n\r\n", false),
            (b"P", false),
            (b"", false),
        ] {
            for piece in [1, 5, 1000] {
                let (mut program, ours) = tokio::io::duplex(piece);
                let writing = async {
                    program.write_all(sent).await.unwrap();
                    drop(program);
                };
                let reading = async {
                    let (found, mut rewound) = is_http2(ours).await.unwrap();
                    let mut all = Vec::new();
                    rewound.read_to_end(&mut all).await.unwrap();
                    (found, all)
                };
                let ((), (found, all)) = tokio::join!(writing, reading);
                assert_eq!((found, &all[..]), (http2, sent), "{piece}");
            }
        }
    }
}
