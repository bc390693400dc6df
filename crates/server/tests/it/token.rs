//! The token endpoint in the default dialect.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokenry_core::jose::Algorithm;
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Realm, Timestamp};
use tokenry_store::Change;

use crate::house::{
    House, SECRET, START, basic, billing, client, credential, put_credential, realm, refusal, user,
};

const CC: &str = "grant_type=client_credentials";

#[tokio::test]
async fn row_024_row_025_row_028_row_030_row_102_a_client_gets_a_token_that_nobody_may_keep() {
    let house = House::of(realm()).await;
    let answer = house.token(&billing(), CC).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["pragma"], "no-cache");
    assert_eq!(
        answer.fields(),
        ["access_token", "refresh_token", "token_type", "expires_in", "scope"]
    );
    assert_eq!(answer.json()["expires_in"], 300);
    assert_eq!(answer.field("token_type"), "Bearer");
    assert_eq!(answer.field("scope"), "read write");
    assert!(!answer.text.contains(' ') || answer.text.matches(' ').count() == 1, "compact");
}

#[tokio::test]
async fn row_139_row_140_row_141_row_142_row_143_row_148_an_access_token_says_what_rfc_9068_wants()
{
    let house = House::of(realm()).await;
    for algorithm in Algorithm::ALL {
        let changed = Client { signing: Some(algorithm), ..client("billing") };
        house.change(vec![Change::PutClient(changed)]).await;
        house.app.look_after_keys().await.unwrap();
        let token = house.token(&billing(), CC).await.field("access_token");
        let header = tokenry_core::jose::jws::Compact::parse(&token).unwrap();
        assert_eq!(header.header().algorithm(), algorithm);
        assert_eq!(header.header().typ(), Some("at+jwt"));
        let claims = house.verify(&token, "/jwks").await;
        assert_eq!(claims.iss.as_deref(), Some("https://auth.example"));
        assert_eq!(claims.sub.as_deref(), Some("billing"));
        assert_eq!(claims.client_id.as_deref(), Some("billing"));
        assert!(claims.aud.unwrap().contains("https://api.example"));
        assert_eq!(claims.scope.as_deref(), Some("read write"));
        assert_eq!(claims.iat, Some(START));
        assert_eq!(claims.exp, Some(START + Duration::from_secs(300)));
        assert_eq!(claims.jti.unwrap().len(), 36);
    }
}

#[tokio::test]
async fn every_token_is_another() {
    let house = House::of(realm()).await;
    let (a, b) = (house.token(&billing(), CC).await, house.token(&billing(), CC).await);
    assert_ne!(a.field("access_token"), b.field("access_token"));
    assert_ne!(a.field("refresh_token"), b.field("refresh_token"));
}

#[tokio::test]
async fn row_104_without_the_policy_there_is_no_refresh_token_for_client_credentials() {
    let mut realm = realm();
    realm.tokens.refresh.as_mut().unwrap().client_credentials = false;
    let house = House::of(realm).await;
    assert_eq!(
        house.token(&billing(), CC).await.fields(),
        ["access_token", "token_type", "expires_in", "scope"]
    );
}

#[tokio::test]
async fn row_035_row_036_row_037_row_038_row_052_who_is_not_the_client_looks_the_same() {
    let house = House::of(realm()).await;
    let disabled = Client { enabled: false, ..client("disabled") };
    house
        .change(vec![
            Change::PutClient(disabled),
            put_credential("disabled", credential("cred-002", SECRET)),
        ])
        .await;
    let wrong = house.token("billing:wrong", CC).await;
    assert_eq!(wrong.refusal(), refusal(401, "invalid_client"));
    assert!(wrong.headers["www-authenticate"].to_str().unwrap().starts_with("Basic realm=\"r\""));
    assert_eq!(wrong.headers["cache-control"], "no-store");
    let house = &house;
    let post =
        |body: String| async move { house.post_to("/token", &[], &format!("{CC}{body}")).await };
    for other in [
        house.token("nobody:wrong", CC).await,
        house.token(&format!("disabled:{SECRET}"), CC).await,
        house.token("billing:", CC).await,
        post("&client_id=billing&client_secret=wrong".into()).await,
        post("&client_id=billing".into()).await,
        post(String::new()).await,
    ] {
        assert_eq!(other, wrong);
    }
}

#[tokio::test]
async fn row_047_post_is_accepted() {
    let house = House::of(realm()).await;
    let body = format!("{CC}&client_id=billing&client_secret={SECRET}");
    assert_eq!(house.post_to("/token", &[], &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_042_row_043_basic_is_accepted_encoded_and_raw() {
    let house = House::of(realm()).await;
    let odd = "s+e c%r&t=:ä-and-long-enough";
    house.change(vec![put_credential("billing", credential("cred-003", odd))]).await;
    let encoded = "billing:s%2Be+c%25r%26t%3D%3A%C3%A4-and-long-enough";
    for pair in [format!("billing:{odd}"), encoded.to_owned()] {
        assert_eq!(house.token(&pair, CC).await.status, StatusCode::OK, "{pair}");
    }
}

#[tokio::test]
async fn row_043_a_raw_secret_that_reads_as_an_encoded_one_is_accepted() {
    let house = House::of(realm()).await;
    for (i, odd) in ["a+b-and-long-enough", "a%2Bb-and-long-enough", "a+b%25c-and-long-enough"]
        .into_iter()
        .enumerate()
    {
        house
            .change(vec![put_credential("billing", credential(&format!("odd-{i:04}"), odd))])
            .await;
        assert_eq!(
            house.token(&format!("billing:{odd}"), CC).await.status,
            StatusCode::OK,
            "{odd}"
        );
    }
    let wrong = house.token("billing:a+c%2Bb-and-long-enough", CC).await;
    assert_eq!(wrong.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn row_050_two_secrets_are_good_until_one_expires() {
    let house = House::of(realm()).await;
    let mut second = credential("cred-004", "another-secret-0123456789");
    second.expires_at = Some(START + Duration::from_secs(60));
    house.change(vec![put_credential("billing", second)]).await;
    assert_eq!(house.token(&billing(), CC).await.status, StatusCode::OK);
    assert_eq!(house.token("billing:another-secret-0123456789", CC).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(60));
    let expired = house.token("billing:another-secret-0123456789", CC).await;
    assert_eq!(expired.refusal(), refusal(401, "invalid_client"));
    assert_eq!(house.token(&billing(), CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_015_a_stranger_learns_nothing_about_grants() {
    let house = House::of(realm()).await;
    assert_eq!(
        house.token("billing:wrong", "grant_type=foo").await.refusal(),
        refusal(401, "invalid_client")
    );
    assert_eq!(
        house.token(&billing(), "grant_type=foo").await.refusal(),
        refusal(400, "unsupported_grant_type")
    );
}

#[tokio::test]
async fn row_053_a_client_uses_the_grants_it_is_registered_for() {
    let house = House::of(realm()).await;
    let limited = Client { grants: [GrantType::RefreshToken].into(), ..client("billing") };
    house.change(vec![Change::PutClient(limited)]).await;
    assert_eq!(house.token(&billing(), CC).await.refusal(), refusal(400, "unauthorized_client"));
}

#[tokio::test]
async fn row_029_row_105_row_106_row_107_a_scope_is_granted_within_what_the_client_may_have() {
    let house = House::of(realm()).await;
    let scope = |scope: &'static str| {
        let house = &house;
        async move { house.token(&billing(), &format!("{CC}&scope={scope}")).await }
    };
    assert_eq!(scope("read").await.field("scope"), "read");
    assert_eq!(scope("write%20read%20write").await.field("scope"), "read write");
    assert_eq!(scope("").await.field("scope"), "read write");
    assert_eq!(scope("openid").await.field("scope"), "read write");
    assert_eq!(scope("openid+read").await.field("scope"), "read");
    for bad in ["admin", "profile", "READ", "read+admin", "%22", "a%5Cb"] {
        assert_eq!(scope(bad).await.refusal(), refusal(400, "invalid_scope"), "{bad}");
    }
}

#[tokio::test]
async fn row_001_only_post_gives_a_token() {
    let house = House::of(realm()).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = house.request(method.clone(), "/token").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers["allow"], "POST");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn row_016_row_017_row_018_the_url_carries_no_credentials() {
    let house = House::of(realm()).await;
    let query = format!("/token?client_id=billing&client_secret={SECRET}");
    assert_eq!(house.post_to(&query, &[], CC).await.refusal(), refusal(400, "invalid_request"));
    let basic = basic(&billing());
    let header = [("authorization", basic.as_str())];
    assert_eq!(
        house.post_to("/token?grant_type=client_credentials", &header, "").await.refusal(),
        refusal(400, "invalid_request")
    );
    assert_eq!(house.post_to("/token?tenant=a", &header, CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_017_no_name_of_a_parameter_may_stand_in_the_url() {
    let house = House::of(realm()).await;
    let basic = basic(&billing());
    let header = [("authorization", basic.as_str())];
    for name in [
        "grant_type",
        "scope",
        "client_id",
        "client_secret",
        "username",
        "password",
        "refresh_token",
        "client_assertion",
        "client_assertion_type",
        "assertion",
        "code",
        "redirect_uri",
        "resource",
        "audience",
        "subject_token",
        "actor_token",
        "access_token",
        "token",
    ] {
        let answer = house.post_to(&format!("/token?{name}=x"), &header, CC).await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_request"), "{name}");
    }
}

#[tokio::test]
async fn two_host_headers_are_refused() {
    let house = House::of(realm()).await;
    let basic = basic(&billing());
    for second in ["auth.example", "other.example"] {
        let headers = [("host", second), ("authorization", basic.as_str())];
        let answer = house.post_to("/token", &headers, CC).await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_request"), "{second}");
    }
}

#[tokio::test]
async fn row_032_two_authorization_headers_are_refused() {
    let house = House::of(realm()).await;
    let basic = basic(&billing());
    let twice = [("authorization", basic.as_str()), ("authorization", basic.as_str())];
    assert_eq!(
        house.post_to("/token", &twice, CC).await.refusal(),
        refusal(400, "invalid_request")
    );
}

#[tokio::test]
async fn a_realm_is_found_by_host_and_path_and_nothing_else() {
    let house = House::of(realm()).await;
    let at = |uri: &'static str, host: &'static str| {
        let house = &house;
        async move {
            let request = Request::post(uri)
                .header("host", host)
                .header("authorization", basic(&billing()))
                .header("content-type", "application/x-www-form-urlencoded");
            house
                .send(request.body(Bytes::from_static(CC.as_bytes())).unwrap())
                .await
                .status
                .as_u16()
        }
    };
    assert_eq!(at("/token", "auth.example").await, 200);
    assert_eq!(at("/token", "AUTH.example:8443").await, 200);
    assert_eq!(at("https://auth.example/token", "other").await, 200);
    assert_eq!(at("/token", "other.example").await, 404);
    assert_eq!(at("/token/", "auth.example").await, 404);
    assert_eq!(at("//token", "auth.example").await, 404);
    assert_eq!(at("/Token", "auth.example").await, 404);
}

#[tokio::test]
async fn row_109_row_110_row_112_the_password_grant_is_off_until_a_realm_turns_it_on() {
    const RIGHT: &str = "grant_type=password&username=ada&password=correct+horse";
    let house = House::of(realm()).await;
    house.change(vec![Change::PutUser(user("ada", "correct horse"))]).await;
    assert_eq!(
        house.token(&billing(), RIGHT).await.refusal(),
        refusal(400, "unsupported_grant_type")
    );

    let on = Realm { password_grant: true, ..realm() };
    house.change(vec![Change::PutRealm(on)]).await;
    let answer = house.token(&billing(), RIGHT).await;
    assert_eq!(
        answer.fields(),
        ["access_token", "refresh_token", "token_type", "expires_in", "scope"]
    );
    let claims = house.verify(&answer.field("access_token"), "/jwks").await;
    assert_eq!(claims.sub, Some(user("ada", "x").subject));
    assert_eq!(claims.client_id.as_deref(), Some("billing"));

    let wrong = house.token(&billing(), "grant_type=password&username=ada&password=wrong").await;
    assert_eq!(wrong.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(
        house.token(&billing(), "grant_type=password&username=bob&password=wrong").await,
        wrong
    );
    let locked = tokenry_core::User { enabled: false, ..user("ada", "correct horse") };
    house.change(vec![Change::PutUser(locked)]).await;
    assert_eq!(house.token(&billing(), RIGHT).await, wrong);
}

#[tokio::test]
async fn who_may_not_use_the_password_grant_is_told_so_while_passwords_queue() {
    // Sixteen may wait in one realm and 64 in all, so four realms fill the queue. The fifth has the grant off.
    let mut changes = Vec::new();
    for i in 0..5 {
        let realm = Realm {
            name: format!("r{i}"),
            issuer: format!("https://r{i}.example").parse().unwrap(),
            password_grant: i < 4,
            ..realm()
        };
        let limited = Client { grants: [GrantType::RefreshToken].into(), ..client("limited") };
        for client in [client("billing"), limited] {
            changes.push(Change::PutClient(Client { realm: realm.name.clone(), ..client.clone() }));
            changes.push(Change::PutCredential {
                realm: realm.name.clone(),
                client: client.id.clone(),
                credential: credential(&format!("{}-{i}", client.id), SECRET),
            });
        }
        changes.insert(i, Change::PutRealm(realm));
    }
    let house = House::with(changes).await;
    let ask = |i: usize, id: &str| {
        let request = Request::post("/token")
            .header("host", format!("r{i}.example"))
            .header("authorization", basic(&format!("{id}:{SECRET}")))
            .header("content-type", "application/x-www-form-urlencoded");
        let body = Bytes::from_static(b"grant_type=password&username=ada&password=x");
        Box::pin(house.send(request.body(body).unwrap()))
    };
    let mut waiting: Vec<_> = (0..64).map(|n| ask(n / 16, "billing")).collect();
    // Polled once each: all of them wait, and none goes on.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for asked in &mut waiting {
        assert!(asked.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(ask(0, "billing").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(0, "limited").await.refusal(), refusal(400, "unauthorized_client"));
    assert_eq!(ask(4, "billing").await.refusal(), refusal(400, "unsupported_grant_type"));
}

#[tokio::test]
async fn row_305_tokens_are_issued_from_memory_and_nothing_is_written() {
    let house = House::of(realm()).await;
    let before = house.store.revision().await.unwrap();
    for _ in 0..100 {
        assert_eq!(house.token(&billing(), CC).await.status, StatusCode::OK);
    }
    assert_eq!(house.store.revision().await.unwrap(), before);
    assert_eq!(
        house.store.collect_garbage(Timestamp::from_secs(u64::MAX / 2000)).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn row_049_guessing_at_a_client_is_throttled_and_the_right_secret_still_works() {
    let house = House::of(realm()).await;
    // A client that is not there is guessed at alike.
    for id in ["billing", "nobody"] {
        let wrong = format!("{id}:wrong-secret");
        for attempt in 1..30 {
            let answer = house.token(&wrong, CC).await;
            assert_eq!(answer.refusal(), refusal(401, "invalid_client"), "{id} {attempt}");
        }
        let answer = house.token(&wrong, CC).await;
        assert_eq!(answer.refusal(), refusal(429, "slow_down"), "{id}");
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
    }
    assert_eq!(house.token(&billing(), CC).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.token("billing:wrong", CC).await.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn row_111_guessing_at_a_password_is_throttled_per_user_and_client() {
    let house = House::of(Realm { password_grant: true, ..realm() }).await;
    let other = client("other");
    house
        .change(vec![
            Change::PutUser(user("ann", "pw")),
            Change::PutUser(user("bob", "pw")),
            Change::PutClient(other),
            put_credential("other", credential("cred-002", SECRET)),
        ])
        .await;
    let ask = |user: &str, password: &str| {
        format!("grant_type=password&username={user}&password={password}")
    };
    for name in ["ann", "nobody"] {
        for _ in 0..10 {
            let answer = house.token(&billing(), &ask(name, "wrong")).await;
            assert_eq!(answer.refusal(), refusal(400, "invalid_grant"));
        }
        // The right one is not tried: it could be guessed.
        let answer = house.token(&billing(), &ask(name, "pw")).await;
        assert_eq!(answer.refusal(), refusal(429, "slow_down"));
    }
    assert_eq!(house.token(&billing(), &ask("bob", "pw")).await.status, StatusCode::OK);
    let other = format!("other:{SECRET}");
    assert_eq!(house.token(&other, &ask("ann", "pw")).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.token(&billing(), &ask("ann", "pw")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_026_nobody_may_keep_an_error() {
    let house = House::of(realm()).await;
    for (pair, body) in [
        (billing(), "grant_type=nonsense"),
        (billing(), "grant_type=client_credentials&scope=unknown"),
        ("billing:wrong".to_owned(), CC),
    ] {
        let answer = house.token(&pair, body).await;
        assert!(answer.status.is_client_error());
        assert_eq!(answer.headers["cache-control"], "no-store", "{body}");
    }
}

#[tokio::test]
async fn row_031_a_browser_gets_no_leave_to_ask_for_tokens() {
    let house = House::of(realm()).await;
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/token")
        .header("host", &house.host)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST");
    let answer = house.send(request.body(Bytes::new()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn row_150_a_user_named_like_a_client_is_somebody_else() {
    let house = House::of(Realm { password_grant: true, ..realm() }).await;
    house.change(vec![Change::PutUser(user("billing", "pw"))]).await;
    let of_user = "grant_type=password&username=billing&password=pw";
    let tokens = [house.token(&billing(), CC).await, house.token(&billing(), of_user).await];
    let mut subjects = Vec::new();
    for answer in tokens {
        subjects.push(house.verify(&answer.field("access_token"), "/jwks").await.sub.unwrap());
    }
    assert_eq!(subjects[0], "billing");
    assert_ne!(subjects[1], "billing");
}

#[tokio::test]
async fn row_153_a_token_says_no_more_than_it_must() {
    let house = House::of(Realm { password_grant: true, ..realm() }).await;
    house.change(vec![Change::PutUser(user("ann", "pw"))]).await;
    for body in [CC, "grant_type=password&username=ann&password=pw"] {
        let token = house.token(&billing(), body).await.field("access_token");
        let claims = house.verify(&token, "/jwks").await;
        // Beside the claims of RFC 9068: the family that it ends with.
        assert_eq!(claims.other.keys().collect::<Vec<_>>(), ["sid"]);
    }
}

#[tokio::test]
async fn row_036_the_secret_of_another_is_none_of_a_client_that_does_not_exist() {
    let house = House::of(realm()).await;
    // Another client is looked at in its place, so that it takes as long: this must not let it in.
    for id in ["nobody", "bilLing", "a"] {
        let answer = house.token(&format!("{id}:{SECRET}"), CC).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
    }
}
