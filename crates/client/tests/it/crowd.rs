//! Many callers at the same moment.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use tokenry_client::Keeper;
use tokenry_test_server::{Fault, RefreshPolicy, TestServer};
use tokio::task::JoinSet;

use crate::integration::{Asking, Integration, Layered};
use crate::world;

const LIFETIME: Duration = Duration::from_secs(300);
const ROTATING: RefreshPolicy = RefreshPolicy::Rotate { grace: Duration::ZERO };

fn world() -> (TestServer, Keeper) {
    let server = world::server(LIFETIME, ROTATING);
    let keeper = world::keeper(&server, 0.5).build().unwrap();
    (server, keeper)
}

/// So many tasks ask at once; the tokens that they got, or the errors.
async fn ask(keeper: &Keeper, tasks: usize) -> BTreeSet<Result<String, String>> {
    let mut asking = JoinSet::new();
    for _ in 0..tasks {
        let keeper = keeper.clone();
        asking.spawn(async move {
            let token = keeper.token().await;
            let text = |token: tokenry_client::Token| token.access_token().expose().to_owned();
            token.map(text).map_err(|error| error.to_string())
        });
    }
    asking.join_all().await.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn row_262_ten_thousand_tasks_at_the_moment_of_expiry_are_one_token_request() {
    let (server, keeper) = world();
    keeper.token().await.unwrap();
    // Nobody asks for two lifetimes, so nothing is renewed after the first.
    tokio::time::sleep(2 * LIFETIME).await;
    assert!(keeper.try_token().is_none());
    let before = server.token_requests();
    let got = ask(&keeper, 10_000).await;
    assert_eq!((got.len(), server.token_requests() - before), (1, 1));
    assert!(got.iter().all(|token| token.as_ref().is_ok_and(|token| server.is_good(token))));
}

#[tokio::test(start_paused = true)]
async fn row_262_ten_thousand_tasks_share_one_failure() {
    let (server, keeper) = world();
    server.until_cleared(Fault::InvalidClient);
    let got = ask(&keeper, 10_000).await;
    assert_eq!((got.len(), server.token_requests()), (1, 1));
    assert!(got.iter().all(Result::is_err));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_refusals_of_one_token_are_one_token_request() {
    async fn refused<I: Integration + 'static>() {
        // All thousand are on their way before the first is refused.
        let server = world::builder(LIFETIME, ROTATING).api_latency(world::LATENCY).build();
        let keeper = world::keeper(&server, 0.5).build().unwrap();
        let integration = std::sync::Arc::new(I::new(&server, keeper));
        assert_eq!(integration.call().await, Ok(StatusCode::OK));
        server.revoke_access_tokens();
        let mut calls = JoinSet::new();
        for _ in 0..1000 {
            let integration = integration.clone();
            calls.spawn(async move { integration.call().await });
        }
        let answers = calls.join_all().await;
        assert!(answers.iter().all(|answer| *answer == Ok(StatusCode::OK)), "{}", I::NAME);
        assert_eq!(server.token_requests(), 2, "{}", I::NAME);
        assert_eq!(server.api_requests(), 2001, "{}", I::NAME);
    }
    refused::<Asking>().await;
    refused::<Layered>().await;
    refused::<crate::through_reqwest::WithReqwest>().await;
    refused::<crate::through_agent::Lent>().await;
    refused::<crate::through_proxy::Proxied>().await;
}
