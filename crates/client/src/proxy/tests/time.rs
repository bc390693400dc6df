//! What takes too long, and what has to end.

use tokio::sync::oneshot;

use super::*;
use crate::{Error, Token, TokenSource};

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_not_there_is_a_502_and_one_that_is_slow_a_504() {
    for (how, expected, error, seconds) in [
        (How::Refuses, 502, "connection_refused", 0),
        (How::Hangs, 504, "connection_timeout", 10),
        (How::Raw(Box::new(|stream| Box::pin(hold(stream)))), 504, "http_response_timeout", 60),
        (
            How::Raw(Box::new(|stream| Box::pin(async { drop(stream) }))),
            502,
            "http_response_incomplete",
            0,
        ),
    ] {
        let net = Net::new(how);
        let proxy = reverse(&net);
        let began = tokio::time::Instant::now();
        let (status, answer) = ask(&proxy, "GET /", &[], "").await;
        assert_eq!(began.elapsed().as_secs(), seconds);
        assert_eq!(status, expected, "{answer}");
        assert!(answer.contains(&format!("proxy-status: tokenry; error={error}\r\n")), "{answer}");
        assert!(!answer.contains("a1"));
        assert_eq!((net.dialled().len(), proxy.counts().unanswered), (1, 1));
    }
}

async fn hold(mut stream: DuplexStream) {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_not_a_slow_answer() {
    let net = Net::answering(|_, _| ok());
    let mut program = connect(&reverse(&net));
    program
        .write_all(
            b"PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n",
        )
        .await
        .unwrap();
    for _ in 0..10 {
        testing::pass(Duration::from_secs(50)).await;
        program.write_all(b"b").await.unwrap();
    }
    let mut answer = String::new();
    program.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status_of(&answer), 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_come_is_a_503() {
    struct Never;
    impl TokenSource for Never {
        fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
            Box::pin(std::future::pending())
        }
    }
    let net = Net::answering(|_, _| ok());
    let upstream = Upstream::new("https://api.example").unwrap();
    let proxy = Proxy::reverse(upstream, Never, net.clone()).build();
    let began = tokio::time::Instant::now();
    let (status, answer) = ask(&proxy, "GET /", &[], "").await;
    assert_eq!((status, began.elapsed().as_secs()), (503, 30));
    assert!(answer.contains("retry-after: 1\r\n") && net.dialled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_does_not_come_in_time_leaves_the_401_the_answer() {
    /// Has one token, and never another.
    struct Last(Keeper, std::sync::atomic::AtomicBool);
    impl TokenSource for Last {
        fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
            if self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
                return Box::pin(std::future::pending());
            }
            Box::pin(self.0.token())
        }
    }
    let net = Net::answering(|_, _| status(401));
    let upstream = Upstream::new("https://api.example").unwrap();
    let source = Last(keeper(&Server::granting(300)), false.into());
    let proxy = Proxy::reverse(upstream, source, net.clone()).build();
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 401);
    assert_eq!((began.elapsed().as_secs(), net.seen().len()), (30, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_to_nowhere_is_a_504() {
    let proxy = Proxy::forward([], Net::new(How::Hangs)).build();
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&proxy, "CONNECT a.example:443", &[], "").await.0, 504);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_not_there_is_dialled_once_for_all_who_wait_and_again_for_the_next() {
    let net = Net::new(How::Hangs);
    let proxy = reverse(&net);
    let asked = (0..20).map(|_| {
        let proxy = proxy.clone();
        tokio::spawn(async move { ask(&proxy, "GET /", &[], "").await.0 })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 504);
    }
    assert_eq!(net.dialled().len(), 1);
    assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 504);
    assert_eq!(net.dialled().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_says_nothing_is_not_listened_to_for_ever() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    for beginning in
        ["", "P", "GET / HTTP/1.1\r\nHost: loc", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    {
        let mut program = connect(&proxy);
        let began = tokio::time::Instant::now();
        program.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = String::new();
        program.read_to_string(&mut answer).await.unwrap();
        assert!(began.elapsed().as_secs() <= 90, "{beginning}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_events_is_not_idle() {
    let net = Net::raw(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        testing::pass(Duration::from_secs(24 * 3600)).await;
        stream.write_all(b"at last").await.unwrap();
    });
    let mut program = connect(&reverse(&net));
    program.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut program, "at last").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_now_and_then_is_not_idle() {
    let net = Net::answering(|_, _| ok());
    let mut program = connect(&reverse(&net));
    for _ in 0..10 {
        testing::pass(Duration::from_secs(29)).await;
        program.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        read_until(&mut program, "answer").await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_used_again_until_they_are_too_old() {
    let net = Net::answering(|_, _| ok());
    let proxy = reverse(&net);
    for (pause, dialled) in [(0, 1), (29, 1), (29, 1), (31, 2), (0, 2)] {
        testing::pass(Duration::from_secs(pause)).await;
        assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 200);
        assert_eq!(net.dialled().len(), dialled, "{pause}");
    }
}

/// An upstream that answers once, and closes the connection when it is asked again.
async fn once(mut stream: DuplexStream) {
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_not_asked_again() {
    for (method, expected) in [("GET", 200), ("PUT", 200), ("POST", 502)] {
        let net = Net::raw(once);
        let proxy = reverse(&net);
        assert_eq!(ask(&proxy, "GET /", &[], "").await.0, 200);
        assert_eq!(ask(&proxy, &format!("{method} /"), &[], "").await.0, expected, "{method}");
        assert_eq!(net.dialled().len(), if expected == 200 { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_is_not_worked_for() {
    let (gone, ended) = oneshot::channel();
    let gone = Mutex::new(Some(gone));
    let net = Net::raw(move |mut stream| {
        let gone = gone.lock().unwrap().take();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = gone.unwrap().send(());
        }
    });
    let mut program = connect(&reverse(&net));
    program.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    testing::pass(Duration::from_secs(1)).await;
    drop(program);
    assert!(timeout(Duration::from_secs(1), ended).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_was_begun_is_answered_and_the_rest_closed() {
    let net = Net::raw(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        testing::pass(Duration::from_secs(5)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
        testing::pass(Duration::from_secs(5)).await;
        stream.write_all(b"done").await.unwrap();
        hold(stream).await;
    });
    let proxy = reverse(&net);
    let served = |request: &'static str| {
        let (mut program, ours) = duplex(1024);
        let proxy = proxy.clone();
        async move {
            program.write_all(request.as_bytes()).await.unwrap();
            let serving = proxy.serve_connection(ours, testing::pass(Duration::from_secs(1)));
            let mut answer = String::new();
            tokio::join!(serving, async {
                let _ = program.read_to_string(&mut answer).await;
            });
            answer
        }
    };
    let answer = served("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    for beginning in ["", "P", "GET"] {
        let began = tokio::time::Instant::now();
        assert_eq!(served(beginning).await, "");
        assert!(began.elapsed().as_secs() <= 2, "{beginning}");
    }
}
