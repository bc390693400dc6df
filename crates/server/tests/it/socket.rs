//! The accept loop, on real sockets of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokenry_core::MasterKey;
use tokenry_server::{App, Limits, SystemClock, serve};
use tokenry_store::{Change, Memory, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::house::{MASTER, SECRET, client, credential, put_credential, realm};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let store = Arc::new(Memory::new());
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
    ];
    store.change(changes, None).await.unwrap();
    let app =
        App::start(store, MasterKey::new(MASTER), Arc::new(SystemClock), limits).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        serve(app, listener, None, async {
            let _ = stopped.await;
        })
        .await;
    });
    Running { address, stop, task }
}

fn request(extra: &str) -> String {
    let body = format!("grant_type=client_credentials&client_id=billing&client_secret={SECRET}");
    format!(
        "POST /token HTTP/1.1\r\nhost: auth.example\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n{extra}\r\n{body}",
        body.len()
    )
}

async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn row_034_a_request_id_comes_back_if_it_is_harmless() {
    let running = start(Limits::default()).await;
    let answer =
        exchange(running.address, &request("x-request-id: abc-1\r\nconnection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-request-id: abc-1\r\n"));
    let answer =
        exchange(running.address, &request("x-request-id: <script>\r\nconnection: close\r\n"))
            .await;
    assert!(answer.contains("x-request-id: ") && !answer.contains("<script>"));
}

#[tokio::test]
async fn row_021_a_body_has_a_limit() {
    let running = start(Limits::default()).await;
    let head = "POST /token HTTP/1.1\r\nhost: auth.example\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let announced =
        exchange(running.address, &format!("{head}content-length: 65537\r\n\r\n")).await;
    assert!(
        announced.starts_with("HTTP/1.1 413") && announced.contains("{\"error\""),
        "{announced}"
    );
    let chunk = format!("10001\r\n{}\r\n0\r\n\r\n", "a".repeat(0x10001));
    let chunked =
        exchange(running.address, &format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}"))
            .await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
}

#[tokio::test]
async fn row_022_row_023_a_slow_head_and_a_slow_body_are_given_up() {
    let short = Duration::from_millis(50);
    let limits = Limits { header_timeout: short, body_timeout: short, ..Limits::default() };
    let running = start(limits).await;
    let head = exchange(running.address, "POST /token HTTP/1.1\r\nhost: auth").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let nothing = exchange(running.address, "").await;
    assert!(nothing.is_empty() || nothing.starts_with("HTTP/1.1 408"), "{nothing}");
    let body = exchange(
        running.address,
        "POST /token HTTP/1.1\r\nhost: auth.example\r\ncontent-length: 10\r\n\r\na",
    )
    .await;
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_to_come_again() {
    let running = start(Limits { max_requests: 0, ..Limits::default() }).await;
    let answer = exchange(running.address, &request("connection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_accepted() {
    let running = start(Limits::default()).await;
    let whole = request("");
    let (first, rest) = whole.split_at(whole.len() - 10);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    // The server answers a second connection, so it has accepted the first.
    exchange(running.address, &request("connection: close\r\n")).await;
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    running.task.await.unwrap();
}
