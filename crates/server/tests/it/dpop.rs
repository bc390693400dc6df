//! DPoP at the token endpoint (RFC 9449).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::realm::{ClientAuthentication, Dialect, DpopPolicy, Rotate};
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use crate::assertion::key;
use crate::house::{Answer, House, START, basic, billing, client, realm, refusal};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";
const TOKEN: &str = "https://auth.example/token";

/// A proof by `key` for a POST to `url`, with further claims.
pub(crate) fn proof(key: &SigningKey, url: &str, further: Value) -> String {
    proof_under(key.algorithm().as_str(), key, url, further)
}

/// A proof whose header calls the algorithm by this one of its names.
fn proof_under(name: &str, key: &SigningKey, url: &str, further: Value) -> String {
    let mut claims = json!({ "jti": "1", "htm": "POST", "htu": url, "iat": START.as_secs() });
    for (name, value) in further.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
    let header = json!({ "typ": "dpop+jwt", "alg": name, "jwk": jwk });
    let header =
        tokenry_core::jose::PreparedHeader::from_json(header.to_string().as_bytes()).unwrap();
    let mut text = String::new();
    key.sign_compact(&header, claims.to_string().as_bytes(), &mut text).unwrap();
    text
}

async fn ask(house: &House, proofs: &[&str], body: &str) -> Answer {
    let basic = basic(&billing());
    let mut headers = vec![("authorization", basic.as_str())];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    house.post_to("/token", &headers, body).await
}

fn jti(jti: u32) -> Value {
    json!({ "jti": jti.to_string() })
}

#[tokio::test]
async fn row_179_row_194_a_token_is_bound_to_the_key_of_its_proof() {
    let house = House::of(realm()).await;
    let key = key(Algorithm::Es256);
    let answer = ask(&house, &[&proof(&key, TOKEN, json!({}))], CC).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.field("token_type"), "DPoP");
    let claims = house.verify(&answer.field("access_token"), "/jwks").await;
    let cnf = json!({ "jkt": key.public_jwk().thumbprint() });
    assert_eq!(Value::from(claims.cnf.unwrap()), cnf);
    let body = format!("token={}", answer.field("access_token"));
    let told =
        house.post_to("/introspect", &[("authorization", &basic(&billing()))], &body).await.json();
    assert_eq!((&told["active"], &told["cnf"]), (&true.into(), &cnf));
    assert_eq!(told["token_type"], "DPoP");
    let without = ask(&house, &[], CC).await;
    assert_eq!(without.field("token_type"), "Bearer");
    let claims = house.verify(&without.field("access_token"), "/jwks").await;
    assert_eq!(claims.cnf, None);
}

#[tokio::test]
async fn row_195_row_196_row_197_a_bad_proof_gets_no_token() {
    let house = House::of(realm()).await;
    let key = key(Algorithm::Es256);
    let good = proof(&key, TOKEN, json!({}));
    let elsewhere = proof(&key, "https://auth.example/introspect", json!({}));
    let both = format!("{good}, {good}");
    for proofs in [vec![good.as_str(), &good], vec![&both], vec!["x"], vec![""], vec![&elsewhere]] {
        let answer = ask(&house, &proofs, CC).await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_dpop_proof"), "{proofs:?}");
    }
    // A stranger's proof is not looked at, and nothing has used up the good one.
    let wrong = [("authorization", &*basic("billing:x")), ("dpop", "x")];
    let stranger = house.post_to("/token", &wrong, CC).await;
    assert_eq!(stranger.refusal(), refusal(401, "invalid_client"));
    assert_eq!(ask(&house, &[&good], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_204_a_proof_is_for_a_place_where_the_realm_is_known_to_answer() {
    let aliased = Realm { aliases: vec!["other.example".into()], ..realm() };
    let house = House::of(aliased).await;
    let key = key(Algorithm::Es256);
    for (number, (url, good)) in [
        (TOKEN, true),
        ("https://other.example/token", true),
        ("https://evil.example/token", false),
        ("http://auth.example/token", false),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = proof(&key, url, jti(number as u32));
        assert_eq!(ask(&house, &[&proof], CC).await.status == StatusCode::OK, good, "{url}");
    }
}

#[tokio::test]
async fn row_207_a_proof_is_good_once_on_every_node() {
    let house = House::of(realm()).await;
    let key = key(Algorithm::Es256);
    let first = proof(&key, TOKEN, json!({}));
    // What is refused for another reason uses up nothing.
    let refused = ask(&house, &[&first], "grant_type=client_credentials&scope=nonsense").await;
    assert_eq!(refused.refusal(), refusal(400, "invalid_scope"));
    assert_eq!(ask(&house, &[&first], CC).await.status, StatusCode::OK);
    assert_eq!(ask(&house, &[&first], CC).await.refusal(), refusal(400, "invalid_dpop_proof"));
    let other = House::on(house.store.clone(), vec![]).await;
    let other = House { host: house.host.clone(), ..other };
    assert_eq!(ask(&other, &[&first], CC).await.refusal(), refusal(400, "invalid_dpop_proof"));
    assert_eq!(ask(&other, &[&proof(&key, TOKEN, jti(2))], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_214_row_215_row_216_row_221_a_nonce_where_the_realm_wants_one() {
    let wants = Realm { dpop: DpopPolicy { nonce: true, ..Default::default() }, ..realm() };
    let house = House::of(wants).await;
    let key = key(Algorithm::Es256);
    let with = |number: u32, nonce: &str| {
        let iat = START.as_secs() + u64::from(number);
        proof(&key, TOKEN, json!({ "jti": number.to_string(), "nonce": nonce, "iat": iat }))
    };
    let first = ask(&house, &[&proof(&key, TOKEN, json!({}))], CC).await;
    assert_eq!(first.refusal(), refusal(400, "use_dpop_nonce"));
    let nonces: Vec<_> = first.headers.get_all("dpop-nonce").iter().collect();
    assert_eq!(nonces.len(), 1);
    let nonce = nonces[0].to_str().unwrap().to_owned();
    let second = ask(&house, &[&with(2, &nonce)], CC).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    assert!(!second.headers.contains_key("dpop-nonce"));
    // Once one was given, a proof without one is as bad as before.
    let again = ask(&house, &[&proof(&key, TOKEN, jti(3))], CC).await;
    assert_eq!(again.refusal(), refusal(400, "use_dpop_nonce"));
    // Another node knows the nonce as well.
    let other = House::on(house.store.clone(), vec![]).await;
    let other = House { host: house.host.clone(), ..other };
    assert_eq!(ask(&other, &[&with(4, &nonce)], CC).await.status, StatusCode::OK);
    // With half of its life over the answer brings a new one; with all of it, it is no longer good.
    house.clock.advance(Duration::from_secs(151));
    let ageing = ask(&house, &[&with(151, &nonce)], CC).await;
    assert_eq!(ageing.status, StatusCode::OK);
    let fresh = ageing.headers["dpop-nonce"].to_str().unwrap().to_owned();
    house.clock.advance(Duration::from_secs(150));
    assert_eq!(ask(&house, &[&with(301, &nonce)], CC).await.refusal().1, "use_dpop_nonce");
    assert_eq!(ask(&house, &[&with(302, &fresh)], CC).await.status, StatusCode::OK);
    // A client that sends no proof is not asked for a nonce.
    assert_eq!(ask(&house, &[], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_217_row_218_a_bound_refresh_token_needs_its_key() {
    for (authentication, bound) in
        [(ClientAuthentication::Optional, true), (ClientAuthentication::Required, false)]
    {
        let mut realm = Realm { client_authentication: authentication, ..realm() };
        realm.tokens.refresh.as_mut().unwrap().policy = Rotate::Reissue;
        let house = House::of(realm).await;
        let (own, other) = (key(Algorithm::Es256), key(Algorithm::Es256));
        let first = ask(&house, &[&proof(&own, TOKEN, jti(1))], CC).await;
        let refresh =
            format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
        let with_other = ask(&house, &[&proof(&other, TOKEN, jti(2))], &refresh).await;
        let without = ask(&house, &[], &refresh).await;
        for answer in [with_other, without] {
            if bound {
                assert_eq!(answer.refusal(), refusal(400, "invalid_grant"));
            } else {
                assert_eq!(answer.status, StatusCode::OK);
            }
        }
        let with_own = ask(&house, &[&proof(&own, TOKEN, jti(3))], &refresh).await;
        assert_eq!(with_own.status, StatusCode::OK, "{}", with_own.text);
    }
}

#[tokio::test]
async fn row_219_a_client_registered_for_proofs_gets_nothing_without() {
    let house = House::of(realm()).await;
    let particulars = Particulars { dpop_bound: true, ..Particulars::default() }.boxed();
    house.change(vec![Change::PutClient(Client { particulars, ..client("billing") })]).await;
    assert_eq!(ask(&house, &[], CC).await.refusal(), refusal(400, "invalid_dpop_proof"));
    let proof = proof(&key(Algorithm::EdDsa), TOKEN, json!({}));
    assert_eq!(ask(&house, &[&proof], CC).await.field("token_type"), "DPoP");
}

#[tokio::test]
async fn without_a_store_no_proof_is_taken_and_bearer_tokens_are_issued() {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    let store = Arc::new(Watched::default());
    let credential = crate::house::credential("cred-001", crate::house::SECRET);
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        crate::house::put_credential("billing", credential),
    ];
    let house = House::on(store.clone(), changes).await;
    let proof = proof(&key(Algorithm::Es256), TOKEN, json!({}));
    store.down.store(true, Ordering::Relaxed);
    let down = ask(&house, &[&proof], CC).await;
    assert_eq!(down.refusal(), refusal(503, "temporarily_unavailable"));
    assert_eq!(ask(&house, &[], CC).await.status, StatusCode::OK);
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(ask(&house, &[&proof], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_154_row_167_metadata_names_the_algorithms_of_proofs() {
    let house = House::of(realm()).await;
    let metadata = house.get("/.well-known/oauth-authorization-server").await.json();
    let listed = metadata["dpop_signing_alg_values_supported"].as_array().unwrap().clone();
    for (number, name) in Algorithm::all_names().enumerate() {
        let proof = proof_under(name, &key(name.parse().unwrap()), TOKEN, jti(number as u32));
        let taken = ask(&house, &[&proof], CC).await.status == StatusCode::OK;
        assert_eq!(taken, listed.contains(&name.into()), "{name}");
    }
    assert!(listed.contains(&"Ed25519".into()) && listed.contains(&"PS256".into()));
}

#[tokio::test]
async fn keycloak_binds_tokens_too() {
    let realm = Realm {
        issuer: "https://sso.example/realms/k".parse().unwrap(),
        dialect: Dialect::Keycloak,
        ..realm()
    };
    let house = House::of(realm).await;
    let path = "/realms/k/protocol/openid-connect/token";
    let key = key(Algorithm::Es256);
    let proof = proof(&key, &format!("https://sso.example{path}"), json!({}));
    let basic = basic(&billing());
    let headers = [("authorization", basic.as_str()), ("dpop", &proof)];
    let answer = house.post_to(path, &headers, CC).await;
    assert_eq!(answer.field("token_type"), "DPoP");
    let certs = "/realms/k/protocol/openid-connect/certs";
    let claims = house.verify(&answer.field("access_token"), certs).await;
    assert_eq!(claims.other["typ"], "DPoP");
    assert_eq!(claims.cnf.unwrap()["jkt"], key.public_jwk().thumbprint());
}
