//! The admin API, behind a guard that believes what it is told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokenry_core::client::{CredentialKind, MAX_CREDENTIALS};
use tokenry_core::realm::RefreshPolicy;
use tokenry_core::{Client, Realm};
use tokenry_server::{Access, Admin, AdminGuard, Administration, Denied, Limits, serve_admin};
use tokenry_store::Change;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{Answer, House, basic, billing, client, put_credential, realm};
use crate::watched::Watched;

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

/// The members that are wrong, with what is said of them.
fn errors(answer: &Answer) -> Vec<(String, String)> {
    problem(answer, 422);
    let json = answer.json();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    let errors = json["errors"].as_array().unwrap().iter();
    errors.map(|error| (text(error, "member"), text(error, "detail"))).collect()
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

#[tokio::test]
async fn realms_and_clients_are_listed_page_by_page() {
    let other = Realm { name: "s".into(), ..realm() };
    let mut changes = vec![Change::PutRealm(realm()), Change::PutRealm(other)];
    for id in ["a", "b/c", "d", "e"] {
        changes.push(Change::PutClient(client(id)));
    }
    changes.push(Change::PutClient(Client { realm: "s".into(), ..client("z") }));
    let house = House::with(changes).await;
    let realms = house.admin(Method::GET, "/admin/realms", "").await.json();
    let names: Vec<&Value> =
        realms["realms"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["r", "s"]);
    assert_eq!(realms["realms"][0]["issuer"], "https://auth.example");
    assert_eq!(realms["realms"][0]["scopes"], json!(["profile", "read", "write"]));

    let page = async |query: &str| {
        let path = format!("/admin/realms/r/clients?{query}");
        let json = house.admin(Method::GET, &path, "").await.json();
        let clients = json["clients"].as_array().unwrap().iter();
        let ids: Vec<String> = clients.map(|c| c["id"].as_str().unwrap().to_owned()).collect();
        (ids.join(" "), json["next"].as_str().map(str::to_owned))
    };
    let next = |id: &str| Some(id.to_owned());
    assert_eq!(page("").await, ("a b/c d e".into(), None));
    assert_eq!(page("limit=2").await, ("a b/c".into(), next("b/c")));
    assert_eq!(page("limit=2&after=b%2Fc").await, ("d e".into(), None));
    assert_eq!(page("limit=1&after=c").await, ("d".into(), next("d")));
    assert_eq!(page("after=e").await, (String::new(), None));
    let shown = house.admin(Method::GET, "/admin/realms/r/clients/b%2Fc", "").await;
    assert_eq!(shown.field("id"), "b/c");
}

#[tokio::test]
async fn a_client_is_registered_and_has_tokens_at_once() {
    let house = House::of(realm()).await;
    let path = "/admin/realms/r/clients/new";
    let body =
        r#"{"grants":["client_credentials"],"scope":["read"],"audience":["https://a.example"]}"#;
    let put = house.admin(Method::PUT, path, body).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let expected = json!({
        "realm": "r", "id": "new", "enabled": true, "grants": ["client_credentials"], "scope": ["read"],
        "audience": ["https://a.example"], "not_before": 0, "created_at": 1_700_000_000, "credentials": [],
    });
    assert_eq!(put.json(), expected);
    let shown = house.admin(Method::GET, path, "").await;
    assert_eq!((shown.json(), &shown.headers["etag"]), (expected, &put.headers["etag"]));

    let secret = house.admin(Method::POST, &format!("{path}/secrets"), "").await;
    assert_eq!(secret.status, StatusCode::CREATED);
    let pair = format!("new:{}", secret.field("secret"));
    let token = house.token(&pair, "grant_type=client_credentials").await;
    assert_eq!(token.status, StatusCode::OK, "{}", token.text);
    let claims = house.verify(&token.field("access_token"), "/jwks").await;
    assert!(claims.aud.unwrap().contains("https://a.example"));

    let removed = house.admin(Method::DELETE, path, "").await;
    assert_eq!((removed.status, removed.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let token = house.token(&pair, "grant_type=client_credentials").await;
    assert_eq!(token.refusal(), (401, "invalid_client".into()));
}

#[tokio::test]
async fn what_was_read_can_be_put_back_and_is_the_same() {
    let house = House::of(realm()).await;
    let full = json!({
        "enabled": false, "grants": ["client_credentials", "refresh_token", "jwt-bearer", "token-exchange"],
        "scope": ["read", "write"], "default_scope": ["read"], "audience": ["a", "b"], "access": "2m",
        "refresh": {
            "lifetime": "1h", "max_lifetime": "2h", "policy": "rotate", "grace": "10s", "client_credentials": true,
        },
        "signing": "RS256", "reuse": "30s", "client_authentication": "optional", "introspects": ["*"],
        "dpop_bound": true, "certificate_bound": true, "legacy_audience": true, "opaque": false,
    });
    let put = house.admin(Method::PUT, BILLING, &full.to_string()).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    let mut told = put.json();
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(told[name], *value, "{name}");
    }
    let stored = house.stored("billing").await;
    for name in ["created_at", "not_before", "credentials"] {
        told.as_object_mut().unwrap().remove(name).unwrap();
    }
    let again = house.admin(Method::PUT, BILLING, &told.to_string()).await;
    assert_eq!((again.status, &again.text), (StatusCode::OK, &put.text));
    assert_eq!(house.stored("billing").await, stored);
    // Replaced, not mended: what is left out is gone; but nobody is enabled by being silent about it.
    let less = r#"{"grants":["client_credentials"],"scope":["read"]}"#;
    house.admin(Method::PUT, BILLING, less).await;
    let stored = house.stored("billing").await.unwrap();
    assert!(!stored.enabled && stored.access.is_none() && stored.particulars.is_none());
    assert_eq!(stored.credentials.len(), 1);
}

#[tokio::test]
async fn everything_wrong_with_a_client_is_told_at_once() {
    let house = House::of(realm()).await;
    let body = json!({
        "id": "other", "enabled": "yes", "grants": ["client_credentials", "password", "implicit"],
        "scope": ["read", "admin"], "default_scope": ["write"], "access": "31d",
        "refresh": { "lifetime": "1m", "policy": "keep", "grace": "1s", "x": 1 },
        "signing": "HS256", "created_at": 1, "client_secret": "canary",
    });
    let answer = house.admin(Method::PUT, BILLING, &body.to_string()).await;
    let found = errors(&answer);
    let members: Vec<&str> = found.iter().map(|(member, _)| member.as_str()).collect();
    let expected = [
        "id",
        "created_at",
        "enabled",
        "grants",
        "access",
        "refresh.grace",
        "refresh.x",
        "signing",
        "scope",
        "default_scope",
        "grants",
        "refresh.lifetime",
        "client_secret",
    ];
    for member in expected {
        assert!(members.contains(&member), "{member} is not in {found:#?}");
    }
    assert_eq!(members.len(), expected.len(), "{found:#?}");
    let detail = |member: &str| &found.iter().find(|(name, _)| name == member).unwrap().1;
    assert_eq!(detail("scope"), "this realm has no scope `admin`");
    assert_eq!(detail("client_secret"), "there is no such member");
    assert!(!answer.text.contains("canary"));
    for (body, member, said) in [
        (r#"{}"#, "grants", "is missing"),
        (r#"{"grants":[]}"#, "grants", "without any, disable the client instead"),
        (r#"{"grants":["password"]}"#, "grants", "this realm has no password grant"),
        (r#"{"grants":["client_credentials"],"refresh":{}}"#, "refresh.lifetime", "is missing"),
        (r#"{"grants":["client_credentials"],"Scope":[]}"#, "Scope", "there is no such member"),
    ] {
        let found = errors(&house.admin(Method::PUT, BILLING, body).await);
        assert_eq!(found, [(member.to_owned(), said.to_owned())], "{body}");
    }
    let mut none = realm();
    none.tokens.refresh = None;
    let house = House::of(none).await;
    let found = errors(&house.admin(Method::PUT, BILLING, r#"{"grants":["refresh_token"]}"#).await);
    assert!(found[0].1.contains("no refresh tokens"), "{found:?}");
}

#[tokio::test]
async fn row_303_a_secret_is_in_one_answer_and_only_its_digest_is_stored() {
    let house = House::of(realm()).await;
    let body = r#"{"label":"new deployment","expires_in":"90d"}"#;
    let answer = house.admin(Method::POST, &format!("{BILLING}/secrets"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let secret = answer.field("secret");
    let id = answer.field("credential");
    let until = 1_700_000_000 + 90 * 86400;
    let expected = json!({
        "realm": "r", "client": "billing", "credential": id, "label": "new deployment", "expires_at": until,
        "secret": secret,
    });
    assert_eq!(answer.json(), expected);
    let digest = |text: &str| format!("{:?}", text.as_bytes());
    for path in [BILLING, "/admin/realms/r/clients"] {
        let shown = house.admin(Method::GET, path, "").await;
        assert!(shown.text.contains(&id) && !shown.text.contains(&secret[12..]), "{}", shown.text);
        assert!(!shown.text.contains("digest") && !shown.text.contains(&digest(&secret)));
    }
    let stored = house.stored("billing").await.unwrap();
    let stored = stored.credentials.iter().find(|c| c.id == id).unwrap();
    assert!(matches!(stored.kind, CredentialKind::Secret { .. }));
    assert!(!serde_json::to_string(stored).unwrap().contains(&secret[12..]));

    let pair = format!("billing:{secret}");
    let obtain = async || house.token(&pair, "grant_type=client_credentials").await.status;
    assert_eq!(obtain().await, StatusCode::OK);
    house.clock.advance(Duration::from_secs(90 * 86400));
    assert_eq!(obtain().await, StatusCode::UNAUTHORIZED);
    let path = format!("{BILLING}/credentials/{id}");
    assert_eq!(house.admin(Method::DELETE, &path, "").await.status, StatusCode::NO_CONTENT);
    problem(&house.admin(Method::DELETE, &path, "").await, 404);
    assert_eq!(house.stored("billing").await.unwrap().credentials.len(), 1);
}

#[tokio::test]
async fn a_client_has_so_many_credentials_and_no_more() {
    let house = House::of(realm()).await;
    let path = format!("{BILLING}/secrets");
    for _ in 1..MAX_CREDENTIALS {
        assert_eq!(house.admin(Method::POST, &path, "{}").await.status, StatusCode::CREATED);
    }
    assert!(problem(&house.admin(Method::POST, &path, "{}").await, 409).contains("16"));
    for body in [r#"{"label":"a\nb"}"#, r#"{"expires_in":"0s"}"#, r#"{"expires_in":90}"#] {
        assert_eq!(errors(&house.admin(Method::POST, &path, body).await).len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_client_that_was_revoked_begins_anew() {
    let house = House::of(realm()).await;
    let first = house.token(&billing(), "grant_type=client_credentials").await;
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
    house.clock.advance(Duration::from_secs(5));
    let revoked = house.admin(Method::POST, &format!("{BILLING}/revoke"), "").await;
    assert_eq!(
        (revoked.status, revoked.json()["not_before"].as_u64()),
        (StatusCode::OK, Some(1_700_000_005))
    );
    assert_eq!(house.token(&billing(), &refresh).await.refusal(), (400, "invalid_grant".into()));
    let again = house.token(&billing(), "grant_type=client_credentials").await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test]
async fn used_up_refresh_tokens_stay_so_when_a_client_stops_rotating() {
    let house = House::of(realm()).await;
    let first = house.token(&billing(), "grant_type=client_credentials").await;
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
    assert_eq!(house.token(&billing(), &refresh).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(60));
    let body = r#"{"grants":["client_credentials","refresh_token"],"refresh":{"lifetime":"1h","policy":"keep"}}"#;
    let put = house.admin(Method::PUT, BILLING, body).await;
    assert_eq!(put.json()["not_before"], 1_700_000_060);
    assert_eq!(house.token(&billing(), &refresh).await.refusal(), (400, "invalid_grant".into()));
    let stored = house.stored("billing").await.unwrap().refresh.unwrap();
    assert_eq!(*stored, RefreshPolicy { grace: Duration::ZERO, ..*stored.clone() });
}

#[tokio::test]
async fn a_change_is_made_only_to_what_was_read() {
    let house = House::of(realm()).await;
    let read = house.admin(Method::GET, BILLING, "").await;
    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let weak = format!("W/{tag}");
    let body = r#"{"grants":["client_credentials"],"scope":["write"]}"#;
    let new = "/admin/realms/r/clients/new";
    let secrets = format!("{BILLING}/secrets");
    for (method, path, name, value, body) in [
        (Method::PUT, BILLING, "if-match", "\"0\"", body),
        (Method::PUT, BILLING, "if-match", weak.as_str(), body),
        (Method::PUT, BILLING, "if-none-match", "*", body),
        (Method::PUT, BILLING, "if-none-match", weak.as_str(), body),
        (Method::PUT, new, "if-match", "*", body),
        (Method::DELETE, BILLING, "if-match", "\"0\"", ""),
        (Method::POST, &secrets, "if-match", "\"0\"", "{}"),
    ] {
        let answer = house.admin_if(method, path, &[(name, value)], body).await;
        problem(&answer, 412);
    }
    assert_eq!(house.admin(Method::GET, BILLING, "").await.text, read.text);
    let listed = format!("\"0\", {tag}");
    let put = house.admin_if(Method::PUT, BILLING, &[("if-match", &listed)], body).await;
    assert_eq!(put.status, StatusCode::OK);
    problem(&house.admin_if(Method::DELETE, BILLING, &[("if-match", &tag)], "").await, 412);
    // A revocation in the same second is another client all the same.
    let revoke = format!("{BILLING}/revoke");
    let first = house.admin(Method::POST, &revoke, "").await;
    house.clock.advance(Duration::from_millis(1));
    let second = house.admin(Method::POST, &revoke, "").await;
    assert_eq!(first.text, second.text);
    assert_ne!(first.headers["etag"], second.headers["etag"]);
    let put = house.admin_if(Method::PUT, new, &[("if-none-match", "*")], body).await;
    assert_eq!(put.status, StatusCode::CREATED);
}

#[tokio::test]
async fn while_the_store_is_down_changes_are_put_off_and_tokens_are_issued() {
    let store = Arc::new(Watched::default());
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        put_credential("billing", crate::house::credential("cred-001", crate::house::SECRET)),
    ];
    let house = House::on(store.clone(), changes).await;
    store.down.store(true, Ordering::Relaxed);
    for (method, path, body) in [
        (Method::GET, "/admin/realms/r/clients", ""),
        (Method::GET, BILLING, ""),
        (Method::PUT, BILLING, r#"{"grants":["client_credentials"]}"#),
        (Method::DELETE, BILLING, ""),
        (Method::POST, "/admin/realms/r/clients/billing/secrets", ""),
    ] {
        let answer = house.admin(method, path, body).await;
        assert_eq!(problem(&answer, 503), "the store is not available");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let token = house.token(&billing(), "grant_type=client_credentials").await;
    assert_eq!(token.status, StatusCode::OK);
}

#[tokio::test]
async fn the_server_says_what_a_guard_in_its_process_needs() {
    let house = House::of(realm()).await;
    let app = &house.app;
    assert_eq!(app.issues("r").unwrap().issuer, "https://auth.example");
    assert_eq!(app.jwks("r"), Some(house.get("/jwks").await.text));
    assert!(app.issues("none").is_none() && app.jwks("none").is_none());
    let answer = house.token(&billing(), "grant_type=client_credentials").await;
    let (access, refresh) = (answer.field("access_token"), answer.field("refresh_token"));
    let active = async |token: &str| app.is_active("r", token).await.unwrap();
    assert!(active(&access).await && !app.is_active("none", &access).await.unwrap());
    assert!(!active(&refresh).await && !active("").await, "only access tokens count");
    let body = r#"{"grants":["client_credentials"],"enabled":false}"#;
    house.admin(Method::PUT, BILLING, body).await;
    assert!(!active(&access).await);
    house.admin(Method::PUT, BILLING, &body.replace("false", "true")).await;
    assert!(active(&access).await);
    house
        .post_to("/revoke", &[("authorization", &basic(&billing()))], &format!("token={access}"))
        .await;
    assert!(!active(&access).await);
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

#[tokio::test]
async fn changes_at_once_are_all_made() {
    // This store lets others go first between what a change reads and what it writes.
    let changes = vec![Change::PutRealm(realm()), Change::PutClient(client("billing"))];
    let house = House::on(Arc::new(Watched::default()), changes).await;
    let path = format!("{BILLING}/secrets");
    let all = futures_util::future::join_all((0..8).map(|_| house.admin(Method::POST, &path, "")));
    for answer in all.await {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    assert_eq!(house.stored("billing").await.unwrap().credentials.len(), 8);
}
