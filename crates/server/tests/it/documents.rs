//! JWKS and metadata.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokenry_core::Realm;

use crate::house::{House, realm};

fn below_a_path() -> Realm {
    Realm { issuer: "https://auth.example/a".parse().unwrap(), ..realm() }
}

#[tokio::test]
async fn row_156_row_157_the_jwks_has_public_keys_with_use_alg_and_kid() {
    let house = House::of(realm()).await;
    let answer = house.get("/jwks").await;
    assert_eq!(answer.headers["content-type"], "application/jwk-set+json");
    let json = answer.json();
    let keys = json["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    for key in keys {
        assert_eq!((&key["use"], &key["alg"]), (&"sig".into(), &"ES256".into()));
        assert_eq!(key["kid"].as_str().unwrap().len(), 43);
        for private in ["d", "p", "q", "k", "priv"] {
            assert!(key.get(private).is_none());
        }
    }
}

#[tokio::test]
async fn row_160_documents_are_cached_and_revalidated() {
    let house = House::of(realm()).await;
    for path in ["/jwks", "/.well-known/oauth-authorization-server"] {
        let answer = house.get(path).await;
        assert_eq!(answer.headers["cache-control"], "public, max-age=300");
        let request = Request::get(path)
            .header("host", "auth.example")
            .header("if-none-match", &answer.headers["etag"]);
        let again = house.send(request.body(Bytes::new()).unwrap()).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(again.headers["etag"], answer.headers["etag"]);
    }
}

#[tokio::test]
async fn row_033_documents_answer_get_head_and_options() {
    let house = House::of(realm()).await;
    assert_eq!(house.request(Method::HEAD, "/jwks").await.status, StatusCode::OK);
    let options = house.request(Method::OPTIONS, "/jwks").await;
    assert_eq!(
        (options.status, &options.headers["allow"]),
        (StatusCode::NO_CONTENT, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    assert_eq!(house.request(Method::POST, "/jwks").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn row_162_row_164_row_165_metadata_is_found_at_all_its_places() {
    let house = House::of(below_a_path()).await;
    for path in [
        "/.well-known/oauth-authorization-server/a",
        "/.well-known/openid-configuration/a",
        "/a/.well-known/openid-configuration",
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.field("issuer"), "https://auth.example/a");
        assert_eq!(answer.field("token_endpoint"), "https://auth.example/a/token");
        assert_eq!(answer.field("jwks_uri"), "https://auth.example/a/jwks");
    }
}

#[tokio::test]
async fn row_298_row_299_row_300_what_is_published_comes_from_configuration() {
    let mut aliased = realm();
    aliased.aliases = vec!["other.example".into()];
    let house = House::of(aliased).await;
    let straight = house.get("/.well-known/oauth-authorization-server").await;
    let request = Request::get("/.well-known/oauth-authorization-server")
        .header("host", "other.example:1234")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "http")
        .header("forwarded", "host=evil.example");
    assert_eq!(house.send(request.body(Bytes::new()).unwrap()).await, straight);
}

#[tokio::test]
async fn metadata_lists_the_grants_that_there_are() {
    let house = House::of(realm()).await;
    let json = house.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(
        json["grant_types_supported"],
        serde_json::json!(["client_credentials", "refresh_token"])
    );
    assert_eq!(
        json["token_endpoint_auth_methods_supported"],
        serde_json::json!(["client_secret_basic", "client_secret_post"])
    );
}
