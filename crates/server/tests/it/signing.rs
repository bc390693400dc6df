//! What tokens are signed with, and what that is called: Ed25519 (RFC 9864) and ML-DSA (RFC 9964).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_core::jose::jws::MAX_TOKEN_LEN;
use tokenry_core::realm::{Dialect, Ed25519Name};
use tokenry_core::{Client, Realm};
use tokenry_store::Change;

use crate::assertion;
use crate::house::{
    Answer, House, SECRET, basic, billing, client, credential, put_credential, realm,
};

const CC: &str = "grant_type=client_credentials";
const METADATA: &str = "/.well-known/oauth-authorization-server";

fn signing(algorithm: Algorithm, ed25519: Ed25519Name) -> Realm {
    let mut realm = realm();
    (realm.tokens.signing, realm.tokens.ed25519) = (algorithm, ed25519);
    realm
}

fn header(token: &str) -> Value {
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

async fn introspected(house: &House, token: &str, accept: &str) -> Answer {
    let headers = [("authorization", &*basic(&billing())), ("accept", accept)];
    house.post_to("/introspect", &headers, &format!("token={token}")).await
}

#[tokio::test]
async fn row_154_row_166_a_realm_writes_one_name_of_ed25519_everywhere() {
    let house = House::of(signing(Algorithm::EdDsa, Ed25519Name::EdDsa)).await;
    let mut kid = None;
    for (ed25519, name) in [
        (Ed25519Name::EdDsa, "EdDSA"),
        (Ed25519Name::Ed25519, "Ed25519"),
        (Ed25519Name::EdDsa, "EdDSA"),
    ] {
        house.change(vec![Change::PutRealm(signing(Algorithm::EdDsa, ed25519))]).await;
        let token = house.token(&billing(), CC).await.field("access_token");
        assert_eq!(header(&token)["alg"], name);
        let keys = &house.get("/jwks").await.json()["keys"];
        let key = &keys[0];
        assert_eq!(
            (keys.as_array().unwrap().len(), &key["kty"], &key["crv"], &key["alg"]),
            (1, &json!("OKP"), &json!("Ed25519"), &json!(name))
        );
        // It is the key that it was: only what it is called has changed.
        assert_eq!(*kid.get_or_insert_with(|| key["kid"].clone()), key["kid"]);
        house.verify(&token, "/jwks").await;

        let signed = introspected(&house, &token, "application/token-introspection+jwt").await;
        assert_eq!(header(&signed.text)["alg"], name);
        let metadata = house.get(METADATA).await.json();
        assert_eq!(metadata["introspection_signing_alg_values_supported"], json!([name]));
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!([name]));
    }
}

#[tokio::test]
async fn row_154_a_token_from_before_the_change_of_name_stays_good() {
    let house = House::of(signing(Algorithm::EdDsa, Ed25519Name::EdDsa)).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    house.change(vec![Change::PutRealm(signing(Algorithm::EdDsa, Ed25519Name::Ed25519))]).await;
    house.verify(&token, "/jwks").await;
    assert_eq!(introspected(&house, &token, "application/json").await.json()["active"], true);
}

#[tokio::test]
async fn row_154_a_clients_own_algorithm_is_called_as_its_realm_says() {
    for (ed25519, name) in [(Ed25519Name::EdDsa, "EdDSA"), (Ed25519Name::Ed25519, "Ed25519")] {
        let house = House::of(signing(Algorithm::Es256, ed25519)).await;
        let own = Client { signing: Some(Algorithm::EdDsa), ..client("billing") };
        house.change(vec![Change::PutClient(own)]).await;
        house.app.look_after_keys().await.unwrap();
        let token = house.token(&billing(), CC).await.field("access_token");
        assert_eq!(header(&token)["alg"], name);
        let metadata = house.get(METADATA).await.json();
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256", name]));
    }
}

#[tokio::test]
async fn a_realm_that_changes_its_dialect_changes_the_type_of_its_tokens() {
    let house = House::of(realm()).await;
    let first = house.token(&billing(), CC).await.field("access_token");
    assert_eq!(header(&first)["typ"], "at+jwt");
    let changed = Realm { dialect: Dialect::Keycloak, ..realm() };
    house.change(vec![Change::PutRealm(changed)]).await;
    let path = "/protocol/openid-connect/token";
    let answer = house.post_to(path, &[("authorization", &basic(&billing()))], CC).await;
    assert_eq!(header(&answer.field("access_token"))["typ"], "JWT");
}

#[tokio::test]
async fn row_155_row_156_row_157_a_realm_signs_with_ml_dsa() {
    for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
        let house = House::of(signing(algorithm, Ed25519Name::default())).await;
        let token = house.token(&billing(), CC).await.field("access_token");
        assert_eq!(header(&token)["alg"], algorithm.as_str());
        assert!(token.len() < MAX_TOKEN_LEN / 2, "{algorithm}: {}", token.len());
        let key = house.get("/jwks").await.json()["keys"][0].clone();
        let mut names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "kid", "kty", "pub", "use"]);
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"]),
            (&json!("AKP"), &json!(algorithm.as_str()), &json!("sig"))
        );
        assert_eq!(key["kid"].as_str().unwrap().len(), 43);
        house.verify(&token, "/jwks").await;

        assert_eq!(introspected(&house, &token, "application/json").await.json()["active"], true);
        let signed = introspected(&house, &token, "application/token-introspection+jwt").await;
        assert_eq!(header(&signed.text)["alg"], algorithm.as_str());
        let metadata = house.get(METADATA).await.json();
        let listed = &metadata["introspection_signing_alg_values_supported"];
        assert_eq!(*listed, json!([algorithm.as_str()]));
    }
}

#[tokio::test]
async fn row_155_a_client_proves_itself_with_ml_dsa() {
    let own = assertion::key(Algorithm::MlDsa65);
    let stranger = assertion::key(Algorithm::MlDsa65).with_kid(own.kid().to_owned());
    let mut changes = assertion::changes(realm(), std::slice::from_ref(&own));
    changes.push(put_credential("billing", credential("cred-001", SECRET)));
    let house = House::with(changes).await;
    for (key, jti, status) in
        [(&own, "1", StatusCode::OK), (&stranger, "2", StatusCode::UNAUTHORIZED)]
    {
        let assertion = assertion::assertion(key, "https://auth.example", jti);
        let body = format!("{CC}&{}", assertion::parameters(&assertion));
        assert_eq!(house.post_to("/token", &[], &body).await.status, status);
    }
}
