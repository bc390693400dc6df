//! Lists over HTTP and TLS, from a server made here.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::json;
use tokenry_core::Timestamp;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{Rejection, StatusListSettings, Verifier};

use super::{URI, list};
use crate::http::Server;
use crate::issuer::{API, ISSUER, START, Source, claims, key, token};

const NOW: Timestamp = Timestamp::from_secs(START);

#[tokio::test]
async fn row_193_a_list_is_fetched_over_https_and_redirects_are_not_followed() {
    let key = key(Algorithm::Es256);
    let text = list(&key, &json!({}), &[1]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let served = (text, Arc::clone(&seen));
    let server = Server::serve(move |request: Request<Body>| {
        let (text, seen) = served.clone();
        async move {
            let accept = request.headers()["accept"].to_str().unwrap().to_owned();
            let path = request.uri().path().to_owned();
            let authorized = request.headers().contains_key("authorization");
            seen.lock().unwrap().push((path.clone(), accept, authorized));
            let response = match path.as_str() {
                "/status-lists/1" => Response::builder().body(Body::from(text)),
                "/status-lists/2" => {
                    Response::builder().status(302).header("location", URI).body(Body::from(text))
                }
                _ => Response::builder().body(Body::from("x".repeat(5 << 20))),
            };
            response.unwrap()
        }
    })
    .await;
    let verifier = Verifier::builder(ISSUER)
        .audience(API)
        .key_source(Source::with(&[&key]))
        .with_root_certificates(server.pem.clone())
        .connect_to("id.example", server.addr)
        .clock(|| NOW)
        .status_lists(StatusListSettings::new())
        .build()
        .unwrap();
    let ask = async |uri: &str, idx: u64| {
        let mut claims = claims();
        claims["status"] = json!({ "status_list": { "idx": idx, "uri": uri } });
        verifier.verify(&token(&key, &claims), NOW).await.map(drop)
    };
    assert_eq!(ask(URI, 0).await, Ok(()));
    assert_eq!(ask(URI, 1).await, Err(Rejection::Revoked));
    for uri in ["https://id.example/status-lists/2", "https://id.example/long"] {
        let refused = ask(uri, 0).await;
        assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{refused:?}");
    }
    let accept = "application/statuslist+jwt".to_owned();
    let paths = ["/status-lists/1", "/status-lists/2", "/long"];
    let expected = paths.map(|path| (path.to_owned(), accept.clone(), false));
    assert_eq!(*seen.lock().unwrap(), expected);
}
