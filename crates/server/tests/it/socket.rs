//! The accept loop, on real sockets of this machine.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokenry_core::MasterKey;
use tokenry_server::{App, Limits, SystemClock, Tls, Workers, serve};
use tokenry_store::{Change, Memory, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::house::{MASTER, SECRET, START, client, credential, put_credential, realm};

/// Far longer than anything here takes, far shorter than what would happen without the limit in question.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    start_with(limits, None).await
}

async fn start_with(limits: Limits, tls: Option<Tls>) -> Running {
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
    ];
    start_of(changes, limits, tls).await
}

pub(crate) async fn start_of(changes: Vec<Change>, limits: Limits, tls: Option<Tls>) -> Running {
    let store = Arc::new(Memory::new());
    store.change(changes, None, START).await.unwrap();
    let app =
        App::start(store, MasterKey::new(MASTER), Arc::new(SystemClock), limits).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        serve(app, listener, tls, &Workers::here(), async {
            let _ = stopped.await;
        })
        .await;
    });
    Running { address, stop, task }
}

/// Has it end, and waits until it has.
pub(crate) async fn stop(running: Running) {
    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
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
    for (length, kept) in [(64, true), (65, false)] {
        let id = "a".repeat(length);
        let extra = format!("x-request-id: {id}\r\nconnection: close\r\n");
        let answer = exchange(running.address, &request(&extra)).await;
        assert!(answer.contains("x-request-id: "), "{answer}");
        assert_eq!(answer.contains(&id), kept, "{length}");
    }
}

#[tokio::test]
async fn two_host_headers_are_a_bad_request() {
    let running = start(Limits::default()).await;
    let twice = request("host: auth.example\r\nconnection: close\r\n");
    let answer = exchange(running.address, &twice).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
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
async fn half_a_request_takes_no_place_from_a_whole_one() {
    let running = start(Limits { max_requests: 1, ..Limits::default() }).await;
    let whole = request("connection: close\r\n");
    let half = &whole[..whole.len() - 10];
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        halves.push(stream);
    }
    let answer = exchange(running.address, &whole).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn beyond_its_limit_a_connection_waits_until_another_is_closed() {
    let running = start(Limits { max_connections: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(request("").as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    let whole = request("connection: close\r\n");
    let mut third = pin!(exchange(running.address, &whole));
    assert!(timeout(Duration::from_millis(100), &mut third).await.is_err(), "it waits");
    open.pop();
    let answer = timeout(PATIENCE, third).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A ClientHello (RFC 5246 §7.4.1.2) of this version, with these cipher suites and what today's servers ask for.
fn client_hello(version: [u8; 2], suites: &[[u8; 2]], extensions: &[u8]) -> Vec<u8> {
    let of = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let random = [7; 32];
    let body =
        [&version[..], &random, &[0], &of(&suites.concat()), &[1, 0], &of(extensions)].concat();
    let message = [&[1, 0][..], &of(&body)].concat();
    [&[22, 3, 1][..], &of(&message)].concat()
}

#[tokio::test]
async fn row_002_row_286_old_tls_and_weak_ciphers_are_refused() {
    let made = rcgen::generate_simple_self_signed(["auth.example".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(pem.0.as_bytes(), pem.1.as_bytes()).unwrap();
    let running = start_with(Limits::default(), Some(tls)).await;
    // The curve P-256, uncompressed points, ECDSA and RSA with SHA-256, and extended_master_secret.
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 6, 0, 4, 4, 3, 4, 1],
        &[0, 23, 0, 0],
    ]
    .concat();
    let strong = [0xc0, 0x2b]; // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    let cases = [
        ("TLS 1.2 with forward secrecy and AEAD", [3, 3], strong, 22),
        ("TLS 1.1", [3, 2], strong, 21),
        ("TLS 1.0", [3, 1], strong, 21),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", [3, 3], [0x00, 0x9c], 21),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", [3, 3], [0xc0, 0x09], 21),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", [3, 3], [0x00, 0x0a], 21),
    ];
    for (case, version, suite, expected) in cases {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        // One that TLS 1.1 knows beside it, so that the version alone decides.
        let suites = if version == [3, 3] { vec![suite] } else { vec![suite, [0xc0, 0x09]] };
        stream.write_all(&client_hello(version, &suites, &extensions)).await.unwrap();
        // The type of the first record: 22 goes on with the handshake, 21 is an alert.
        let mut first = [0; 1];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(first[0], expected, "{case}");
    }
    let plain = exchange(running.address, &request("connection: close\r\n")).await;
    assert!(!plain.contains("access_token"), "{plain}");
}

#[tokio::test]
async fn a_peer_that_agreed_on_http_2_and_says_nothing_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let made = rcgen::generate_simple_self_signed(["auth.example".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(pem.0.as_bytes(), pem.1.as_bytes()).unwrap();
    let running = start_with(limits, Some(tls)).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // Nothing at all, and the preface with empty settings: both are all that the peer ever says.
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let socket = TcpStream::connect(running.address).await.unwrap();
        let name = "auth.example".try_into().unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after saying {} bytes", said.len());
    }
}

#[tokio::test]
async fn a_stuck_request_holds_a_shutdown_no_longer_than_the_drain() {
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        drain_timeout: Duration::from_millis(50),
        header_timeout: hour,
        body_timeout: hour,
        ..Limits::default()
    };
    let running = start(limits).await;
    let whole = request("");
    let mut stuck = TcpStream::connect(running.address).await.unwrap();
    stuck.write_all(&whole.as_bytes()[..whole.len() - 10]).await.unwrap();
    // The server answers a second connection, so it has accepted the first.
    exchange(running.address, &request("connection: close\r\n")).await;
    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stuck.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(rest.is_empty());
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

#[tokio::test]
async fn row_002_plain_http_gets_nothing_where_tls_is_spoken() {
    let made = rcgen::generate_simple_self_signed(["auth.example".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(pem.0.as_bytes(), pem.1.as_bytes()).unwrap();
    let running = start_with(Limits::default(), Some(tls)).await;
    let answer = exchange(running.address, &request("connection: close\r\n")).await;
    assert!(!answer.contains("HTTP/1.1") && !answer.contains("token"), "{answer}");
}

#[tokio::test]
async fn connections_are_answered_on_threads_of_their_own() {
    let store = Arc::new(Memory::new());
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
    ];
    store.change(changes, None, START).await.unwrap();
    let app = App::start(store, MasterKey::new(MASTER), Arc::new(SystemClock), Limits::default());
    let app = app.await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let workers = Workers::start(std::num::NonZeroUsize::new(3)).unwrap();
    let serving = tokio::spawn(async move {
        serve(app, listener, None, &workers, async {
            let _ = stopped.await;
        })
        .await;
    });
    let asked: Vec<_> = (0..30)
        .map(|_| {
            tokio::spawn(async move { exchange(address, &request("connection: close\r\n")).await })
        })
        .collect();
    for answer in asked {
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"));
    }
    stop.send(()).unwrap();
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_answers_what_lies_in_the_socket_already() {
    let running = start(Limits::default()).await;
    // Nobody is awaited in between: the server has accepted at most, and read nothing.
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(request("").as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        streams.push(stream);
    }
    for stream in &streams {
        stream.try_write(request("").as_bytes()).unwrap();
    }
    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    for mut stream in streams {
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.unwrap();
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    }
}
