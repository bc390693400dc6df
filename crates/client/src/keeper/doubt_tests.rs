//! Refresh tokens of which nobody knows whether they are used up.

use tokenry_core::Timestamp;

use super::durable_tests::{Store, text, what};
use super::*;
use crate::TransportError;
use crate::testing::{
    Asked, BEGINNING, Server, answer, builder_of, grant, grant_alone, pass, refusal,
};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);

/// Rotates, allows a used-up token for a while or not, and revokes or not.
fn provider(grace: Option<Duration>, revokes: bool) -> Provider {
    let mut provider = Provider::at("https://as.example/token").unwrap();
    if let Some(grace) = grace {
        provider = provider.with_refresh_grace(grace);
    }
    if revokes {
        provider = provider.with_revocation_url("https://as.example/revoke").unwrap();
    }
    provider
}

fn keeper(provider: Provider, store: &Store, server: &Server) -> Keeper {
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    builder_of(provider, credentials, server).refresh_token_store(store.clone()).build().unwrap()
}

type Answered = Result<http::Response<bytes::Bytes>, TransportError>;

/// A server that writes into the store's diary, grants, and revokes; `differs` says where it does not.
fn server(
    store: &Store,
    mut differs: impl FnMut(&Asked, usize) -> Option<Answered> + Send + 'static,
) -> Server {
    let diary = store.diary.clone();
    Server::new(move |asked, n| {
        diary.lock().unwrap().push(what(asked));
        differs(asked, n).unwrap_or_else(|| match asked.path.as_str() {
            "/revoke" => Ok(answer(200, "")),
            _ => Ok(grant(n, 300)),
        })
    })
}

fn lost() -> Answered {
    Err(TransportError::Broken { host: "as.example".into(), cause: "reset".into() })
}

fn unreachable() -> Answered {
    Err(TransportError::Connect { host: "as.example".into(), cause: "refused".into() })
}

/// The first answer to a refresh is this one.
fn once(answered: Answered) -> impl FnMut(&Asked, usize) -> Option<Answered> + Send {
    let mut answered = Some(answered);
    move |asked, _| asked.refresh_token().and_then(|_| answered.take())
}

#[tokio::test(start_paused = true)]
async fn row_275_found_presented_within_the_grace_it_is_presented_again() {
    for (before, is_again) in [(0, true), (22, true), (25, false), (3600, false)] {
        let presented_at = BEGINNING - before * SECOND;
        let store = Store::holding_presented("r0", Some(presented_at));
        let server = server(&store, |_, _| None);
        let keeper = keeper(provider(Some(GRACE), false), &store, &server);
        text(&keeper).await;
        let asked = if is_again { "asked r0" } else { "asked credentials" };
        // The first time it was presented stays the one that counts, so nothing is written before.
        assert_eq!(store.diary(), ["load", asked, "save r1"], "{before} s");
    }
}

#[tokio::test(start_paused = true)]
async fn row_276_a_clock_that_was_set_back_ends_the_grace() {
    let store = Store::holding_presented("r0", Some(BEGINNING + SECOND));
    let server = server(&store, |_, _| None);
    text(&keeper(provider(Some(GRACE), false), &store, &server)).await;
    assert_eq!(store.diary(), ["load", "asked credentials", "save r1"]);
}

#[tokio::test(start_paused = true)]
async fn row_275_found_presented_after_the_grace_it_is_revoked_before_another_family_begins() {
    let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
    let server = server(&store, |_, _| None);
    let keeper = keeper(provider(None, true), &store, &server);
    let mut events = keeper.events();
    assert_eq!(text(&keeper).await, "a2");
    assert_eq!(store.diary(), ["load", "revoke r0", "clear", "asked credentials", "save r2"]);
    let revocation = &server.requests()[0];
    assert_eq!(revocation.form["token_type_hint"], "refresh_token");
    assert!(revocation.headers.contains_key("authorization"));
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenDoubtful)));
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenRevoked)));
}

#[tokio::test(start_paused = true)]
async fn row_275_what_cannot_be_revoked_yet_is_stored_and_revoked_later() {
    let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
    let mut failures = 3;
    let server = server(&store, move |asked, _| {
        (asked.path == "/revoke" && failures > 0).then(|| {
            failures -= 1;
            if failures == 1 { unreachable() } else { Ok(answer(503, "")) }
        })
    });
    let first = keeper(provider(None, true), &store, &server);
    let mut events = first.events();
    text(&first).await;
    // Callers do not wait for it twice; the next try comes when the token is here.
    assert_eq!(store.diary(), ["load", "revoke r0", "asked credentials", "save r2 without r0"]);
    pass(2 * SECOND).await;
    assert_eq!(store.diary()[4..], ["revoke r0"]);
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenDoubtful)));
    let error = crate::RevocationError::Unavailable { status: 503 };
    let Ok(Event::RefreshTokenNotRevoked { error: told }) = events.try_recv() else { panic!() };
    assert_eq!(told, error);
    drop(first);
    // Nor is it forgotten by the next process.
    let second = keeper(provider(None, true), &store, &server);
    text(&second).await;
    pass(2 * SECOND).await;
    text(&second).await;
    pass(226 * SECOND).await;
    text(&second).await;
    pass(2 * SECOND).await;
    assert_eq!(
        store.diary()[5..],
        [
            "load",
            "save r2 presented without r0",
            "asked r2",
            "save r4 without r0",
            "revoke r0",
            "save r4 presented without r0",
            "asked r4",
            "save r6 without r0",
            "revoke r0",
            "save r6",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_will_not_revoke_is_not_asked_again() {
    let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
    let server = server(&store, |asked, _| {
        (asked.path == "/revoke").then(|| Ok(refusal(400, "unsupported_token_type")))
    });
    let keeper = keeper(provider(None, true), &store, &server);
    text(&keeper).await;
    pass(10 * SECOND).await;
    assert_eq!(store.diary(), ["load", "revoke r0", "clear", "asked credentials", "save r2"]);
}

#[tokio::test(start_paused = true)]
async fn row_123_within_the_grace_a_lost_answer_is_asked_for_again() {
    let store = Store::default();
    let server = server(&store, once(lost()));
    let keeper = keeper(provider(Some(GRACE), true), &store, &server);
    let mut events = keeper.events();
    text(&keeper).await;
    pass(227 * SECOND).await;
    assert_eq!(text(&keeper).await, "a3");
    assert_eq!(store.diary()[3..], ["save r1 presented", "asked r1", "asked r1", "save r3"]);
    events.try_recv().unwrap();
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenDoubtful)));
}

#[tokio::test(start_paused = true)]
async fn row_123_without_a_grace_credentials_follow_a_lost_answer_and_then_its_family_ends() {
    for answered in [lost(), Ok(answer(502, "")), Ok(answer(503, "")), Ok(answer(200, "{"))] {
        let store = Store::default();
        let server = server(&store, once(answered));
        let keeper = keeper(provider(None, true), &store, &server);
        text(&keeper).await;
        pass(227 * SECOND).await;
        // The old access token, which may end with its family, was in use until the new one came.
        assert_eq!(text(&keeper).await, "a3");
        pass(2 * SECOND).await;
        assert_eq!(
            store.diary()[3..],
            [
                "save r1 presented",
                "asked r1",
                "asked credentials",
                "save r3 without r1",
                "revoke r1",
                "save r3",
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn row_123_a_token_that_was_not_used_up_is_no_longer_presented() {
    for answered in [unreachable(), Ok(answer(429, "")), Ok(refusal(400, "slow_down"))] {
        let store = Store::default();
        let server = server(&store, once(answered));
        let keeper = keeper(provider(None, true), &store, &server);
        text(&keeper).await;
        pass(227 * SECOND).await;
        assert_eq!(text(&keeper).await, "a3");
        assert_eq!(
            store.diary()[3..],
            [
                "save r1 presented",
                "asked r1",
                "save r1",
                "save r1 presented",
                "asked r1",
                "save r3"
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_in_doubt_that_is_not_sent_after_all_stays_in_doubt() {
    let store = Store::default();
    let mut answers = vec![unreachable(), lost()];
    let server = server(&store, move |asked, _| asked.refresh_token().and_then(|_| answers.pop()));
    let keeper = keeper(provider(Some(GRACE), false), &store, &server);
    text(&keeper).await;
    pass(225 * SECOND + 300 * SECOND / 1000).await;
    assert_eq!(store.diary()[3..], ["save r1 presented", "asked r1", "asked r1"]);
    assert_eq!(store.stored(), Some(("r1".to_owned(), true)));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_doubt_that_is_refused_has_a_family_to_revoke() {
    let store = Store::default();
    let mut answers = vec![Ok(refusal(400, "invalid_grant")), lost()];
    let server = server(&store, move |asked, _| asked.refresh_token().and_then(|_| answers.pop()));
    let keeper = keeper(provider(Some(GRACE), true), &store, &server);
    text(&keeper).await;
    pass(229 * SECOND).await;
    assert_eq!(
        store.diary()[5..],
        ["asked r1", "asked credentials", "save r4 without r1", "revoke r1", "save r4"]
    );
    // One that was refused without a doubt is dead, and nothing is left to revoke.
    let store = Store::default();
    let server = self::server(&store, once(Ok(refusal(400, "invalid_grant"))));
    let keeper = self::keeper(provider(Some(GRACE), true), &store, &server);
    text(&keeper).await;
    pass(229 * SECOND).await;
    assert_eq!(store.diary()[4..], ["asked r1", "asked credentials", "save r3"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_its_client_has_a_family_to_revoke() {
    let store = Store::default();
    let server = server(&store, once(Ok(refusal(400, "unauthorized_client"))));
    let keeper = keeper(provider(None, true), &store, &server);
    text(&keeper).await;
    pass(229 * SECOND).await;
    assert_eq!(
        store.diary()[4..],
        ["asked r1", "asked credentials", "save r3 without r1", "revoke r1", "save r3"]
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_store_a_lost_answer_is_handled_alike() {
    let diary = Store::default();
    let server = server(&diary, once(lost()));
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    let keeper = builder_of(provider(None, true), credentials, &server).build().unwrap();
    text(&keeper).await;
    pass(229 * SECOND).await;
    let asked = ["asked credentials", "asked r1", "asked credentials", "revoke r1"];
    assert_eq!(diary.diary(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_keeps_refresh_tokens_leaves_no_doubt() {
    let store = Store::default();
    let server = server(&store, |asked, n| match (asked.refresh_token(), n) {
        (Some(_), 2) => Some(lost()),
        (Some(_), _) => Some(Ok(grant_alone(n, 3600))),
        (None, _) => Some(Ok(grant(n, 3600))),
    });
    let provider = Provider::named("tuinly").unwrap();
    let keeper = keeper(provider, &store, &server);
    text(&keeper).await;
    pass(2702 * SECOND).await;
    assert_eq!(store.diary(), ["load", "asked credentials", "save r1", "asked r1", "asked r1"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_stored_is_abandoned_with_its_family_not_before() {
    let store = Store::default();
    let server = server(&store, |_, _| None);
    let keeper = keeper(provider(None, true), &store, &server);
    store.breaks.lock().unwrap().push_back(true);
    text(&keeper).await;
    pass(100 * SECOND).await;
    // Its family is that of the token in use.
    assert_eq!(store.diary(), ["load", "asked credentials", "save r1: no"]);
    text(&keeper).await;
    pass(130 * SECOND).await;
    assert_eq!(
        store.diary()[3..],
        ["asked credentials", "save r2 without r1", "revoke r1", "save r2"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_left_with_the_last_token_may_arrive_before_its_family_is_revoked() {
    let store = Store::default();
    let server = server(&store, once(lost()));
    let keeper = keeper(provider(None, true), &store, &server);
    text(&keeper).await;
    pass(227 * SECOND).await;
    assert_eq!(text(&keeper).await, "a3");
    pass(2 * SECOND).await;
    let requests = server.requests();
    let [.., granted, revoked] = &requests[..] else { panic!() };
    assert_eq!((granted.path.as_str(), revoked.path.as_str()), ("/token", "/revoke"));
    assert!(revoked.at.since(granted.at) >= SECOND, "{granted:?} {revoked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_endpoint_is_asked_again_unless_it_will_not() {
    // A 401 is about the client, and says nothing of the token.
    for (status, left) in [(200, 0), (400, 0), (401, 1), (408, 1), (429, 1), (500, 1), (503, 1)] {
        let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
        let server = server(&store, move |asked, _| {
            (asked.path == "/revoke").then(|| Ok(answer(status, "")))
        });
        let keeper = keeper(provider(None, true), &store, &server);
        text(&keeper).await;
        let last = store.diary().pop().unwrap();
        assert_eq!(last.contains("without r0"), left == 1, "{status} {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_who_they_are_when_they_refresh_does_when_they_revoke() {
    use crate::provider::ClientAuthentication;
    let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
    let server = server(&store, |_, _| None);
    let mut provider = provider(None, true);
    let rules = provider.refresh.as_mut().unwrap();
    rules.client_authentication = ClientAuthentication::None;
    text(&keeper(provider, &store, &server)).await;
    let revocation = &server.requests()[0];
    assert_eq!(revocation.path, "/revoke");
    assert!(revocation.headers.contains_key("authorization"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_expired_is_not_revoked() {
    let store = Store::default();
    let server = server(&store, |asked, n| {
        let body = format!(
            r#"{{"access_token":"a{n}","refresh_token":"r{n}","refresh_expires_in":100,
                "token_type":"bearer","expires_in":300}}"#
        );
        (asked.path == "/token").then(|| Ok(answer(200, &body)))
    });
    let keeper = keeper(provider(None, true), &store, &server);
    text(&keeper).await;
    pass(229 * SECOND).await;
    let diary = ["load", "asked credentials", "save r1", "asked credentials", "save r2"];
    assert_eq!(store.diary(), diary);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_sent_with_the_second_secret_where_the_first_is_refused() {
    use crate::provider::ClientAuthentication;
    let store = Store::holding_presented("r0", Some(Timestamp::from_secs(0)));
    let server = server(&store, |asked, _| {
        let is_second = asked.form.get("client_secret").is_some_and(|secret| secret == "two");
        (!is_second).then(|| Ok(refusal(401, "invalid_client")))
    });
    let provider = provider(None, true).with_client_authentication(ClientAuthentication::Post);
    let credentials = Credentials::client("acme", Secret::new("one")).or_secret(Secret::new("two"));
    let keeper = builder_of(provider, credentials, &server)
        .refresh_token_store(store.clone())
        .build()
        .unwrap();
    text(&keeper).await;
    let diary = store.diary();
    assert!(diary.iter().any(|line| line == "revoke r0"), "{diary:?}");
    assert!(!diary.last().unwrap().contains("without r0"), "{diary:?}");
}
