//! What an issuer has to say for a token to be let in.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_core::{Scope, Timestamp};
use tokenry_verifier::{BuildError, ClientCertificate, Rejection, Verifier};

use super::{Reply, Word, active, active_but, api, verifier};
use crate::issuer::{ISSUER, START, Source, ask, builder, key};
use crate::proofs::{Pair, anything, bad_proof, get, ok, proof, refused, send, with_proof};

const NOW: Timestamp = Timestamp::from_secs(START);
const CNF: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

#[tokio::test(start_paused = true)]
async fn an_opaque_token_is_an_access_token_like_any_other() {
    let says = active_but(&json!({ "iss": null, "username": "jane" }));
    let verifier = Word::with("opaque", says).verifier();
    let token = verifier.verify("opaque", NOW).await.unwrap();
    assert_eq!(token.subject(), Some("billing"));
    assert_eq!(token.client_id(), Some("billing"));
    assert_eq!(token.jti(), Some("j-1"));
    assert_eq!(token.expires_at(), Timestamp::from_secs(START + 8_640_000));
    assert_eq!(token.scope().as_str(), "read write");
    assert!(token.binding().is_none());
    // Who was asked has said it.
    assert_eq!(token.claims().iss.as_deref(), Some(ISSUER));
    assert_eq!(token.claims().other["username"], "jane");
    let needed: Scope = "read admin".parse().unwrap();
    assert_eq!(token.require(&needed), Err(Rejection::InsufficientScope { needed }));
}

#[tokio::test(start_paused = true)]
async fn an_opaque_token_passes_the_layer_and_an_inactive_one_is_told_no_reason() {
    let verifier = Word::with("opaque", active()).verifier();
    let api = api(&verifier);
    assert_eq!(ask(&api, "opaque").await, (200, String::new()));
    let (status, challenge) = ask(&api, "other").await;
    let description = "error_description=\"the token is not valid\"";
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert!(challenge.contains(description), "{challenge}");
}

/// What becomes of a token about which this is said.
async fn told(says: Value) -> Result<(), Rejection> {
    Word::with("opaque", says).verifier().verify("opaque", NOW).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn row_230_row_231_row_232_row_233_what_is_said_is_judged_as_what_a_jwt_says() {
    let [expired, early] = [Rejection::Expired, Rejection::NotYetValid];
    for (changes, expected) in [
        (json!({}), None),
        (json!({ "active": false }), Some(Rejection::Inactive)),
        (json!({ "active": false, "exp": "never", "scope": 1 }), Some(Rejection::Inactive)),
        (json!({ "exp": START - 9 }), None),
        (json!({ "exp": START - 10 }), Some(expired)),
        (json!({ "exp": null }), Some(Rejection::MissingClaim("exp"))),
        (json!({ "nbf": START + 10 }), None),
        (json!({ "nbf": START + 11 }), Some(early)),
        (json!({ "iss": null }), None),
        (json!({ "iss": format!("{ISSUER}/") }), Some(Rejection::WrongIssuer)),
        (json!({ "aud": ["https://other.example", crate::issuer::API] }), None),
        (json!({ "aud": "https://other.example" }), Some(Rejection::WrongAudience)),
        (json!({ "aud": [] }), Some(Rejection::WrongAudience)),
        (json!({ "aud": null }), Some(Rejection::MissingClaim("aud"))),
        (json!({ "scope": null }), None),
    ] {
        let expected = expected.map_or(Ok(()), Err);
        assert_eq!(told(active_but(&changes)).await, expected, "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_active_and_yet_no_access_token() {
    for (changes, is_good) in [
        (json!({ "token_type": "bearer" }), true),
        (json!({ "token_type": null }), false),
        (json!({ "token_type": "" }), false),
        (json!({ "token_type": 1 }), false),
        (json!({ "token_type": "Refresh" }), false),
        (json!({ "token_type": "refresh_token" }), false),
        (json!({ "token_type": "N_A" }), false),
        // Keycloak, before and since it has written `token_type`.
        (json!({ "token_type": null, "typ": "Bearer" }), true),
        (json!({ "typ": "Bearer" }), true),
        (json!({ "token_type": null, "typ": "Refresh" }), false),
        (json!({ "typ": "Offline" }), false),
        (json!({ "typ": "ID" }), false),
        // Hydra.
        (json!({ "token_use": "access_token" }), true),
        (json!({ "token_use": "refresh_token" }), false),
    ] {
        let expected = if is_good { Ok(()) } else { Err(Rejection::WrongType) };
        assert_eq!(told(active_but(&changes)).await, expected, "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_missing_is_said_by_the_operator() {
    let lenient =
        |word: &Word| verifier(word.settings().accept_without_audience().accept_without_type());
    for (changes, expected) in [
        (json!({ "aud": null, "token_type": null }), Ok(())),
        (json!({ "aud": "https://other.example" }), Err(Rejection::WrongAudience)),
        (json!({ "token_type": "Refresh" }), Err(Rejection::WrongType)),
        (json!({ "token_type": null, "typ": "Refresh" }), Err(Rejection::WrongType)),
    ] {
        let word = Word::with("opaque", active_but(&changes));
        let found = lenient(&word).verify("opaque", NOW).await.map(|_| ());
        assert_eq!(found, expected, "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_is_503_and_never_401() {
    let good = active().to_string();
    let long = format!("{good}{}", " ".repeat(64 * 1024));
    for text in [
        "",
        "<html>",
        "true",
        "[]",
        "{}",
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":null}"#,
        r#"{"active":false,"active":true}"#,
        r#"{"active":false} {}"#,
        &good.replacen('{', r#"{"exp":9,"#, 1),
        &good.replacen("\"exp\":1", "\"exp\":-1", 1),
        &good.replacen("\"sub\":\"billing\"", "\"sub\":1", 1),
        &good.replacen("\"active\":true", "\"active\":true,\"cnf\":\"x\"", 1),
        &long,
    ] {
        let word = Word::default();
        word.reply("opaque", Reply::Text(text.to_owned()));
        let verifier = word.verifier();
        assert_eq!(ask(&api(&verifier), "opaque").await, (503, String::new()), "{text:.80}");
    }
    for status in [400, 401, 403, 404, 418, 429, 500, 503] {
        let word = Word::default();
        word.reply("opaque", Reply::Status(status));
        let verifier = word.verifier();
        assert_eq!(ask(&api(&verifier), "opaque").await.0, 503, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_211_row_213_an_opaque_token_bound_to_a_key_needs_its_proof() {
    let pair = Pair::new();
    let cnf = json!({ "jkt": pair.client.public_jwk().thumbprint() });
    let word = Word::with("opaque", active_but(&json!({ "token_type": "DPoP", "cnf": cnf })));
    let builder = pair.builder().resource_url("https://api.example");
    let api = anything(builder.introspection(word.settings()).build().unwrap().layer());
    let shown = pair.proof("opaque", json!({}));
    assert_eq!(send(&api, with_proof("opaque", &shown)).await, ok());
    // By now from memory.
    assert_eq!(word.asked(), 1);
    assert_eq!(
        send(&api, with_proof("opaque", &shown)).await,
        refused("invalid_dpop_proof", "the proof was presented before")
    );
    let stolen = proof(&key(Algorithm::Es256), &json!({}), "opaque", json!({}));
    assert_eq!(send(&api, with_proof("opaque", &stolen)).await.0, 401);
    let other = pair.proof("other", json!({}));
    assert_eq!(
        send(&api, with_proof("opaque", &other)).await,
        bad_proof("for another access token")
    );
    let (status, challenges) = send(&api, get(&[("Authorization", "Bearer opaque")])).await;
    assert_eq!(status, 401);
    assert!(challenges[0].contains("the token is bound to a key"), "{challenges:?}");
}

#[tokio::test(start_paused = true)]
async fn row_250_row_291_a_bound_opaque_token_is_never_a_bearer_token() {
    let certificate = json!({ "cnf": { "x5t#S256": CNF } });
    let unknown = Err(Rejection::UnknownConfirmation);
    for (changes, expected) in [
        (certificate.clone(), Err(Rejection::Bound)),
        (json!({ "cnf": { "jkt": CNF } }), Err(Rejection::Bound)),
        (json!({ "cnf": { "kid": "x" } }), unknown.clone()),
        (json!({ "cnf": {} }), unknown.clone()),
        (json!({ "token_type": "DPoP" }), unknown.clone()),
        (json!({ "token_type": "DPoP", "cnf": { "x5t#S256": CNF } }), unknown),
    ] {
        assert_eq!(told(active_but(&changes)).await, expected, "{changes}");
    }
    let over = |sha256| {
        let mut request: Request<Body> = get(&[("Authorization", "Bearer opaque")]);
        request.extensions_mut().insert(ClientCertificate::from_sha256(sha256));
        request
    };
    let api = anything(Word::with("opaque", active_but(&certificate)).verifier().layer());
    assert_eq!(send(&api, over([1; 32])).await, ok());
    assert_eq!(send(&api, over([2; 32])).await.0, 401);
    assert_eq!(send(&api, get(&[("Authorization", "Bearer opaque")])).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn row_224_the_scope_of_an_opaque_token_counts() {
    let verifier = Word::with("opaque", active()).verifier();
    for (scope, status) in [("read", 200), ("admin", 403)] {
        let layer = verifier.layer().require_scope(scope.parse().unwrap());
        let response =
            crate::issuer::send(&crate::issuer::api(layer), "/", &["Bearer opaque"]).await;
        assert_eq!(response.status(), status);
        if status == 200 {
            assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "billing");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_introspection_an_opaque_token_is_401() {
    let verifier = builder(&Source::with(&[&key(Algorithm::Es256)])).build().unwrap();
    assert_eq!(ask(&api(&verifier), "opaque").await.0, 401);
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused_at_the_start() {
    for url in ["", "/introspect", "http://id.example/introspect", "https://"] {
        let settings = tokenry_verifier::IntrospectionSettings::basic("api", "x").endpoint(url);
        let refused = Verifier::builder(ISSUER).audience("a").introspection(settings).build();
        assert_eq!(refused.err(), Some(BuildError::IntrospectionEndpoint(url.to_owned())));
    }
}
