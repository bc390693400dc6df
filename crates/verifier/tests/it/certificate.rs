//! Tokens that are bound to a client certificate (RFC 8705 §3).

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokenry_verifier::ClientCertificate;

use crate::issuer::{claims, token};
use crate::proofs::{
    BEARER, PLAIN, Pair, anything, get, ok, refused, send, with_error, with_proof,
};

/// A certificate, and what a token says that is bound to it.
fn certificate(name: &str) -> (Vec<u8>, Value) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let der = made.cert.der().to_vec();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    (der, json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(digest) }))
}

fn over(mut request: Request<Body>, certificate: Option<ClientCertificate>) -> Request<Body> {
    if let Some(certificate) = certificate {
        request.extensions_mut().insert(certificate);
    }
    request
}

fn bearer(token: &str) -> Request<Body> {
    get(&[("Authorization", &format!("Bearer {token}"))])
}

fn apis(pair: &Pair) -> [Router; 2] {
    [pair.builder(), pair.builder().require_sender_constraint()]
        .map(|builder| anything(builder.build().unwrap().layer()))
}

#[tokio::test(start_paused = true)]
async fn row_091_row_291_a_token_is_good_over_its_certificate_only() {
    let pair = Pair::new();
    let (own, cnf) = certificate("billing");
    let (other, _) = certificate("billing");
    let token = pair.token(cnf);
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &own).as_ref());
    let wrong = "the token is bound to another certificate";
    let wrong = (401, vec![with_error(BEARER, "invalid_token", wrong)]);
    for api in apis(&pair) {
        for (certificate, expected) in [
            (Some(ClientCertificate::from_der(&own)), ok()),
            (Some(ClientCertificate::from_sha256(sha256)), ok()),
            (Some(ClientCertificate::from_der(&other)), wrong.clone()),
            (None, wrong.clone()),
        ] {
            let request = over(bearer(&token), certificate);
            assert_eq!(send(&api, request).await, expected, "{certificate:?}");
        }
        // What a header says about certificates, anybody may have written.
        let mut request = bearer(&token);
        let told = BASE64_URL_SAFE_NO_PAD.encode(&own);
        request.headers_mut().insert("client-cert", told.parse().unwrap());
        assert_eq!(send(&api, request).await, wrong);
    }
}

#[tokio::test(start_paused = true)]
async fn row_291_a_certificate_does_not_make_a_plain_token_a_bound_one() {
    let pair = Pair::new();
    let (own, _) = certificate("billing");
    let token = token(&pair.issuer, &claims());
    for (api, status) in apis(&pair).iter().zip([200, 401]) {
        let request = over(bearer(&token), Some(ClientCertificate::from_der(&own)));
        assert_eq!(send(api, request).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn row_210_row_091_a_token_with_two_bindings_needs_both() {
    let pair = Pair::new();
    let api = pair.api();
    let (own, mut cnf) = certificate("billing");
    cnf["jkt"] = pair.client.public_jwk().thumbprint().into();
    let token = pair.token(cnf);
    let own = Some(ClientCertificate::from_der(&own));
    let proof = pair.proof(&token, json!({}));
    let no_certificate = refused("invalid_token", "the token is bound to another certificate");
    assert_eq!(send(&api, with_proof(&token, &proof)).await, no_certificate);
    // The proof was not used up by that.
    assert_eq!(send(&api, over(with_proof(&token, &proof), own)).await, ok());
    let no_proof = with_error(BEARER, "invalid_token", "the token is bound to a key");
    let no_proof = (401, vec![no_proof, PLAIN.to_owned()]);
    assert_eq!(send(&api, over(bearer(&token), own)).await, no_proof);
}

#[tokio::test(start_paused = true)]
async fn row_212_a_token_that_is_bound_to_a_certificate_is_not_sent_with_a_proof() {
    let pair = Pair::new();
    let (own, cnf) = certificate("billing");
    let token = pair.token(cnf);
    let request = with_proof(&token, &pair.proof(&token, json!({})));
    let answer = send(&pair.api(), over(request, Some(ClientCertificate::from_der(&own)))).await;
    assert_eq!(answer, refused("invalid_token", "the token is not bound to a key"));
}

#[tokio::test(start_paused = true)]
async fn row_250_what_is_bound_in_an_unknown_way_is_refused_in_either_scheme() {
    let pair = Pair::new();
    let api = pair.api();
    let (own, mut cnf) = certificate("billing");
    cnf["unknown"] = cnf["x5t#S256"].clone();
    let token = pair.token(cnf);
    let own = Some(ClientCertificate::from_der(&own));
    let description = "the token is bound in an unknown way";
    let bearer_first = vec![with_error(BEARER, "invalid_token", description), PLAIN.to_owned()];
    assert_eq!(send(&api, over(bearer(&token), own)).await, (401, bearer_first));
    let request = with_proof(&token, &pair.proof(&token, json!({})));
    assert_eq!(send(&api, over(request, own)).await, refused("invalid_token", description));
}
