//! Clients and their secrets, registered and removed through the admin API.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokenry_core::client::{CredentialKind, MAX_CREDENTIALS, SecretDigest};
use tokenry_core::particulars::Registered;
use tokenry_core::realm::RefreshPolicy;
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use super::{BILLING, problem};
use crate::house::{
    Answer, House, SECRET, basic, billing, client, credential, put_credential, realm,
};
use crate::watched::Watched;

/// The members that are wrong, with what is said of them.
fn errors(answer: &Answer) -> Vec<(String, String)> {
    problem(answer, 422);
    let json = answer.json();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    let errors = json["errors"].as_array().unwrap().iter();
    errors.map(|error| (text(error, "member"), text(error, "detail"))).collect()
}

#[tokio::test]
async fn realms_and_clients_are_listed_page_by_page() {
    let other = Realm { name: "s".into(), ..realm() };
    let mut changes = vec![Change::PutRealm(realm()), Change::PutRealm(other)];
    for id in ["a", "b/c", "d", "e"] {
        changes.push(Change::PutClient(client(id)));
    }
    changes.push(Change::PutClient(Client { realm: "s".into(), ..client("z") }));
    let house = House::with(changes).await;
    let realms = house.admin(Method::GET, "/admin/realms", "").await.json();
    let names: Vec<&Value> =
        realms["realms"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["r", "s"]);
    assert_eq!(realms["realms"][0]["issuer"], "https://auth.example");
    assert_eq!(realms["realms"][0]["scopes"], json!(["profile", "read", "write"]));

    let page = async |query: &str| {
        let path = format!("/admin/realms/r/clients?{query}");
        let json = house.admin(Method::GET, &path, "").await.json();
        let clients = json["clients"].as_array().unwrap().iter();
        let ids: Vec<String> = clients.map(|c| c["id"].as_str().unwrap().to_owned()).collect();
        (ids.join(" "), json["next"].as_str().map(str::to_owned))
    };
    let next = |id: &str| Some(id.to_owned());
    assert_eq!(page("").await, ("a b/c d e".into(), None));
    assert_eq!(page("limit=2").await, ("a b/c".into(), next("b/c")));
    assert_eq!(page("limit=2&after=b%2Fc").await, ("d e".into(), None));
    assert_eq!(page("limit=1&after=c").await, ("d".into(), next("d")));
    assert_eq!(page("after=e").await, (String::new(), None));
    let shown = house.admin(Method::GET, "/admin/realms/r/clients/b%2Fc", "").await;
    assert_eq!(shown.field("id"), "b/c");
}

#[tokio::test]
async fn a_client_is_registered_and_has_tokens_at_once() {
    let house = House::of(realm()).await;
    let path = "/admin/realms/r/clients/new";
    let body =
        r#"{"grants":["client_credentials"],"scope":["read"],"audience":["https://a.example"]}"#;
    let put = house.admin(Method::PUT, path, body).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let expected = json!({
        "realm": "r", "id": "new", "enabled": true, "grants": ["client_credentials"], "scope": ["read"],
        "audience": ["https://a.example"], "not_before": 0, "created_at": 1_700_000_000, "credentials": [],
    });
    assert_eq!(put.json(), expected);
    let shown = house.admin(Method::GET, path, "").await;
    assert_eq!((shown.json(), &shown.headers["etag"]), (expected, &put.headers["etag"]));

    let secret = house.admin(Method::POST, &format!("{path}/secrets"), "").await;
    assert_eq!(secret.status, StatusCode::CREATED);
    let pair = format!("new:{}", secret.field("secret"));
    let token = house.token(&pair, "grant_type=client_credentials").await;
    assert_eq!(token.status, StatusCode::OK, "{}", token.text);
    let claims = house.verify(&token.field("access_token"), "/jwks").await;
    assert!(claims.aud.unwrap().contains("https://a.example"));

    let removed = house.admin(Method::DELETE, path, "").await;
    assert_eq!((removed.status, removed.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let token = house.token(&pair, "grant_type=client_credentials").await;
    assert_eq!(token.refusal(), (401, "invalid_client".into()));
}

#[tokio::test]
async fn what_was_read_can_be_put_back_and_is_the_same() {
    let house = House::of(realm()).await;
    let full = json!({
        "enabled": false, "grants": ["client_credentials", "refresh_token", "jwt-bearer", "token-exchange"],
        "scope": ["read", "write"], "default_scope": ["read"], "audience": ["a", "b"], "access": "2m",
        "refresh": {
            "lifetime": "1h", "max_lifetime": "2h", "policy": "rotate", "grace": "10s", "client_credentials": true,
        },
        "signing": "RS256", "reuse": "30s", "client_authentication": "optional", "introspects": ["*"],
        "dpop_bound": true, "certificate_bound": true, "legacy_audience": true, "opaque": false,
        "jwks_uri": "https://a.example/jwks",
    });
    let put = house.admin(Method::PUT, BILLING, &full.to_string()).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    let mut told = put.json();
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(told[name], *value, "{name}");
    }
    let stored = house.stored("billing").await;
    for name in ["created_at", "not_before", "credentials"] {
        told.as_object_mut().unwrap().remove(name).unwrap();
    }
    let again = house.admin(Method::PUT, BILLING, &told.to_string()).await;
    assert_eq!((again.status, &again.text), (StatusCode::OK, &put.text));
    assert_eq!(house.stored("billing").await, stored);
    // Replaced, not mended: what is left out is gone; but nobody is enabled by being silent about it.
    let less = r#"{"grants":["client_credentials"],"scope":["read"]}"#;
    house.admin(Method::PUT, BILLING, less).await;
    let stored = house.stored("billing").await.unwrap();
    assert!(!stored.enabled && stored.access.is_none() && stored.particulars.is_none());
    assert_eq!(stored.credentials.len(), 1);
}

#[tokio::test]
async fn a_client_that_registered_itself_goes_on_managing_its_registration() {
    let registered = Registered {
        token: SecretDigest([7; 32]),
        name: Some("Billing".into()),
        method: "client_secret_basic".into(),
        jwks: None,
    };
    let particulars =
        Particulars { registered: Some(registered.clone()), ..Particulars::default() }.boxed();
    let own = Client { particulars, ..client("billing") };
    let house = House::with(vec![Change::PutRealm(realm()), Change::PutClient(own)]).await;
    let shown = house.admin(Method::GET, BILLING, "").await.json();
    let expected = json!({ "name": "Billing", "method": "client_secret_basic" });
    assert_eq!(shown["registered"], expected);
    let body = r#"{"grants":["client_credentials"],"signing":"Ed25519"}"#;
    assert_eq!(house.admin(Method::PUT, BILLING, body).await.json()["signing"], "EdDSA");
    let stored = house.stored("billing").await.unwrap();
    assert_eq!(stored.particulars().registered, Some(registered));
}

#[tokio::test]
async fn everything_wrong_with_a_client_is_told_at_once() {
    let house = House::of(realm()).await;
    let body = json!({
        "id": "other", "enabled": "yes", "grants": ["client_credentials", "password", "implicit"],
        "scope": ["read", "admin"], "default_scope": ["write"], "access": "31d",
        "refresh": { "lifetime": "1m", "policy": "keep", "grace": "1s", "x": 1 },
        "signing": "HS256", "created_at": 1, "client_secret": "canary",
    });
    let answer = house.admin(Method::PUT, BILLING, &body.to_string()).await;
    let found = errors(&answer);
    let members: Vec<&str> = found.iter().map(|(member, _)| member.as_str()).collect();
    let expected = [
        "id",
        "created_at",
        "enabled",
        "grants",
        "access",
        "refresh.grace",
        "refresh.x",
        "signing",
        "scope",
        "default_scope",
        "grants",
        "refresh.lifetime",
        "client_secret",
    ];
    for member in expected {
        assert!(members.contains(&member), "{member} is not in {found:#?}");
    }
    assert_eq!(members.len(), expected.len(), "{found:#?}");
    let detail = |member: &str| &found.iter().find(|(name, _)| name == member).unwrap().1;
    assert_eq!(detail("scope"), "this realm has no scope `admin`");
    assert_eq!(detail("client_secret"), "there is no such member");
    assert!(!answer.text.contains("canary"));
    for (body, member, said) in [
        (r#"{}"#, "grants", "is missing"),
        (r#"{"grants":[]}"#, "grants", "without any, disable the client instead"),
        (r#"{"grants":["password"]}"#, "grants", "this realm has no password grant"),
        (r#"{"grants":["client_credentials"],"refresh":{}}"#, "refresh.lifetime", "is missing"),
        (r#"{"grants":["client_credentials"],"Scope":[]}"#, "Scope", "there is no such member"),
    ] {
        let found = errors(&house.admin(Method::PUT, BILLING, body).await);
        assert_eq!(found, [(member.to_owned(), said.to_owned())], "{body}");
    }
    let mut none = realm();
    none.tokens.refresh = None;
    let house = House::of(none).await;
    let found = errors(&house.admin(Method::PUT, BILLING, r#"{"grants":["refresh_token"]}"#).await);
    assert!(found[0].1.contains("no refresh tokens"), "{found:?}");
}

#[tokio::test]
async fn row_303_a_secret_is_in_one_answer_and_only_its_digest_is_stored() {
    let house = House::of(realm()).await;
    let body = r#"{"label":"new deployment","expires_in":"90d"}"#;
    let answer = house.admin(Method::POST, &format!("{BILLING}/secrets"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let secret = answer.field("secret");
    let id = answer.field("credential");
    let until = 1_700_000_000 + 90 * 86400;
    let expected = json!({
        "realm": "r", "client": "billing", "credential": id, "label": "new deployment", "expires_at": until,
        "secret": secret,
    });
    assert_eq!(answer.json(), expected);
    let digest = |text: &str| format!("{:?}", text.as_bytes());
    for path in [BILLING, "/admin/realms/r/clients"] {
        let shown = house.admin(Method::GET, path, "").await;
        assert!(shown.text.contains(&id) && !shown.text.contains(&secret[12..]), "{}", shown.text);
        assert!(!shown.text.contains("digest") && !shown.text.contains(&digest(&secret)));
    }
    let stored = house.stored("billing").await.unwrap();
    let stored = stored.credentials.iter().find(|c| c.id == id).unwrap();
    assert!(matches!(stored.kind, CredentialKind::Secret { .. }));
    assert!(!serde_json::to_string(stored).unwrap().contains(&secret[12..]));

    let pair = format!("billing:{secret}");
    let obtain = async || house.token(&pair, "grant_type=client_credentials").await.status;
    assert_eq!(obtain().await, StatusCode::OK);
    house.clock.advance(Duration::from_secs(90 * 86400));
    assert_eq!(obtain().await, StatusCode::UNAUTHORIZED);
    let path = format!("{BILLING}/credentials/{id}");
    assert_eq!(house.admin(Method::DELETE, &path, "").await.status, StatusCode::NO_CONTENT);
    problem(&house.admin(Method::DELETE, &path, "").await, 404);
    assert_eq!(house.stored("billing").await.unwrap().credentials.len(), 1);
}

#[tokio::test]
async fn a_client_has_so_many_credentials_and_no_more() {
    let house = House::of(realm()).await;
    let path = format!("{BILLING}/secrets");
    for _ in 1..MAX_CREDENTIALS {
        assert_eq!(house.admin(Method::POST, &path, "{}").await.status, StatusCode::CREATED);
    }
    assert!(problem(&house.admin(Method::POST, &path, "{}").await, 409).contains("16"));
    for body in [r#"{"label":"a\nb"}"#, r#"{"expires_in":"0s"}"#, r#"{"expires_in":90}"#] {
        assert_eq!(errors(&house.admin(Method::POST, &path, body).await).len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_client_that_was_revoked_begins_anew() {
    let house = House::of(realm()).await;
    let first = house.token(&billing(), "grant_type=client_credentials").await;
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
    house.clock.advance(Duration::from_secs(5));
    let revoked = house.admin(Method::POST, &format!("{BILLING}/revoke"), "").await;
    assert_eq!(
        (revoked.status, revoked.json()["not_before"].as_u64()),
        (StatusCode::OK, Some(1_700_000_005))
    );
    assert_eq!(house.token(&billing(), &refresh).await.refusal(), (400, "invalid_grant".into()));
    let again = house.token(&billing(), "grant_type=client_credentials").await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test]
async fn used_up_refresh_tokens_stay_so_when_a_client_stops_rotating() {
    let house = House::of(realm()).await;
    let first = house.token(&billing(), "grant_type=client_credentials").await;
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
    assert_eq!(house.token(&billing(), &refresh).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(60));
    let body = r#"{"grants":["client_credentials","refresh_token"],"refresh":{"lifetime":"1h","policy":"keep"}}"#;
    let put = house.admin(Method::PUT, BILLING, body).await;
    assert_eq!(put.json()["not_before"], 1_700_000_060);
    assert_eq!(house.token(&billing(), &refresh).await.refusal(), (400, "invalid_grant".into()));
    let stored = house.stored("billing").await.unwrap().refresh.unwrap();
    assert_eq!(*stored, RefreshPolicy { grace: Duration::ZERO, ..*stored.clone() });
}

#[tokio::test]
async fn a_change_is_made_only_to_what_was_read() {
    let house = House::of(realm()).await;
    let read = house.admin(Method::GET, BILLING, "").await;
    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let weak = format!("W/{tag}");
    let body = r#"{"grants":["client_credentials"],"scope":["write"]}"#;
    let new = "/admin/realms/r/clients/new";
    let secrets = format!("{BILLING}/secrets");
    for (method, path, name, value, body) in [
        (Method::PUT, BILLING, "if-match", "\"0\"", body),
        (Method::PUT, BILLING, "if-match", weak.as_str(), body),
        (Method::PUT, BILLING, "if-none-match", "*", body),
        (Method::PUT, BILLING, "if-none-match", weak.as_str(), body),
        (Method::PUT, new, "if-match", "*", body),
        (Method::DELETE, BILLING, "if-match", "\"0\"", ""),
        (Method::POST, &secrets, "if-match", "\"0\"", "{}"),
    ] {
        let answer = house.admin_if(method, path, &[(name, value)], body).await;
        problem(&answer, 412);
    }
    assert_eq!(house.admin(Method::GET, BILLING, "").await.text, read.text);
    let listed = format!("\"0\", {tag}");
    let put = house.admin_if(Method::PUT, BILLING, &[("if-match", &listed)], body).await;
    assert_eq!(put.status, StatusCode::OK);
    problem(&house.admin_if(Method::DELETE, BILLING, &[("if-match", &tag)], "").await, 412);
    // A revocation in the same second is another client all the same.
    let revoke = format!("{BILLING}/revoke");
    let first = house.admin(Method::POST, &revoke, "").await;
    house.clock.advance(Duration::from_millis(1));
    let second = house.admin(Method::POST, &revoke, "").await;
    assert_eq!(first.text, second.text);
    assert_ne!(first.headers["etag"], second.headers["etag"]);
    let put = house.admin_if(Method::PUT, new, &[("if-none-match", "*")], body).await;
    assert_eq!(put.status, StatusCode::CREATED);
}

#[tokio::test]
async fn while_the_store_is_down_changes_are_put_off_and_tokens_are_issued() {
    let store = Arc::new(Watched::default());
    let changes = vec![
        Change::PutRealm(realm()),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
    ];
    let house = House::on(store.clone(), changes).await;
    store.down.store(true, Ordering::Relaxed);
    for (method, path, body) in [
        (Method::GET, "/admin/realms/r/clients", ""),
        (Method::GET, BILLING, ""),
        (Method::PUT, BILLING, r#"{"grants":["client_credentials"]}"#),
        (Method::DELETE, BILLING, ""),
        (Method::POST, "/admin/realms/r/clients/billing/secrets", ""),
    ] {
        let answer = house.admin(method, path, body).await;
        assert_eq!(problem(&answer, 503), "the store is not available");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let token = house.token(&billing(), "grant_type=client_credentials").await;
    assert_eq!(token.status, StatusCode::OK);
}

#[tokio::test]
async fn the_server_says_what_a_guard_in_its_process_needs() {
    let house = House::of(realm()).await;
    let app = &house.app;
    assert_eq!(app.issues("r").unwrap().issuer, "https://auth.example");
    assert_eq!(app.jwks("r"), Some(house.get("/jwks").await.text));
    assert!(app.issues("none").is_none() && app.jwks("none").is_none());
    let answer = house.token(&billing(), "grant_type=client_credentials").await;
    let (access, refresh) = (answer.field("access_token"), answer.field("refresh_token"));
    let active = async |token: &str| app.is_active("r", token).await.unwrap();
    assert!(active(&access).await && !app.is_active("none", &access).await.unwrap());
    assert!(!active(&refresh).await && !active("").await, "only access tokens count");
    let body = r#"{"grants":["client_credentials"],"enabled":false}"#;
    house.admin(Method::PUT, BILLING, body).await;
    assert!(!active(&access).await);
    house.admin(Method::PUT, BILLING, &body.replace("false", "true")).await;
    assert!(!active(&access).await, "it was told that it has ended");
    let access = house.token(&billing(), "grant_type=client_credentials").await;
    let access = access.field("access_token");
    assert!(active(&access).await);
    house
        .post_to("/revoke", &[("authorization", &basic(&billing()))], &format!("token={access}"))
        .await;
    assert!(!active(&access).await);
}

#[tokio::test]
async fn changes_at_once_build_on_each_other() {
    // This store lets others go first between what a change reads and what it writes.
    let changes = vec![Change::PutRealm(realm()), Change::PutClient(client("billing"))];
    let house = House::on(Arc::new(Watched::default()), changes).await;
    let path = format!("{BILLING}/secrets");
    let add = || house.admin(Method::POST, &path, "");
    for _ in 2..MAX_CREDENTIALS {
        assert_eq!(add().await.status, StatusCode::CREATED);
    }
    let answers = futures_util::future::join_all((0..6).map(|_| add())).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 409, 409, 409, 409]);
    assert_eq!(house.stored("billing").await.unwrap().credentials.len(), MAX_CREDENTIALS);
}
