//! The admin API, behind a guard that believes what it is told.

mod clients;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokenry_core::Client;
use tokenry_server::{Access, Admin, AdminGuard, Administration, Denied, Limits, serve_admin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{Answer, House, realm};

/// Lets in whoever says `writer` or `reader`.
#[derive(Debug)]
struct Believing;

#[async_trait]
impl AdminGuard for Believing {
    async fn admit(&self, request: &Parts, needed: Access) -> Result<Admin, Denied> {
        let said = request.headers.get("authorization").map(HeaderValue::as_bytes);
        let denied = |status, challenge| Denied {
            status,
            challenge: Some(HeaderValue::from_static(challenge)),
            retry_after: None,
            detail: "not you",
            reason: "it is somebody else".to_owned(),
        };
        match (said, needed) {
            (Some(b"Bearer writer"), _) | (Some(b"Bearer reader"), Access::Read) => {
                Ok(Admin { client: "ops".into(), subject: None, jti: Some("id-1".into()) })
            }
            (Some(b"Bearer reader"), Access::Write) => {
                Err(denied(StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\""))
            }
            _ => Err(denied(StatusCode::UNAUTHORIZED, "Bearer")),
        }
    }
}

async fn send(
    administration: &Administration,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let response = administration.handle(&parts, body.as_bytes(), peer, "request-1").await;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

const WRITER: (&str, &str) = ("authorization", "Bearer writer");
const JSON: (&str, &str) = ("content-type", "application/json");
const BILLING: &str = "/admin/realms/r/clients/billing";

impl House {
    fn administration(&self) -> Administration {
        Administration::new(self.app.clone()).guarded_by(Arc::new(Believing))
    }

    /// As somebody who may write.
    async fn admin(&self, method: Method, path: &str, body: &str) -> Answer {
        self.admin_if(method, path, &[], body).await
    }

    async fn admin_if(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let headers = [&[WRITER, JSON], headers].concat();
        send(&self.administration(), method, path, &headers, body).await
    }

    async fn stored(&self, id: &str) -> Option<Client> {
        self.store.client("r", id).await.unwrap()
    }
}

/// That this is a whole problem document (RFC 9457 §3); gives its detail.
#[track_caller]
fn problem(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let json = answer.json();
    assert_eq!(json["type"], "about:blank");
    assert_eq!(json["title"], answer.status.canonical_reason().unwrap());
    assert_eq!(json["status"], status);
    assert_eq!(json["instance"], "request-1");
    answer.field("detail")
}

#[tokio::test]
async fn row_301_every_error_of_the_admin_api_is_a_problem_document() {
    let house = House::of(realm()).await;
    let good = r#"{"grants":["client_credentials"]}"#;
    let long = format!("/admin/realms/r/clients/{}", "a".repeat(201));
    let cases: &[(Method, &str, &str, u16)] = &[
        (Method::GET, "/admin", "", 404),
        (Method::GET, "/admin/", "", 404),
        (Method::GET, "/admin/nothing", "", 404),
        (Method::GET, "/admin/realms/none/clients", "", 404),
        (Method::GET, "/admin/realms/none/clients/billing", "", 404),
        (Method::GET, "/admin/realms/r/clients/none", "", 404),
        (Method::GET, "/admin/realms/r/clients/billing/credentials", "", 404),
        (Method::PUT, "/admin/realms/none/clients/billing", good, 404),
        (Method::DELETE, "/admin/realms/r/clients/none", "", 404),
        (Method::POST, "/admin/realms/r/clients/none/revoke", "", 404),
        (Method::POST, "/admin/realms/r/clients/none/secrets", "", 404),
        (Method::DELETE, "/admin/realms/r/clients/billing/credentials/none", "", 404),
        (Method::POST, "/admin/realms", "", 405),
        (Method::DELETE, "/admin/realms/r/clients", "", 405),
        (Method::POST, BILLING, good, 405),
        (Method::PATCH, BILLING, good, 405),
        (Method::GET, "/admin/realms/r/clients/billing/secrets", "", 405),
        (Method::PUT, "/admin/realms/r/clients/billing/revoke", "", 405),
        (Method::GET, "/admin/realms/r/clients/billing/credentials/cred-001", "", 405),
        (Method::GET, "/admin/realms?limit=1", "", 400),
        (Method::GET, "/admin/realms/r/clients?limit=0", "", 400),
        (Method::GET, "/admin/realms/r/clients/%ff", "", 400),
        (Method::PUT, "/admin/realms/r/clients/a%3ab", good, 400),
        (Method::PUT, &long, good, 400),
        (Method::PUT, BILLING, "", 400),
        (Method::PUT, BILLING, "[]", 400),
        (Method::PUT, BILLING, r#"{"enabled":true,"enabled":true}"#, 400),
        (Method::PUT, BILLING, "{}", 422),
        (Method::DELETE, BILLING, "{}", 400),
        (Method::POST, "/admin/realms/r/clients/billing/revoke", "{}", 400),
        (Method::POST, "/admin/realms/r/clients/billing/secrets", "[]", 400),
        (Method::POST, "/admin/realms/r/clients/billing/secrets", r#"{"a":1}"#, 422),
    ];
    for (method, path, body, status) in cases {
        let answer = house.admin(method.clone(), path, body).await;
        problem(&answer, *status);
        assert_eq!(answer.headers.contains_key("allow"), *status == 405, "{method} {path}");
    }
    let answer = house.admin(Method::PATCH, BILLING, good).await;
    assert_eq!(answer.headers["allow"], "GET, HEAD, PUT, DELETE");
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let headers: Vec<_> =
            [WRITER].into_iter().chain(content_type.map(|t| ("content-type", t))).collect();
        let answer = send(&house.administration(), Method::PUT, BILLING, &headers, good).await;
        problem(&answer, 415);
    }
    assert_eq!(house.stored("billing").await.unwrap().scope, "read write".parse().unwrap());
}

#[tokio::test]
async fn row_301_oauth_endpoints_keep_the_errors_of_rfc_6749() {
    let house = House::of(realm()).await;
    let answer = house.token("billing:wrong", "grant_type=client_credentials").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json(), json!({ "error": "invalid_client" }));
    // Nothing of the admin API is on the other listener.
    let answer = house.get("/admin/realms").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (404, r#"{"error":"not_found"}"#));
}

#[tokio::test]
async fn row_301_row_302_who_is_not_let_in_gets_a_problem_with_a_challenge() {
    let house = House::of(realm()).await;
    let administration = house.administration();
    for (said, method, path, status, challenge) in [
        (None, Method::GET, "/admin/realms", 401, "Bearer"),
        (None, Method::GET, "/admin/nothing", 401, "Bearer"),
        (Some("Bearer nobody"), Method::PUT, BILLING, 401, "Bearer"),
        (Some("Bearer reader"), Method::PUT, BILLING, 403, "Bearer error=\"insufficient_scope\""),
        (
            Some("Bearer reader"),
            Method::PATCH,
            "/admin/x",
            403,
            "Bearer error=\"insufficient_scope\"",
        ),
    ] {
        let headers: Vec<_> = said.map(|said| ("authorization", said)).into_iter().collect();
        let answer = send(&administration, method, path, &headers, "{}").await;
        assert_eq!(problem(&answer, status), "not you");
        assert_eq!(answer.headers["www-authenticate"], challenge);
    }
    let reader = [("authorization", "Bearer reader")];
    let answer = send(&administration, Method::GET, BILLING, &reader, "").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_guard_the_api_is_closed_and_the_rest_is_open() {
    let house = House::of(realm()).await;
    house.app.reload().await.unwrap();
    let closed = Administration::new(house.app.clone());
    for (method, path) in [
        (Method::GET, "/admin"),
        (Method::GET, "/admin/realms"),
        (Method::PUT, BILLING),
        (Method::DELETE, BILLING),
    ] {
        let answer = send(&closed, method, path, &[WRITER, JSON], "{}").await;
        assert_eq!(problem(&answer, 404), "there is no admin API here");
    }
    for administration in [closed, house.administration()] {
        let health = send(&administration, Method::GET, "/health", &[], "").await;
        assert_eq!(health.text, r#"{"status":"ok","store":"up"}"#);
        let metrics = send(&administration, Method::GET, "/metrics", &[], "").await;
        assert_eq!(metrics.status, StatusCode::OK);
        let post = send(&administration, Method::POST, "/metrics", &[], "").await;
        assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
        let other = send(&administration, Method::GET, "/administration", &[], "").await;
        assert_eq!(other.text, r#"{"error":"not_found"}"#);
    }
}

/// What the listener says to these bytes.
async fn exchange(limits: Limits, bytes: &str) -> String {
    let house = House::within(limits).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_admin(house.administration(), listener, std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn row_301_a_body_that_is_too_large_or_too_slow_is_a_problem_too() {
    let short = Duration::from_millis(50);
    let limits = Limits { body_timeout: short, max_body: 100, ..Limits::default() };
    let head = |length: usize| {
        format!(
            "PUT {BILLING} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer writer\r\nx-request-id: mine-1\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    for (bytes, status) in [(head(101), 413), (format!("{}{{", head(10)), 408)] {
        let answer = exchange(limits.clone(), &bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("x-request-id: mine-1\r\n"), "{answer}");
        assert!(answer.contains(r#""instance":"mine-1""#), "{answer}");
    }
    let body = r#"{"grants":["client_credentials"],"enabled":true}"#;
    let whole = head(body.len()).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n") + body;
    let answer = exchange(limits, &whole).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let health = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(Limits::default(), health).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-request-id: "), "{answer}");
}
