//! What the standards oblige a resource server to answer, row by row.

use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::http::header::CACHE_CONTROL;
use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{BuildError, IntrospectionSettings};

use crate::issuer::{
    API, Answer, ISSUER, START, Source, answer, api, ask, builder, claims, claims_with, forge, key,
    send, set, token,
};
use crate::log::Log;
use crate::proofs::{Pair, send as send_raw, with_proof};

const INVALID: &str =
    "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"the token is not valid\"";

/// An API that trusts one ES256 key.
fn trusting(key: &SigningKey) -> Router {
    api(builder(&Source::with(&[key])).build().unwrap().layer())
}

/// That a token with these claims, correctly signed, is answered with 401 and this description.
async fn refused(api: &Router, key: &SigningKey, claims: Value, description: &str) {
    let expected = INVALID.replace("the token is not valid", description);
    assert_eq!(ask(api, &token(key, &claims)).await, (401, expected), "{claims}");
}

#[tokio::test(start_paused = true)]
async fn a_good_token_is_let_in_and_the_handler_sees_it() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let response =
            send(&trusting(&key), "/", &[&format!("Bearer {}", token(&key, &claims()))]).await;
        assert_eq!(answer(&response), (200, String::new()), "{algorithm}");
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "billing");
    }
}

#[tokio::test(start_paused = true)]
async fn row_222_without_credentials_there_is_no_error_code() {
    let api = trusting(&key(Algorithm::Es256));
    let bare = (401, "Bearer realm=\"api\"".to_owned());
    assert_eq!(answer(&send(&api, "/", &[]).await), bare);
    assert_eq!(answer(&send(&api, "/", &["Basic YTpi"]).await), bare);
}

#[tokio::test(start_paused = true)]
async fn row_223_a_bad_token_is_an_invalid_token() {
    let own = key(Algorithm::Es256);
    let api = trusting(&own);
    let stranger = key(Algorithm::Es256).with_kid(own.kid().to_owned());
    for bad in [token(&stranger, &claims()), "abc".to_owned(), "a.b.c".to_owned()] {
        assert_eq!(ask(&api, &bad).await, (401, INVALID.to_owned()), "{bad}");
    }
    refused(&api, &own, claims_with("exp", json!(START - 60)), "the token has expired").await;
}

#[tokio::test(start_paused = true)]
async fn row_224_a_missing_scope_is_named() {
    let key = key(Algorithm::Es256);
    let verifier = builder(&Source::with(&[&key])).build().unwrap();
    for (needed, granted, status) in [
        ("read", "read write", 200),
        ("write read", "read write", 200),
        ("read admin", "read write", 403),
        ("read", "READ", 403),
        ("read", "", 403),
    ] {
        let api = api(verifier.layer().require_scope(needed.parse().unwrap()));
        let token = token(&key, &claims_with("scope", granted.into()));
        let (got, challenge) = ask(&api, &token).await;
        assert_eq!(got, status, "{needed} of {granted}");
        if status == 403 {
            let sorted = if needed == "read" { "read" } else { "admin read" };
            assert_eq!(
                challenge,
                format!(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", \
                     error_description=\"the token does not allow this\", scope=\"{sorted}\""
                )
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_required_twice_is_required_together() {
    let key = key(Algorithm::Es256);
    let verifier = builder(&Source::with(&[&key])).build().unwrap();
    let needs = |scope: &str| scope.parse().unwrap();
    let api = api(verifier.layer().require_scope(needs("read")).require_scope(needs("write")));
    for (granted, expected) in [("read write", 200), ("read", 403), ("write", 403), ("", 403)] {
        let token = token(&key, &claims_with("scope", granted.into()));
        assert_eq!(ask(&api, &token).await.0, expected, "{granted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_225_ambiguous_credentials_are_an_invalid_request() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    let good = format!("Bearer {}", token(&key, &claims()));
    let query = "/?access_token=x";
    for (uri, headers) in [
        ("/", &[&*good, &*good][..]),
        ("/", &["Bearer a b"]),
        ("/", &["Bearer"]),
        ("/", &[""]),
        (query, &[&*good]),
    ] {
        let (status, challenge) = answer(&send(&api, uri, headers).await);
        assert_eq!(status, 400, "{uri} {headers:?}");
        assert!(challenge.starts_with("Bearer realm=\"api\", error=\"invalid_request\", "));
    }
}

#[tokio::test(start_paused = true)]
async fn row_226_a_token_in_the_query_is_not_looked_at() {
    let key = key(Algorithm::Es256);
    let uri = format!("/?access_token={}", token(&key, &claims()));
    let response = send(&trusting(&key), &uri, &[]).await;
    assert_eq!(answer(&response), (401, "Bearer realm=\"api\"".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn row_227_the_scheme_has_no_case() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    let token = token(&key, &claims());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let response = send(&api, "/", &[&format!("{scheme} {token}")]).await;
        assert_eq!(response.status(), 200, "{scheme}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_229_row_183_row_244_only_access_tokens_are_let_in() {
    let key = key(Algorithm::Es256);
    let source = Source::with(&[&key]);
    let strict = api(builder(&source).build().unwrap().layer());
    let legacy = api(builder(&source).accept_legacy_typ().build().unwrap().layer());
    for (typ, by_strict, by_legacy) in [
        (Some("at+jwt"), 200, 200),
        (Some("application/at+jwt"), 200, 200),
        (Some("AT+JWT"), 200, 200),
        (Some("JWT"), 401, 200),
        (Some("jwt"), 401, 200),
        (None, 401, 401),
        (Some("dpop+jwt"), 401, 401),
        (Some("logout+jwt"), 401, 401),
        (Some("token-introspection+jwt"), 401, 401),
        (Some("client-authentication+jwt"), 401, 401),
    ] {
        let mut header = json!({"alg": "ES256", "kid": key.kid()});
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        let token = forge(&key, header.to_string().as_bytes(), claims().to_string().as_bytes());
        assert_eq!(ask(&strict, &token).await.0, by_strict, "{typ:?}");
        assert_eq!(ask(&legacy, &token).await.0, by_legacy, "{typ:?} legacy");
    }
}

#[tokio::test(start_paused = true)]
async fn row_230_the_issuer_is_compared_byte_by_byte() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    for issuer in [
        json!(null),
        json!(format!("{ISSUER}/")),
        json!(ISSUER.to_uppercase()),
        json!(""),
        json!([ISSUER]),
    ] {
        refused(&api, &key, claims_with("iss", issuer), "the token is not valid").await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_231_the_token_must_be_for_this_api() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    for audience in [
        json!("https://other.example"),
        json!([]),
        json!(["a", "b"]),
        json!(format!("{API}/")),
        json!(""),
    ] {
        refused(
            &api,
            &key,
            claims_with("aud", audience),
            "the token is for another resource server",
        )
        .await;
    }
    for audience in [json!(null), json!({}), json!([1])] {
        refused(&api, &key, claims_with("aud", audience), "the token is not valid").await;
    }
    let among_others = token(&key, &claims_with("aud", json!(["a", API])));
    assert_eq!(ask(&api, &among_others).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn row_232_an_expired_token_is_refused() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    for (exp, status) in
        [(START + 1, 200), (START, 200), (START - 9, 200), (START - 10, 401), (0, 401)]
    {
        let token = token(&key, &claims_with("exp", exp.into()));
        assert_eq!(ask(&api, &token).await.0, status, "{exp}");
    }
    for exp in [
        json!(null),
        json!("9999999999"),
        json!(9_999_999_999.5),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(true),
    ] {
        refused(&api, &key, claims_with("exp", exp), "the token is not valid").await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_233_a_token_of_tomorrow_is_refused() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    for (nbf, status) in [(START, 200), (START + 10, 200), (START + 11, 401)] {
        let token = token(&key, &claims_with("nbf", nbf.into()));
        assert_eq!(ask(&api, &token).await.0, status, "{nbf}");
    }
    for nbf in [json!("0"), json!(0.5), json!(-1)] {
        refused(&api, &key, claims_with("nbf", nbf), "the token is not valid").await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_234_row_235_the_header_does_not_choose_the_algorithm() {
    let es256 = key(Algorithm::Es256);
    let api = trusting(&es256);
    for alg in ["none", "None", "noNE", "HS256", "ES384", "RS256", "es256"] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": es256.kid()}).to_string();
        let token = forge(&es256, header.as_bytes(), claims().to_string().as_bytes());
        assert_eq!(ask(&api, &token).await, (401, INVALID.to_owned()), "{alg}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_allowed_algorithms_are_let_in() {
    let keys = [key(Algorithm::Es256), key(Algorithm::EdDsa)];
    let source = Source::with(&[&keys[0], &keys[1]]);
    let verifier = builder(&source).algorithms([Algorithm::EdDsa]).build().unwrap();
    let api = api(verifier.layer());
    assert_eq!(ask(&api, &token(&keys[1], &claims())).await.0, 200);
    assert_eq!(ask(&api, &token(&keys[0], &claims())).await, (401, INVALID.to_owned()));
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_144_row_154_row_155_every_name_of_every_algorithm_is_taken_under_either_of_the_key() {
    for algorithm in Algorithm::ALL {
        for published in algorithm.names() {
            let key = key(algorithm).with_algorithm_name(published);
            let api = trusting(&key);
            for name in algorithm.names() {
                let header = json!({"alg": name, "typ": "at+jwt", "kid": key.kid()}).to_string();
                let token = forge(&key, header.as_bytes(), claims().to_string().as_bytes());
                assert_eq!(ask(&api, &token).await.0, 200, "{name} under {published}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_rsa_key_without_alg_is_for_what_is_accepted_here() {
    let ps256 = key(Algorithm::Ps256);
    let mut jwk: Value = serde_json::from_str(&ps256.public_jwk().to_json()).unwrap();
    jwk.as_object_mut().unwrap().remove("alg");
    for (accepted, status) in [(vec![Algorithm::Ps256], 200), (Algorithm::ALL.to_vec(), 401)] {
        let source = Source::default();
        source.answer(Answer::Set(json!({"keys": [jwk]}).to_string()));
        let verifier = builder(&source).algorithms(accepted).build().unwrap();
        assert_eq!(ask(&api(verifier.layer()), &token(&ps256, &claims())).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn row_237_row_238_row_239_row_242_odd_tokens_are_refused() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    let kid = key.kid();
    let text = claims().to_string();
    let good = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#);
    assert_eq!(ask(&api, &forge(&key, good.as_bytes(), text.as_bytes())).await.0, 200);
    let twice = text.replacen('{', r#"{"sub":"admin","#, 1);
    let bom = format!("\u{feff}{text}");
    for (header, payload) in [
        (good.replacen('{', r#"{"crit":["x"],"#, 1), &text),
        (good.replacen('{', r#"{"crit":[],"#, 1), &text),
        (good.replacen('{', r#"{"b64":false,"#, 1), &text),
        (good.replacen('{', r#"{"alg":"ES256","#, 1), &text),
        (good.clone(), &twice),
        (good.clone(), &bom),
        (format!("\u{feff}{good}"), &text),
    ] {
        let token = forge(&key, header.as_bytes(), payload.as_bytes());
        assert_eq!(ask(&api, &token).await, (401, INVALID.to_owned()), "{header} {payload}");
    }
    let token = token(&key, &claims());
    for bad in
        [format!("{token}="), format!("{token}."), format!("{token}.a"), token.replace('.', "/")]
    {
        assert_eq!(ask(&api, &bad).await, (401, INVALID.to_owned()), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_240_a_key_that_a_token_brings_is_not_used() {
    let own = key(Algorithm::Es256);
    let source = Source::with(&[&own]);
    let api = api(builder(&source).build().unwrap().layer());
    let attacker = key(Algorithm::Es256);
    let jwk: Value = serde_json::from_str(&attacker.public_jwk().to_json()).unwrap();
    for kid in [own.kid(), attacker.kid()] {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid, "jwk": jwk, "jku": "https://evil.example"});
        let token =
            forge(&attacker, header.to_string().as_bytes(), claims().to_string().as_bytes());
        assert_eq!(ask(&api, &token).await, (401, INVALID.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn row_241_a_strange_kid_is_looked_up_and_not_found() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    for kid in ["' OR 1=1 --", "../../etc/passwd", "", "\u{0}", &"k".repeat(8000)] {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}).to_string();
        let token = forge(&key, header.as_bytes(), claims().to_string().as_bytes());
        assert_eq!(ask(&api, &token).await, (401, INVALID.to_owned()), "{kid}");
    }
    let huge = "k".repeat(1_000_000);
    assert_eq!(ask(&api, &huge).await, (401, INVALID.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_token_without_kid_is_tried_with_the_keys_of_its_algorithm() {
    let keys = [key(Algorithm::Es256), key(Algorithm::EdDsa), key(Algorithm::Es256)];
    let source = Source::with(&[&keys[0], &keys[1], &keys[2]]);
    let api = api(builder(&source).build().unwrap().layer());
    for key in &keys {
        let header = json!({"alg": key.algorithm(), "typ": "at+jwt"}).to_string();
        let token = forge(key, header.as_bytes(), claims().to_string().as_bytes());
        assert_eq!(ask(&api, &token).await.0, 200);
    }
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_kid_is_tried_with_four_keys_and_no_more() {
    let keys: Vec<SigningKey> = (0..6).map(|_| key(Algorithm::Es256)).collect();
    let api =
        api(builder(&Source::with(&keys.iter().collect::<Vec<_>>())).build().unwrap().layer());
    let header = json!({"alg": "ES256", "typ": "at+jwt"}).to_string();
    let mut statuses = Vec::new();
    for key in &keys {
        let token = forge(key, header.as_bytes(), claims().to_string().as_bytes());
        statuses.push(ask(&api, &token).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 401, 401]);
}

#[tokio::test(start_paused = true)]
async fn row_244_other_tokens_of_the_issuer_are_refused_by_what_they_say() {
    let key = key(Algorithm::Es256);
    let legacy = api(builder(&Source::with(&[&key])).accept_legacy_typ().build().unwrap().layer());
    for (name, value, status) in [
        ("typ", json!("Bearer"), 200),
        ("typ", json!("ID"), 401),
        ("typ", json!("Refresh"), 401),
        ("typ", json!("Logout"), 401),
        ("typ", json!(1), 401),
        ("at_hash", json!("x"), 401),
        ("events", json!({}), 401),
        ("htm", json!("GET"), 401),
        ("token_introspection", json!({}), 401),
    ] {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.kid()}).to_string();
        let payload = claims_with(name, value).to_string();
        let token = forge(&key, header.as_bytes(), payload.as_bytes());
        assert_eq!(ask(&legacy, &token).await.0, status, "{payload}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_250_row_211_a_bound_token_is_never_a_bearer_token() {
    let key = key(Algorithm::Es256);
    let api = trusting(&key);
    let print = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    for (cnf, description) in [
        (json!({"jkt": print}), "tokens bound to a key are not accepted"),
        (json!({"x5t#S256": print}), "the token is bound to another certificate"),
        (json!({"unknown": print}), "the token is bound in an unknown way"),
        (json!({"jkt": print, "unknown": print}), "the token is bound in an unknown way"),
        (json!({"jkt": "x"}), "the token is bound in an unknown way"),
        (json!({}), "the token is bound in an unknown way"),
    ] {
        refused(&api, &key, claims_with("cnf", cnf), description).await;
    }
    refused(&api, &key, claims_with("cnf", json!("x")), "the token is not valid").await;
}

#[tokio::test(start_paused = true)]
async fn row_252_challenges_say_where_the_metadata_are() {
    let key = key(Algorithm::Es256);
    let verifier = builder(&Source::with(&[&key])).build().unwrap();
    let layer = verifier
        .layer()
        .realm("invoices")
        .require_scope("read".parse().unwrap())
        .resource_metadata("https://api.example/.well-known/oauth-protected-resource");
    let (status, challenge) = answer(&send(&api(layer), "/", &[]).await);
    assert_eq!(status, 401);
    assert_eq!(
        challenge,
        "Bearer realm=\"invoices\", scope=\"read\", \
         resource_metadata=\"https://api.example/.well-known/oauth-protected-resource\""
    );
}

#[tokio::test(start_paused = true)]
async fn row_254_a_token_is_never_logged() {
    let log = Log::keep();
    let [own, stranger] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let api = trusting(&own);
    let expired = claims_with("exp", json!(1));
    for token in [
        token(&own, &claims()),
        token(&own, &expired),
        token(&stranger, &claims()),
        "secret.secret.secret".to_owned(),
    ] {
        ask(&api, &token).await;
        let log = log.text();
        assert!(log.contains("keys fetched"), "the log is looked at: {log}");
        for part in token.split('.') {
            assert!(!log.contains(part), "{log}");
        }
    }
    // Nor is one about which the issuer is asked, nor with which secret.
    let introspection = IntrospectionSettings::basic("api", "hunter2")
        .endpoint("https://id.example/introspect")
        .deadline(Duration::ZERO);
    let opaque = builder(&Source::with(&[&own])).introspection(introspection).build().unwrap();
    assert_eq!(ask(&crate::issuer::api(opaque.layer()), "opaque-secret").await.0, 503);
    assert!(log.text().contains("introspection failed"));
    for part in ["opaque-secret", "hunter2", "YXBpOmh1bnRlcjI"] {
        assert!(!log.text().contains(part), "{}", log.text());
    }
    // Nor are proofs; and the operator is told once what is missing.
    let pair = Pair { issuer: own, client: stranger };
    let token = pair.bound();
    for api in [api, pair.api()] {
        for _ in 0..2 {
            let proof = pair.proof(&token, json!({ "htm": "POST" }));
            send_raw(&api, with_proof(&token, &proof)).await;
            let log = log.text();
            for part in token.split('.').chain(proof.split('.')) {
                assert!(!log.contains(part), "{log}");
            }
        }
    }
    assert_eq!(log.text().matches("set resource_url").count(), 1);
    assert!(log.text().contains("bad DPoP proof: for another method"));
}

#[tokio::test(start_paused = true)]
async fn row_255_refusals_are_not_stored() {
    let key = key(Algorithm::Es256);
    let api = api(builder(&Source::with(&[&key]))
        .build()
        .unwrap()
        .layer()
        .require_scope("x".parse().unwrap()));
    for headers in [
        &[][..],
        &["Bearer a b"],
        &["Bearer abc"],
        &[&*format!("Bearer {}", token(&key, &claims()))],
    ] {
        let response = send(&api, "/", headers).await;
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_named_by_its_owner_is_refused_until_it_expires() {
    let key = key(Algorithm::Es256);
    let verifier = builder(&Source::with(&[&key])).build().unwrap();
    let api = api(verifier.layer());
    let short = claims_with("exp", json!(START + 60));
    assert_eq!(ask(&api, &token(&key, &short)).await.0, 200);
    verifier.refuse("j-1", verifier.now() + Duration::from_secs(60)).unwrap();
    for _ in 0..7 {
        let (status, challenge) = ask(&api, &token(&key, &short)).await;
        assert_eq!(status, 401);
        assert!(challenge.contains("error=\"invalid_token\""));
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    let mut other = claims();
    other["jti"] = "j-2".into();
    assert_eq!(ask(&api, &token(&key, &other)).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn settings_that_would_trust_everybody_are_refused() {
    let source = Source::default();
    let build = |issuer: &str, audience: Option<&str>| {
        let builder = tokenry_verifier::Verifier::builder(issuer).key_source(source.clone());
        match audience {
            Some(audience) => builder.audience(audience).build(),
            None => builder.build(),
        }
        .map(|_| ())
    };
    assert_eq!(build(ISSUER, None), Err(BuildError::NoAudience));
    assert_eq!(build(ISSUER, Some("")), Err(BuildError::NoAudience));
    assert_eq!(build("", Some(API)), Err(BuildError::NoIssuer));
    let no_algorithm = builder(&source).algorithms([]).build().map(|_| ());
    assert_eq!(no_algorithm, Err(BuildError::NoAlgorithm));
}

#[test]
fn a_verifier_needs_a_runtime() {
    let built = tokenry_verifier::Verifier::builder(ISSUER)
        .audience(API)
        .key_source(Source::default())
        .build();
    assert_eq!(built.map(|_| ()), Err(BuildError::NoRuntime));
    assert_eq!(set(&[]), r#"{"keys":[]}"#);
}
