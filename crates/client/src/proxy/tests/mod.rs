//! A program, a proxy and an upstream in one process, without a network.

mod forward;
mod reverse;
mod time;
mod wire;

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::testing::{self, Server};
use crate::{AllowedHosts, BoxFuture, Keeper};

/// What an upstream saw of a request.
#[derive(Clone, Debug)]
struct Seen {
    /// Where the connection was opened to.
    to: String,
    target: String,
    version: Version,
    method: Method,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is repeated");
        value
    }

    fn authorization(&self) -> &str {
        self.field("authorization").unwrap_or_default()
    }
}

type Answers = dyn Fn(&Seen, usize) -> Response<Full<Bytes>> + Send + Sync;
type Raw = dyn Fn(DuplexStream) -> BoxFuture<'static, ()> + Send + Sync;

/// All upstreams that there are.
#[derive(Clone)]
struct Net {
    seen: Arc<Mutex<Vec<Seen>>>,
    dialled: Arc<Mutex<Vec<String>>>,
    how: Arc<How>,
}

enum How {
    Answers(Box<Answers>),
    /// The same, over HTTP/2.
    Http2(Box<Answers>),
    Raw(Box<Raw>),
    Refuses,
    Hangs,
}

impl Net {
    fn new(how: How) -> Self {
        Self { seen: Arc::default(), dialled: Arc::default(), how: Arc::new(how) }
    }

    /// Answers each request as the test says, by its number from 1.
    fn answering(
        answers: impl Fn(&Seen, usize) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::new(How::Answers(Box::new(answers)))
    }

    fn raw<F: Future<Output = ()> + Send + 'static>(
        handler: impl Fn(DuplexStream) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::new(How::Raw(Box::new(move |stream| Box::pin(handler(stream)))))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().clone()
    }

    async fn answer(
        self,
        to: String,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?;
        let seen = Seen {
            to,
            target: parts.uri.to_string(),
            version: parts.version,
            method: parts.method,
            headers: parts.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes().to_vec(),
        };
        let number = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.len()
        };
        let (How::Answers(answers) | How::Http2(answers)) = &*self.how else { unreachable!() };
        Ok(answers(&seen, number))
    }
}

impl Dial for Net {
    fn dial<'a>(&'a self, to: &'a Destination, http2: bool) -> BoxFuture<'a, io::Result<Dialled>> {
        let (to, net) = (to.to_string(), self.clone());
        self.dialled.lock().unwrap().push(to.clone());
        let (ours, theirs) = duplex(64 * 1024);
        Box::pin(async move {
            let this = net.clone();
            let service = service_fn(move |request| this.clone().answer(to.clone(), request));
            let theirs_io = match &*net.how {
                How::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                How::Hangs => std::future::pending().await,
                How::Raw(handler) => {
                    tokio::spawn(handler(theirs));
                    return Ok(Dialled { stream: Box::new(ours), http2: false });
                }
                _ => TokioIo::new(theirs),
            };
            let http2 = http2 && matches!(&*net.how, How::Http2(_));
            if http2 {
                let serving = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(serving.serve_connection(theirs_io, service));
            } else {
                tokio::spawn(http1::Builder::new().serve_connection(theirs_io, service));
            }
            Ok(Dialled { stream: Box::new(ours), http2 })
        })
    }
}

fn ok() -> Response<Full<Bytes>> {
    status(200)
}

fn status(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from("answer")).unwrap()
}

/// A keeper whose tokens are `a1`, `a2` …
fn keeper(server: &Server) -> Keeper {
    testing::builder("tuinly", server).build().unwrap()
}

fn reverse_of(url: &str, net: &Net) -> Proxy {
    let keeper = keeper(&Server::granting(300));
    Proxy::reverse(Upstream::new(url).unwrap(), keeper, net.clone()).build()
}

fn reverse(net: &Net) -> Proxy {
    reverse_of("https://api.example", net)
}

/// A connection of a program.
fn connect(proxy: &Proxy) -> DuplexStream {
    let (program, ours) = duplex(64 * 1024);
    let proxy = proxy.clone();
    tokio::spawn(async move { proxy.serve_connection(ours, std::future::pending()).await });
    program
}

/// Sends these bytes and reads all that comes back.
async fn raw(proxy: &Proxy, bytes: impl AsRef<[u8]>) -> String {
    let (mut reading, mut writing) = tokio::io::split(connect(proxy));
    let mut answer = Vec::new();
    let writing = async {
        // An early answer may end it.
        let _ = writing.write_all(bytes.as_ref()).await;
    };
    let reading = reading.read_to_end(&mut answer);
    let _ = tokio::join!(writing, reading);
    String::from_utf8(answer).unwrap()
}

/// A request of HTTP/1.1 after which the connection ends; the status and the whole of the answer.
async fn ask(proxy: &Proxy, line: &str, fields: &[&str], body: &str) -> (u16, String) {
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.to_ascii_lowercase().starts_with("host:")) {
        request.push_str("Host: localhost:9000\r\n");
    }
    for field in fields {
        request.push_str(&format!("{field}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let answer = raw(proxy, format!("{request}\r\n{body}")).await;
    (status_of(&answer), answer)
}

fn status_of(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// Reads until this text has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the end came before {text:?}: {all:?}");
        all.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    all
}
