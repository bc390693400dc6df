//! Clients that prove to have a key, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{Request, Response};
use serde_json::{Value, json};
use tokenry_core::dpop::hash;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{AccessToken, VerifierBuilder, VerifierLayer};

use crate::issuer::{START, Source, builder, claims_with, forge, key, token};

/// Under which address the API of the tests is known.
pub(crate) const URL: &str = "https://api.example/";

/// The challenge of an API that accepts proofs.
pub(crate) const PLAIN: &str = "DPoP realm=\"api\", \
    algs=\"RS256 PS256 ES256 ES384 EdDSA Ed25519 ML-DSA-44 ML-DSA-65 ML-DSA-87\"";

/// The challenge for bearer tokens.
pub(crate) const BEARER: &str = "Bearer realm=\"api\"";

/// A challenge of one scheme, with an error.
pub(crate) fn with_error(challenge: &str, error: &str, description: &str) -> String {
    let error = format!("\"api\", error=\"{error}\", error_description=\"{description}\"");
    challenge.replacen("\"api\"", &error, 1)
}

/// An issuer, and a client with a key of its own.
pub(crate) struct Pair {
    pub(crate) issuer: SigningKey,
    pub(crate) client: SigningKey,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self { issuer: key(Algorithm::Es256), client: key(Algorithm::Es256) }
    }

    /// A verifier that trusts the issuer.
    pub(crate) fn builder(&self) -> VerifierBuilder {
        builder(&Source::with(&[&self.issuer]))
    }

    /// An API that accepts proofs.
    pub(crate) fn api(&self) -> Router {
        anything(self.builder().resource_url("https://api.example").build().unwrap().layer())
    }

    /// A token of the issuer, bound in this way.
    pub(crate) fn token(&self, cnf: Value) -> String {
        token(&self.issuer, &claims_with("cnf", cnf))
    }

    /// A token that is bound to the key of the client.
    pub(crate) fn bound(&self) -> String {
        self.token(json!({ "jkt": self.client.public_jwk().thumbprint() }))
    }

    /// A proof for `GET /` with this token, changed by what is given: `null` takes a claim away.
    pub(crate) fn proof(&self, token: &str, changes: Value) -> String {
        proof(&self.client, &json!({}), token, changes)
    }
}

/// A proof of any key, with any changes to its header and claims.
pub(crate) fn proof(key: &SigningKey, header: &Value, token: &str, changes: Value) -> String {
    // Every proof is another, as a client's are.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
    let mut claims =
        json!({ "jti": jti, "htm": "GET", "htu": URL, "iat": START, "ath": hash(token) });
    let mut head = json!({ "typ": "dpop+jwt", "alg": key.algorithm(), "jwk": jwk });
    for (object, changes) in [(&mut claims, &changes), (&mut head, header)] {
        let members = object.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
    }
    forge(key, head.to_string().as_bytes(), claims.to_string().as_bytes())
}

/// An API that answers all methods and paths with the subject of the token.
pub(crate) fn anything(layer: VerifierLayer) -> Router {
    let handler = async |Extension(token): Extension<Arc<AccessToken>>| {
        token.subject().unwrap_or_default().to_owned()
    };
    Router::new().fallback(handler).layer(layer)
}

/// `GET /` with these headers.
pub(crate) fn get(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// `GET /` with a token and a proof.
pub(crate) fn with_proof(token: &str, proof: &str) -> Request<Body> {
    get(&[("Authorization", &format!("DPoP {token}")), ("DPoP", proof)])
}

/// The answer to a request: status and challenges.
pub(crate) async fn send(api: &Router, request: Request<Body>) -> (u16, Vec<String>) {
    outcome(&raw(api, request).await)
}

pub(crate) async fn raw(api: &Router, request: Request<Body>) -> Response<Body> {
    tower::ServiceExt::oneshot(api.clone(), request).await.unwrap()
}

pub(crate) fn outcome(response: &Response<Body>) -> (u16, Vec<String>) {
    let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
    let challenges = challenges.map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), challenges.collect())
}

/// What is answered to a request that used DPoP, with this error.
pub(crate) fn refused(error: &str, description: &str) -> (u16, Vec<String>) {
    (401, vec![with_error(PLAIN, error, description), BEARER.to_owned()])
}

/// What is answered to a proof that is bad for this reason.
pub(crate) fn bad_proof(description: &str) -> (u16, Vec<String>) {
    refused("invalid_dpop_proof", description)
}

pub(crate) fn ok() -> (u16, Vec<String>) {
    (200, Vec::new())
}
