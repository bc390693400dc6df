//! Introspection (RFC 7662, RFC 9701) and revocation (RFC 7009).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::realm::{Dialect, Rotate};
use tokenry_core::{Client, Particulars, Realm, Timestamp};
use tokenry_store::Change;

use crate::house::{
    Answer, House, SECRET, START, basic, billing, client, credential, put_credential, realm,
    refusal, user,
};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";

/// The realm with `billing`, `other`, and `api`, which may introspect what is for `https://api.example`.
async fn house(realm: Realm) -> House {
    House::with(changes(realm)).await
}

fn changes(realm: Realm) -> Vec<Change> {
    let introspects = vec!["https://api.example".to_owned()];
    let particulars = Particulars { introspects, ..Particulars::default() }.boxed();
    let api = Client { particulars, ..client("api") };
    let mut changes = vec![Change::PutRealm(realm)];
    for (number, client) in [client("billing"), client("other"), api].into_iter().enumerate() {
        let id = client.id.clone();
        changes.push(Change::PutClient(client));
        changes.push(put_credential(&id, credential(&format!("cred-{number:03}"), SECRET)));
    }
    changes.push(Change::PutUser(user("ann", "pw")));
    changes
}

fn realm_with_passwords() -> Realm {
    Realm { password_grant: true, ..realm() }
}

async fn at(house: &House, path: &str, who: &str, body: &str) -> Answer {
    let pair = format!("{who}:{SECRET}");
    house.post_to(path, &[("authorization", &basic(&pair))], body).await
}

async fn introspect(house: &House, who: &str, token: &str) -> Value {
    let answer = at(house, "/introspect", who, &format!("token={token}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()
}

async fn is_active(house: &House, token: &str) -> bool {
    let told = introspect(house, "api", token).await;
    if told["active"] == true {
        return true;
    }
    assert_eq!(told, json!({"active": false}));
    false
}

async fn revoke(house: &House, who: &str, token: &str) -> Answer {
    at(house, "/revoke", who, &format!("token={token}")).await
}

#[tokio::test]
async fn row_172_row_173_row_174_an_introspection_needs_a_client_and_a_token() {
    let house = house(realm()).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    let body = format!("token={token}");
    let nobody = house.post_to("/introspect", &[], &body).await;
    let wrong = house.post_to("/introspect", &[("authorization", &basic("api:x"))], &body).await;
    for answer in [nobody, wrong] {
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
    let get = house.get("/introspect").await;
    assert_eq!((get.status.as_u16(), &get.headers["allow"]), (405, &"POST".parse().unwrap()));
    let without = at(&house, "/introspect", "api", "token_type_hint=access_token").await;
    assert_eq!(without.refusal(), refusal(400, "invalid_request"));
    let in_the_url = at(&house, &format!("/introspect?{body}"), "api", "").await;
    assert_eq!(in_the_url.refusal(), refusal(400, "invalid_request"));
}

#[tokio::test]
async fn row_175_row_180_what_is_said_of_a_token_that_is_good() {
    let house = house(realm_with_passwords()).await;
    let answer = house.token(&billing(), CC).await;
    let told = introspect(&house, "api", &answer.field("access_token")).await;
    let claims = house.verify(&answer.field("access_token"), "/jwks").await;
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
        "jti": claims.jti,
    });
    assert_eq!(told, expected);

    let told = introspect(&house, "api", &answer.field("refresh_token")).await;
    assert_eq!(told["active"], true);
    assert_eq!(told["exp"], START.as_secs() + 1800);
    assert_eq!(told.get("token_type"), None);

    let about_ann = "grant_type=password&username=ann&password=pw";
    let token = house.token(&billing(), about_ann).await.field("access_token");
    let told = introspect(&house, "api", &token).await;
    assert_eq!(
        (&told["sub"], &told["client_id"]),
        (&user("ann", "pw").subject.into(), &"billing".into())
    );
}

#[tokio::test]
async fn row_177_row_188_a_hint_changes_nothing() {
    let house = house(realm()).await;
    let answer = house.token(&billing(), CC).await;
    for token in [answer.field("access_token"), answer.field("refresh_token")] {
        for hint in ["access_token", "refresh_token", "nonsense"] {
            let body = format!("token={token}&token_type_hint={hint}");
            assert_eq!(at(&house, "/introspect", "api", &body).await.json()["active"], true);
        }
    }
    let access = answer.field("access_token");
    let body = format!("token={access}&token_type_hint=refresh_token");
    assert_eq!(at(&house, "/revoke", "billing", &body).await.status, 200);
    assert!(!is_active(&house, &access).await);
}

#[tokio::test]
async fn row_176_what_is_not_good_is_inactive_and_nothing_else() {
    let house = house(realm()).await;
    let answer = house.token(&billing(), CC).await;
    let (access, refresh) = (answer.field("access_token"), answer.field("refresh_token"));
    assert!(is_active(&house, &access).await && is_active(&house, &refresh).await);

    let mut signed_otherwise = access.clone();
    signed_otherwise.replace_range(signed_otherwise.len() - 8.., "AAAAAAAA");
    let header = access.split('.').next().unwrap();
    for text in
        ["x", "a.b.c", "tkr_", &format!("{header}.e30.AAAA"), &signed_otherwise, &refresh[1..]]
    {
        assert!(!is_active(&house, text).await, "{text}");
    }
    house.clock.advance(Duration::from_secs(300));
    assert!(!is_active(&house, &access).await && is_active(&house, &refresh).await);
    house.clock.advance(Duration::from_secs(1500));
    assert!(!is_active(&house, &refresh).await);
}

#[tokio::test]
async fn row_178_a_token_is_inactive_for_whom_it_does_not_concern() {
    let house = house(realm()).await;
    let answer = house.token(&billing(), CC).await;
    for token in [answer.field("access_token"), answer.field("refresh_token")] {
        assert_eq!(introspect(&house, "billing", &token).await["active"], true);
        assert_eq!(introspect(&house, "api", &token).await["active"], true);
        assert_eq!(introspect(&house, "other", &token).await, json!({"active": false}));
    }
}

#[tokio::test]
async fn row_122_row_176_a_token_ends_with_its_client_its_user_and_their_not_before() {
    let later = START + Duration::from_secs(1);
    type Changed = fn(Timestamp) -> Vec<Change>;
    let cases: [(&str, bool, Changed); 7] = [
        ("the client is gone", false, |_| {
            vec![Change::RemoveClient { realm: "r".into(), client: "billing".into() }]
        }),
        ("the client is disabled", false, |_| {
            vec![Change::PutClient(Client { enabled: false, ..client("billing") })]
        }),
        ("the client's not_before", false, |later| {
            vec![Change::PutClient(Client { not_before: later, ..client("billing") })]
        }),
        ("another client of this name", false, |later| {
            vec![Change::PutClient(Client { created_at: later, ..client("billing") })]
        }),
        ("the realm's not_before", false, |later| {
            vec![Change::PutRealm(Realm { not_before: later, ..realm_with_passwords() })]
        }),
        ("the user is gone", true, |_| {
            vec![Change::RemoveUser { realm: "r".into(), user: "ann".into() }]
        }),
        ("the user's not_before", true, |later| {
            let mut ann = user("ann", "pw");
            ann.not_before = later;
            vec![Change::PutUser(ann)]
        }),
    ];
    for (case, of_user, changed) in cases {
        let house = house(realm_with_passwords()).await;
        let grant = if of_user { "grant_type=password&username=ann&password=pw" } else { CC };
        let answer = house.token(&billing(), grant).await;
        let tokens = [answer.field("access_token"), answer.field("refresh_token")];
        for token in &tokens {
            assert!(is_active(&house, token).await, "{case}");
        }
        house.clock.advance(Duration::from_secs(2));
        house.change(changed(later)).await;
        for token in &tokens {
            assert!(!is_active(&house, token).await, "{case}");
        }
    }
}

#[tokio::test]
async fn row_176_a_refresh_token_that_was_used_up_is_inactive() {
    let house = house(realm()).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let refresh = format!("grant_type=refresh_token&refresh_token={first}");
    let second = house.token(&billing(), &refresh).await.field("refresh_token");
    assert!(!is_active(&house, &first).await);
    assert!(is_active(&house, &second).await);
}

#[tokio::test]
async fn row_181_row_182_an_answer_is_signed_for_who_asks_for_that() {
    let house = house(realm()).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    for (token, active) in [(&*token, true), ("nonsense", false)] {
        let headers = [
            ("authorization", &*basic(&format!("api:{SECRET}"))),
            ("accept", "application/json;q=0.5, application/token-introspection+jwt"),
        ];
        let answer = house.post_to("/introspect", &headers, &format!("token={token}")).await;
        assert_eq!(answer.headers["content-type"], "application/token-introspection+jwt");
        let compact = tokenry_core::jose::jws::Compact::parse(&answer.text).unwrap();
        assert_eq!(compact.header().typ(), Some("token-introspection+jwt"));
        let claims = house.verify(&answer.text, "/jwks").await;
        assert_eq!(claims.iss.as_deref(), Some("https://auth.example"));
        assert_eq!(claims.aud.as_ref().and_then(|aud| aud.sole()), Some("api"));
        assert_eq!(claims.iat, Some(START));
        assert_eq!((claims.sub, claims.exp), (None, None));
        let inner = &claims.other["token_introspection"];
        assert_eq!(inner["active"], active);
        assert_eq!(inner.as_object().unwrap().len() == 1, !active);
        // Nor is the answer itself a token that anybody would take.
        assert!(!is_active(&house, &answer.text).await);
    }
}

#[tokio::test]
async fn row_151_row_183_what_is_signed_for_something_else_is_no_access_token() {
    let house = house(realm_with_passwords()).await;
    let body = "grant_type=password&username=ann&password=pw&scope=openid+read";
    let answer = house.token(&billing(), body).await;
    let access = answer.field("access_token");
    let headers = [
        ("authorization", &*basic(&format!("api:{SECRET}"))),
        ("accept", "application/token-introspection+jwt"),
    ];
    let told = house.post_to("/introspect", &headers, &format!("token={access}")).await.text;
    let signed = [
        (access, "at+jwt", true),
        (answer.field("id_token"), "JWT", false),
        (told, "token-introspection+jwt", false),
    ];
    for (token, typ, is_access) in signed {
        let compact = tokenry_core::jose::jws::Compact::parse(&token).unwrap();
        assert_eq!(compact.header().typ(), Some(typ));
        assert_eq!(is_active(&house, &token).await, is_access, "{typ}");
    }
}

#[tokio::test]
async fn row_184_row_185_a_revocation_needs_a_client_and_a_token() {
    let house = house(realm()).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    let nobody = house.post_to("/revoke", &[], &format!("token={token}")).await;
    assert_eq!(nobody.refusal(), refusal(401, "invalid_client"));
    let without = at(&house, "/revoke", "billing", "").await;
    assert_eq!(without.refusal(), refusal(400, "invalid_request"));
    assert!(is_active(&house, &token).await);
}

#[tokio::test]
async fn row_186_row_191_what_is_unknown_or_over_is_revoked_without_an_error() {
    let house = house(realm()).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    for text in ["nonsense", &*token, &*token, "a.b.c"] {
        let answer = revoke(&house, "billing", text).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (200, ""), "{text}");
    }
    let late = house.token(&billing(), CC).await.field("access_token");
    house.clock.advance(Duration::from_secs(300));
    let before = house.store.revision().await.unwrap();
    assert_eq!(revoke(&house, "billing", &late).await.status, 200);
    assert_eq!(house.store.revision().await.unwrap(), before, "nothing is written for it");
}

#[tokio::test]
async fn row_187_the_token_of_another_client_stays() {
    let house = house(realm()).await;
    let answer = house.token(&billing(), CC).await;
    for token in [answer.field("access_token"), answer.field("refresh_token")] {
        let refused = revoke(&house, "other", &token).await;
        assert_eq!(refused.refusal(), refusal(400, "unauthorized_client"));
        assert!(is_active(&house, &token).await);
    }
}

#[tokio::test]
async fn row_189_a_refresh_token_takes_its_access_tokens_along() {
    for policy in [Rotate::Keep, Rotate::Reissue, Rotate::Rotate] {
        let mut realm = realm();
        realm.tokens.refresh.as_mut().unwrap().policy = policy;
        let house = house(realm).await;
        let first = house.token(&billing(), CC).await;
        let body =
            format!("grant_type=refresh_token&refresh_token={}", first.field("refresh_token"));
        let second = house.token(&billing(), &body).await;
        let unrelated = house.token(&billing(), CC).await.field("access_token");
        let last = second.json()["refresh_token"].as_str().map(str::to_owned);
        let last = last.unwrap_or_else(|| first.field("refresh_token"));
        let body = format!("grant_type=refresh_token&refresh_token={last}");
        assert_eq!(revoke(&house, "billing", &last).await.status, 200);
        // At once, without waiting for the store's journal; and after that as well.
        for _ in 0..2 {
            for token in [&first.field("access_token"), &second.field("access_token"), &last] {
                assert!(!is_active(&house, token).await, "{policy:?}");
            }
            assert!(is_active(&house, &unrelated).await);
            let refused = house.token(&billing(), &body).await;
            assert_eq!(refused.refusal(), refusal(400, "invalid_grant"));
            house.app.reload().await.unwrap();
        }
    }
}

#[tokio::test]
async fn row_189_a_used_up_refresh_token_ends_its_family() {
    let house = house(realm()).await;
    let first = house.token(&billing(), CC).await;
    let used = first.field("refresh_token");
    let refresh = format!("grant_type=refresh_token&refresh_token={used}");
    let second = house.token(&billing(), &refresh).await;
    // Whoever lost the answer has nothing else to name the family by.
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(revoke(&house, "billing", &used).await.status, StatusCode::OK);
    for member in ["access_token", "refresh_token"] {
        assert!(!is_active(&house, &second.field(member)).await, "{member}");
    }
    let refresh =
        format!("grant_type=refresh_token&refresh_token={}", second.field("refresh_token"));
    let refused = house.token(&billing(), &refresh).await;
    assert_eq!(refused.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_190_an_access_token_is_revoked_alone() {
    let house = house(realm()).await;
    let answer = house.token(&billing(), CC).await;
    let access = answer.field("access_token");
    assert_eq!(revoke(&house, "billing", &access).await.status, 200);
    assert!(!is_active(&house, &access).await);
    assert!(is_active(&house, &answer.field("refresh_token")).await);
    // What is remembered of it goes once the token is over.
    house.clock.advance(Duration::from_secs(3600));
    assert_eq!(house.store.collect_garbage(house.app.now()).await.unwrap(), 1);
}

#[tokio::test]
async fn row_189_a_family_stays_ended_as_long_as_its_access_tokens_live() {
    let mut long = realm();
    long.tokens.access = Duration::from_secs(7200);
    let house = house(long).await;
    let answer = house.token(&billing(), CC).await;
    house.change(vec![Change::PutRealm(realm())]).await;
    let refresh = answer.field("refresh_token");
    assert_eq!(revoke(&house, "billing", &refresh).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(7199));
    assert!(!is_active(&house, &answer.field("access_token")).await);
    // This node would know it by heart; others, and this one after a restart, by the store alone.
    house.store.collect_garbage(house.app.now()).await.unwrap();
    assert_eq!(house.store.load().await.unwrap().revoked.len(), 1);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_not_given_again() {
    let mut reusing = realm();
    reusing.tokens.reuse = Some(Duration::from_secs(30));
    reusing.tokens.refresh = None;
    let house = house(reusing).await;
    let first = house.token(&billing(), CC).await.field("access_token");
    assert_eq!(house.token(&billing(), CC).await.field("access_token"), first);
    revoke(&house, "billing", &first).await;
    let second = house.token(&billing(), CC).await.field("access_token");
    assert_ne!(second, first);
    assert!(is_active(&house, &second).await);
}

#[tokio::test]
async fn row_192_row_305_without_a_store_nothing_is_revoked_and_no_refresh_token_is_good() {
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(realm())).await;
    let answer = house.token(&billing(), CC).await;
    let (access, refresh) = (answer.field("access_token"), answer.field("refresh_token"));
    store.down.store(true, Ordering::Relaxed);
    for token in [&access, &refresh] {
        let answer = revoke(&house, "billing", token).await;
        assert_eq!(answer.refusal(), refusal(503, "temporarily_unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    let asked = at(&house, "/introspect", "api", &format!("token={refresh}")).await;
    assert_eq!(asked.refusal(), refusal(503, "temporarily_unavailable"));
    assert!(is_active(&house, &access).await, "what needs no store is answered");
    store.down.store(false, Ordering::Relaxed);
    assert!(is_active(&house, &refresh).await);
}

/// Keycloak's forms of the same.
mod keycloak {
    use super::*;

    const BASE: &str = "/realms/k/protocol/openid-connect";

    async fn keycloak() -> House {
        let mut realm = Realm {
            issuer: "https://sso.example/realms/k".parse().unwrap(),
            dialect: Dialect::Keycloak,
            ..realm_with_passwords()
        };
        realm.tokens.refresh.as_mut().unwrap().policy = Rotate::Reissue;
        house(realm).await
    }

    async fn ask(house: &House, path: &str, who: &str, body: &str) -> Answer {
        at(house, &format!("{BASE}/{path}"), who, body).await
    }

    fn error(answer: &Answer) -> (u16, String, String) {
        (answer.status.as_u16(), answer.field("error"), answer.field("error_description"))
    }

    #[tokio::test]
    async fn introspection_says_all_claims() {
        let house = keycloak().await;
        let answer = ask(&house, "token", "billing", CC).await;
        let access = answer.field("access_token");
        // Keycloak tells every client.
        let told =
            ask(&house, "token/introspect", "other", &format!("token={access}")).await.json();
        let expected = [
            ("active", json!(true)),
            ("username", json!("service-account-billing")),
            ("preferred_username", json!("service-account-billing")),
            ("client_id", json!("billing")),
            ("azp", json!("billing")),
            ("token_type", json!("Bearer")),
            ("typ", json!("Bearer")),
            ("sid", json!(answer.field("session_state"))),
        ];
        for (name, value) in expected {
            assert_eq!(told[name], value, "{name}");
        }
        let refresh = format!("token={}", answer.field("refresh_token"));
        let told = ask(&house, "token/introspect", "billing", &refresh).await.json();
        for (name, value) in [
            ("active", json!(true)),
            ("typ", json!("Refresh")),
            ("token_type", json!("Refresh")),
            ("acr", json!("1")),
            ("client_id", json!("billing")),
            ("preferred_username", json!("service-account-billing")),
        ] {
            assert_eq!(told[name], value, "{name}");
        }

        let body = format!("token={access}");
        let nobody = house.post_to(&format!("{BASE}/token/introspect"), &[], &body).await;
        assert_eq!(
            error(&nobody),
            (401, "invalid_request".into(), "Authentication failed.".into())
        );
        let without = ask(&house, "token/introspect", "billing", "").await;
        assert_eq!(error(&without), (400, "invalid_request".into(), "Token not provided.".into()));
        let garbage = ask(&house, "token/introspect", "billing", "token=x").await;
        assert_eq!(garbage.json(), json!({"active": false}));
        assert_eq!(garbage.headers["x-frame-options"], "SAMEORIGIN");
    }

    #[tokio::test]
    async fn an_id_token_is_no_access_token() {
        let house = keycloak().await;
        let body = "grant_type=password&username=ann&password=pw&scope=openid";
        let id_token = ask(&house, "token", "billing", body).await.field("id_token");
        let told = ask(&house, "token/introspect", "billing", &format!("token={id_token}")).await;
        assert_eq!(told.json(), json!({"active": false}));
    }

    #[tokio::test]
    async fn revocation_and_logout() {
        let house = keycloak().await;
        let answer = ask(&house, "token", "billing", CC).await;
        let access = format!("token={}", answer.field("access_token"));
        let refused = ask(&house, "revoke", "other", &access).await;
        assert_eq!(error(&refused), (400, "invalid_request".into(), "Unmatching clients".into()));
        let without = ask(&house, "revoke", "billing", "").await;
        assert_eq!(error(&without), (400, "invalid_request".into(), "Token not provided".into()));
        let unknown = ask(&house, "revoke", "billing", "token=x").await;
        assert_eq!(error(&unknown), (200, "invalid_token".into(), "Invalid token".into()));

        let refresh = format!("refresh_token={}", answer.field("refresh_token"));
        let without = ask(&house, "logout", "billing", "").await;
        assert_eq!(error(&without), (400, "invalid_request".into(), "No refresh token".into()));
        let bad = ask(&house, "logout", "billing", "refresh_token=x").await;
        assert_eq!(error(&bad), (400, "invalid_grant".into(), "Invalid refresh token".into()));
        let foreign = ask(&house, "logout", "other", &refresh).await;
        let not_its = "Invalid refresh token. Token client and authorized client don't match";
        assert_eq!(error(&foreign), (400, "invalid_grant".into(), not_its.into()));
        let done = ask(&house, "logout", "billing", &refresh).await;
        assert_eq!((done.status.as_u16(), &*done.text), (204, ""));
        let told = ask(&house, "token/introspect", "billing", &access).await;
        assert_eq!(told.json(), json!({"active": false}));
        let again =
            ask(&house, "token", "billing", &format!("grant_type=refresh_token&{refresh}")).await;
        assert_eq!(error(&again), (400, "invalid_grant".into(), "Session not active".into()));
    }

    #[tokio::test]
    async fn row_189_a_used_up_refresh_token_ends_its_session() {
        let house = keycloak().await;
        let mut rotating = house.store.load().await.unwrap().realms.remove(0);
        rotating.tokens.refresh.as_mut().unwrap().policy = Rotate::Rotate;
        house.change(vec![Change::PutRealm(rotating)]).await;
        let used = ask(&house, "token", "billing", CC).await.field("refresh_token");
        let refresh = format!("grant_type=refresh_token&refresh_token={used}");
        let second = ask(&house, "token", "billing", &refresh).await.field("refresh_token");
        house.clock.advance(Duration::from_secs(60));
        let revoked = ask(&house, "revoke", "billing", &format!("token={used}")).await;
        assert_eq!((revoked.status.as_u16(), &*revoked.text), (200, ""));
        let refresh = format!("grant_type=refresh_token&refresh_token={second}");
        let refused = ask(&house, "token", "billing", &refresh).await;
        assert_eq!(error(&refused), (400, "invalid_grant".into(), "Session not active".into()));
    }

    #[tokio::test]
    async fn what_has_ended_is_no_longer_a_token_to_revoke() {
        let house = keycloak().await;
        let invalid = (200, "invalid_token".to_owned(), "Invalid token".to_owned());
        let given = ask(&house, "token", "billing", CC).await;
        let access = format!("token={}", given.field("access_token"));
        let refresh = format!("token={}", given.field("refresh_token"));
        // An access token that was revoked alone is still one.
        for _ in 0..2 {
            assert_eq!(ask(&house, "revoke", "billing", &access).await.text, "");
        }
        assert_eq!(ask(&house, "revoke", "billing", &refresh).await.text, "");
        assert_eq!(error(&ask(&house, "revoke", "billing", &refresh).await), invalid);
        assert_eq!(error(&ask(&house, "revoke", "billing", &access).await), invalid);

        let given = ask(&house, "token", "billing", CC).await;
        house.clock.advance(Duration::from_secs(300));
        let access = format!("token={}", given.field("access_token"));
        assert_eq!(error(&ask(&house, "revoke", "billing", &access).await), invalid);
        let refresh = format!("refresh_token={}", given.field("refresh_token"));
        house.clock.advance(Duration::from_secs(1500));
        let done = ask(&house, "logout", "billing", &refresh).await;
        assert_eq!(done.status.as_u16(), 204);
    }

    #[tokio::test]
    async fn another_method_is_told_keycloaks_way() {
        let house = keycloak().await;
        for path in ["token", "token/introspect", "revoke"] {
            let answer = house.get(&format!("{BASE}/{path}")).await;
            assert_eq!(answer.status.as_u16(), 405);
            assert_eq!(answer.json(), json!({"error": "HTTP 405 Method Not Allowed"}));
        }
    }
}
