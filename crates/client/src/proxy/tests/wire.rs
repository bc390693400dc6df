//! What goes over the wire: framing, streams, other protocols.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Context;

use hyper::body::{Body, Frame};

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_one_request_to_us_is_one_to_the_upstream() {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (head, body, expected) in [
        // RFC 9112 §6.3: the transfer coding counts.
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", format!("0\r\n\r\n{inner}"), [200, 1]),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            format!("0\r\n\r\n{inner}"),
            [400, 0],
        ),
        ("Transfer-Encoding: xchunked", format!("0\r\n\r\n{inner}"), [400, 0]),
        ("Transfer-Encoding: identity", inner.to_owned(), [400, 0]),
        ("Content-Length: 4\r\nContent-Length: 5", format!("body\r\n{inner}"), [400, 0]),
        ("Content-Length: +4", format!("body{inner}"), [400, 0]),
        ("Content-Length: 4, 4", format!("body{inner}"), [400, 0]),
        ("Content-Length: -1", inner.to_owned(), [400, 0]),
        (
            "Connection: close, content-length\r\nContent-Length: 4",
            format!("body{inner}"),
            [200, 1],
        ),
        (
            "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked",
            format!("4\r\nbody\r\n0\r\n\r\n{inner}"),
            [200, 1],
        ),
        ("X: a\r\n folded: b", inner.to_owned(), [400, 0]),
        ("X : a", inner.to_owned(), [400, 0]),
        ("X: a\0b", inner.to_owned(), [400, 0]),
    ] {
        let net = Net::answering(|_, _| ok());
        let request = format!("POST /x HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{body}");
        let answer = timeout(Duration::from_secs(90), raw(&reverse(&net), request)).await.unwrap();
        let seen = net.seen();
        let first = seen.iter().filter(|seen| seen.target == "/x").count();
        assert_eq!([status_of(&answer) as usize, first], expected, "{head}: {answer}");
        // What follows is a request of its own or none at all, and never part of one.
        assert!(seen.iter().all(|seen| seen.body.is_empty() || seen.body == b"body"), "{head}");
        assert!(seen.iter().all(|seen| seen.authorization() == "Bearer a1"), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    let field = |length| format!("X: {}", "x".repeat(length));
    assert_eq!(ask(&proxy, "GET /", &[&field(60 * 1024)], "").await.0, 200);
    assert_eq!(ask(&proxy, "GET /", &[&field(70 * 1024)], "").await.0, 431);
    let many: Vec<_> = (0..200).map(|i| format!("X{i}: x")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(ask(&proxy, "GET /", &many, "").await.0, 431);
    assert_eq!(net.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_come_as_they_are_sent() {
    let net = Net::raw(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for event in ["one", "two", "three"] {
            stream.write_all(format!("data: {event}\n\n").as_bytes()).await.unwrap();
            testing::pass(Duration::from_secs(3600)).await;
        }
    });
    let proxy = reverse(&net);
    let mut program = connect(&proxy);
    let began = tokio::time::Instant::now();
    program.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    for (hours, event) in ["one", "two", "three"].iter().enumerate() {
        read_until(&mut program, &format!("data: {event}\n\n")).await;
        assert_eq!(began.elapsed().as_secs() / 3600, hours as u64);
    }
    read_until(&mut program, "0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_while_it_is_made() {
    let (first, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let net = Net::raw(move |mut stream| {
        let first = first.clone();
        async move {
            read_until(&mut stream, "one").await;
            first.send(()).unwrap();
            read_until(&mut stream, "0\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    });
    let mut program = connect(&reverse(&net));
    let head =
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    program.write_all(head).await.unwrap();
    arrived.recv().await.unwrap();
    program.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    assert!(read_until(&mut program, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_ends_too_early_does_so_for_the_program() {
    let net = Net::raw(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    });
    let answer = raw(&reverse(&net), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.contains("content-length: 10\r\n") && answer.ends_with("half"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_goes_both_ways_and_has_the_token() {
    let net = Net::raw(|mut stream| async move {
        let request = read_until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
        for line in [
            "authorization: bearer a1",
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-key: x",
        ] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
        }
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        assert_eq!(read_until(&mut stream, "ping").await, "ping");
        stream.write_all(b"pong").await.unwrap();
    });
    let proxy = reverse(&net);
    let mut program = connect(&proxy);
    let request = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    program.write_all(request).await.unwrap();
    let answer = read_until(&mut program, "first").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: websocket"),
        "{answer}"
    );
    assert!(answer.contains("sec-websocket-accept: y"));
    program.write_all(b"ping").await.unwrap();
    let mut rest = String::new();
    program.read_to_string(&mut rest).await.unwrap();
    assert_eq!((rest.as_str(), proxy.counts().tunnels), ("pong", 1));
}

#[tokio::test(start_paused = true)]
async fn another_protocol_than_was_asked_for_is_no_answer() {
    let net = Net::raw(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    assert_eq!(ask(&reverse(&net), "GET /", &[], "").await.0, 502);
    // HTTP/2 within the connection would be a way past us, and is not passed on.
    let fields = ["Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAA"];
    assert_eq!(ask(&reverse(&net), "GET /", &fields, "").await.0, 502);
}

#[tokio::test(start_paused = true)]
async fn the_head_of_an_answer_has_a_limit_as_well() {
    for (length, expected) in [(60 * 1024, 200), (70 * 1024, 502)] {
        let net = Net::raw(move |mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let field = "x".repeat(length);
            let answer = format!("HTTP/1.1 200 OK\r\nX: {field}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        assert_eq!(ask(&reverse(&net), "GET /", &[], "").await.0, expected, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_places_of_the_upstream_are_not_ours() {
    let net = Net::answering(|_, _| {
        let mut answer = ok();
        let elsewhere = HeaderValue::from_static("h3=\":443\"");
        answer.headers_mut().insert("alt-svc", elsewhere);
        answer
    });
    let (_, answer) = ask(&reverse(&net), "GET /", &[], "").await;
    assert!(!answer.contains("alt-svc"), "{answer}");
    let forward = Proxy::forward([], net).build();
    let (_, answer) = ask(&forward, "GET http://a.example/", &[], "").await;
    assert!(answer.contains("alt-svc"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_says_so_beside_those_before_it_or_not_at_all() {
    let net = Net::answering(|_, _| ok());
    let upstream = || Upstream::new("https://api.example").unwrap();
    let source = keeper(&Server::granting(300));
    let telling = Proxy::reverse(upstream(), source.clone(), net.clone());
    for (proxy, expected) in [
        (telling.build(), &["1.0 fred", "1.1 tokenry"][..]),
        (Proxy::reverse(upstream(), source, net.clone()).via(false).build(), &["1.0 fred"]),
    ] {
        assert_eq!(ask(&proxy, "GET /", &["Via: 1.0 fred"], "").await.0, 200);
        let seen = net.seen().pop().unwrap();
        let via: Vec<_> = seen.headers.get_all("via").iter().collect();
        assert_eq!(via, expected);
    }
}

/// Dials an upstream of HTTP/2 that closes each connection after a while.
#[derive(Clone, Default)]
struct Closing(Arc<Mutex<usize>>);

impl Dial for Closing {
    fn dial<'a>(&'a self, _: &'a Destination, _: bool) -> BoxFuture<'a, io::Result<Dialled>> {
        *self.0.lock().unwrap() += 1;
        let (ours, theirs) = duplex(64 * 1024);
        let service = service_fn(|_| async { Ok::<_, Infallible>(ok()) });
        let serving = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(theirs), service);
        tokio::spawn(timeout(Duration::from_secs(10), serving));
        Box::pin(std::future::ready(Ok(Dialled { stream: Box::new(ours), http2: true })))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_that_is_closed_is_followed_by_another() {
    let dial = Closing::default();
    let upstream = Upstream::new("https://api.example").unwrap();
    let source = keeper(&Server::granting(300));
    let proxy = Proxy::reverse(upstream, source, dial.clone()).build();
    for (pause, dialled) in [(0, 1), (5, 1), (10, 2), (5, 2)] {
        testing::pass(Duration::from_secs(pause)).await;
        assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 200, "{pause}");
        assert_eq!(*dial.0.lock().unwrap(), dialled, "{pause}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_are_kept_than_the_limit() {
    let net = Net::answering(|_, _| ok());
    let upstream = Upstream::new("http://localhost:1").unwrap();
    let source = keeper(&Server::granting(300));
    source.token().await.unwrap();
    let limits = Limits { max_idle: 2, ..Limits::default() };
    let proxy = Proxy::reverse(upstream, source, net.clone()).limits(limits).build();
    for (round, dialled) in [(1, 5), (2, 8)] {
        let asked = (0..5).map(|_| {
            let proxy = proxy.clone();
            tokio::spawn(async move { ask(&proxy, "GET /", &[], "").await.0 })
        });
        for asked in asked.collect::<Vec<_>>() {
            assert_eq!(asked.await.unwrap(), 200);
        }
        testing::pass(Duration::from_secs(1)).await;
        assert_eq!(net.dialled().len(), dialled, "round {round}");
    }
}

/// A gRPC call: HTTP/2 with prior knowledge, trailers in both directions.
async fn call(
    program: DuplexStream,
    authority: &str,
) -> hyper::Result<(Response<Bytes>, Option<HeaderMap>)> {
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(program));
    let (mut sender, connection) = handshake.await?;
    tokio::spawn(connection);
    let frames = [
        Frame::data(Bytes::from_static(b"message")),
        Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())])),
    ];
    let body = Frames(frames.into());
    let request = Request::post(format!("http://{authority}/pkg.Service/Call"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok((Response::from_parts(head, body.to_bytes()), trailers))
}

/// A body whose length nobody knows beforehand.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_goes_through_in_http2_with_its_trailers() {
    let net = Net::new(How::Http2(Box::new(|seen, _| match seen.authorization() {
        "Bearer a1" => status(401),
        _ => ok(),
    })));
    let proxy = reverse(&net);
    let (answer, _) = call(connect(&proxy), "localhost:9000").await.unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"answer"[..]));
    let seen = net.seen();
    assert_eq!((seen.len(), net.dialled().len()), (2, 1));
    for seen in seen {
        assert_eq!(seen.version, Version::HTTP_2);
        assert_eq!(seen.target, "https://api.example/pkg.Service/Call");
        assert_eq!(seen.field("te"), Some("trailers"));
        assert_eq!(seen.field("via"), Some("2 tokenry"));
        assert_eq!(seen.field("host"), None);
        assert_eq!(seen.body, b"message");
        assert_eq!(seen.trailers.unwrap()["x-sum"], "1");
    }
    let (answer, _) = call(connect(&proxy), "evil.example").await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(net.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_265_grpc_says_401_in_its_trailers() {
    let answers = |number: usize| {
        let (head, trailers) = match number {
            // It came with messages, so that it is too late for another try.
            1 => ("content-type: application/grpc", "grpc-status: 16\r\n"),
            // It is alone, and the request sent again.
            2 => ("content-type: application/grpc\r\ngrpc-status: 16", ""),
            _ => ("content-type: application/grpc", "grpc-status: 0\r\n"),
        };
        format!(
            "HTTP/1.1 200 OK\r\n{head}\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{trailers}\r\n"
        )
    };
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&tokens);
    let net = Net::raw(move |mut stream| {
        let all = Arc::clone(&all);
        async move {
            loop {
                let request = read_until(&mut stream, "\r\n\r\n").await;
                let at = request.find("authorization: ").unwrap();
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(request[at + 15..].lines().next().unwrap().to_owned());
                    all.len()
                };
                stream.write_all(answers(number).as_bytes()).await.unwrap();
            }
        }
    });
    let proxy = reverse(&net);
    for _ in 0..2 {
        let (status, _) = ask(&proxy, "GET /", &["TE: trailers"], "").await;
        assert_eq!(status, 200);
    }
    assert_eq!(*tokens.lock().unwrap(), ["Bearer a1", "Bearer a2", "Bearer a3"]);
}

#[tokio::test(start_paused = true)]
async fn all_share_one_connection_of_http2_from_the_start() {
    let net = Net::new(How::Http2(Box::new(|_, _| ok())));
    let proxy = reverse(&net);
    let asked = (0..20).map(|_| {
        let proxy = proxy.clone();
        tokio::spawn(async move { ask(&proxy, "GET /", &[], "").await.0 })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 200);
    }
    assert_eq!((net.dialled().len(), net.seen().len()), (1, 20));
}

#[tokio::test(start_paused = true)]
async fn http2_and_http1_are_made_of_each_other() {
    // A program of HTTP/2, an upstream of HTTP/1.1.
    let net = Net::answering(|_, _| ok());
    let (answer, _) = call(connect(&reverse(&net)), "localhost").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        (net.seen()[0].version, &net.seen()[0].body[..]),
        (Version::HTTP_11, &b"message"[..])
    );
    assert_eq!(net.seen()[0].field("host"), Some("api.example"));
    // And the other way about.
    let net = Net::new(How::Http2(Box::new(|_, _| ok())));
    let (status, answer) = ask(&reverse(&net), "PUT /", &[], "body").await;
    assert!(status == 200 && answer.ends_with("answer"), "{answer}");
    assert_eq!((net.seen()[0].version, &net.seen()[0].body[..]), (Version::HTTP_2, &b"body"[..]));
    assert_eq!(net.seen()[0].field("host"), None);
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_to_an_upstream_of_http2_takes_a_connection_of_http1() {
    let net = Net::new(How::Http2(Box::new(|_, _| ok())));
    let proxy = reverse(&net);
    assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 200);
    let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(status_of(&raw(&proxy, request).await), 200);
    let versions: Vec<_> = net.seen().iter().map(|seen| seen.version).collect();
    assert_eq!(versions, [Version::HTTP_2, Version::HTTP_11]);
    assert_eq!(net.seen()[1].field("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn listeners_serve_until_they_are_told_to_end() {
    let net = Net::answering(|_, _| ok());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let proxy = reverse(&net);
    let fronts = vec![(Listener::Tcp(tcp), proxy.clone()), (Listener::Unix(unix), proxy.clone())];
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let workers = Workers::start(std::num::NonZeroUsize::new(2)).unwrap();
    let serving = tokio::spawn(async move {
        serve(fronts, &workers, async { drop(ended.await) }).await;
        tokio::task::spawn_blocking(move || drop(workers)).await.unwrap();
    });
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut program = tokio::net::TcpStream::connect(address).await.unwrap();
        program.write_all(request).await.unwrap();
        read_until(&mut program, "answer").await;
        idle.push(program);
    }
    let mut program = tokio::net::UnixStream::connect(&path).await.unwrap();
    program.write_all(request).await.unwrap();
    read_until(&mut program, "answer").await;
    assert_eq!(proxy.counts().requests, 5);
    // Each thread guards as the proxy does that it was made of.
    let mut foreign = tokio::net::TcpStream::connect(address).await.unwrap();
    foreign.write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.unwrap();
    assert_eq!(status_of(&read_until(&mut foreign, "\r\n\r\n").await), 421);
    drop(end);
    serving.await.unwrap();
    assert_eq!(program.read(&mut [0]).await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_head_of_http2_that_is_too_large_is_refused() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    let io = TokioIo::new(connect(&proxy));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (length, expected) in [(15, 200), (70, 431)] {
        // In pieces, since one field alone has a limit of its own.
        let mut request = Request::get("http://localhost/").body(Full::<Bytes>::default()).unwrap();
        for _ in 0..length {
            request.headers_mut().append("x", HeaderValue::try_from("x".repeat(1024)).unwrap());
        }
        let status = match sender.send_request(request).await {
            Ok(answer) => answer.status().as_u16(),
            Err(error) => panic!("{length}: {error:?}"),
        };
        assert_eq!(status, expected, "{length}");
    }
    assert_eq!(net.seen().len(), 1);
}
