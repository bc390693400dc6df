//! A realm that obeys the FAPI 2.0 Security Profile.

use http::StatusCode;
use serde_json::{Value, json};
use tokenry_core::Realm;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::realm::{ClientAuthentication, Endpoint, Profile};
use tokenry_core::request::GrantType;
use tokenry_store::Change;

use crate::assertion::{self, key, parameters};
use crate::dpop::proof;
use crate::house::{
    Answer, House, SECRET, START, billing, credential, put_credential, realm, refusal, user,
};

const ISSUER: &str = "https://auth.example";
const CC: &str = "grant_type=client_credentials";

fn fapi() -> Realm {
    Realm { profile: Profile::Fapi2, ..realm() }
}

async fn ask(house: &House, key: &SigningKey, jti: &str, proved: bool, body: &str) -> Answer {
    let assertion = assertion::assertion(key, ISSUER, jti);
    let proof = proof(key, "https://auth.example/token", json!({ "jti": jti }));
    let headers = [("dpop", proof.as_str())];
    let headers = if proved { &headers[..] } else { &[] };
    house.post_to("/token", headers, &format!("{body}&{}", parameters(&assertion))).await
}

#[tokio::test]
async fn row_287_no_password_no_public_client_and_no_bearer_token() {
    let key = [key(Algorithm::Es256)];
    let mut realm = Realm {
        password_grant: true,
        client_authentication: ClientAuthentication::Optional,
        ..fapi()
    };
    realm.endpoints.push(Endpoint {
        path: "/auth/refresh".into(),
        grant: GrantType::RefreshToken,
        client: "billing".into(),
        token_type: None,
        invalid_grant_status: None,
    });
    let mut changes = assertion::changes(realm, &key);
    changes.push(Change::PutUser(user("ann", "pw")));
    let house = House::with(changes).await;
    let password = "grant_type=password&username=ann&password=pw";
    let answer = ask(&house, &key[0], "1", true, password).await;
    assert_eq!(answer.refusal(), refusal(400, "unsupported_grant_type"));
    let bearer = ask(&house, &key[0], "2", false, CC).await;
    assert_eq!(bearer.refusal(), refusal(400, "invalid_dpop_proof"));
    let good = ask(&house, &key[0], "3", true, CC).await;
    assert_eq!((good.status, good.field("token_type")), (StatusCode::OK, "DPoP".into()));
    let refresh = format!("refresh_token={}", good.field("refresh_token"));
    for (path, body) in [
        ("/token", format!("grant_type=refresh_token&{refresh}")),
        ("/token", format!("grant_type=refresh_token&{refresh}&client_id=billing")),
        ("/auth/refresh", refresh),
    ] {
        let url = format!("{ISSUER}{path}");
        let proof = proof(&key[0], &url, json!({ "jti": body.as_str().len().to_string() }));
        let answer = house.post_to(path, &[("dpop", &proof)], &body).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"), "{path} {body}");
    }
}

#[tokio::test]
async fn row_288_a_secret_is_no_authentication() {
    let key = [key(Algorithm::Es256)];
    let mut changes = assertion::changes(fapi(), &key);
    changes.push(put_credential("billing", credential("cred-001", SECRET)));
    let house = House::with(changes).await;
    let proof = proof(&key[0], "https://auth.example/token", json!({}));
    let basic = crate::house::basic(&billing());
    let by_basic = [("dpop", proof.as_str()), ("authorization", &basic)];
    let answer = house.post_to("/token", &by_basic, CC).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
    let by_post = format!("{CC}&client_id=billing&client_secret={SECRET}");
    let answer = house.post_to("/token", &by_basic[..1], &by_post).await;
    assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
    assert_eq!(ask(&house, &key[0], "2", true, CC).await.status, StatusCode::OK);

    let metadata = house.get("/.well-known/oauth-authorization-server").await.json();
    for (name, value) in metadata.as_object().unwrap() {
        if name.ends_with("_auth_methods_supported") {
            assert_eq!(*value, json!(["private_key_jwt"]), "{name}");
        }
        if name.ends_with("_auth_signing_alg_values_supported")
            || name == "dpop_signing_alg_values_supported"
        {
            let listed: Vec<&str> =
                value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
            assert!(listed.iter().all(|alg| ["PS256", "ES256", "EdDSA", "Ed25519"].contains(alg)));
            assert!(listed.contains(&"ES256"), "{name}");
        }
    }
}

#[tokio::test]
async fn row_063_row_289_an_assertion_is_for_one_and_of_an_admitted_algorithm() {
    let keys: Vec<SigningKey> = Algorithm::ALL.into_iter().map(key).collect();
    let house = House::with(assertion::changes(fapi(), &keys)).await;
    for key in &keys {
        // The proof is by an admitted key, so that the assertion alone decides.
        let assertion = assertion::assertion(key, ISSUER, key.kid());
        let prover = self::key(Algorithm::Es256);
        let proof = proof(&prover, "https://auth.example/token", json!({ "jti": key.kid() }));
        let body = format!("{CC}&{}", parameters(&assertion));
        let answer = house.post_to("/token", &[("dpop", &proof)], &body).await;
        let good = key.algorithm().is_of_fapi();
        assert_eq!(answer.status == StatusCode::OK, good, "{}", key.algorithm());
        assert!(good || answer.refusal() == refusal(401, "invalid_client"));
    }
    let key = keys.iter().find(|key| key.algorithm() == Algorithm::Es256).unwrap();
    for (aud, good) in [(json!(ISSUER), true), (json!([ISSUER]), false)] {
        let jti = aud.to_string();
        let claims: Value = json!({
            "iss": "billing", "sub": "billing", "aud": aud, "jti": jti, "exp": START.as_secs() + 60,
        });
        let mut assertion = String::new();
        let header = key.header("client-authentication+jwt");
        key.sign_compact(&header, claims.to_string().as_bytes(), &mut assertion).unwrap();
        let proof = proof(key, "https://auth.example/token", json!({ "jti": jti }));
        let body = format!("{CC}&{}", parameters(&assertion));
        let answer = house.post_to("/token", &[("dpop", &proof)], &body).await;
        assert_eq!(answer.status == StatusCode::OK, good, "{aud}: {}", answer.text);
    }
}

#[tokio::test]
async fn row_200_a_proof_has_an_admitted_algorithm_too() {
    let own = [key(Algorithm::Es256)];
    let house = House::with(assertion::changes(fapi(), &own)).await;
    for algorithm in Algorithm::ALL {
        let jti = json!({ "jti": algorithm.as_str() });
        let proof = proof(&key(algorithm), "https://auth.example/token", jti);
        let assertion = assertion::assertion(&own[0], ISSUER, algorithm.as_str());
        let body = format!("{CC}&{}", parameters(&assertion));
        let answer = house.post_to("/token", &[("dpop", &proof)], &body).await;
        if algorithm.is_of_fapi() {
            assert_eq!(answer.status, StatusCode::OK, "{algorithm}");
        } else {
            assert_eq!(answer.refusal(), refusal(400, "invalid_dpop_proof"), "{algorithm}");
        }
    }
}

#[tokio::test]
async fn row_290_nothing_that_is_given_can_be_guessed() {
    let key = [key(Algorithm::Es256)];
    let mut realm = fapi();
    realm.tokens.opaque = true;
    let house = House::with(assertion::changes(realm, &key)).await;
    // Of what is random: 32 bytes of an opaque token, and the tag and content of a refresh token differ everywhere.
    let mut seen = std::collections::HashSet::new();
    for number in 0..50 {
        let answer = ask(&house, &key[0], &number.to_string(), true, CC).await;
        let token = answer.field("access_token");
        // `tka_`, 16 bytes of identifier, 32 random ones.
        assert_eq!(token.len(), 4 + 64);
        for part in token.as_bytes()[4 + 24..].chunks(10) {
            assert!(seen.insert(part.to_vec()), "a part of a token was given before");
        }
        assert!(seen.insert(answer.field("refresh_token").into_bytes()));
    }
}
