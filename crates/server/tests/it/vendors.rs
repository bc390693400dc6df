//! Endpoints that vendors declare.

use std::time::Duration;

use http::StatusCode;
use tokenry_core::jose::jws::Compact;
use tokenry_core::realm::Endpoint;
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Realm};
use tokenry_store::Change;

use crate::house::{House, client, realm, refusal, user};

/// A realm with a password endpoint and a refresh endpoint of its own, as Simacan has them.
async fn simacan() -> House {
    let endpoint = |path: &str, grant, status| Endpoint {
        path: path.into(),
        grant,
        client: "auth-api".into(),
        token_type: Some("bearer".into()),
        invalid_grant_status: status,
    };
    let mut realm = Realm {
        issuer: "https://auth.example/api/v1".parse().unwrap(),
        password_grant: true,
        endpoints: vec![
            endpoint("/auth/password", GrantType::Password, None),
            endpoint("/auth/refresh", GrantType::RefreshToken, Some(401)),
        ],
        ..realm()
    };
    realm.tokens.id_token = true;
    realm.tokens.access = Duration::from_secs(3600);
    let mut api = client("auth-api");
    api.scope = Default::default();
    House::with(vec![
        Change::PutRealm(realm),
        Change::PutClient(api),
        Change::PutUser(user("ada", "pw")),
    ])
    .await
}

#[tokio::test]
async fn a_declared_endpoint_fills_in_grant_and_client() {
    let house = simacan().await;
    let first = house.post_to("/api/v1/auth/password", &[], "username=ada&password=pw").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_eq!(
        first.fields(),
        ["access_token", "refresh_token", "id_token", "token_type", "expires_in"]
    );
    assert_eq!(
        (first.field("token_type"), &first.json()["expires_in"]),
        ("bearer".into(), &3600.into())
    );
    let id_token = first.field("id_token");
    assert_eq!(Compact::parse(&id_token).unwrap().header().typ(), Some("JWT"));
    let claims = house.verify(&id_token, "/api/v1/jwks").await;
    assert_eq!(claims.aud.unwrap().sole(), Some("auth-api"));

    let second = house
        .post_to(
            "/api/v1/auth/refresh",
            &[],
            &format!("refresh_token={}", first.field("refresh_token")),
        )
        .await;
    assert_eq!(second.fields(), first.fields());
    assert_ne!(second.field("refresh_token"), first.field("refresh_token"));
}

#[tokio::test]
async fn a_declared_endpoint_has_its_own_status_for_an_expired_refresh_token() {
    let house = simacan().await;
    let first = house.post_to("/api/v1/auth/password", &[], "username=ada&password=pw").await;
    house.clock.advance(Duration::from_secs(1800));
    let body = format!("refresh_token={}", first.field("refresh_token"));
    assert_eq!(
        house.post_to("/api/v1/auth/refresh", &[], &body).await.refusal(),
        refusal(401, "invalid_grant")
    );
    let wrong = house.post_to("/api/v1/auth/password", &[], "username=ada&password=x").await;
    assert_eq!(wrong.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn a_declared_endpoint_serves_its_grant_alone() {
    let house = simacan().await;
    let other = house
        .post_to("/api/v1/auth/refresh", &[], "grant_type=password&username=ada&password=pw")
        .await;
    assert_eq!(other.refusal(), refusal(400, "unsupported_grant_type"));
    let open = house
        .post_to(
            "/api/v1/token",
            &[],
            "grant_type=password&username=ada&password=pw&client_id=auth-api",
        )
        .await;
    assert_eq!(open.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn a_declared_endpoint_does_not_speak_for_a_disabled_client() {
    let house = simacan().await;
    let password = ("/api/v1/auth/password", "username=ada&password=pw".to_owned());
    let first = house.post_to(password.0, &[], &password.1).await;
    let refresh = format!("refresh_token={}", first.field("refresh_token"));
    let disabled = Client { enabled: false, scope: Default::default(), ..client("auth-api") };
    house.change(vec![Change::PutClient(disabled)]).await;
    for (path, body) in [password, ("/api/v1/auth/refresh", refresh)] {
        let refused = house.post_to(path, &[], &body).await.refusal();
        assert_eq!(refused, refusal(401, "invalid_client"), "{path}");
    }
}
