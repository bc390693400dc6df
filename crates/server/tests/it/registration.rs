//! Clients that register themselves (RFC 7591), and manage what they registered (RFC 7592).

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_core::realm::{CertificatePolicy, RegistrationPolicy};
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use crate::assertion::{assertion, key, parameters};
use crate::house::{
    Answer, House, SECRET, START, basic, client, credential, put_credential, realm, refusal,
};

const CC: &str = "grant_type=client_credentials";

/// `registrar` may register clients; `billing` may not.
async fn open_house() -> House {
    let policy =
        RegistrationPolicy { scope: "register".parse().unwrap(), scopes: "read".parse().unwrap() };
    let realm = Realm {
        registration: Some(policy),
        scopes: "read write register".parse().unwrap(),
        ..realm()
    };
    let particulars = Particulars { introspects: vec!["*".into()], ..Particulars::default() };
    let registrar = Client {
        scope: "register".parse().unwrap(),
        audience: vec!["https://auth.example".into()],
        particulars: particulars.boxed(),
        ..client("registrar")
    };
    House::with(vec![
        Change::PutRealm(realm),
        Change::PutClient(registrar),
        put_credential("registrar", credential("cred-001", SECRET)),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-002", SECRET)),
    ])
    .await
}

async fn send(house: &House, method: Method, path: &str, token: &str, body: &Value) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", &house.host)
        .header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    house.send(request.body(Bytes::from(body.to_string())).unwrap()).await
}

async fn token_of(house: &House, id: &str) -> String {
    house.token(&format!("{id}:{SECRET}"), CC).await.field("access_token")
}

async fn register(house: &House, body: &Value) -> Answer {
    let token = token_of(house, "registrar").await;
    send(house, Method::POST, "/register", &token, body).await
}

/// The path and the token by which a registration is managed.
fn managed(answer: &Answer) -> (String, String) {
    let uri = answer.field("registration_client_uri");
    let path = uri.strip_prefix("https://auth.example").unwrap().to_owned();
    (path, answer.field("registration_access_token"))
}

#[tokio::test]
async fn row_277_row_280_row_282_a_client_registers_itself() {
    let house = open_house().await;
    let metadata = json!({
        "client_name": "Nightly", "client_id": "mine", "scope": "read", "foo": { "bar": 1 },
        "grant_types": ["client_credentials", "refresh_token"],
    });
    let answer = register(&house, &metadata).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let told = answer.json();
    let id = answer.field("client_id");
    assert!(id != "mine" && id.len() > 20);
    let secret = answer.field("client_secret");
    assert_eq!(told["client_secret_expires_at"], 0);
    assert_eq!(told["client_id_issued_at"], START.as_secs());
    assert_eq!((&told["client_name"], &told["scope"]), (&"Nightly".into(), &"read".into()));
    assert_eq!(told["grant_types"], json!(["client_credentials", "refresh_token"]));
    assert_eq!(told["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(told.get("foo"), None);

    let issued = house.token(&format!("{id}:{secret}"), CC).await;
    assert_eq!((issued.status, issued.field("scope")), (StatusCode::OK, "read".into()));
    let wider = house.token(&format!("{id}:{secret}"), &format!("{CC}&scope=write")).await;
    assert_eq!(wider.refusal(), refusal(400, "invalid_scope"));
    // Another node knows it as well.
    let other = House::on(house.store.clone(), vec![]).await;
    let other = House { host: house.host.clone(), ..other };
    assert_eq!(other.token(&format!("{id}:{secret}"), CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_277_a_client_registers_its_keys() {
    let house = open_house().await;
    let key = key(Algorithm::Es256);
    let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
    let metadata = json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [jwk] },
        "dpop_bound_access_tokens": true,
    });
    let answer = register(&house, &metadata).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let told = answer.json();
    assert_eq!((told.get("client_secret"), told.get("client_secret_expires_at")), (None, None));
    assert_eq!(told["jwks"]["keys"][0]["x"], jwk["x"]);
    assert_eq!(told["dpop_bound_access_tokens"], true);
    let id = answer.field("client_id");
    let claims = json!({
        "iss": id, "sub": id, "aud": "https://auth.example", "jti": "1", "exp": START.as_secs() + 60,
    });
    let mut signed = String::new();
    key.sign_compact(&key.header("JWT"), claims.to_string().as_bytes(), &mut signed).unwrap();
    let body = format!("{CC}&{}", parameters(&signed));
    let without = house.post_to("/token", &[], &body).await;
    assert_eq!(without.refusal(), refusal(400, "invalid_dpop_proof"));
    // Another's key is none of its.
    let stranger = self::key(Algorithm::Es256);
    let body = format!("{CC}&{}", parameters(&assertion(&stranger, "https://auth.example", "2")));
    assert_eq!(house.post_to("/token", &[], &body).await.refusal().1, "invalid_client");
}

#[tokio::test]
async fn row_281_registration_is_closed_to_who_has_no_token_for_it() {
    let house = open_house().await;
    let nobody = send(&house, Method::POST, "/register", "", &json!({})).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let challenge = nobody.headers["www-authenticate"].to_str().unwrap();
    assert_eq!(challenge, "Bearer realm=\"r\"");
    for bad in ["x", "a.b.c"] {
        let answer = send(&house, Method::POST, "/register", bad, &json!({})).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
    }
    let own = Client { audience: vec!["https://auth.example".into()], ..client("billing") };
    house.change(vec![Change::PutClient(own)]).await;
    let billing = token_of(&house, "billing").await;
    let answer = send(&house, Method::POST, "/register", &billing, &json!({})).await;
    assert_eq!(answer.refusal(), refusal(403, "insufficient_scope"));
    // A token for an API, which that API could bring here.
    let elsewhere = Client {
        scope: "register".parse().unwrap(),
        audience: vec!["https://api.example".into()],
        ..client("billing")
    };
    house.change(vec![Change::PutClient(elsewhere)]).await;
    let elsewhere = token_of(&house, "billing").await;
    let answer = send(&house, Method::POST, "/register", &elsewhere, &json!({})).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
    let revoked = token_of(&house, "registrar").await;
    let header = basic(&format!("registrar:{SECRET}"));
    house.post_to("/revoke", &[("authorization", &header)], &format!("token={revoked}")).await;
    let answer = send(&house, Method::POST, "/register", &revoked, &json!({})).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
    let get = send(&house, Method::GET, "/register", "", &json!({})).await;
    assert_eq!((get.status.as_u16(), &get.headers["allow"]), (405, &"POST".parse().unwrap()));

    // By default there is no such place at all.
    let closed = House::of(realm()).await;
    let answer = send(&closed, Method::POST, "/register", &billing, &json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let path = "/.well-known/oauth-authorization-server";
    assert_eq!(closed.get(path).await.json().get("registration_endpoint"), None);
    let metadata = house.get(path).await;
    assert_eq!(metadata.field("registration_endpoint"), "https://auth.example/register");
}

#[tokio::test]
async fn row_281_a_token_that_is_bound_to_a_key_opens_nothing() {
    let house = open_house().await;
    let proof = crate::dpop::proof(&key(Algorithm::Es256), "https://auth.example/token", json!({}));
    let header = basic(&format!("registrar:{SECRET}"));
    let headers = [("authorization", header.as_str()), ("dpop", &proof)];
    let bound = house.post_to("/token", &headers, CC).await;
    assert_eq!(bound.field("token_type"), "DPoP");
    // Whoever has stolen it could present it so.
    let token = bound.field("access_token");
    let answer = send(&house, Method::POST, "/register", &token, &json!({})).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
}

#[tokio::test]
async fn row_281_a_realm_that_names_no_scope_for_it_lets_nobody_register() {
    let house = open_house().await;
    let token = token_of(&house, "registrar").await;
    let policy = RegistrationPolicy { scopes: "read".parse().unwrap(), ..Default::default() };
    let changed = Realm { registration: Some(policy), ..realm() };
    house.change(vec![Change::PutRealm(changed)]).await;
    let answer = send(&house, Method::POST, "/register", &token, &json!({})).await;
    assert_eq!(answer.refusal(), refusal(403, "insufficient_scope"));
}

#[tokio::test]
async fn row_278_row_279_bad_metadata_registers_nothing() {
    let house = open_house().await;
    let cases = [
        (json!({ "jwks": {}, "jwks_uri": "https://a.example" }), "invalid_client_metadata"),
        (json!({ "scope": "write" }), "invalid_client_metadata"),
        (json!({ "grant_types": ["password"] }), "invalid_client_metadata"),
        (json!([]), "invalid_client_metadata"),
        (json!({ "software_statement": "a.b.c" }), "invalid_software_statement"),
    ];
    let before = house.store.revision().await.unwrap();
    for (metadata, code) in cases {
        assert_eq!(register(&house, &metadata).await.refusal(), refusal(400, code), "{metadata}");
    }
    assert_eq!(house.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn row_283_row_284_row_285_a_client_manages_its_registration() {
    let house = open_house().await;
    let answer = register(&house, &json!({ "client_name": "a" })).await;
    let (path, token) = managed(&answer);
    let (id, secret) = (answer.field("client_id"), answer.field("client_secret"));
    let other = register(&house, &json!({})).await;
    let (other_path, other_token) = managed(&other);

    let read = send(&house, Method::GET, &path, &token, &json!({})).await;
    assert_eq!((read.status, read.field("client_name")), (StatusCode::OK, "a".into()));
    assert_eq!(read.json().get("client_secret"), None);
    assert_eq!(read.field("registration_access_token"), token);
    for (path, token) in [
        (path.as_str(), ""),
        (&path, "x"),
        (&path, &other_token),
        (&other_path, &token),
        ("/register/billing", &token),
        ("/register/nobody", &token),
        ("/register/", &token),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = send(&house, method, path, token, &json!({ "client_id": id })).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {token}");
        }
    }
    for (body, code) in [
        (json!({ "client_id": "billing" }), "invalid_client_metadata"),
        (json!({ "client_id": id, "registration_access_token": token }), "invalid_request"),
        (json!({ "client_id": id, "client_id_issued_at": 1 }), "invalid_request"),
        (json!({ "client_id": id, "client_secret_expires_at": 0 }), "invalid_request"),
    ] {
        let answer = send(&house, Method::PUT, &path, &token, &body).await;
        assert_eq!(answer.refusal(), refusal(400, code), "{body}");
    }
    // A new name; the secret stays.
    let renamed = json!({ "client_id": id, "client_name": "b" });
    let put = send(&house, Method::PUT, &path, &token, &renamed).await;
    assert_eq!((put.status, put.field("client_name")), (StatusCode::OK, "b".into()));
    assert_eq!(put.json().get("client_secret"), None);
    let pair = format!("{id}:{secret}");
    let issued = house.token(&pair, CC).await;
    assert_eq!(issued.status, StatusCode::OK);
    // A key instead: the secret is over.
    let jwk: Value = serde_json::from_str(&key(Algorithm::Es256).public_jwk().to_json()).unwrap();
    let keyed = json!({
        "client_id": id, "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [jwk] },
    });
    let put = send(&house, Method::PUT, &path, &token, &keyed).await;
    assert_eq!(put.field("token_endpoint_auth_method"), "private_key_jwt", "{}", put.text);
    assert_eq!(house.token(&pair, CC).await.refusal(), refusal(401, "invalid_client"));
    let read = send(&house, Method::GET, &path, &token, &json!({})).await;
    assert_eq!(read.json()["jwks"]["keys"].as_array().unwrap().len(), 1);

    let header = basic(&format!("registrar:{SECRET}"));
    let body = format!("token={}", issued.field("access_token"));
    let told = house.post_to("/introspect", &[("authorization", &header)], &body).await;
    assert_eq!(told.json()["active"], true);

    let deleted = send(&house, Method::DELETE, &path, &token, &json!({})).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let gone = send(&house, Method::GET, &path, &token, &json!({})).await;
    assert_eq!(gone.refusal(), refusal(401, "invalid_token"));
    let told = house.post_to("/introspect", &[("authorization", &header)], &body).await;
    assert_eq!(told.json(), json!({ "active": false }));
    let patch = send(&house, Method::PATCH, &other_path, &other_token, &json!({})).await;
    assert_eq!(patch.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn row_087_row_277_a_client_registers_the_name_in_its_certificate_or_the_certificate() {
    let house = open_house().await;
    let realm = house.store.outline().await.unwrap().realms[0].clone();
    let authorities = vec![rcgen::generate_simple_self_signed(["ca".into()]).unwrap().cert.pem()];
    let certificates = Some(CertificatePolicy { authorities, ..CertificatePolicy::default() });
    house.change(vec![Change::PutRealm(Realm { certificates, ..realm })]).await;
    let own = rcgen::generate_simple_self_signed(["billing".into()]).unwrap();
    let x5c = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, own.cert.der());
    let jwks = json!({ "keys": [{ "kty": "EC", "x5c": [x5c] }] });
    for (metadata, name) in [
        (
            json!({
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_san_dns": "billing.example",
                "tls_client_certificate_bound_access_tokens": true,
            }),
            "tls_client_auth_san_dns",
        ),
        (
            json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": jwks }),
            "jwks",
        ),
    ] {
        let answer = register(&house, &metadata).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let (path, token) = managed(&answer);
        let read = send(&house, Method::GET, &path, &token, &json!({})).await;
        for told in [answer.json(), read.json()] {
            assert_eq!(told[name], metadata[name]);
            let method = "token_endpoint_auth_method";
            assert_eq!(told[method], metadata[method]);
            assert_eq!(told.get("client_secret"), None);
        }
        let bound = "tls_client_certificate_bound_access_tokens";
        assert_eq!(answer.json()[bound], metadata[bound] == true);
    }
    let two = json!({
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_san_dns": "a.example", "tls_client_auth_san_ip": "192.0.2.1",
    });
    let refused = register(&house, &two).await;
    assert_eq!(refused.refusal(), refusal(400, "invalid_client_metadata"));
}

#[tokio::test]
async fn what_an_operator_has_done_a_registration_does_not_undo() {
    let house = open_house().await;
    let answer = register(&house, &json!({ "client_name": "a" })).await;
    let (path, token) = managed(&answer);
    let id = answer.field("client_id");
    let stored = || async { house.store.client("r", &id).await.unwrap().unwrap() };
    // The audience is narrowed; the store knows it, this node's memory not yet.
    let narrowed = Client { audience: vec!["https://one.example".into()], ..stored().await };
    house.store.change(vec![Change::PutClient(narrowed)], None, START).await.unwrap();
    let renamed = json!({ "client_id": id, "client_name": "b" });
    let put = send(&house, Method::PUT, &path, &token, &renamed).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    assert_eq!(stored().await.audience, ["https://one.example"]);
    // It is disabled: it manages nothing any more, and stays disabled.
    let disabled = Client { enabled: false, ..stored().await };
    house.store.change(vec![Change::PutClient(disabled)], None, START).await.unwrap();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = send(&house, method, &path, &token, &renamed).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
    }
    assert!(!stored().await.enabled);
    // It is removed: it does not come back.
    let removed = Change::RemoveClient { realm: "r".into(), client: id.clone() };
    house.store.change(vec![removed], None, START).await.unwrap();
    let answer = send(&house, Method::PUT, &path, &token, &renamed).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_token"));
    assert_eq!(house.store.client("r", &id).await.unwrap(), None);
}

#[tokio::test]
async fn where_tokens_are_bound_a_client_is_registered_with_a_proof() {
    let house = open_house().await;
    let key = key(Algorithm::Es256);
    let proof = |path: &str, further: Value| {
        crate::dpop::proof(&key, &format!("https://auth.example{path}"), further)
    };
    let header = basic(&format!("registrar:{SECRET}"));
    let to_token = proof("/token", json!({ "jti": "t" }));
    let headers = [("authorization", header.as_str()), ("dpop", &to_token)];
    let token = house.post_to("/token", &headers, CC).await.field("access_token");
    let ath = tokenry_core::dpop::hash(&token);
    let try_with = |scheme: &str, proof: Option<String>| {
        let mut request = Request::post("/register")
            .header("host", &house.host)
            .header("authorization", format!("{scheme} {token}"));
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        house.send(request.body(Bytes::from_static(b"{}")).unwrap())
    };
    let good = proof("/register", json!({ "jti": "1", "ath": ath }));
    assert_eq!(try_with("Bearer", None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(try_with("Bearer", Some(good.clone())).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(try_with("DPoP", None).await.status, StatusCode::UNAUTHORIZED);
    let without_ath = proof("/register", json!({ "jti": "2" }));
    assert_eq!(try_with("DPoP", Some(without_ath)).await.refusal().1, "invalid_dpop_proof");
    assert_eq!(try_with("DPoP", Some(good.clone())).await.status, StatusCode::CREATED);
    assert_eq!(try_with("DPoP", Some(good)).await.refusal().1, "invalid_dpop_proof");
}
