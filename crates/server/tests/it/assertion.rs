//! Clients that prove themselves with a key (RFC 7523 §2.2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokenry_core::assertion::ASSERTION_TYPE;
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::jose::{Algorithm, PreparedHeader, SigningKey, generate};
use tokenry_core::realm::Dialect;
use tokenry_core::{Realm, Timestamp};
use tokenry_store::Change;

use crate::house::{Answer, House, SECRET, START, basic, client, put_credential, realm, refusal};
use crate::watched::Watched;

pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
    let bytes = generate(algorithm).unwrap();
    SigningKey::from_pkcs8(algorithm, bytes.as_bytes()).unwrap()
}

/// The realm with the client `billing`, who has these keys.
pub(crate) fn changes(realm: Realm, keys: &[SigningKey]) -> Vec<Change> {
    let mut changes = vec![Change::PutRealm(realm), Change::PutClient(client("billing"))];
    for key in keys {
        let credential = Credential {
            id: key.kid()[..8].to_owned(),
            label: String::new(),
            kind: CredentialKind::PublicKey { jwk: key.public_jwk().to_json().into() },
            not_before: Timestamp::EPOCH,
            expires_at: None,
            created_at: START,
        };
        changes.push(put_credential("billing", credential));
    }
    changes
}

pub(crate) fn assertion(key: &SigningKey, issuer: &str, jti: &str) -> String {
    assertion_under(key.algorithm().as_str(), key, issuer, jti)
}

/// An assertion whose header calls the algorithm by this one of its names.
pub(crate) fn assertion_under(name: &str, key: &SigningKey, issuer: &str, jti: &str) -> String {
    let claims: Value = json!({
        "iss": "billing", "sub": "billing", "aud": issuer, "jti": jti, "exp": START.as_secs() + 60,
    });
    let mut text = String::new();
    let header = PreparedHeader::new(name, "client-authentication+jwt", key.kid()).unwrap();
    key.sign_compact(&header, claims.to_string().as_bytes(), &mut text).unwrap();
    text
}

/// An assertion that looks as if it were signed with a secret (`client_secret_jwt`).
pub(crate) fn hs256() -> String {
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({"iss": "billing", "sub": "billing", "aud": ISSUER, "jti": "x", "exp": START.as_secs() + 60});
    format!("{}.{}.AAAA", part(json!({"alg": "HS256"})), part(claims))
}

pub(crate) fn parameters(assertion: &str) -> String {
    format!("client_assertion_type={ASSERTION_TYPE}&client_assertion={assertion}")
}

fn body(assertion: &str) -> String {
    format!("grant_type=client_credentials&{}", parameters(assertion))
}

async fn post(house: &House, body: &str) -> Answer {
    house.post_to("/token", &[], body).await
}

const ISSUER: &str = "https://auth.example";

#[tokio::test]
async fn row_060_row_069_an_assertion_is_good_once() {
    let key = [key(Algorithm::Es256)];
    let house = House::with(changes(realm(), &key)).await;
    let first = body(&assertion(&key[0], ISSUER, "1"));
    assert_eq!(post(&house, &first).await.status, 200);
    assert_eq!(post(&house, &first).await.refusal(), refusal(401, "invalid_client"));
    // Also on another node of the same store.
    let other = House::on(house.store.clone(), vec![]).await;
    let other = House { host: house.host.clone(), ..other };
    assert_eq!(post(&other, &first).await.refusal(), refusal(401, "invalid_client"));
    assert_eq!(post(&other, &body(&assertion(&key[0], ISSUER, "2"))).await.status, 200);
}

#[tokio::test]
async fn row_048_a_client_with_a_key_alone_has_no_secret() {
    let key = [key(Algorithm::Es256)];
    let house = House::with(changes(realm(), &key)).await;
    for secret in [SECRET, ""] {
        let pair = format!("billing:{secret}");
        let answer = house.token(&pair, "grant_type=client_credentials").await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
    }
}

#[tokio::test]
async fn row_056_row_057_row_058_row_074_what_is_no_assertion_is_refused() {
    let key = [key(Algorithm::Es256)];
    let house = House::with(changes(realm(), &key)).await;
    let good = assertion(&key[0], ISSUER, "1");
    let request = "grant_type=client_credentials";
    let cases = [
        (format!("{request}&client_assertion={good}"), 400, "invalid_request"),
        (format!("{request}&client_assertion_type={ASSERTION_TYPE}"), 400, "invalid_request"),
        (
            format!("{request}&client_assertion={good}&client_assertion_type=x"),
            401,
            "invalid_client",
        ),
        (format!("{}&client_id=other", body(&good)), 401, "invalid_client"),
        (format!("{}&client_secret=x", body(&good)), 400, "invalid_request"),
        (body("x"), 401, "invalid_client"),
        (body("a.b.c"), 401, "invalid_client"),
        (body(&assertion(&self::key(Algorithm::Es256), ISSUER, "1")), 401, "invalid_client"),
        (body(&assertion(&key[0], "https://other.example", "1")), 401, "invalid_client"),
    ];
    for (body, status, code) in cases {
        assert_eq!(post(&house, &body).await.refusal(), refusal(status, code), "{body}");
    }
    // None of them has used it up.
    assert_eq!(post(&house, &body(&good)).await.status, 200);
}

#[tokio::test]
async fn assertions_are_good_at_introspection_and_revocation_too() {
    let key = [key(Algorithm::Es256)];
    let house = House::with(changes(realm(), &key)).await;
    let token = post(&house, &body(&assertion(&key[0], ISSUER, "1"))).await.field("access_token");
    let ask = |jti| format!("token={token}&{}", body(&assertion(&key[0], ISSUER, jti)));
    let told = house.post_to("/introspect", &[], &ask("2")).await;
    assert_eq!(told.json()["active"], true);
    assert_eq!(house.post_to("/revoke", &[], &ask("3")).await.status, 200);
    assert_eq!(house.post_to("/introspect", &[], &ask("4")).await.json(), json!({"active": false}));
}

#[tokio::test]
async fn without_a_store_no_assertion_is_taken() {
    let key = [key(Algorithm::Es256)];
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(realm(), &key)).await;
    let good = body(&assertion(&key[0], ISSUER, "1"));
    store.down.store(true, Ordering::Relaxed);
    assert_eq!(post(&house, &good).await.refusal(), refusal(503, "temporarily_unavailable"));
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(post(&house, &good).await.status, 200);
}

#[tokio::test]
async fn keycloak_says_why() {
    let key = [key(Algorithm::Es256)];
    let realm = Realm {
        issuer: "https://sso.example/realms/k".parse().unwrap(),
        dialect: Dialect::Keycloak,
        ..realm()
    };
    let house = House::with(changes(realm, &key)).await;
    let path = "/realms/k/protocol/openid-connect/token";
    let good = body(&assertion(&key[0], "https://sso.example/realms/k", "1"));
    assert_eq!(house.post_to(path, &[], &good).await.status, 200);
    let again = house.post_to(path, &[], &good).await;
    assert_eq!(again.refusal(), refusal(400, "invalid_client"));
    assert_eq!(
        again.field("error_description"),
        "Client authentication with signed JWT failed: Token reuse detected"
    );
    let header = basic("billing:x");
    let headers = [("authorization", header.as_str())];
    let nobody = house.post_to(path, &headers, "grant_type=client_credentials");
    assert_eq!(nobody.await.refusal(), refusal(401, "unauthorized_client"));
}
