//! What an API tells about itself (RFC 9728).

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::routing::get;
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{NotAResource, ResourceMetadata};

use crate::issuer::{ISSUER, api};
use crate::proofs::{BEARER, PLAIN, Pair, outcome, raw};

fn document(metadata: &ResourceMetadata) -> Value {
    serde_json::from_slice(&metadata.to_json()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn row_251_the_metadata_say_what_is_so_and_leave_out_the_rest() {
    let pair = Pair::new();
    let plain = pair.builder().build().unwrap().resource_metadata("https://api.example/a").unwrap();
    let mut expected = json!({
        "resource": "https://api.example/a",
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(document(&plain), expected);
    let strict = pair
        .builder()
        .resource_url("https://api.example")
        .dpop_algorithms([Algorithm::Es256, Algorithm::EdDsa])
        .require_sender_constraint();
    let metadata = strict.build().unwrap().resource_metadata("https://api.example/a").unwrap();
    expected["dpop_signing_alg_values_supported"] = json!(["ES256", "EdDSA", "Ed25519"]);
    expected["dpop_bound_access_tokens_required"] = json!(true);
    assert_eq!(document(&metadata), expected);
    let metadata = metadata
        .scopes_supported(&"write read".parse().unwrap())
        .resource_name("Invoices")
        .resource_documentation("https://api.example/docs")
        .certificate_bound_tokens();
    expected.as_object_mut().unwrap().remove("dpop_bound_access_tokens_required");
    expected["tls_client_certificate_bound_access_tokens"] = json!(true);
    expected["scopes_supported"] = json!(["read", "write"]);
    expected["resource_name"] = json!("Invoices");
    expected["resource_documentation"] = json!("https://api.example/docs");
    assert_eq!(document(&metadata), expected);
}

#[tokio::test(start_paused = true)]
async fn row_251_row_252_the_metadata_are_served_where_challenges_say() {
    let pair = Pair::new();
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    let metadata = verifier.resource_metadata("https://api.example/invoices").unwrap();
    let url = "https://api.example/.well-known/oauth-protected-resource/invoices";
    assert_eq!(metadata.url(), url);
    let path = metadata.path().to_owned();
    let scope = "read".parse().unwrap();
    let guarded = api(verifier.layer().resource_metadata(metadata.url()).require_scope(scope));
    let served: Router = guarded.route(&path, get(async move || metadata.response::<Body>()));
    let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();

    let response = raw(&served, request(&path)).await;
    assert_eq!(outcome(&response), (200, Vec::new()));
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["resource"], "https://api.example/invoices");

    let refused = outcome(&raw(&served, request("/")).await);
    let told = format!("scope=\"read\", resource_metadata=\"{url}\"");
    let dpop = PLAIN.replace("algs=", &format!("{told}, algs="));
    assert_eq!(refused, (401, vec![format!("{BEARER}, {told}"), dpop]));
}

#[tokio::test(start_paused = true)]
async fn row_251_a_resource_is_a_url_without_fragment() {
    let verifier = Pair::new().builder().build().unwrap();
    for bad in ["", "api", "/a", "urn:a:b", "https://a.example/#b", "https://b@a.example"] {
        let refused = verifier.resource_metadata(bad).err();
        assert_eq!(refused, Some(NotAResource(bad.to_owned())), "{bad}");
    }
}
