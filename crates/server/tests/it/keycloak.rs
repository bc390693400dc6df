//! The Keycloak dialect.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokenry_core::realm::{Dialect, Rotate};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Realm};
use tokenry_store::Change;

use crate::house::{House, SECRET, basic, billing, client, realm, user};

pub(crate) const TOKEN: &str = "/auth/realms/k/protocol/openid-connect/token";
const CC: &str = "grant_type=client_credentials";

pub(crate) fn keycloak() -> Realm {
    let mut realm = Realm {
        issuer: "https://sso.example/auth/realms/k".parse().unwrap(),
        dialect: Dialect::Keycloak,
        password_grant: true,
        ..realm()
    };
    realm.tokens.refresh.as_mut().unwrap().policy = Rotate::Reissue;
    realm
}

async fn post(house: &House, body: &str) -> (u16, String, String) {
    let answer = house.post_to(TOKEN, &[], body).await;
    assert!(!answer.headers.contains_key("www-authenticate"));
    (
        answer.status.as_u16(),
        answer.field("error"),
        answer.json()["error_description"].as_str().unwrap_or_default().into(),
    )
}

fn told(status: u16, code: &str, text: &str) -> (u16, String, String) {
    (status, code.into(), text.into())
}

#[tokio::test]
async fn an_answer_has_keycloaks_fields_in_its_order() {
    let house = House::of(keycloak()).await;
    for path in [TOKEN, "/realms/k/protocol/openid-connect/token"] {
        let answer = house.post_to(path, &[("authorization", &basic(&billing()))], CC).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(
            answer.fields(),
            [
                "access_token",
                "expires_in",
                "refresh_expires_in",
                "refresh_token",
                "token_type",
                "not-before-policy",
                "session_state",
                "scope"
            ]
        );
        assert_eq!(answer.json()["refresh_expires_in"], 1800);
        assert_eq!(answer.json()["not-before-policy"], 0);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn an_access_token_has_keycloaks_claims() {
    let house = House::of(keycloak()).await;
    let answer = house.post_to(TOKEN, &[("authorization", &basic(&billing()))], CC).await;
    let token = answer.field("access_token");
    let claims = house.verify(&token, "/auth/realms/k/protocol/openid-connect/certs").await;
    assert_eq!(claims.iss.as_deref(), Some("https://sso.example/auth/realms/k"));
    assert_eq!(claims.client_id.as_deref(), Some("billing"));
    let payload = token.split('.').nth(1).unwrap();
    let json: serde_json::Value = {
        use base64::Engine as _;
        serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap())
            .unwrap()
    };
    assert_eq!(json["typ"], "Bearer");
    assert_eq!(json["azp"], "billing");
    assert_eq!(json["preferred_username"], "service-account-billing");
    assert_eq!(json["sid"], answer.field("session_state"));
    assert_eq!(json["sub"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn refusals_have_keycloaks_status_code_and_text() {
    const CREDENTIALS: &str = "Invalid client or Invalid client credentials";
    let house = House::of(keycloak()).await;
    let disabled = Client { enabled: false, ..client("disabled") };
    let only_refreshes = Client { grants: [GrantType::RefreshToken].into(), ..client("cc") };
    house
        .change(vec![
            Change::PutClient(disabled),
            crate::house::put_credential("disabled", crate::house::credential("cred-006", SECRET)),
            Change::PutClient(only_refreshes),
            crate::house::put_credential("cc", crate::house::credential("cred-007", SECRET)),
            Change::PutUser(user("ada", "pw")),
        ])
        .await;
    let me = format!("client_id=billing&client_secret={SECRET}");
    let cases = [
        (String::new(), told(400, "invalid_request", "Missing form parameter: grant_type")),
        ("grant_type=foo".into(), told(400, "unsupported_grant_type", "Unsupported grant_type")),
        (
            format!("{CC}&client_id=billing&client_secret=x"),
            told(401, "unauthorized_client", CREDENTIALS),
        ),
        (format!("{CC}&client_id=billing"), told(401, "unauthorized_client", CREDENTIALS)),
        (
            format!("{CC}&client_id=nobody&client_secret=x"),
            told(401, "invalid_client", CREDENTIALS),
        ),
        (format!("{CC}&client_id=nobody"), told(401, "invalid_client", CREDENTIALS)),
        (CC.into(), told(401, "invalid_client", CREDENTIALS)),
        (
            format!("{CC}&client_id=disabled&client_secret={SECRET}"),
            told(401, "invalid_client", CREDENTIALS),
        ),
        (
            format!("{CC}&client_id=disabled&client_secret=x"),
            told(401, "invalid_client", CREDENTIALS),
        ),
        (format!("{CC}&client_id=disabled"), told(401, "invalid_client", CREDENTIALS)),
        (format!("{CC}&client_id=&client_secret=x"), told(401, "invalid_client", CREDENTIALS)),
        (format!("{CC}&client_secret=x"), told(401, "invalid_client", CREDENTIALS)),
        (format!("{CC}&{me}&scope=admin"), told(400, "invalid_scope", "Invalid scopes: admin")),
        (
            format!("{CC}&{me}&scope=read+admin+all"),
            told(400, "invalid_scope", "Invalid scopes: read admin all"),
        ),
        (
            format!("{CC}&client_id=cc&client_secret={SECRET}&scope=admin"),
            told(401, "unauthorized_client", "Client not enabled to retrieve service account"),
        ),
        (
            format!(
                "grant_type=password&client_id=cc&client_secret={SECRET}&username=a&password=b"
            ),
            told(400, "unauthorized_client", "Client not allowed for direct access grants"),
        ),
        // Which parameters there are is looked at after the client, and before the grant.
        (format!("{CC}&{me}&x=1&x=2"), told(400, "invalid_request", "duplicated parameter")),
        (
            format!("{CC}&client_id=billing&client_secret=x&scope=a&scope=b"),
            told(401, "unauthorized_client", CREDENTIALS),
        ),
        (
            format!("grant_type=refresh_token&{me}&scope=a&scope=b"),
            told(400, "invalid_request", "duplicated parameter"),
        ),
        (
            format!("grant_type=password&{me}&username=ada&password=x&scope=admin"),
            told(400, "invalid_scope", "Invalid scopes: admin"),
        ),
        (
            format!("{CC}&{me}&scope=read&scope=read"),
            told(400, "invalid_request", "duplicated parameter"),
        ),
        (
            format!("grant_type=refresh_token&{me}"),
            told(400, "invalid_request", "No refresh token"),
        ),
        (
            format!("grant_type=refresh_token&{me}&refresh_token=x"),
            told(400, "invalid_grant", "Invalid refresh token"),
        ),
        (
            format!("grant_type=password&{me}&password=x"),
            told(401, "invalid_request", "Missing parameter: username"),
        ),
        (
            format!("grant_type=password&{me}&username=ada&password=x"),
            told(401, "invalid_grant", "Invalid user credentials"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(post(&house, &body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn an_expired_refresh_token_is_not_active() {
    let house = House::of(keycloak()).await;
    let me = format!("client_id=billing&client_secret={SECRET}");
    let token = house.post_to(TOKEN, &[], &format!("{CC}&{me}")).await.field("refresh_token");
    house.clock.advance(std::time::Duration::from_secs(1800));
    let body = format!("grant_type=refresh_token&{me}&refresh_token={token}");
    assert_eq!(post(&house, &body).await, told(400, "invalid_grant", "Token is not active"));
}

#[tokio::test]
async fn a_refresh_token_alone_names_no_client() {
    let house = House::of(keycloak()).await;
    let answer = house.post_to(TOKEN, &[("authorization", &basic(&billing()))], CC).await;
    let refresh = answer.field("refresh_token");
    let body = format!("grant_type=refresh_token&refresh_token={refresh}");
    const CREDENTIALS: &str = "Invalid client or Invalid client credentials";
    assert_eq!(post(&house, &body).await, told(401, "invalid_client", CREDENTIALS));
    let named = format!("{body}&client_id=billing");
    assert_eq!(post(&house, &named).await, told(401, "unauthorized_client", CREDENTIALS));
}

#[tokio::test]
async fn the_form_wins_over_the_header() {
    let house = House::of(keycloak()).await;
    let body = format!("{CC}&client_id=billing&client_secret={SECRET}");
    let answer = house.post_to(TOKEN, &[("authorization", &basic("nobody:x"))], &body).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn empty_parameters_and_openid_are_no_hindrance() {
    let house = House::of(keycloak()).await;
    let body = format!(
        "{CC}&client_id=billing&client_secret={SECRET}&username=&password=&code=&scope=openid"
    );
    assert_eq!(house.post_to(TOKEN, &[], &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn header_and_form_complete_each_other() {
    let house = House::of(keycloak()).await;
    let header = basic(&billing());
    let cases = [
        ("client_id=billing", 200),
        (&format!("client_secret={SECRET}"), 200),
        ("client_id=nobody", 401),
        ("client_secret=x", 401),
    ];
    for (form, expected) in cases {
        let headers = [("authorization", header.as_str())];
        let answer = house.post_to(TOKEN, &headers, &format!("{CC}&{form}")).await;
        assert_eq!(answer.status.as_u16(), expected, "{form}");
    }
}

#[tokio::test]
async fn what_is_no_form_is_an_empty_one_and_the_query_is_not_read() {
    let house = House::of(keycloak()).await;
    let header = basic(&billing());
    let send = async |path: &str, content_type: &str, body: &'static str| {
        let request = Request::post(path)
            .header("host", "sso.example")
            .header("authorization", &header)
            .header("content-type", content_type);
        let answer = house.send(request.body(Bytes::from_static(body.as_bytes())).unwrap()).await;
        (answer.status.as_u16(), answer.json()["error_description"].as_str().map(str::to_owned))
    };
    let missing = |name: &str| (400, Some(name.to_owned()));
    const FORM: &str = "application/x-www-form-urlencoded";
    let grant = "Missing form parameter: grant_type";
    assert_eq!(send(TOKEN, "application/json", CC).await, missing(grant));
    assert_eq!(send(TOKEN, "text/plain", CC).await, missing(grant));
    let base = TOKEN.strip_suffix("/token").unwrap();
    let introspect = format!("{TOKEN}/introspect");
    assert_eq!(send(&introspect, "text/plain", "token=x").await, missing("Token not provided."));
    let revoke = format!("{base}/revoke");
    assert_eq!(send(&revoke, "text/plain", "token=x").await, missing("Token not provided"));
    assert_eq!(send(&format!("{TOKEN}?{CC}"), FORM, "").await, missing(grant));
    assert_eq!(send(&format!("{TOKEN}?scope=admin"), FORM, CC).await, (200, None));
}

#[tokio::test]
async fn what_is_not_there_is_told_keycloaks_way() {
    let house = House::of(keycloak()).await;
    for (method, path, status, error) in [
        (Method::POST, "/realms/other/protocol/openid-connect/token", 404, "Realm does not exist"),
        (Method::GET, "/realms/other", 404, "Realm does not exist"),
        (Method::GET, "/auth/realms/other", 404, "Realm does not exist"),
        (Method::GET, "/realms/k/nowhere", 404, "HTTP 404 Not Found"),
        (Method::GET, "/auth/realms/k/protocol/openid-connect/auth", 404, "HTTP 404 Not Found"),
        (Method::POST, "/realms/k", 405, "HTTP 405 Method Not Allowed"),
        (Method::PUT, TOKEN, 405, "HTTP 405 Method Not Allowed"),
    ] {
        let answer = house.request(method, path).await;
        let expected = format!(r#"{{"error":"{error}"}}"#);
        assert_eq!((answer.status.as_u16(), answer.text), (status, expected), "{path}");
        assert_eq!(answer.headers["x-frame-options"], "SAMEORIGIN", "{path}");
    }
    // What is no realm's path is nobody's.
    assert_eq!(house.get("/nowhere").await.text, r#"{"error":"not_found"}"#);
}

#[tokio::test]
async fn a_token_that_was_used_up_says_so() {
    let mut rotating = keycloak();
    let refresh = rotating.tokens.refresh.as_mut().unwrap();
    (refresh.policy, refresh.grace) = (Rotate::Rotate, std::time::Duration::ZERO);
    let house = House::of(rotating).await;
    let me = format!("client_id=billing&client_secret={SECRET}");
    let first = house.post_to(TOKEN, &[], &format!("{CC}&{me}")).await.field("refresh_token");
    let body = format!("grant_type=refresh_token&{me}&refresh_token={first}");
    house.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(house.post_to(TOKEN, &[], &body).await.status, StatusCode::OK);
    house.clock.advance(std::time::Duration::from_secs(1));
    let expected = told(400, "invalid_grant", "Maximum allowed refresh token reuse exceeded");
    assert_eq!(post(&house, &body).await, expected);
    assert_eq!(post(&house, &body).await, told(400, "invalid_grant", "Session not active"));
}

#[tokio::test]
async fn a_realm_says_its_public_key_at_its_own_address() {
    use base64::Engine as _;
    let mut rsa = keycloak();
    rsa.tokens.signing = tokenry_core::jose::Algorithm::Rs256;
    rsa.not_before = tokenry_core::Timestamp::from_secs(1000);
    let house = House::of(rsa).await;
    let answers = [house.get("/auth/realms/k").await, house.get("/realms/k").await];
    assert_eq!(answers[0], answers[1]);
    let about = answers[0].json();
    assert_eq!(about["realm"], "k");
    assert_eq!(about["tokens-not-before"], 1000);
    let base = "https://sso.example/auth/realms/k";
    assert_eq!(about["token-service"], format!("{base}/protocol/openid-connect"));
    assert_eq!(about["account-service"], format!("{base}/account"));

    // Whoever knows no JWKS verifies with it: the key of a token that is issued now.
    let der = base64::prelude::BASE64_STANDARD.decode(answers[0].field("public_key")).unwrap();
    let answer = house.post_to(TOKEN, &[("authorization", &basic(&billing()))], CC).await;
    let token = answer.field("access_token");
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
        der,
    );
    key.verify(input.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn row_027_no_description_holds_what_it_must_not() {
    let house = House::of(keycloak()).await;
    let header = basic(&billing());
    let basic = [("authorization", header.as_str())];
    let mut described = 0;
    for body in [
        "grant_type=%22%5C%00",
        "grant_type=%22%5C%C3%BC%0A",
        "grant_type=client_credentials&scope=%22",
        "grant_type=client_credentials&scope=un-%7Eknown!%27",
        "grant_type=client_credentials&scope=%C3%BC",
        "grant_type=refresh_token&refresh_token=%22%5C%0A",
        "grant_type=password&username=%22%5C%0A&password=x",
        "grant_type=password",
        "%22=%5C",
    ] {
        for headers in [&basic[..], &[]] {
            let answer = house.post_to(TOKEN, headers, body).await;
            assert!(answer.status.is_client_error(), "{body}");
            for member in ["error", "error_description"] {
                let Some(text) = answer.json()[member].as_str().map(str::to_owned) else {
                    continue;
                };
                described += 1;
                // RFC 6749 appendices A.7 and A.8.
                let is_allowed = |c: char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
                assert!(text.chars().all(is_allowed), "{body}: {text:?}");
            }
        }
    }
    assert!(described > 30, "{described}");
}
