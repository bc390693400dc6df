//! Auth0: `POST /oauth/token`.

use super::*;

const API: &str = "https://api.acme.example/";

fn provider() -> Provider {
    named("auth0", &[("domain", "acme.eu.auth0.com"), ("audience", API)])
}

/// A tenant with one API and one client, which has a secret or, if `key` is its, that key.
fn tenant(key: Option<&SigningKey>) -> Vendor {
    let mut keys = key.map(|key| Assertions::new("m2m", "https://acme.eu.auth0.com/", key));
    let answers = move |asked: &Asked, n| {
        if asked.url != "https://acme.eu.auth0.com/oauth/token" {
            return answer(404, "Not Found");
        }
        // How a client authenticates is set for it, and no other way will do.
        let known = match &mut keys {
            Some(keys) => match keys.check(asked) {
                Ok(_) => true,
                Err(what) => return error(401, "invalid_client", what),
            },
            None => {
                let in_form = is_client(post(asked).as_ref(), "m2m", "s3cret");
                in_form && !asked.headers.contains_key(AUTHORIZATION)
            }
        };
        if !known {
            return error(401, "access_denied", "Unauthorized");
        }
        match field(asked, "audience").as_deref() {
            None | Some("") => error(403, "access_denied", "no audience"),
            Some(API) => json(
                200,
                &json!({ "access_token": format!("a{n}"), "scope": "read:things",
                         "expires_in": 86400, "token_type": "Bearer" }),
            ),
            Some(other) => error(403, "access_denied", &format!("Service not found: {other}")),
        }
    };
    Vendor::new(answers, |asked| {
        let busy = error(429, "too_many_requests", "Global limit has been reached");
        with_header(busy, "x-ratelimit-reset", asked.at.as_secs() + BUSY)
    })
}

#[tokio::test(start_paused = true)]
async fn auth0_grants_a_day_for_one_api_and_nothing_is_refreshed() {
    let tenant = tenant(None);
    let keeper = tenant.keeper(provider(), secret("m2m", "s3cret"));
    tenant.is_renewed(&keeper, 86_400).await;
    for asked in tenant.server.requests() {
        assert!(is(&asked, "grant_type", "client_credentials") && is(&asked, "audience", API));
    }
}

#[tokio::test(start_paused = true)]
async fn auth0_is_paid_no_more_than_14_tokens_for_10_days_and_none_for_nobody() {
    let tenant = tenant(None);
    let keeper = tenant.keeper(provider(), secret("m2m", "s3cret"));
    for _ in 0..10 * 24 {
        keeper.token().await.unwrap();
        pass(secs(3600)).await;
    }
    assert!(tenant.server.count() <= 14, "{}", tenant.server.count());
    pass(secs(86_400)).await;
    let before = tenant.server.count();
    pass(secs(30 * 86_400)).await;
    assert_eq!(tenant.server.count(), before);
}

#[tokio::test(start_paused = true)]
async fn auth0_refuses_an_api_that_it_does_not_have_and_says_which() {
    let tenant = tenant(None);
    let other = [("domain", "acme.eu.auth0.com"), ("audience", "https://other.example")];
    assert_eq!(
        tenant.refusal(named("auth0", &other), secret("m2m", "s3cret")).await,
        "the server refused the credentials: 403 access_denied (Service not found: https://other.example)"
    );
    let mut without = provider();
    without.obtain.parameters.clear();
    let refusal = tenant.refusal(without, secret("m2m", "s3cret")).await;
    assert!(refusal.contains("no audience"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn auth0_refuses_a_wrong_secret_and_takes_the_second() {
    let tenant = tenant(None);
    assert_eq!(
        tenant.refusal(provider(), secret("m2m", "old-one")).await,
        "the server refused the credentials: 401 access_denied (Unauthorized)"
    );
    let two = secret("m2m", "old-one").or_secret(Secret::new("s3cret"));
    let before = tenant.server.count();
    tenant.keeper(provider(), two).token().await.unwrap();
    assert_eq!(tenant.server.count(), before + 2);
    // That a client may not use an API is not its secret's fault.
    let other = [("domain", "acme.eu.auth0.com"), ("audience", "https://other.example")];
    let two = secret("m2m", "s3cret").or_secret(Secret::new("old-one"));
    let before = tenant.server.count();
    tenant.refusal(named("auth0", &other), two).await;
    assert_eq!(tenant.server.count(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn auth0_takes_assertions_for_its_issuer_with_the_slash() {
    let own = key(Algorithm::Rs256);
    let tenant = tenant(Some(&own));
    let credentials = Credentials::private_key("m2m", own);
    tenant.keeper(provider(), credentials.clone()).token().await.unwrap();
    let slashless = provider().with_issuer("https://acme.eu.auth0.com");
    let refusal = tenant.refusal(slashless, credentials).await;
    assert!(refusal.ends_with("401 invalid_client (audience)"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn auth0_may_end_a_token_early() {
    let tenant = tenant(None);
    tenant.may_end_a_token_early(&tenant.keeper(provider(), secret("m2m", "s3cret"))).await;
}

#[tokio::test(start_paused = true)]
async fn auth0_is_left_alone_until_its_limit_is_reset() {
    let tenant = tenant(None);
    let keeper = tenant.keeper(provider(), secret("m2m", "s3cret"));
    tenant.is_left_alone_while_busy(&keeper, 86_400).await;
}
