//! Opaque access tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::realm::Dialect;
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use crate::house::{
    House, SECRET, START, basic, billing, client, credential, put_credential, realm, refusal,
};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";

fn opaque() -> Realm {
    let mut realm = realm();
    realm.tokens.opaque = true;
    realm
}

async fn told(house: &House, path: &str, token: &str) -> Value {
    let header = basic(&billing());
    house.post_to(path, &[("authorization", &header)], &format!("token={token}")).await.json()
}

#[tokio::test]
async fn row_152_an_opaque_token_says_nothing_and_stands_for_the_same() {
    let house = House::of(opaque()).await;
    let answer = house.token(&billing(), CC).await;
    let token = answer.field("access_token");
    assert!(token.starts_with("tka_") && !token.contains('.'), "{token}");
    let told_of = told(&house, "/introspect", &token).await;
    let expected = json!({
        "active": true,
        "scope": "read write",
        "client_id": "billing",
        "token_type": "Bearer",
        "exp": START.as_secs() + 300,
        "iat": START.as_secs(),
        "sub": "billing",
        "aud": "https://api.example",
        "iss": "https://auth.example",
        "jti": told_of["jti"],
    });
    assert_eq!(told_of, expected);
    // Another secret part under the same identifier is another token.
    let changed = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(told(&house, "/introspect", &changed).await, json!({ "active": false }));
    assert_ne!(house.token(&billing(), CC).await.field("access_token"), token);
    house.clock.advance(Duration::from_secs(300));
    assert_eq!(told(&house, "/introspect", &token).await, json!({ "active": false }));
}

#[tokio::test]
async fn an_opaque_token_can_be_revoked_alone_and_with_its_family() {
    let house = House::of(opaque()).await;
    let header = basic(&billing());
    for name in ["access_token", "refresh_token"] {
        let answer = house.token(&billing(), CC).await;
        let token = answer.field("access_token");
        assert_eq!(told(&house, "/introspect", &token).await["active"], true);
        let body = format!("token={}", answer.field(name));
        let revoked = house.post_to("/revoke", &[("authorization", &header)], &body).await;
        assert_eq!(revoked.status, StatusCode::OK);
        assert_eq!(told(&house, "/introspect", &token).await, json!({ "active": false }));
    }
}

#[tokio::test]
async fn a_client_may_have_what_its_realm_has_not() {
    for (of_realm, own, expected) in
        [(false, Some(true), true), (true, Some(false), false), (true, None, true)]
    {
        let mut realm = realm();
        realm.tokens.opaque = of_realm;
        let house = House::of(realm).await;
        let particulars = Particulars { opaque: own, ..Particulars::default() }.boxed();
        house.change(vec![Change::PutClient(Client { particulars, ..client("billing") })]).await;
        let token = house.token(&billing(), CC).await.field("access_token");
        assert_eq!(token.starts_with("tka_"), expected);
    }
}

#[tokio::test]
async fn without_a_store_there_is_no_opaque_token() {
    let store = Arc::new(Watched::default());
    let changes = vec![
        Change::PutRealm(opaque()),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
    ];
    let house = House::on(store.clone(), changes).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    store.down.store(true, Ordering::Relaxed);
    let down = refusal(503, "temporarily_unavailable");
    assert_eq!(house.token(&billing(), CC).await.refusal(), down);
    let header = basic(&billing());
    let body = format!("token={token}");
    let asked = house.post_to("/introspect", &[("authorization", &header)], &body).await;
    assert_eq!(asked.refusal(), down);
}

#[tokio::test]
async fn keycloak_tells_of_opaque_tokens_what_they_stand_for() {
    let realm = Realm {
        issuer: "https://sso.example/realms/k".parse().unwrap(),
        dialect: Dialect::Keycloak,
        ..opaque()
    };
    let house = House::of(realm).await;
    let base = "/realms/k/protocol/openid-connect/token";
    let header = basic(&billing());
    let token = house.post_to(base, &[("authorization", &header)], CC).await.field("access_token");
    assert!(token.starts_with("tka_"));
    let told = told(&house, &format!("{base}/introspect"), &token).await;
    assert_eq!((&told["active"], &told["typ"]), (&true.into(), &"Bearer".into()));
}
