//! Tokens of other issuers: as a grant (RFC 7523 §2.1) and as a client's credential.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::assertion::{ASSERTION_TYPE, SPIFFE_TYPE};
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::realm::{Trust, TrustedKeys};
use tokenry_core::{Particulars, Realm};
use tokenry_server::{Fetch, FetchError};
use tokenry_store::{Change, Memory};

use crate::assertion::key;
use crate::house::{
    Answer, House, START, billing, client, credential, put_credential, realm, refusal,
};

const ISSUER: &str = "https://auth.example";
const CI: &str = "https://ci.example";
const BEARER: &str = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(crate) fn trust(name: &str, issuer: &str, keys: &[&SigningKey], scopes: &str) -> Trust {
    let keys: Vec<Value> =
        keys.iter().map(|key| serde_json::from_str(&key.public_jwk().to_json()).unwrap()).collect();
    Trust {
        name: name.into(),
        issuer: issuer.into(),
        keys: TrustedKeys::Jwks(json!({ "keys": keys }).to_string()),
        audience: vec![],
        scopes: scopes.parse().unwrap(),
    }
}

pub(crate) fn signed(key: &SigningKey, claims: &Value) -> String {
    let mut text = String::new();
    key.sign_compact(&key.header("JWT"), claims.to_string().as_bytes(), &mut text).unwrap();
    text
}

pub(crate) fn claims(issuer: &str, subject: &str, further: Value) -> Value {
    let exp = START.as_secs() + 600;
    let mut claims = json!({ "iss": issuer, "sub": subject, "aud": ISSUER, "exp": exp });
    for (name, value) in further.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn house(trusts: Vec<Trust>) -> House {
    House::of(Realm { trusts, ..realm() }).await
}

async fn bearer(house: &House, assertion: &str, further: &str) -> Answer {
    house.token(&billing(), &format!("{BEARER}&assertion={assertion}{further}")).await
}

#[tokio::test]
async fn row_076_row_078_row_079_a_token_of_a_trusted_issuer_gives_one_of_ours() {
    let key = key(Algorithm::Rs256);
    let house = house(vec![trust("ci", CI, &[&key], "read")]).await;
    let job = signed(&key, &claims(CI, "job-1", json!({})));
    let answer = bearer(&house, &job, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.fields(), ["access_token", "token_type", "expires_in", "scope"]);
    assert_eq!(answer.field("scope"), "read");
    let token = answer.field("access_token");
    let claims_of = house.verify(&token, "/jwks").await;
    assert_eq!(claims_of.sub.as_deref(), Some("ci:job-1"));
    assert_eq!(claims_of.client_id.as_deref(), Some("billing"));
    let told = house
        .post_to(
            "/introspect",
            &[("authorization", &crate::house::basic(&billing()))],
            &format!("token={token}"),
        )
        .await
        .json();
    assert_eq!((&told["active"], &told["sub"]), (&true.into(), &"ci:job-1".into()));

    // The client may have `write`; what this issuer says is not enough for it.
    let wider = bearer(&house, &job, "&scope=write").await;
    assert_eq!(wider.refusal(), refusal(400, "invalid_scope"));
    let for_endpoint = json!({ "aud": "https://auth.example/token" });
    let for_endpoint = signed(&key, &claims(CI, "job-1", for_endpoint));
    assert_eq!(bearer(&house, &for_endpoint, "&scope=read").await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_075_row_077_what_is_no_grant_is_refused() {
    let (own, other) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let logs_in = "https://login.example";
    let trusts = vec![trust("ci", CI, &[&own], "read"), trust("login", logs_in, &[&own], "")];
    let house = house(trusts).await;
    let good = claims(CI, "job-1", json!({}));
    for assertion in [
        "x".to_owned(),
        signed(&other, &good),
        signed(&own, &claims("https://other.example", "job-1", json!({}))),
        signed(&own, &claims(logs_in, "job-1", json!({}))),
        signed(&own, &claims(CI, "job-1", json!({ "exp": START.as_secs() - 60 }))),
        signed(&own, &claims(CI, "job-1", json!({ "aud": "https://other.example" }))),
        signed(&own, &claims(CI, "job-1", json!({ "aud": [ISSUER, "https://b.example"] }))),
        house.token(&billing(), "grant_type=client_credentials").await.field("access_token"),
    ] {
        let answer = bearer(&house, &assertion, "").await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_grant"), "{assertion}");
    }
    let without = house.token(&billing(), BEARER).await;
    assert_eq!(without.refusal(), refusal(400, "invalid_request"));
    assert_eq!(bearer(&house, &signed(&own, &good), "").await.status, StatusCode::OK);
}

fn federated(issuer: &str, subject: &str) -> Credential {
    let kind = CredentialKind::Federated { issuer: issuer.into(), subject: subject.into() };
    Credential { kind, ..credential("fed-0001", "none") }
}

/// A realm whose client `pod` is known by what others call it alone.
async fn federation(key: &SigningKey) -> House {
    let cluster = "https://kubernetes.default.svc";
    let trusts = vec![
        trust("cluster", cluster, &[key], ""),
        trust("mesh", "spiffe://prod.example", &[key], ""),
    ];
    let account = "system:serviceaccount:shop:pod";
    let mesh = "spiffe://prod.example/shop/pod";
    House::with(vec![
        Change::PutRealm(Realm { trusts, ..realm() }),
        Change::PutClient(client("pod")),
        put_credential("pod", federated(cluster, account)),
        put_credential(
            "pod",
            Credential { id: "fed-0002".into(), ..federated("spiffe://prod.example", mesh) },
        ),
    ])
    .await
}

async fn as_pod(house: &House, client_id: &str, kind: &str, assertion: &str) -> Answer {
    let body = format!(
        "grant_type=client_credentials{client_id}&client_assertion_type={kind}&client_assertion={assertion}"
    );
    house.post_to("/token", &[], &body).await
}

#[tokio::test]
async fn a_workload_needs_no_secret_at_all() {
    let key = key(Algorithm::Rs256);
    let house = federation(&key).await;
    let cluster = "https://kubernetes.default.svc";
    let of = |subject: &str| signed(&key, &claims(cluster, subject, json!({})));
    let own = of("system:serviceaccount:shop:pod");
    let id = "&client_id=pod";
    let answer = as_pod(&house, id, ASSERTION_TYPE, &own).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let claims_of = house.verify(&answer.field("access_token"), "/jwks").await;
    assert_eq!(claims_of.sub.as_deref(), Some("pod"));
    // A pod presents the same token until it gets another.
    assert_eq!(as_pod(&house, id, ASSERTION_TYPE, &own).await.status, StatusCode::OK);

    let stranger = self::key(Algorithm::Rs256);
    for (id, assertion) in [
        ("", own.clone()),
        ("&client_id=other", own.clone()),
        (id, of("system:serviceaccount:shop:other")),
        (id, signed(&stranger, &claims(cluster, "system:serviceaccount:shop:pod", json!({})))),
        (id, signed(&key, &claims(CI, "system:serviceaccount:shop:pod", json!({})))),
        (
            id,
            signed(
                &key,
                &claims(
                    cluster,
                    "system:serviceaccount:shop:pod",
                    json!({ "aud": "https://auth.example/token" }),
                ),
            ),
        ),
    ] {
        let answer = as_pod(&house, id, ASSERTION_TYPE, &assertion).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"), "{id} {assertion}");
    }
}

#[tokio::test]
async fn row_097_row_098_a_spiffe_workload_is_known_by_its_trust_domain() {
    let key = key(Algorithm::Es256);
    let house = federation(&key).await;
    let svid = |key: &SigningKey, sub: &str| {
        let exp = START.as_secs() + 300;
        signed(key, &json!({ "sub": sub, "aud": [ISSUER], "exp": exp }))
    };
    let own = svid(&key, "spiffe://prod.example/shop/pod");
    let id = "&client_id=pod";
    assert_eq!(as_pod(&house, id, SPIFFE_TYPE, &own).await.status, StatusCode::OK);
    let other_domain = self::key(Algorithm::Es256);
    for assertion in [
        svid(&other_domain, "spiffe://prod.example/shop/pod"),
        svid(&key, "spiffe://prod.example/shop/other"),
        svid(&key, "spiffe://test.example/shop/pod"),
    ] {
        let answer = as_pod(&house, id, SPIFFE_TYPE, &assertion).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
    }
}

#[tokio::test]
async fn row_061_the_token_endpoint_is_an_audience_for_clients_registered_so() {
    let key = [key(Algorithm::Es256)];
    let house = House::with(crate::assertion::changes(realm(), &key)).await;
    let for_endpoint = |jti| {
        let assertion = crate::assertion::assertion(&key[0], "https://auth.example/token", jti);
        let parameters = crate::assertion::parameters(&assertion);
        format!("grant_type=client_credentials&{parameters}")
    };
    let refused = house.post_to("/token", &[], &for_endpoint("1")).await;
    assert_eq!(refused.refusal(), refusal(401, "invalid_client"));
    let particulars = Particulars { legacy_audience: true, ..Particulars::default() }.boxed();
    let legacy = tokenry_core::Client { particulars, ..client("billing") };
    house.change(vec![Change::PutClient(legacy)]).await;
    let taken = house.post_to("/token", &[], &for_endpoint("2")).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
    let elsewhere = crate::assertion::assertion(&key[0], "https://auth.example/tokens", "3");
    let body =
        format!("grant_type=client_credentials&{}", crate::assertion::parameters(&elsewhere));
    assert_eq!(house.post_to("/token", &[], &body).await.refusal().1, "invalid_client");
}

/// Publishes documents by their URLs.
#[derive(Debug)]
struct Documents(HashMap<&'static str, Value>);

#[async_trait]
impl Fetch for Documents {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let found = self.0.get(url).ok_or(FetchError::Status(404))?;
        Ok(Bytes::from(found.to_string()))
    }
}

#[tokio::test]
async fn row_098_row_170_keys_of_trusted_issuers_are_found_where_they_say() {
    let (own, bundled) = (key(Algorithm::Rs256), key(Algorithm::Es256));
    let jwk = |key: &SigningKey, usage: &str| {
        let mut jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        jwk["use"] = usage.into();
        json!({ "keys": [jwk] })
    };
    let publishes = Documents(HashMap::from([
        (
            "https://ci.example/.well-known/openid-configuration",
            json!({ "issuer": CI, "jwks_uri": "https://ci.example/keys" }),
        ),
        ("https://ci.example/keys", jwk(&own, "sig")),
        ("https://mesh.example/bundle", jwk(&bundled, "jwt-svid")),
    ]));
    let of = |name: &str, issuer: &str, keys: TrustedKeys| Trust {
        keys,
        ..trust(name, issuer, &[], "read")
    };
    let mesh = "spiffe://prod.example";
    let bundle = || TrustedKeys::JwksUri("https://mesh.example/bundle".into());
    let trusts = vec![
        of("ci", CI, TrustedKeys::Discovered),
        of("mesh", mesh, bundle()),
        // Keys for workloads are none of an issuer that is no trust domain.
        of("no-mesh", "https://mesh.example", bundle()),
        of("gone", "https://gone.example", TrustedKeys::Discovered),
    ];
    let house = House::fetching(
        Arc::new(publishes),
        Arc::new(Memory::new()),
        vec![
            Change::PutRealm(Realm { trusts, ..realm() }),
            Change::PutClient(client("billing")),
            put_credential("billing", credential("cred-001", crate::house::SECRET)),
        ],
    )
    .await;
    let job = signed(&own, &claims(CI, "job-1", json!({})));
    assert_eq!(bearer(&house, &job, "").await.status, StatusCode::OK);
    let svid = |sub: &str| {
        let mut claims = claims(CI, sub, json!({}));
        claims.as_object_mut().unwrap().remove("iss");
        claims
    };
    let pod = signed(&bundled, &svid("spiffe://prod.example/pod"));
    assert_eq!(bearer(&house, &pod, "").await.status, StatusCode::OK);
    let not_bundled = signed(&own, &svid("spiffe://prod.example/pod"));
    assert_eq!(bearer(&house, &not_bundled, "").await.refusal().1, "invalid_grant");
    let elsewhere = signed(&bundled, &claims("https://mesh.example", "pod", json!({})));
    assert_eq!(bearer(&house, &elsewhere, "").await.refusal().1, "invalid_grant");
    let gone = signed(&own, &claims("https://gone.example", "job-1", json!({})));
    let gone = bearer(&house, &gone, "").await;
    assert_eq!(gone.refusal(), refusal(503, "temporarily_unavailable"));
    assert!(gone.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn row_063_row_288_under_fapi_nobody_is_known_by_another_issuer() {
    let key = key(Algorithm::Es256);
    let house = federation(&key).await;
    let cluster = "https://kubernetes.default.svc";
    let own = signed(&key, &claims(cluster, "system:serviceaccount:shop:pod", json!({})));
    assert_eq!(as_pod(&house, "&client_id=pod", ASSERTION_TYPE, &own).await.status, StatusCode::OK);
    let realm = house.store.outline().await.unwrap().realms[0].clone();
    let fapi = Realm { profile: tokenry_core::realm::Profile::Fapi2, ..realm };
    house.change(vec![Change::PutRealm(fapi)]).await;
    let answer = as_pod(&house, "&client_id=pod", ASSERTION_TYPE, &own).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn what_can_be_turned_into_a_token_is_no_credential() {
    let key = key(Algorithm::Es256);
    let house = federation(&key).await;
    let realm = house.store.outline().await.unwrap().realms[0].clone();
    let mut grants = realm.clone();
    grants.trusts[0].scopes = "read".parse().unwrap();
    house.change(vec![Change::PutRealm(grants)]).await;
    let cluster = "https://kubernetes.default.svc";
    let own = signed(&key, &claims(cluster, "system:serviceaccount:shop:pod", json!({})));
    let answer = as_pod(&house, "&client_id=pod", ASSERTION_TYPE, &own).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
}
