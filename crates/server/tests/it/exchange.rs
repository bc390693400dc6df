//! Token exchange (RFC 8693), and what tokens are for (RFC 8707).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_core::realm::{Dialect, Resource};
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use crate::assertion::key;
use crate::foreign::{claims, signed, trust};
use crate::house::{
    Answer, House, SECRET, basic, billing, client, credential, put_credential, realm, refusal, user,
};

const CC: &str = "grant_type=client_credentials";
const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// `billing` calls `gateway`, which exchanges what it is called with for tokens for `https://orders.example`.
fn changes() -> Vec<Change> {
    let resource = |identifier: &str, scopes: &str| Resource {
        identifier: identifier.into(),
        scopes: Some(scopes.parse().unwrap()),
        access: None,
    };
    let realm = Realm {
        audience: vec!["gateway".into()],
        resources: vec![
            resource("https://orders.example", "read write"),
            resource("https://ledger.example", "read"),
        ],
        password_grant: true,
        ..realm()
    };
    let mut changes = vec![Change::PutRealm(realm), Change::PutUser(user("ann", "pw"))];
    for (number, id) in ["billing", "gateway", "worker"].into_iter().enumerate() {
        changes.push(Change::PutClient(client(id)));
        changes.push(put_credential(id, credential(&format!("cred-{number:03}"), SECRET)));
    }
    changes
}

async fn as_client(house: &House, id: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let basic = basic(&format!("{id}:{SECRET}"));
    let mut all = vec![("authorization", basic.as_str())];
    all.extend(headers);
    house.post_to("/token", &all, body).await
}

fn exchange(subject: &str, further: &str) -> String {
    format!("{EXCHANGE}&subject_token={subject}&subject_token_type={ACCESS}{further}")
}

async fn token_of(house: &House, id: &str, body: &str) -> String {
    as_client(house, id, &[], body).await.field("access_token")
}

async fn verified(house: &House, answer: &Answer) -> tokenry_core::jose::Claims {
    house.verify(&answer.field("access_token"), "/jwks").await
}

#[tokio::test]
async fn row_129_row_132_the_new_token_is_about_the_same_and_for_less() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", &format!("{CC}&scope=read")).await;
    house.clock.advance(Duration::from_secs(100));
    let further = "&resource=https://orders.example";
    let answer = as_client(&house, "gateway", &[], &exchange(&subject, further)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let names = ["access_token", "token_type", "expires_in", "issued_token_type", "scope"];
    assert_eq!(answer.fields(), names);
    assert_eq!(
        (answer.field("issued_token_type"), answer.field("token_type")),
        (ACCESS.into(), "Bearer".into())
    );
    // The lifetime is what the subject token has left; the scope is what both have.
    assert_eq!(
        (answer.json()["expires_in"].as_u64(), answer.field("scope")),
        (Some(200), "read".into())
    );
    let claims = verified(&house, &answer).await;
    assert_eq!(
        (claims.sub.as_deref(), claims.client_id.as_deref()),
        (Some("billing"), Some("gateway"))
    );
    assert_eq!(claims.aud.unwrap().sole(), Some("https://orders.example"));
    assert!(!claims.other.contains_key("act"));
    let wider = as_client(&house, "gateway", &[], &exchange(&subject, "&scope=read+write")).await;
    assert_eq!(wider.refusal(), refusal(400, "invalid_scope"));
    // By its other name, and asked for by its other type, it is the same.
    let as_jwt = format!(
        "{EXCHANGE}&subject_token={subject}&subject_token_type={JWT}&requested_token_type={JWT}"
    );
    assert_eq!(as_client(&house, "gateway", &[], &as_jwt).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_132_a_client_gets_no_more_by_an_exchange_than_it_may_have() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", CC).await;
    let reader = Client { scope: "read".parse().unwrap(), ..client("gateway") };
    house.change(vec![Change::PutClient(reader)]).await;
    let answer = as_client(&house, "gateway", &[], &exchange(&subject, "")).await;
    assert_eq!(answer.field("scope"), "read");
    let wider = as_client(&house, "gateway", &[], &exchange(&subject, "&scope=write")).await;
    assert_eq!(wider.refusal(), refusal(400, "invalid_scope"));
}

#[tokio::test]
async fn row_132_the_new_token_ends_with_that_of_the_actor() {
    let house = House::with(changes()).await;
    let actor = token_of(&house, "gateway", CC).await;
    house.clock.advance(Duration::from_secs(100));
    let subject = token_of(&house, "billing", CC).await;
    let by_actor = format!("&actor_token={actor}&actor_token_type={ACCESS}");
    for (further, expires_in) in [("", 300), (by_actor.as_str(), 200)] {
        let answer = as_client(&house, "gateway", &[], &exchange(&subject, further)).await;
        assert_eq!(answer.json()["expires_in"], expires_in, "{further}");
    }
}

#[tokio::test]
async fn row_127_a_subject_token_must_be_good() {
    let house = House::with(changes()).await;
    let refused = |answer: Answer| assert_eq!(answer.refusal(), refusal(400, "invalid_request"));
    let subject = token_of(&house, "billing", CC).await;
    // `worker` is neither the client that it was issued to nor one that it is for.
    refused(as_client(&house, "worker", &[], &exchange(&subject, "")).await);
    let good = as_client(&house, "gateway", &[], &exchange(&subject, "")).await;
    assert_eq!(good.status, StatusCode::OK);
    refused(as_client(&house, "gateway", &[], &exchange("nonsense", "")).await);
    let answer = as_client(&house, "billing", &[], CC).await;
    refused(as_client(&house, "gateway", &[], &exchange(&answer.field("refresh_token"), "")).await);
    let foreign = signed(&key(Algorithm::Es256), &claims("https://ci.example", "a", json!({})));
    refused(as_client(&house, "gateway", &[], &exchange(&foreign, "")).await);
    // Nor is it good under the name of what it is: nobody trusts its issuer.
    let as_jwt = format!("{EXCHANGE}&subject_token={foreign}&subject_token_type={JWT}");
    refused(as_client(&house, "gateway", &[], &as_jwt).await);

    let basic = basic(&billing());
    let revoke = format!("token={subject}");
    let revoked = house.post_to("/revoke", &[("authorization", &basic)], &revoke).await;
    assert_eq!(revoked.status, StatusCode::OK);
    refused(as_client(&house, "gateway", &[], &exchange(&subject, "")).await);
    let late = token_of(&house, "billing", CC).await;
    house.clock.advance(Duration::from_secs(300));
    refused(as_client(&house, "gateway", &[], &exchange(&late, "")).await);
}

#[tokio::test]
async fn what_came_from_another_ends_with_that_other() {
    let house = House::with(changes()).await;
    let active = async |token: &str| {
        let basic = basic(&format!("gateway:{SECRET}"));
        let body = format!("token={token}");
        let told = house.post_to("/introspect", &[("authorization", &basic)], &body).await;
        told.json()["active"] == true
    };
    let of_client = token_of(&house, "billing", CC).await;
    let of_ann = "grant_type=password&username=ann&password=pw";
    let of_ann = token_of(&house, "billing", of_ann).await;
    let by_client = token_of(&house, "gateway", &exchange(&of_client, "")).await;
    let by_ann = token_of(&house, "gateway", &exchange(&of_ann, "")).await;
    assert!(active(&by_client).await && active(&by_ann).await);
    house.change(vec![Change::PutClient(Client { enabled: false, ..client("billing") })]).await;
    assert!(!active(&by_client).await && active(&by_ann).await);
    let mut ann = user("ann", "pw");
    ann.enabled = false;
    house.change(vec![Change::PutUser(ann)]).await;
    assert!(!active(&by_ann).await);
}

#[tokio::test]
async fn row_128_row_135_row_137_an_unknown_resource_is_no_target() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", CC).await;
    for further in ["&resource=https://other.example", "&audience=other", "&resource=orders"] {
        let answer = as_client(&house, "gateway", &[], &exchange(&subject, further)).await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_target"), "{further}");
    }
    let named = as_client(&house, "gateway", &[], &exchange(&subject, "&audience=gateway")).await;
    assert_eq!(named.status, StatusCode::OK, "{}", named.text);
    let two = "&resource=https://orders.example&resource=https://ledger.example";
    let answer = as_client(&house, "billing", &[], &format!("{CC}{two}")).await;
    assert_eq!(answer.refusal(), refusal(400, "invalid_target"));
    // A client that may have one resource has no other, also here.
    let own = Client { audience: vec!["https://ledger.example".into()], ..client("gateway") };
    house.change(vec![Change::PutClient(own)]).await;
    let further = "&resource=https://orders.example";
    let answer = as_client(&house, "gateway", &[], &exchange(&subject, further)).await;
    assert_eq!(answer.refusal(), refusal(400, "invalid_target"));
}

#[tokio::test]
async fn row_009_row_136_row_138_a_token_for_a_resource() {
    let house = House::with(changes()).await;
    let for_ledger = "&resource=https://ledger.example/";
    let answer = as_client(&house, "billing", &[], &format!("{CC}{for_ledger}")).await;
    assert_eq!(answer.field("scope"), "read");
    let claims = verified(&house, &answer).await;
    assert_eq!(claims.aud.unwrap().sole(), Some("https://ledger.example"));
    // The refresh token is for the same, and for nothing else.
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", answer.field("refresh_token"));
    let elsewhere = format!("{refresh}&resource=https://orders.example");
    let answer = as_client(&house, "billing", &[], &elsewhere).await;
    assert_eq!(answer.refusal(), refusal(400, "invalid_target"));
    let answer = as_client(&house, "billing", &[], &refresh).await;
    let claims = verified(&house, &answer).await;
    assert_eq!(claims.aud.unwrap().sole(), Some("https://ledger.example"));

    let mut several = changes();
    if let Change::PutRealm(realm) = &mut several[0] {
        realm.several_resources = true;
    }
    let house = House::with(several).await;
    let two = "&resource=https://orders.example&resource=https://ledger.example";
    let answer = as_client(&house, "billing", &[], &format!("{CC}{two}")).await;
    let audience: Vec<String> =
        verified(&house, &answer).await.aud.unwrap().iter().map(str::to_owned).collect();
    assert_eq!(audience, ["https://orders.example", "https://ledger.example"]);
}

#[tokio::test]
async fn row_130_actors_stand_behind_one_another() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", CC).await;
    let actor = async |id: &str| {
        let token = token_of(&house, id, CC).await;
        format!("&actor_token={token}&actor_token_type={ACCESS}")
    };
    let first = exchange(&subject, &actor("gateway").await);
    let first = as_client(&house, "gateway", &[], &first).await;
    let act = |claims: &tokenry_core::jose::Claims| claims.other["act"].clone();
    assert_eq!(act(&verified(&house, &first).await), json!({ "sub": "gateway" }));
    let again = exchange(&first.field("access_token"), &actor("worker").await);
    let second = as_client(&house, "gateway", &[], &again).await;
    let expected = json!({ "sub": "worker", "act": { "sub": "gateway" } });
    assert_eq!(act(&verified(&house, &second).await), expected);
    // Without an actor those who acted before are still named.
    let third = exchange(&second.field("access_token"), "");
    let third = as_client(&house, "gateway", &[], &third).await;
    assert_eq!(act(&verified(&house, &third).await), expected);
    let basic = basic(&format!("gateway:{SECRET}"));
    let body = format!("token={}", third.field("access_token"));
    let told = house.post_to("/introspect", &[("authorization", &basic)], &body).await;
    assert_eq!(told.json()["act"], expected);
    // There is an end to it.
    let mut token = third.field("access_token");
    let mut refused = None;
    for _ in 0..10 {
        let answer = exchange(&token, &actor("worker").await);
        let answer = as_client(&house, "gateway", &[], &answer).await;
        if answer.status != StatusCode::OK {
            refused = Some(answer.refusal());
            break;
        }
        token = answer.field("access_token");
    }
    assert_eq!(refused, Some(refusal(400, "invalid_request")));
}

#[tokio::test]
async fn row_131_a_subject_says_who_may_act_for_it() {
    let key = key(Algorithm::Es256);
    let mut changes = changes();
    if let Change::PutRealm(realm) = &mut changes[0] {
        realm.trusts = vec![trust("ci", "https://ci.example", &[&key], "read")];
    }
    let house = House::with(changes).await;
    let worker = token_of(&house, "worker", CC).await;
    let by_worker = format!("&actor_token={worker}&actor_token_type={ACCESS}");
    for (may_act, further, good) in [
        (json!({ "sub": "gateway" }), "", true),
        (json!({ "sub": "worker" }), "", false),
        (json!({ "sub": "worker" }), by_worker.as_str(), true),
        (json!({ "sub": "gateway" }), by_worker.as_str(), false),
        (json!({}), "", false),
        (json!("gateway"), "", false),
        (Value::Null, "", false),
    ] {
        let further_claims = json!({ "may_act": may_act });
        let subject = signed(&key, &claims("https://ci.example", "job-1", further_claims));
        let body = format!("{EXCHANGE}&subject_token={subject}&subject_token_type={JWT}{further}");
        // `worker` presents its own token, `gateway` is the audience of it.
        let answer = as_client(&house, "gateway", &[], &body).await;
        assert_eq!(answer.status == StatusCode::OK, good, "{may_act} {further}: {}", answer.text);
        if good {
            assert_eq!(verified(&house, &answer).await.sub.as_deref(), Some("ci:job-1"));
        } else {
            assert_eq!(answer.refusal(), refusal(400, "invalid_request"));
        }
    }
}

#[tokio::test]
async fn row_133_a_bound_token_is_exchanged_with_its_key_alone() {
    let house = House::with(changes()).await;
    let (own, other) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let proof = |key, jti: &str| {
        crate::dpop::proof(key, "https://auth.example/token", json!({ "jti": jti }))
    };
    let bound = as_client(&house, "billing", &[("dpop", &proof(&own, "1"))], CC).await;
    let body = exchange(&bound.field("access_token"), "");
    for headers in [vec![], vec![("dpop", proof(&other, "2"))]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = as_client(&house, "gateway", &headers, &body).await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_request"));
    }
    let answer = as_client(&house, "gateway", &[("dpop", &proof(&own, "3"))], &body).await;
    assert_eq!(answer.field("token_type"), "DPoP");
}

#[tokio::test]
async fn row_133_an_actor_shows_the_key_of_its_token_too() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", CC).await;
    let own = key(Algorithm::Es256);
    let proof =
        |jti: &str| crate::dpop::proof(&own, "https://auth.example/token", json!({ "jti": jti }));
    let bound = as_client(&house, "gateway", &[("dpop", &proof("1"))], CC).await;
    let actor = bound.field("access_token");
    let body = exchange(&subject, &format!("&actor_token={actor}&actor_token_type={ACCESS}"));
    let without = as_client(&house, "gateway", &[], &body).await;
    assert_eq!(without.refusal(), refusal(400, "invalid_request"));
    let with = as_client(&house, "gateway", &[("dpop", &proof("2"))], &body).await;
    assert_eq!(with.field("token_type"), "DPoP");
}

#[tokio::test]
async fn keycloak_realms_have_no_exchange() {
    let mut changes = changes();
    if let Change::PutRealm(realm) = &mut changes[0] {
        realm.dialect = Dialect::Keycloak;
    }
    let house = House::with(changes).await;
    let path = "/protocol/openid-connect/token";
    let basic = basic(&billing());
    let headers = [("authorization", basic.as_str())];
    let subject = house.post_to(path, &headers, CC).await.field("access_token");
    let answer = house.post_to(path, &headers, &exchange(&subject, "")).await;
    assert_eq!(answer.refusal(), refusal(400, "unsupported_grant_type"));
}

#[tokio::test]
async fn row_189_what_was_exchanged_ends_with_what_it_came_from() {
    let house = House::with(changes()).await;
    let header = basic(&billing());
    let active = async |token: &str| {
        let basic = basic(&format!("gateway:{SECRET}"));
        let body = format!("token={token}");
        let told = house.post_to("/introspect", &[("authorization", &basic)], &body).await;
        told.json()["active"] == true
    };
    for name in ["access_token", "refresh_token"] {
        let first = as_client(&house, "billing", &[], CC).await;
        let body = exchange(&first.field("access_token"), "");
        let exchanged = token_of(&house, "gateway", &body).await;
        let again = token_of(&house, "gateway", &exchange(&exchanged, "")).await;
        assert!(active(&exchanged).await && active(&again).await);
        // A client credentials token has a family here; it ends with that, and not alone.
        let ended = name == "refresh_token";
        let body = format!("token={}", first.field(name));
        house.post_to("/revoke", &[("authorization", &header)], &body).await;
        assert_eq!(active(&exchanged).await, !ended, "{name}");
        assert_eq!(active(&again).await, !ended, "{name}");
    }
}

#[tokio::test]
async fn to_introspect_all_is_no_right_to_speak_for_all() {
    let house = House::with(changes()).await;
    let subject = token_of(&house, "billing", CC).await;
    let worker = |introspects: &str| {
        let particulars =
            Particulars { introspects: vec![introspects.into()], ..Particulars::default() };
        Client { particulars: particulars.boxed(), ..client("worker") }
    };
    for (introspects, good) in [("*", false), ("other", false), ("gateway", true)] {
        house.change(vec![Change::PutClient(worker(introspects))]).await;
        let answer = as_client(&house, "worker", &[], &exchange(&subject, "")).await;
        assert_eq!(answer.status == StatusCode::OK, good, "{introspects}");
    }
}

#[tokio::test]
async fn row_130_row_131_what_another_issuer_says_of_actors() {
    let key = key(Algorithm::Es256);
    let mut changes = changes();
    if let Change::PutRealm(realm) = &mut changes[0] {
        realm.trusts = vec![trust("ci", "https://ci.example", &[&key], "read")];
    }
    let house = House::with(changes).await;
    let ask = async |further: Value| {
        let subject = signed(&key, &claims("https://ci.example", "job-1", further));
        let body = format!("{EXCHANGE}&subject_token={subject}&subject_token_type={JWT}");
        as_client(&house, "gateway", &[], &body).await
    };
    // Nobody here is whom it calls an actor.
    let acted = ask(json!({ "act": { "sub": "billing" } })).await;
    assert_eq!(verified(&house, &acted).await.other.get("act"), None);
    // Who may act is said on, and means nobody of another issuer.
    let may_act = json!({ "sub": "gateway" });
    let admitted = ask(json!({ "may_act": may_act })).await;
    assert_eq!(verified(&house, &admitted).await.other["may_act"], may_act);
    let elsewhere = json!({ "may_act": { "iss": "https://ci.example", "sub": "gateway" } });
    assert_eq!(ask(elsewhere).await.refusal(), refusal(400, "invalid_request"));
    // An issuer whose clock is behind has nothing to give.
    let over = json!({ "exp": crate::house::START.as_secs() - 10 });
    assert_eq!(ask(over).await.refusal(), refusal(400, "invalid_request"));
}
