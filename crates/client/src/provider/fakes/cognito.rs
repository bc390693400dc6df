//! Amazon Cognito: `POST /oauth2/token`.

use super::*;

const DOMAIN: &str = "acme.auth.eu-west-1.amazoncognito.com";

fn provider() -> Provider {
    named("cognito", &[("domain", DOMAIN)])
}

/// A user pool with one client that may have one scope.
fn pool() -> Vendor {
    let answers = |asked: &Asked, n| {
        if asked.url != format!("https://{DOMAIN}/oauth2/token") {
            return answer(404, "");
        }
        // No error says more than its code, and a wrong secret is a bad request.
        let bad = |code: &str| json(400, &json!({ "error": code }));
        if !is(asked, "grant_type", "client_credentials") {
            return bad("unsupported_grant_type");
        }
        let client = basic(asked).or_else(|| post(asked));
        if !is_client(client.as_ref(), "1example23456789", "9example87654321") {
            return bad("invalid_client");
        }
        match field(asked, "scope").as_deref() {
            None | Some("things/read") => json(
                200,
                &json!({ "access_token": format!("a{n}"), "expires_in": 3600, "token_type": "Bearer" }),
            ),
            Some(_) => bad("invalid_scope"),
        }
    };
    Vendor::new(answers, |_| answer(429, "Too Many Requests"))
}

fn client() -> Credentials {
    secret("1example23456789", "9example87654321")
}

#[tokio::test(start_paused = true)]
async fn cognito_grants_an_hour_of_all_that_the_client_may_have() {
    let pool = pool();
    pool.is_renewed(&pool.keeper(provider(), client()), 3600).await;
    for asked in pool.server.requests() {
        assert!(basic(&asked).is_some() && field(&asked, "scope").is_none());
    }
    let scoped = provider().with_scope("things/read");
    pool.keeper(scoped, client()).token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cognito_refuses_by_a_code_alone_and_a_second_secret_is_tried() {
    let pool = pool();
    let wrong = || secret("1example23456789", "old-one");
    assert_eq!(
        pool.refusal(provider(), wrong()).await,
        "the server refused the credentials: 400 invalid_client"
    );
    assert_eq!(
        pool.refusal(provider().with_scope("things/write"), client()).await,
        "the server refused the credentials: 400 invalid_scope"
    );
    let two = wrong().or_secret(Secret::new("9example87654321"));
    pool.keeper(provider(), two).token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cognito_may_end_a_token_early() {
    let pool = pool();
    pool.may_end_a_token_early(&pool.keeper(provider(), client())).await;
}

#[tokio::test(start_paused = true)]
async fn cognito_is_asked_less_and_less_while_it_is_busy_and_does_not_say_how_long() {
    let pool = pool();
    let keeper = pool.keeper(provider(), client());
    let first = keeper.token().await.unwrap();
    pool.busy.store(true, Ordering::SeqCst);
    pass(secs(2700 + 600)).await;
    assert_eq!(text(&keeper.try_token().unwrap()), text(&first));
    // 30 s apart at most, and half of that in the middle of all random numbers.
    let attempts = pool.server.count() - 1;
    assert!((20..=60).contains(&attempts), "{attempts}");
    pool.busy.store(false, Ordering::SeqCst);
    pass(secs(31)).await;
    assert_ne!(text(&keeper.try_token().unwrap()), text(&first));
}
