//! Questions over HTTP and TLS, to a server made here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokenry_core::{Secret, Timestamp};
use tokenry_verifier::{ClientSecret, IntrospectionSettings, Rejection, Verifier, VerifierBuilder};
use tokio::task::JoinSet;

use super::active;
use crate::http::{METADATA, Server};
use crate::issuer::{API, ISSUER, START};

const NOW: Timestamp = Timestamp::from_secs(START);
const SECRET: &str = "p%s+s w:\u{e4}";

/// What a server was asked.
type Seen = Arc<Mutex<Vec<(String, Option<String>, String)>>>;

async fn served(metadata: serde_json::Value, status: u16) -> (Server, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let server = Server::serve(move |request: Request<Body>| {
        let (kept, metadata) = (Arc::clone(&kept), metadata.to_string());
        async move {
            let answer = |status: u16, body: String| {
                Response::builder().status(status).body(Body::from(body)).unwrap()
            };
            match request.uri().path() {
                METADATA => answer(200, metadata),
                "/introspect" => {
                    let (parts, body) = request.into_parts();
                    let header =
                        |name: &str| Some(parts.headers.get(name)?.to_str().unwrap().to_owned());
                    assert_eq!(parts.method, "POST");
                    let content = header("content-type");
                    assert_eq!(content.as_deref(), Some("application/x-www-form-urlencoded"));
                    assert_eq!(header("accept").as_deref(), Some("application/json"));
                    let body = to_bytes(body, 4096).await.unwrap();
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    let asked = (parts.uri.to_string(), header("authorization"), body);
                    kept.lock().unwrap().push(asked);
                    answer(status, active().to_string())
                }
                _ => answer(404, String::new()),
            }
        }
    })
    .await;
    (server, seen)
}

fn metadata() -> serde_json::Value {
    json!({
        "issuer": ISSUER, "jwks_uri": "https://id.example/keys",
        "introspection_endpoint": "https://id.example/introspect",
    })
}

fn trusting(server: &Server) -> VerifierBuilder {
    Verifier::builder(ISSUER)
        .audience(API)
        .with_root_certificates(server.pem.clone())
        .connect_to("id.example", server.addr)
}

#[tokio::test]
async fn a_client_asks_with_its_secret_in_the_header_where_the_metadata_say() {
    let (server, seen) = served(metadata(), 200).await;
    let settings = IntrospectionSettings::basic("a:b", SECRET);
    let verifier = trusting(&server).introspection(settings).build().unwrap();
    let token = verifier.verify("a+b/c==", NOW).await.unwrap();
    assert_eq!(token.client_id(), Some("billing"));
    let asked = seen.lock().unwrap().clone();
    let [(_, Some(authorization), body)] = asked.as_slice() else { panic!("{asked:?}") };
    let pair = authorization.strip_prefix("Basic ").unwrap();
    let pair = String::from_utf8(BASE64_STANDARD.decode(pair).unwrap()).unwrap();
    assert_eq!(pair, "a%3Ab:p%25s%2Bs+w%3A%C3%A4");
    assert_eq!(body, "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token");
}

#[tokio::test]
async fn a_client_asks_with_its_secret_in_the_form_where_it_is_told() {
    let (server, seen) = served(json!({}), 200).await;
    let settings =
        IntrospectionSettings::post("a&b", SECRET).endpoint("https://id.example/introspect?x=y");
    let verifier = trusting(&server).introspection(settings).build().unwrap();
    assert!(verifier.verify("opaque", NOW).await.is_ok());
    let asked = seen.lock().unwrap().clone();
    let body = "token=opaque&token_type_hint=access_token&client_id=a%26b\
                &client_secret=p%25s%2Bs+w%3A%C3%A4";
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].1.as_deref(), &*asked[0].2), (None, body));
    assert!(asked[0].0.ends_with("/introspect?x=y"), "{asked:?}");
}

#[tokio::test]
async fn a_secret_that_is_refused_is_read_again_and_tried_once_if_it_has_changed() {
    for (secrets, expected) in [(["one", "two"], &["one", "two"][..]), (["one", "one"], &["one"])] {
        let (server, seen) = served(metadata(), 401).await;
        let reads = AtomicUsize::new(0);
        let secret = ClientSecret::read_by(move || {
            let read = reads.fetch_add(1, Ordering::Relaxed).min(1);
            Box::pin(std::future::ready(Ok::<_, &str>(Secret::new(secrets[read]))))
        });
        let settings = IntrospectionSettings::basic("api", secret);
        let verifier = trusting(&server).introspection(settings).build().unwrap();
        let refused = verifier.verify("opaque", NOW).await;
        assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{refused:?}");
        let asked = seen.lock().unwrap().clone();
        let shown: Vec<String> = asked.into_iter().filter_map(|(_, shown, _)| shown).collect();
        let basic = |it: &&str| format!("Basic {}", BASE64_STANDARD.encode(format!("api:{it}")));
        assert_eq!(shown, expected.iter().map(basic).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn row_269_metadata_of_another_issuer_or_without_an_endpoint_are_503() {
    let mut without = metadata();
    without.as_object_mut().unwrap().remove("introspection_endpoint");
    let mut other = metadata();
    other["issuer"] = json!("https://other.example");
    let mut plain = metadata();
    plain["introspection_endpoint"] = json!("http://id.example/introspect");
    for metadata in [without, other, plain] {
        let (server, seen) = served(metadata.clone(), 200).await;
        let settings = IntrospectionSettings::basic("api", "secret");
        let verifier = trusting(&server).introspection(settings).build().unwrap();
        let refused = verifier.verify("opaque", NOW).await;
        assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{metadata}");
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_is_looked_up_once_and_again_when_it_has_moved() {
    let (place, lookups) = (Arc::new(Mutex::new("one")), Arc::new(AtomicUsize::new(0)));
    let served = (Arc::clone(&place), Arc::clone(&lookups));
    let server = Server::serve(move |request: Request<Body>| {
        let (place, lookups) = served.clone();
        async move {
            let place = *place.lock().unwrap();
            let endpoint = format!("https://id.example/{place}");
            let (status, body) = match request.uri().path() {
                METADATA => {
                    lookups.fetch_add(1, Ordering::Relaxed);
                    let mut metadata = metadata();
                    metadata["introspection_endpoint"] = json!(endpoint);
                    (200, metadata)
                }
                path if endpoint.ends_with(path) => (200, active()),
                _ => (404, json!({})),
            };
            Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
        }
    })
    .await;
    // The keys are from elsewhere: they look for themselves.
    let builder = trusting(&server).key_source(crate::issuer::Source::default());
    let settings = IntrospectionSettings::basic("api", "secret");
    let verifier = builder.introspection(settings.ttl(Duration::ZERO)).build().unwrap();
    let mut requests = JoinSet::new();
    for i in 0..20 {
        let verifier = verifier.clone();
        requests.spawn(async move { verifier.verify(&format!("opaque{i}"), NOW).await.is_ok() });
    }
    assert_eq!(requests.join_all().await, [true; 20]);
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
    *place.lock().unwrap() = "two";
    assert!(verifier.verify("opaque", NOW).await.is_err());
    assert!(verifier.verify("opaque", NOW).await.is_ok());
    assert_eq!(lookups.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn another_status_than_200_says_nothing_whatever_stands_in_it() {
    for status in [201, 204, 302, 401, 500] {
        let (server, _) = served(metadata(), status).await;
        let settings = IntrospectionSettings::basic("api", "secret");
        let verifier = trusting(&server).introspection(settings).build().unwrap();
        let refused = verifier.verify("opaque", NOW).await;
        assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{status}");
    }
}

#[tokio::test]
async fn row_254_neither_secret_nor_token_is_seen_anywhere() {
    let settings = [
        IntrospectionSettings::basic("api", "hunter2"),
        IntrospectionSettings::post("api", "hunter2"),
    ];
    for settings in settings {
        let (server, seen) = served(metadata(), 400).await;
        let builder = trusting(&server).introspection(settings.clone());
        let shown = format!("{settings:?} {builder:?}");
        let verifier = builder.build().unwrap();
        let refused = verifier.verify("hunter2-token", NOW).await.unwrap_err();
        assert_eq!(seen.lock().unwrap().len(), 1);
        let shown = format!("{shown} {verifier:?} {refused:?} {refused}");
        let basic = BASE64_STANDARD.encode("api:hunter2");
        assert!(!shown.contains("hunter2") && !shown.contains(&basic), "{shown}");
    }
}
