//! JWKS and metadata.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokenry_core::Realm;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::realm::{ClientAuthentication, Profile};
use tokenry_core::request::{GrantType, TokenType};
use tokenry_store::Change;

use crate::assertion::{self, key};
use crate::authority;
use crate::foreign;
use crate::house::{House, SECRET, basic, billing, credential, put_credential, realm, user};

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
async fn row_163_what_there_is_nothing_of_is_left_out() {
    let mut bare = Realm { scopes: tokenry_core::Scope::empty(), ..realm() };
    bare.tokens.refresh = None;
    let fapi = Realm { profile: Profile::Fapi2, ..realm() };
    for realm in [realm(), bare, fapi] {
        let house = House::of(realm).await;
        let answer = house.get(METADATA).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        let metadata = answer.json();
        let empty = metadata.as_object().unwrap().iter().filter(|(_, value)| {
            value.is_null() || value.as_array().is_some_and(|values| values.is_empty())
        });
        // RFC 8414 requires this one, and clients that check metadata (those of MCP do) refuse it where it is missing.
        let names: Vec<&str> = empty.map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["response_types_supported"]);
    }
}

/// A method, headers and a body.
type Attempt<'a> = (&'static str, &'a [(&'a str, &'a str)], String);

const METADATA: &str = "/.well-known/oauth-authorization-server";

fn listed(json: &serde_json::Value, name: &str) -> Vec<String> {
    let values = json[name].as_array().unwrap_or_else(|| panic!("no {name}"));
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn row_166_each_grant_that_is_listed_works_and_no_other_does() {
    let key = key(Algorithm::Es256);
    let ci = "https://ci.example";
    let of_ci = foreign::signed(&key, &foreign::claims(ci, "job", serde_json::json!({})));
    for on in 0..8 {
        let (passwords, refreshes, trusts) = (on & 1 != 0, on & 2 != 0, on & 4 != 0);
        // What is presented was given while there was all.
        let house = House::of(Realm { password_grant: true, ..realm() }).await;
        house.change(vec![Change::PutUser(user("ann", "pw"))]).await;
        let first = house.token(&billing(), "grant_type=client_credentials").await;
        let mut changed = Realm { password_grant: passwords, ..realm() };
        changed.tokens.refresh = changed.tokens.refresh.filter(|_| refreshes);
        changed.trusts = vec![foreign::trust("ci", ci, &[&key], if trusts { "read" } else { "" })];
        house.change(vec![Change::PutRealm(changed)]).await;

        let listed = listed(&house.get(METADATA).await.json(), "grant_types_supported");
        for grant in GrantType::ALL.map(GrantType::as_str).into_iter().chain([
            "authorization_code",
            "implicit",
            "urn:ietf:params:oauth:grant-type:device_code",
            "urn:openid:params:grant-type:ciba",
        ]) {
            let (access, refresh) = (first.field("access_token"), first.field("refresh_token"));
            let body = format!(
                "grant_type={grant}&username=ann&password=pw&refresh_token={refresh}&assertion={of_ci}\
                 &subject_token={access}&subject_token_type={}",
                TokenType::AccessToken.as_str()
            );
            let answer = house.token(&billing(), &body).await;
            let works = listed.iter().any(|one| one == grant);
            assert_eq!(answer.status == StatusCode::OK, works, "{grant}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn row_166_each_method_and_algorithm_that_is_listed_works_and_no_other_does() {
    let (root, self_signed) = (authority::authority("root"), authority::self_signed().0);
    let named = authority::signed(&authority::params(), &root).0;
    let certificates = [
        None,
        authority::realm_of(&[], vec![]).certificates,
        authority::realm_of(&[&root], vec![]).certificates,
    ];
    let required = certificates.iter().map(|own| (ClientAuthentication::Required, own));
    let optional = certificates.iter().map(|own| (ClientAuthentication::Optional, own));
    for (authentication, certificates) in required.chain(optional) {
        let certificates = certificates.clone();
        let realm = Realm { client_authentication: authentication, certificates, ..realm() };
        let keys: Vec<SigningKey> = Algorithm::ALL.into_iter().map(key).collect();
        let mut changes = assertion::changes(realm, &keys);
        changes.push(put_credential("billing", credential("cred-001", SECRET)));
        changes.push(put_credential("billing", authority::by_subject("CN=billing,O=Example")));
        changes.push(put_credential("billing", authority::by_itself(&self_signed)));
        let house = House::with(changes).await;
        let metadata = house.get(METADATA).await.json();
        let first = house.token(&billing(), "grant_type=client_credentials").await;
        let refresh = first.field("refresh_token");

        let mut number = 0;
        let mut signed = |name: &str, key: &SigningKey| {
            number += 1;
            assertion::parameters(&assertion::assertion_under(
                name,
                key,
                "https://auth.example",
                &number.to_string(),
            ))
        };
        let basic = basic(&billing());
        let header = [("authorization", basic.as_str())];
        // For each endpoint: the parameters of its own, and what of a client needs no proof.
        for (endpoint, path, own) in [
            ("token", "/token", format!("grant_type=refresh_token&refresh_token={refresh}")),
            ("introspection", "/introspect", format!("token={refresh}")),
            ("revocation", "/revoke", "token=nonsense".to_owned()),
        ] {
            let methods = listed(&metadata, &format!("{endpoint}_endpoint_auth_methods_supported"));
            let requests: [Attempt<'_>; 7] = [
                ("client_secret_basic", &header, own.clone()),
                (
                    "client_secret_post",
                    &[],
                    format!("{own}&client_id=billing&client_secret={SECRET}"),
                ),
                ("private_key_jwt", &[], format!("{own}&{}", signed("ES256", &keys[2]))),
                (
                    "client_secret_jwt",
                    &[],
                    format!("{own}&{}", assertion::parameters(&assertion::hs256())),
                ),
                ("tls_client_auth", &[], format!("{own}&client_id=billing")),
                ("self_signed_tls_client_auth", &[], format!("{own}&client_id=billing")),
                ("none", &[], format!("{own}&client_id=billing")),
            ];
            for (method, headers, body) in requests {
                let peer = match method {
                    "tls_client_auth" => authority::peer(&[&named]),
                    "self_signed_tls_client_auth" => authority::peer(&[&self_signed]),
                    _ => authority::peer(&[]),
                };
                let answer = house.post_as(&peer, path, headers, &body).await;
                let works = methods.iter().any(|one| one == method);
                // Without a refresh token of its own nobody is known by it.
                let by_certificate = method.ends_with("tls_client_auth");
                let none = methods.iter().any(|one| one == "none");
                let alike = by_certificate && none && !works;
                let nobody = endpoint == "revocation" && method == "none";
                if !alike && !nobody {
                    assert_eq!(
                        answer.status == StatusCode::OK,
                        works,
                        "{endpoint} {method}: {}",
                        answer.text
                    );
                }
            }
            let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
            let algorithms = listed(&metadata, &name);
            // Row 154: both names of Ed25519 are listed, and both are taken.
            assert!(algorithms.iter().any(|name| name == "EdDSA"));
            assert!(algorithms.iter().any(|name| name == "Ed25519"));
            for key in &keys {
                assert!(algorithms.contains(&key.algorithm().to_string()));
            }
            for name in &algorithms {
                let algorithm: Algorithm = name.parse().unwrap();
                let key = keys.iter().find(|key| key.algorithm() == algorithm).unwrap();
                let body = format!("{own}&{}", signed(name, key));
                let answer = house.post_to(path, &[], &body).await;
                assert_eq!(answer.status, StatusCode::OK, "{endpoint} {name}: {}", answer.text);
            }
        }
    }
}
