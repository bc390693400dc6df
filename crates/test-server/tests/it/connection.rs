//! The same over connections.

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokenry_test_server::{Fault, TestServer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{CREDENTIALS, SECOND, form};

/// Sends one token request on a connection of its own.
async fn send<IO>(io: IO) -> hyper::Result<Response<Incoming>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let (mut head, body) = form(CREDENTIALS).into_parts();
    head.uri = "/token".parse().unwrap();
    head.headers.insert(HOST, "as.test".parse().unwrap());
    sender.send_request(Request::from_parts(head, Full::<Bytes>::from(body))).await
}

fn connect(server: &TestServer) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = server.clone();
    tokio::spawn(async move { server.serve_connection(theirs).await });
    ours
}

#[tokio::test(start_paused = true)]
async fn a_connection_from_memory_is_served_and_ends_as_the_faults_say() {
    let server = TestServer::new();
    let answer = send(connect(&server)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.is_ok());

    server.next(Fault::Dropped);
    assert!(send(connect(&server)).await.is_err());
    server.next(Fault::AnswerLost);
    assert!(send(connect(&server)).await.is_err());

    server.next(Fault::BrokenBody);
    let head_or_body = match send(connect(&server)).await {
        Ok(answer) => answer.into_body().collect().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(head_or_body.is_err());

    server.next(Fault::SlowBody(SECOND));
    let began = tokio::time::Instant::now();
    let answer = send(connect(&server)).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 0);
    let length = answer.into_body().collect().await.unwrap().to_bytes().len();
    assert_eq!(began.elapsed().as_secs(), length as u64 - 1);

    server.next(Fault::NoAnswer);
    tokio::time::timeout(3600 * SECOND, send(connect(&server))).await.unwrap_err();
    assert_eq!(server.token_requests(), 6);
}

#[tokio::test]
async fn the_network_is_served_until_the_handle_is_dropped() {
    let server = TestServer::new();
    let listening = server.listen().await.unwrap();
    assert_eq!(listening.url("/token"), format!("http://{}/token", listening.address()));
    let answer = send(TcpStream::connect(listening.address()).await.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let open = TcpStream::connect(listening.address()).await.unwrap();
    drop(listening);
    assert!(send(open).await.is_err());
}
