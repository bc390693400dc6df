//! OpenID Connect in the Keycloak dialect: scopes, the ID token, userinfo and the discovery document.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_core::{Client, User};
use tokenry_store::Change;

use crate::house::{
    Answer, House, SECRET, basic, billing, client, credential, put_credential, user,
};
use crate::keycloak::{TOKEN, keycloak};
use crate::{assertion, dpop};

const USERINFO: &str = "/realms/k/protocol/openid-connect/userinfo";
const CC: &str = "grant_type=client_credentials";
const PASSWORD: &str = "grant_type=password&username=ada&password=pw";

/// `billing` has `email` and `profile` by default and may ask for `phone`; `ada` is a user.
async fn house() -> House {
    let parse = |scope: &str| scope.parse().unwrap();
    let billing = Client {
        scope: parse("email phone profile"),
        default_scope: Some(parse("email profile")),
        ..client("billing")
    };
    let realm = tokenry_core::Realm { scopes: parse("email phone profile"), ..keycloak() };
    let house = House::of(realm).await;
    house
        .change(vec![
            Change::PutClient(billing),
            put_credential("billing", credential("cred-001", SECRET)),
            Change::PutUser(user("ada", "pw")),
        ])
        .await;
    house
}

async fn given(house: &House, body: &str) -> Answer {
    let answer = house.post_to(TOKEN, &[("authorization", &basic(&billing()))], body).await;
    assert_eq!(answer.status.as_u16(), 200, "{body}: {}", answer.text);
    answer
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn the_default_scope_is_always_there_and_openid_is_everybodys() {
    let house = house().await;
    for (asked, granted) in [
        ("", "email profile"),
        ("&scope=email", "email profile"),
        ("&scope=phone", "email phone profile"),
        ("&scope=openid", "email openid profile"),
        ("&scope=openid+phone", "email openid phone profile"),
    ] {
        for grant in [CC, PASSWORD] {
            let answer = given(&house, &format!("{grant}{asked}")).await;
            assert_eq!(answer.field("scope"), granted, "{grant}{asked}");
            let has_id_token = answer.json().get("id_token").is_some();
            assert_eq!(has_id_token, granted.contains("openid"), "{grant}{asked}");
        }
    }
}

#[tokio::test]
async fn a_refresh_never_widens_and_repeats_the_id_token() {
    let house = house().await;
    let first = given(&house, &format!("{PASSWORD}&scope=openid+phone")).await;
    let refresh =
        |token: &str, rest: &str| format!("grant_type=refresh_token&refresh_token={token}{rest}");
    for (asked, granted) in [
        ("", "email openid phone profile"),
        ("&scope=openid", "email openid profile"),
        ("&scope=email", "email profile"),
    ] {
        let answer = given(&house, &refresh(&first.field("refresh_token"), asked)).await;
        assert_eq!(answer.field("scope"), granted, "{asked}");
        let has_id_token = answer.json().get("id_token").is_some();
        assert_eq!(has_id_token, granted.contains("openid"), "{asked}");
    }
    let narrow = given(&house, PASSWORD).await.field("refresh_token");
    for asked in ["&scope=phone", "&scope=openid"] {
        let answer = given(&house, &refresh(&narrow, asked)).await;
        assert_eq!(answer.field("scope"), "email profile", "{asked}");
    }
}

#[tokio::test]
async fn an_id_token_is_about_whom_the_access_token_is_about() {
    let house = house().await;
    for (grant, username) in [(CC, "service-account-billing"), (PASSWORD, "ada")] {
        let answer = given(&house, &format!("{grant}&scope=openid")).await;
        let fields = answer.fields();
        let at = |name: &str| fields.iter().position(|field| field == name).unwrap();
        assert!(at("token_type") < at("id_token") && at("id_token") < at("not-before-policy"));
        let (access, id) =
            (claims(&answer.field("access_token")), claims(&answer.field("id_token")));
        for same in ["iss", "sub", "azp", "sid", "acr", "preferred_username", "client_id"] {
            assert_eq!(id[same], access[same], "{same}");
        }
        assert_eq!((&id["typ"], &id["aud"]), (&json!("ID"), &json!("billing")));
        assert_eq!(id["preferred_username"], username);
        assert_eq!(id["at_hash"].as_str().unwrap().len(), 22);
    }
}

async fn borne(house: &House, method: Method, header: Option<&str>, form: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(USERINFO).header("host", "sso.example");
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    if !form.is_empty() {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    house.send(request.body(Bytes::copy_from_slice(form.as_bytes())).unwrap()).await
}

async fn got(house: &House, token: &str) -> Answer {
    borne(house, Method::GET, Some(&format!("Bearer {token}")), "").await
}

/// The status, and what the challenge says after the realm.
fn denied(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.text, "");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    let rest = challenge.strip_prefix("Bearer realm=\"k\"").unwrap();
    (answer.status.as_u16(), rest.to_owned())
}

fn error(status: u16, code: &str, text: &str) -> (u16, String) {
    (status, format!(", error=\"{code}\", error_description=\"{text}\""))
}

fn not_good() -> (u16, String) {
    error(401, "invalid_token", "Token verification failed")
}

#[tokio::test]
async fn userinfo_says_who_a_token_is_about() {
    let house = house().await;
    let token = given(&house, &format!("{PASSWORD}&scope=openid")).await.field("access_token");
    let expected = json!({
        "sub": claims(&token)["sub"], "email_verified": false, "preferred_username": "ada",
    });
    let form = format!("access_token={token}");
    for answer in [
        got(&house, &token).await,
        borne(&house, Method::GET, Some(&format!("bearer {token}")), "").await,
        borne(&house, Method::POST, Some(&format!("Bearer {token}")), "").await,
        borne(&house, Method::POST, None, &form).await,
    ] {
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let token = given(&house, &format!("{CC}&scope=openid")).await.field("access_token");
    let told = got(&house, &token).await.json();
    assert_eq!(
        told,
        json!({
            "sub": claims(&token)["sub"], "email_verified": false,
            "preferred_username": "service-account-billing", "client_id": "billing",
            "clientHost": "127.0.0.1", "clientAddress": "127.0.0.1",
        })
    );
}

#[tokio::test]
async fn userinfo_is_for_tokens_with_openid() {
    let house = house().await;
    let expected = error(403, "insufficient_scope", "Missing openid scope");
    for grant in [CC, PASSWORD] {
        let token = given(&house, grant).await.field("access_token");
        assert_eq!(denied(&got(&house, &token).await), expected);
    }
}

#[tokio::test]
async fn userinfo_is_not_for_tokens_that_are_bound_to_a_key() {
    let house = house().await;
    let key = assertion::key(Algorithm::Es256);
    let proof = dpop::proof(&key, &format!("https://sso.example{TOKEN}"), json!({}));
    let header = basic(&billing());
    let headers = [("authorization", header.as_str()), ("dpop", &proof)];
    let answer = house.post_to(TOKEN, &headers, &format!("{CC}&scope=openid")).await;
    assert_eq!(answer.field("token_type"), "DPoP");
    assert_eq!(denied(&got(&house, &answer.field("access_token")).await), not_good());
}

#[tokio::test]
async fn userinfo_knows_opaque_tokens() {
    let mut realm = keycloak();
    realm.tokens.opaque = true;
    let house = House::of(realm).await;
    let token = given(&house, &format!("{CC}&scope=openid")).await.field("access_token");
    assert!(token.starts_with("tka_"));
    assert_eq!(got(&house, &token).await.field("preferred_username"), "service-account-billing");
    assert_eq!(denied(&got(&house, &format!("{token}A")).await), not_good());
}

#[tokio::test]
async fn userinfo_is_for_one_bearer_token() {
    let house = house().await;
    let answer = given(&house, &format!("{PASSWORD}&scope=openid")).await;
    let (token, post) = (answer.field("access_token"), Method::POST);
    let (header, form) = (format!("Bearer {token}"), format!("access_token={token}"));
    let nothing = || (401, String::new());
    let two = "More than one method used for including an access token";
    let basic = basic(&billing());
    let cases = [
        (Method::GET, None, "", nothing()),
        (post.clone(), None, "", nothing()),
        (post.clone(), None, "x=y", nothing()),
        (Method::GET, Some("Bearer "), "", nothing()),
        (Method::GET, Some("Bearer"), "", nothing()),
        (Method::GET, Some(basic.as_str()), "", nothing()),
        (Method::GET, Some("Bearer x"), "", not_good()),
        (post.clone(), None, "access_token=x", not_good()),
        (post.clone(), Some(header.as_str()), form.as_str(), error(400, "invalid_request", two)),
        (
            post.clone(),
            None,
            "access_token=x&access_token=y",
            error(400, "invalid_request", "Duplicate parameter"),
        ),
    ];
    for (method, header, form, expected) in cases {
        let answer = borne(&house, method, header, form).await;
        assert_eq!(denied(&answer), expected, "{header:?} {form}");
    }
    for other in ["refresh_token", "id_token"] {
        assert_eq!(denied(&got(&house, &answer.field(other)).await), not_good(), "{other}");
    }
    // RFC 6750 §2.3: a token in the URL ends up in logs.
    let answer = house.get(&format!("{USERINFO}?access_token={token}")).await;
    assert_eq!(denied(&answer), nothing());
    let answer = house.request(Method::PUT, USERINFO).await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.field("error")),
        (405, "HTTP 405 Method Not Allowed")
    );
    assert_eq!(answer.headers["allow"], "GET, POST");
}

#[tokio::test]
async fn userinfo_ends_with_the_token() {
    let house = house().await;
    let header = basic(&billing());
    let base = TOKEN.strip_suffix("/token").unwrap();
    let end = async |endpoint: &str, form: String| {
        let headers = [("authorization", header.as_str())];
        let answer = house.post_to(&format!("{base}/{endpoint}"), &headers, &form).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    let openid = format!("{PASSWORD}&scope=openid");

    let first = given(&house, &openid).await;
    end("logout", format!("refresh_token={}", first.field("refresh_token"))).await;
    let ended = error(401, "invalid_token", "user_session_not_found");
    assert_eq!(denied(&got(&house, &first.field("access_token")).await), ended);

    let second = given(&house, &openid).await.field("access_token");
    end("revoke", format!("token={second}")).await;
    assert_eq!(denied(&got(&house, &second).await), not_good());

    let third = given(&house, &openid).await.field("access_token");
    house.change(vec![Change::PutUser(User { enabled: false, ..user("ada", "pw") })]).await;
    assert_eq!(denied(&got(&house, &third).await), not_good());
    house.change(vec![Change::PutUser(user("ada", "pw"))]).await;
    assert_eq!(denied(&got(&house, &third).await), not_good(), "it was told that it has ended");
    let third = given(&house, &openid).await.field("access_token");
    assert_eq!(got(&house, &third).await.status.as_u16(), 200);
    house.clock.advance(std::time::Duration::from_secs(300));
    for token in [third, first.field("access_token")] {
        assert_eq!(denied(&got(&house, &token).await), not_good());
    }
}

#[tokio::test]
async fn the_discovery_document_has_keycloaks_members_in_its_order() {
    let house = house().await;
    let answer = house.get("/realms/k/.well-known/openid-configuration").await;
    for path in [
        "/auth/realms/k/.well-known/openid-configuration",
        "/realms/k/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(house.get(path).await, answer, "{path}");
    }
    let base = "https://sso.example/auth/realms/k/protocol/openid-connect";
    assert_eq!(answer.field("userinfo_endpoint"), format!("{base}/userinfo"));
    assert_eq!(answer.json()["scopes_supported"], json!(["openid", "email", "phone", "profile"]));
    assert_eq!(answer.json()["request_uri_parameter_supported"], false);
    let keycloaks = [
        "issuer",
        "token_endpoint",
        "introspection_endpoint",
        "userinfo_endpoint",
        "end_session_endpoint",
        "jwks_uri",
        "grant_types_supported",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "token_endpoint_auth_methods_supported",
        "token_endpoint_auth_signing_alg_values_supported",
        "introspection_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_signing_alg_values_supported",
        "claims_supported",
        "claim_types_supported",
        "claims_parameter_supported",
        "scopes_supported",
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "revocation_endpoint",
        "revocation_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
    ];
    let mut fields = answer.fields();
    fields.retain(|field| keycloaks.contains(&field.as_str()));
    assert_eq!(fields, keycloaks);
    assert_eq!(answer.headers["x-frame-options"], "SAMEORIGIN");
}
