//! The extractors for axum: what handlers get, and what those get who are not let in.

use axum::Router;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::axum::{Allowed, Claims, NeededScope, Token};
use tokio::time::sleep;

use crate::issuer::{API, START, Source, answer, builder, claims_with, key, send, token};

#[derive(Deserialize)]
struct Wanted {
    tenant: u64,
    aud: Value,
    exp: u64,
    note: Option<String>,
}

struct Writes;

impl NeededScope for Writes {
    const SCOPE: &'static str = "write";
}

struct Admin;

impl NeededScope for Admin {
    const SCOPE: &'static str = "write admin";
}

struct NoScope;

impl NeededScope for NoScope {
    const SCOPE: &'static str = "a\"b";
}

fn routes() -> Router {
    let claims = async |Claims(wanted): Claims<Wanted>| {
        let Wanted { tenant, aud, exp, note } = wanted;
        format!("{tenant} {aud} {} {note:?}", exp - START)
    };
    let optional = async |token: Option<Token>| token.is_some().to_string();
    Router::new()
        .route(
            "/token",
            get(async |Token(token): Token| token.jti().unwrap_or_default().to_owned()),
        )
        .route("/claims", get(claims))
        .route("/writes", get(async |_: Allowed<Writes>| "written"))
        .route("/admin", get(async |_: Allowed<Admin>| "done"))
        .route("/none", get(async |_: Allowed<NoScope>| "done"))
        .route("/optional", get(optional))
}

async fn api(key: &SigningKey) -> Router {
    let verifier = builder(&Source::with(&[key])).build().unwrap();
    sleep(std::time::Duration::from_millis(1)).await;
    routes().layer(verifier.layer().realm("shop"))
}

async fn body(api: &Router, path: &str, token: &str) -> (u16, String) {
    let response = send(api, path, &[&format!("Bearer {token}")]).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn handlers_get_the_token_and_its_claims() {
    let key = key(Algorithm::Es256);
    let api = api(&key).await;
    let text = token(&key, &claims_with("tenant", json!(7)));
    assert_eq!(body(&api, "/token", &text).await, (200, "j-1".into()));
    let expected = format!("7 \"{API}\" 8640000 None");
    assert_eq!(body(&api, "/claims", &text).await, (200, expected));
    assert_eq!(body(&api, "/writes", &text).await, (200, "written".into()));
    assert_eq!(body(&api, "/optional", &text).await, (200, "true".into()));
}

#[tokio::test(start_paused = true)]
async fn row_224_a_handler_refuses_as_the_layer_does() {
    let key = key(Algorithm::Es256);
    let api = api(&key).await;
    let asked = async |path: &str, claims: &Value| {
        let text = token(&key, claims);
        answer(&send(&api, path, &[&format!("Bearer {text}")]).await)
    };
    let (status, challenge) = asked("/admin", &claims_with("tenant", json!(7))).await;
    assert_eq!(status, 403);
    assert_eq!(
        challenge,
        r#"Bearer realm="shop", error="insufficient_scope", error_description="the token does not allow this", scope="admin write""#
    );
    for tenant in [Value::Null, json!("7"), json!(-1)] {
        let (status, challenge) = asked("/claims", &claims_with("tenant", tenant)).await;
        assert_eq!(status, 401);
        let expected = r#"error="invalid_token", error_description="the token lacks claims that are needed here""#;
        assert!(challenge.contains(expected), "{challenge}");
    }
    // What can never be granted is a mistake of ours, and lets nobody in.
    assert_eq!(asked("/none", &claims_with("tenant", json!(7))).await.0, 500);
}

#[tokio::test(start_paused = true)]
async fn behind_no_layer_nobody_is_let_in() {
    let key = key(Algorithm::Es256);
    let text = token(&key, &claims_with("tenant", json!(7)));
    for path in ["/token", "/claims", "/writes"] {
        assert_eq!(body(&routes(), path, &text).await.0, 500, "{path}");
    }
    assert_eq!(body(&routes(), "/optional", &text).await, (200, "false".into()));
}
