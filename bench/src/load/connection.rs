//! One connection of the load: just enough HTTP/1.1 to tell where an answer ends.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::plan::Plan;
use crate::problem::{Doing as _, Problem, Result};

/// More than any token endpoint answers.
const MAX_ANSWER: usize = 256 * 1024;

/// Where to connect to.
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        if !plan.address.ip().is_loopback() {
            return Err(Problem::new("the load goes to this machine alone"));
        }
        let tls = match &plan.tls {
            None => None,
            Some(tls) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in
                    CertificateDer::pem_file_iter(&tls.authority).doing(&tls.authority)?
                {
                    roots.add(certificate?)?;
                }
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let mut config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                // A new connection is a whole handshake.
                config.resumption = rustls::client::Resumption::disabled();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                let name = ServerName::try_from(tls.name.clone())?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self { address: plan.address, tls })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// An open connection, and the answer that came last.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    filled: usize,
    body: std::ops::Range<usize>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &target.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        };
        Ok(Self { stream, buffer: vec![0; 4096], filled: 0, body: 0..0 })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.filled = 0;
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= MAX_ANSWER {
                    return Err(Problem::new("the answer is too long"));
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]).await? {
                0 => return Err(Problem::new("the connection was closed")),
                n => self.filled += n,
            }
            if let Some((answer, body)) = read(&self.buffer[..self.filled])? {
                self.body = body;
                return Ok(answer);
            }
        }
    }

    /// The body of the last answer, as it came.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }
}

/// The answer and where its body is, once all of it is there.
fn read(bytes: &[u8]) -> Result<Option<(Answer, std::ops::Range<usize>)>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end];
    let body = end + 4;
    let status = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok())
        .ok_or_else(|| Problem::new("not an HTTP answer"))?;
    let (mut length, mut chunked) = (None, false);
    let mut closes = head.starts_with(b"HTTP/1.0");
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.next();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    let answer = Answer { status, closes };
    let whole = match (length, chunked) {
        (Some(length), false) => (bytes.len() >= body + length).then_some(body..body + length),
        // Token endpoints answer in one chunk or a few; nothing follows the last one.
        (_, true) => bytes[body..].ends_with(b"0\r\n\r\n").then_some(body..bytes.len()),
        (None, false) => return Err(Problem::new("an answer without a length")),
    };
    Ok(whole.map(|body| (answer, body)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_says() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        for cut in 0..whole.len() {
            assert!(matches!(read(&whole[..cut]), Ok(None)), "{cut}");
        }
        let (answer, body) = read(whole).ok().flatten().unwrap();
        assert_eq!(answer, Answer { status: 200, closes: false });
        assert_eq!(&whole[body], b"hi");

        let chunked = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for cut in 0..chunked.len() {
            assert!(matches!(read(&chunked[..cut]), Ok(None)), "{cut}");
        }
        let (answer, _) = read(chunked).ok().flatten().unwrap();
        assert_eq!(answer, Answer { status: 503, closes: true });
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
