//! Okta: `POST /oauth2/{authorization server}/v1/token`, and `POST /oauth2/v1/token` for its own API.

use super::*;
use crate::BuildError;
use crate::testing::{refusal, with_nonce};

const ORG: &str = "https://acme.okta.com/oauth2/v1/token";
const CUSTOM: &str = "https://acme.okta.com/oauth2/default/v1/token";

fn custom() -> Provider {
    named("okta", &[("domain", "acme.okta.com"), ("authorization_server", "default")])
}

fn org() -> Provider {
    named("okta-org", &[("domain", "acme.okta.com")]).with_scope("okta.users.read")
}

/// What it says to everybody who asks too much. It is no error of RFC 6749.
fn busy(asked: &Asked) -> Response<Bytes> {
    let body = json!({ "errorCode": "E0000047", "errorLink": "E0000047", "errorCauses": [],
                       "errorSummary": "API call exceeded rate limit due to too many requests." });
    with_header(json(429, &body), "x-rate-limit-reset", asked.at.as_secs() + BUSY)
}

fn granted(n: usize, token_type: &str, scope: &str) -> Response<Bytes> {
    let body = json!({ "token_type": token_type, "expires_in": 3600, "scope": scope,
                       "access_token": format!("a{n}") });
    // The count comes with every answer.
    with_header(json(200, &body), "x-rate-limit-reset", 1_000_060)
}

/// An authorization server of one's own, with one client that has a secret or, if `key` is its, that key.
fn custom_server(key: Option<&SigningKey>) -> Vendor {
    let mut keys = key.map(|key| Assertions::new("0oa1", CUSTOM, key));
    let answers = move |asked: &Asked, n| {
        if asked.url != CUSTOM {
            return json(404, &json!({ "errorCode": "E0000022" }));
        }
        let known = match &mut keys {
            Some(keys) => match keys.check(asked) {
                Ok(_) => true,
                Err(what) => return error(401, "invalid_client", what),
            },
            // How a client authenticates is set for it, and no other way will do.
            None => {
                is_client(basic(asked).as_ref(), "0oa1", "s3cret")
                    && !asked.form.contains_key("client_id")
            }
        };
        if !known {
            return error(401, "invalid_client", "The client secret supplied is invalid.");
        }
        match field(asked, "scope").as_deref() {
            Some("things") => granted(n, "Bearer", "things"),
            // Unless one scope is the server's default.
            None => error(400, "invalid_request", "scope is missing"),
            Some(_) => error(400, "invalid_scope", "One or more scopes are not configured."),
        }
    };
    Vendor::new(answers, busy)
}

/// The org's own server, with one client that has a key and must bind its tokens.
fn org_server(key: &SigningKey) -> Vendor {
    let mut keys = Assertions::new("0oa1", ORG, key);
    let mut nonces = BTreeSet::from(["n-0".to_owned()]);
    let answers = move |asked: &Asked, n| {
        if asked.url != ORG {
            return json(404, &json!({ "errorCode": "E0000022" }));
        }
        if field(asked, "client_assertion").is_none() {
            return error(401, "invalid_client", "Only private_key_jwt is supported.");
        }
        if let Err(what) = keys.check(asked) {
            return error(401, "invalid_client", &format!("client_assertion: {what}"));
        }
        if !asked.headers.contains_key("dpop") {
            return error(400, "invalid_dpop_proof", "The DPoP proof is missing.");
        }
        if !asked.proof().nonce.is_some_and(|nonce| nonces.contains(&nonce)) {
            let nonce = format!("n-{n}");
            nonces.insert(nonce.clone());
            return with_nonce(refusal(400, "use_dpop_nonce"), &nonce);
        }
        match field(asked, "scope").as_deref() {
            Some("okta.users.read") => granted(n, "DPoP", "okta.users.read"),
            _ => error(400, "invalid_scope", "The scope was not granted to the client."),
        }
    };
    Vendor::new(answers, busy)
}

fn scoped() -> Provider {
    custom().with_scope("things")
}

#[tokio::test(start_paused = true)]
async fn okta_grants_an_hour_of_what_was_asked_for() {
    let server = custom_server(None);
    server.is_renewed(&server.keeper(scoped(), secret("0oa1", "s3cret")), 3600).await;
    let refusal = server.refusal(custom(), secret("0oa1", "s3cret")).await;
    assert_eq!(
        refusal,
        "the server refused the credentials: 400 invalid_request (scope is missing)"
    );
}

#[tokio::test(start_paused = true)]
async fn okta_refuses_a_wrong_secret_or_one_in_the_form_and_takes_the_second() {
    let server = custom_server(None);
    let wrong = server.refusal(scoped(), secret("0oa1", "old-one")).await;
    let said = "the server refused the credentials: 401 invalid_client (The client secret";
    assert!(wrong.starts_with(said), "{wrong}");
    let in_form = scoped().with_client_authentication(crate::provider::ClientAuthentication::Post);
    let refusal = server.refusal(in_form, secret("0oa1", "s3cret")).await;
    assert!(refusal.starts_with(said), "{refusal}");
    let two = secret("0oa1", "old-one").or_secret(Secret::new("s3cret"));
    server.keeper(scoped(), two).token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn okta_takes_assertions_for_the_url_that_they_are_sent_to() {
    let own = key(Algorithm::Es256);
    let server = custom_server(Some(&own));
    let credentials = Credentials::private_key("0oa1", own);
    server.is_renewed(&server.keeper(scoped(), credentials.clone()), 3600).await;
    let for_issuer = Provider { assertion: Default::default(), ..scoped() };
    let refusal = server.refusal(for_issuer, credentials).await;
    assert!(refusal.ends_with("401 invalid_client (audience)"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn okta_gives_tokens_of_its_own_api_to_keys_alone_and_bound_with_a_nonce() {
    let own = key(Algorithm::Rs256);
    let server = org_server(&own);
    let credentials = Credentials::private_key("0oa1", own);
    let keeper = server.builder(org(), credentials.clone()).dpop().build().unwrap();
    let token = keeper.token().await.unwrap();
    assert_eq!((token.token_type(), server.server.count()), ("DPoP", 2));
    // The nonce is known from then on, and the assertion of each request is another.
    server.is_renewed(&keeper, 3600).await;
    assert!(org().api_hosts().allows(&"https://acme.okta.com/api/v1/users".parse().unwrap()));

    let unbound = server.refusal(org(), credentials.clone()).await;
    assert!(unbound.contains("400 invalid_dpop_proof"), "{unbound}");
    let for_issuer = Provider { assertion: Default::default(), ..org() };
    let refusal = server.refusal(for_issuer, credentials).await;
    assert!(refusal.ends_with("401 invalid_client (client_assertion: audience)"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn okta_is_not_even_asked_for_its_own_api_without_key_or_scope() {
    let own = key(Algorithm::Es256);
    let server = org_server(&own);
    let with_secret = server.builder(org(), secret("0oa1", "s3cret")).build();
    assert_eq!(
        with_secret.unwrap_err().to_string(),
        r#"provider "okta-org" needs a client id and a private key"#
    );
    let unscoped = named("okta-org", &[("domain", "acme.okta.com")]);
    let unscoped = server.builder(unscoped, Credentials::private_key("0oa1", own));
    let error = unscoped.build().unwrap_err();
    assert!(matches!(error, BuildError::NoScope { .. }), "{error}");
    assert_eq!(error.to_string(), r#"provider "okta-org" needs a scope"#);
}

#[tokio::test(start_paused = true)]
async fn okta_may_end_a_token_early() {
    let server = custom_server(None);
    server.may_end_a_token_early(&server.keeper(scoped(), secret("0oa1", "s3cret"))).await;
}

#[tokio::test(start_paused = true)]
async fn okta_is_left_alone_until_its_limit_is_reset() {
    let server = custom_server(None);
    let keeper = server.keeper(scoped(), secret("0oa1", "s3cret"));
    server.is_left_alone_while_busy(&keeper, 3600).await;
}
