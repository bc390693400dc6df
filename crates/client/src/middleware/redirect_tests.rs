//! Redirects on the way of a token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION};
use http::{Method, StatusCode};
use http_body_util::{Channel, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::Body;
use tokenry_core::Secret;
use tokio::net::TcpListener;

use super::tests::{Api, answer};
use super::*;
use crate::StaticToken;

fn fixed(hosts: &[&str]) -> BearerMiddleware {
    let token = StaticToken::new(Secret::new("a1")).unwrap();
    BearerMiddleware::new(token, AllowedHosts::new(hosts))
}

fn redirect(status: u16, to: &str) -> http::Response<String> {
    let answer = http::Response::builder().status(status).header(LOCATION, to);
    answer.body(String::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn row_273_each_redirect_is_judged_by_itself() {
    let hops = [
        ("https://api.example/1", "/2", "Bearer a1"),
        ("https://api.example/2", "//me:secret@other.example/3", "Bearer a1"),
        ("https://other.example/3", "https://api.example/4", ""),
        // Within the machine, a token may go over http, unless it comes from elsewhere.
        ("https://api.example/4", "http://localhost/5", "Bearer a1"),
        ("http://localhost/5", "http://localhost/6", ""),
        ("http://localhost/6", "https://api.example/7", ""),
        ("https://api.example/7", "", "Bearer a1"),
    ];
    let api = Api::new(move |_, n| match hops[n - 1].1 {
        "" => answer(200),
        target => redirect(302, target),
    });
    let client = api.client(fixed(&["api.example", "localhost"]));
    let request = client.get(hops[0].0).header(AUTHORIZATION, "mine").header(COOKIE, "mine");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let seen: Vec<_> = api.seen().into_iter().map(|seen| (seen.url, seen.token)).collect();
    assert_eq!(seen, hops.map(|(url, _, token)| (url.to_owned(), token.to_owned())));

    // Without https before it.
    let api = Api::new(|_, n| if n == 1 { redirect(302, "/6") } else { answer(200) });
    api.client(fixed(&["localhost"])).get("http://localhost/5").send().await.unwrap();
    assert_eq!(api.tokens(), ["Bearer a1"; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_sent_to_one_origin_stays_there() {
    for (target, stays) in [
        ("https://a.example:443/2", true),
        ("https://b.example/2", false),
        ("https://a.example:8443/2", false),
        ("http://a.example/2", false),
    ] {
        let last = Arc::new(Mutex::new(None));
        let log = last.clone();
        let api = Api::new(move |request, n| {
            *log.lock().unwrap() = Some(request.headers().clone());
            if n == 1 { redirect(307, target) } else { answer(200) }
        });
        let client = api.client(fixed(&[]));
        let request = client.get("https://a.example/1").header(COOKIE, "c").header("accept", "a");
        request.header(AUTHORIZATION, "mine").send().await.unwrap();
        let headers = last.lock().unwrap().take().unwrap();
        assert_eq!(headers.contains_key(AUTHORIZATION), stays, "{target}");
        assert_eq!(headers.contains_key(COOKIE), stays, "{target}");
        assert!(headers.contains_key("accept"), "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_changes_the_method_as_browsers_do() {
    let (get, head, post, put) = (Method::GET, Method::HEAD, Method::POST, Method::PUT);
    for (status, method, expected) in [
        (301, &post, &get),
        (302, &post, &get),
        (303, &post, &get),
        (307, &post, &post),
        (308, &post, &post),
        (301, &put, &put),
        (303, &put, &get),
        (303, &head, &head),
        (302, &head, &head),
    ] {
        let api = Api::new(move |request, n| {
            let has_body = request.body().is_some();
            assert_eq!(request.headers().contains_key(CONTENT_TYPE), has_body);
            if n == 1 { redirect(status, "/2") } else { answer(200) }
        });
        let client = api.client(fixed(&[]));
        let mut request = client.request(method.clone(), "https://a.example/1");
        if *method != Method::HEAD {
            request = request.header(CONTENT_TYPE, "text/plain").body("body");
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
        let last = api.seen().pop().unwrap();
        assert_eq!(last.method, *expected, "{status} {method}");
        let has_body = expected == method && *method != Method::HEAD;
        assert_eq!(last.body.is_some(), has_body, "{status} {method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_that_cannot_be_followed_is_the_answer() {
    let none = |status: u16| redirect(status, "ftp://a.example/");
    let no_location = |status: u16| answer(status);
    let two = |status: u16| {
        let mut answer = redirect(status, "/2");
        answer.headers_mut().append(LOCATION, "/3".parse().unwrap());
        answer
    };
    for make in [none, no_location, two, |_: u16| redirect(300, "/2"), |_: u16| redirect(304, "/2")]
    {
        let api = Api::new(move |_, _| make(307));
        let response = api.client(fixed(&[])).get("https://a.example/").send().await.unwrap();
        assert!(response.status().is_redirection());
        assert_eq!(api.seen().len(), 1);
    }
    // A stream is gone, unless it is not needed.
    for (status, requests) in [(307, 1), (308, 1), (302, 2), (303, 2)] {
        let api = Api::new(move |_, n| if n == 1 { redirect(status, "/2") } else { answer(200) });
        let (_sender, stream) = Channel::<Bytes, Infallible>::new(1);
        let request = api.client(fixed(&[])).post("https://a.example/").body(Body::wrap(stream));
        request.send().await.unwrap();
        assert_eq!(api.seen().len(), requests, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_come_to_an_end() {
    let around = || Api::new(|_, _| redirect(302, "/"));
    let api = around();
    let error = api.client(fixed(&[])).get("https://a.example/").send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), "more than 10 redirects");
    assert_eq!(api.seen().len(), 11);

    let api = around();
    let client = api.client(fixed(&[]).redirect_limit(0));
    assert_eq!(client.get("https://a.example/").send().await.unwrap().status(), 302);
    assert_eq!(api.seen().len(), 1);
}

/// A server on this machine that answers as it is told, and the tokens that it got.
async fn listen(
    answers: impl Fn(&str) -> http::Response<String> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answers) = (seen.clone(), Arc::new(answers));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, answers) = (log.clone(), answers.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let token = request.headers().get(AUTHORIZATION);
                let token = token.map(|token| token.to_str().unwrap()).unwrap_or_default();
                log.lock().unwrap().push(token.to_owned());
                let answer = answers(request.uri().path()).map(|text| Full::new(Bytes::from(text)));
                async { Ok::<_, Infallible>(answer) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

#[tokio::test]
async fn row_273_a_real_client_follows_no_redirect_past_the_middleware() {
    let (other, seen_there) = listen(|_| answer(200)).await;
    let (api, seen_here) = listen(move |path| match path {
        "/1" => redirect(307, "/2"),
        "/2" => redirect(307, &format!("http://{other}/")),
        _ => answer(404),
    })
    .await;
    let (first, seen_first) = listen(move |_| redirect(307, &format!("http://{api}/1"))).await;
    // reqwest would put no token where the first redirect leads.
    let settings = reqwest::Client::builder().redirect(Policy::limited(10)).no_proxy();
    let client = fixed(&[&api.to_string()]).client(settings).unwrap();
    let response = client.get(format!("http://{first}/")).send().await.unwrap();
    assert_eq!((response.status(), response.url().port()), (StatusCode::OK, Some(other.port())));
    assert_eq!(*seen_first.lock().unwrap(), [""]);
    assert_eq!(*seen_here.lock().unwrap(), ["Bearer a1", "Bearer a1"]);
    assert_eq!(*seen_there.lock().unwrap(), [""]);
}
