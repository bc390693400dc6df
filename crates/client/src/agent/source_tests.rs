//! Agents that are there, gone, hung and replaced, as a caller sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::AgentSource;
use super::testing::{OWN, Place, STRANGER, agent, keeper, lent};
use crate::agent::protocol::Written;
use crate::testing::{BEGINNING, Server, answer, grant_alone, pass, refusal};
use crate::{Error, Token, TokenSource};

/// A source of the token `billing`, with tokio's time as wall time.
fn named(place: &Place) -> AgentSource {
    timed(AgentSource::named(place.agent(OWN), "billing"))
}

fn timed(source: AgentSource) -> AgentSource {
    let began = Instant::now();
    source.wall_clock(move || BEGINNING + began.elapsed())
}

async fn ask(source: &AgentSource) -> String {
    text(&source.token().await.unwrap())
}

fn text(token: &Token) -> String {
    token.access_token().expose().to_owned()
}

/// A server whose tokens are told from another's.
fn own_server() -> Server {
    Server::new(|_, n| {
        let body = format!(r#"{{"access_token":"own{n}","token_type":"Bearer","expires_in":300}}"#);
        Ok(answer(200, &body))
    })
}

#[tokio::test(start_paused = true)]
async fn for_an_hour_nobody_waits_and_the_agent_is_asked_once_a_lifetime() {
    for lifetime in [10, 60, 300, 3600] {
        let server = Server::granting(lifetime);
        let place = Place::of(agent(&server));
        let source = named(&place);
        ask(&source).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3600) {
            pass(Duration::from_millis(100)).await;
            let asked_at = Instant::now();
            ask(&source).await;
            assert_eq!(asked_at.elapsed(), Duration::ZERO, "{lifetime}");
        }
        let lifetimes = f64::from(u32::try_from(3600 / lifetime).unwrap());
        let per_lifetime = |n: usize| f64::from(u32::try_from(n).unwrap()) / lifetimes;
        assert!(per_lifetime(server.count() - 1) <= 1.4, "{lifetime}: {}", server.count());
        assert!(per_lifetime(place.dialed() - 1) <= 1.6, "{lifetime}: {}", place.dialed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_sources_and_a_thousand_tasks_of_one_are_one_request() {
    let server = Server::granting(300);
    let place = Place::of(agent(&server));
    let one = Arc::new(named(&place));
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let (one, other) = (one.clone(), named(&place));
        tasks.spawn(async move { (ask(&one).await, ask(&other).await) });
    }
    while let Some(tokens) = tasks.join_next().await {
        assert_eq!(tokens.unwrap(), ("a1".to_owned(), "a1".to_owned()));
    }
    assert_eq!(server.count(), 1);
    assert_eq!(place.dialed(), 1 + 1000);
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_one_keeper_for_all_who_lend_it() {
    let server = Server::granting(300);
    let place = Place::of(agent(&server));
    for _ in 0..10 {
        let agent = place.agent(OWN);
        let source = AgentSource::lending(agent, || async { Ok(Written(lent("right"))) });
        assert_eq!(ask(&timed(source)).await, "a1");
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_agent_the_fallback_is_asked_and_with_one_the_agent_again() {
    let (server, own) = (Server::granting(300), own_server());
    let place = Place::of(agent(&server));
    place.take_away();
    let source = named(&place).or(keeper(&own, "acme", "right"));
    assert_eq!(ask(&source).await, "own1");
    for _ in 0..600 {
        pass(Duration::from_secs(1)).await;
        assert!(ask(&source).await.starts_with("own"));
    }
    // It is looked for now and then, not with every call.
    assert!(place.dialed() < 30, "{}", place.dialed());
    place.put(agent(&server));
    let mut waited = 0;
    while ask(&source).await != "a1" {
        pass(Duration::from_secs(1)).await;
        waited += 1;
    }
    assert!(waited <= 31, "{waited}");
    let alone = named(&Place::of(agent(&server)));
    assert_eq!(ask(&alone).await, "a2");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_is_not_noticed_by_callers() {
    let (server, own) = (Server::granting(300), own_server());
    let place = Place::of(agent(&server));
    let source = named(&place).or(keeper(&own, "acme", "right"));
    ask(&source).await;
    for second in 0..3000 {
        match second % 600 {
            100 => place.take_away(),
            // Shorter than the time that a copy has left.
            110 => place.put(agent(&server)),
            _ => {}
        }
        pass(Duration::from_secs(1)).await;
        let asked_at = Instant::now();
        assert!(ask(&source).await.starts_with('a'));
        assert_eq!(asked_at.elapsed(), Duration::ZERO, "{second}");
    }
    assert_eq!(own.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_an_agent_dies_the_fallback_has_a_token_before_the_copy_ends() {
    let (server, own) = (Server::granting(60), own_server());
    let place = Place::of(agent(&server));
    let source = named(&place).or(keeper(&own, "acme", "right"));
    ask(&source).await;
    place.take_away();
    for _ in 0..1200 {
        pass(Duration::from_millis(100)).await;
        let asked_at = Instant::now();
        ask(&source).await;
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
    }
    assert_eq!(ask(&source).await, "own1");
}

#[tokio::test(start_paused = true)]
async fn a_hung_agent_is_waited_for_once() {
    let own = own_server();
    let place = Place::of(agent(&own));
    place.hang();
    let source = named(&place).or(keeper(&own, "acme", "right"));
    let asked_at = Instant::now();
    assert_eq!(ask(&source).await, "own1");
    assert_eq!(asked_at.elapsed(), Duration::from_millis(2500 + 20));
    for _ in 0..300 {
        pass(Duration::from_secs(1)).await;
        let asked_at = Instant::now();
        ask(&source).await;
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
    }
    let alone = named(&place);
    assert!(matches!(alone.token().await, Err(Error::Agent(_))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_no_hung_agent() {
    let server = Server::new(|_, n| Ok(crate::testing::grant(n, 300)));
    let slow = {
        let server = server.clone();
        move |request| {
            let server = server.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(8)).await;
                crate::Transport::send(&server, request).await
            }
        }
    };
    let provider = crate::Provider::at("https://as.example/token").unwrap();
    let credentials = crate::Credentials::client("acme", tokenry_core::Secret::new("right"));
    let keeper = crate::testing::builder_of(provider, credentials, &server).transport(slow);
    let agent = super::testing::builder(&server)
        .named("billing", keeper.build().unwrap(), super::Access::default())
        .build()
        .unwrap();
    let own = own_server();
    let source = named(&Place::of(agent)).or(super::testing::keeper(&own, "acme", "right"));
    assert_eq!(ask(&source).await, "a1");
    assert_eq!((server.count(), own.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_answer_and_who_may_not_ask_asks_elsewhere() {
    let server = Server::new(|_, _| Ok(refusal(401, "invalid_client")));
    let own = own_server();
    let place = Place::of(agent(&server));
    let source = named(&place).or(keeper(&own, "acme", "right"));
    let error = source.token().await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { refusal, .. } if refusal.code.as_deref() == Some("invalid_client")),
        "{error:?}"
    );
    assert_eq!(own.count(), 0);
    for agent in [place.agent(STRANGER), place.agent(OWN)] {
        let name = if own.count() == 0 { "billing" } else { "nothing" };
        let own_keeper = keeper(&own, "acme", "right");
        let source = timed(AgentSource::named(agent, name)).or(own_keeper);
        assert!(ask(&source).await.starts_with("own"));
    }
    assert_eq!(own.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_reaches_the_agent_and_a_late_one_withdraws_nothing() {
    let server = Server::granting(300);
    let place = Place::of(agent(&server));
    let (source, other) = (named(&place), named(&place));
    let first = source.token().await.unwrap();
    let of_other = other.token().await.unwrap();
    // Ten requests with the same token come back.
    for _ in 0..10 {
        source.invalidate(&first);
    }
    let second = source.token().await.unwrap();
    assert_eq!((text(&second), server.count()), ("a2".to_owned(), 2));
    source.invalidate(&first);
    assert_eq!((ask(&source).await, server.count()), ("a2".to_owned(), 2));
    // Another process learns it from its own 401, which is late for the agent.
    assert_eq!(ask(&other).await, "a1");
    other.invalidate(&of_other);
    assert_eq!((ask(&other).await, server.count()), ("a2".to_owned(), 2));
    // Not a token of this source.
    source.invalidate(&of_other);
    assert_eq!((ask(&source).await, server.count()), ("a2".to_owned(), 2));
    // An API that refuses everything is not believed for long.
    for _ in 0..20 {
        let token = source.token().await.unwrap();
        source.invalidate(&token);
    }
    assert!(server.count() <= 4, "{}", server.count());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_while_the_agent_is_asked_is_not_taken_again() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = down.clone();
    let server = Server::new(move |_, n| {
        let down = is_down.load(Ordering::Relaxed);
        Ok(if down { answer(503, "") } else { grant_alone(n, 300) })
    });
    let place = Place::of(agent(&server));
    let source = named(&place);
    let first = source.token().await.unwrap();
    down.store(true, Ordering::Relaxed);
    // The agent has not renewed it, and will give it once more.
    pass(Duration::from_secs(239)).await;
    let before = place.dialed();
    let same = source.token().await.unwrap();
    while place.dialed() == before {
        tokio::task::yield_now().await;
    }
    source.invalidate(&same);
    down.store(false, Ordering::Relaxed);
    assert_ne!(ask(&source).await, text(&first));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_ask_to_the_others() {
    let server = Server::granting(300);
    let place = Place::of(agent(&server));
    let source = Arc::new(named(&place));
    let hurried = {
        let source = source.clone();
        async move { tokio::time::timeout(Duration::from_millis(5), source.token()).await.is_err() }
    };
    let patient = source.token();
    let (gave_up, token) = tokio::join!(hurried, patient);
    assert!(gave_up);
    assert_eq!((text(&token.unwrap()), server.count(), place.dialed()), ("a1".to_owned(), 1, 1));
    // All give up: the next finds the token.
    let other = named(&place);
    other.invalidate(&source.token().await.unwrap());
    let _ = tokio::time::timeout(Duration::ZERO, other.token()).await;
    assert_eq!((ask(&other).await, server.count()), ("a1".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_fallback_is_refused_at_the_fallback() {
    let own = own_server();
    let place = Place::of(agent(&own));
    place.take_away();
    let source = named(&place).or(keeper(&own, "acme", "right"));
    let token = source.token().await.unwrap();
    source.invalidate(&token);
    assert_eq!(ask(&source).await, "own2");
}

#[tokio::test(start_paused = true)]
async fn a_bound_token_is_not_taken_since_its_key_stays_in_the_agent() {
    let server = Server::new(|_, n| Ok(crate::testing::grant_bound(n, 300)));
    let provider = crate::Provider::at("https://as.example/token").unwrap();
    let credentials = crate::Credentials::client("acme", tokenry_core::Secret::new("right"));
    let bound = crate::testing::builder_of(provider, credentials, &server).dpop();
    let agent = super::testing::builder(&server)
        .named("billing", bound.build().unwrap(), super::Access::default())
        .build()
        .unwrap();
    let own = own_server();
    let source = named(&Place::of(agent)).or(keeper(&own, "acme", "right"));
    assert_eq!(ask(&source).await, "own1");
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_in_debug_errors_or_the_log() {
    let log = crate::canary::Log::default();
    let _guard = crate::canary::listen(&log);
    let server = Server::new(|asked, n| {
        let echo: String = asked.form.values().map(String::as_str).collect();
        Ok(match n % 3 {
            1 => answer(
                200,
                r#"{"access_token":"canary-access","token_type":"bearer","expires_in":60}"#,
            ),
            2 => answer(
                400,
                &format!(r#"{{"error":"invalid_client","error_description":"{echo}"}}"#),
            ),
            _ => answer(503, &echo),
        })
    });
    let agent = agent(&server);
    let place = Place::of(agent.clone());
    let written = || Written(json!({ "client_id": "acme", "client_secret": "canary-secret" }));
    let lend = move || async move { Ok(written()) };
    let source = timed(AgentSource::lending(place.agent(OWN), lend));
    let mut shown = vec![format!("{:?} {source:?} {agent:?}", written())];
    for n in 0..300 {
        match source.token().await {
            Ok(token) => {
                shown.push(format!("{token:?}"));
                source.invalidate(&token);
            }
            Err(error) => shown.push(format!("{error:?} {error}")),
        }
        if n == 200 {
            place.hang();
        }
        pass(Duration::from_secs(2)).await;
    }
    let bad = r#"{"keeper":{"client_secret":"canary"},"name":3}"#;
    let headers = [("host", "a"), ("content-type", "application/json")];
    for peer in [OWN, STRANGER] {
        shown.push(super::testing::say(&agent, peer, "POST", "/v1/token", &headers, bad).await.1);
        shown.push(super::testing::say(&agent, peer, "GET", "/v1/tokens", &headers, "").await.1);
        shown.push(super::testing::say(&agent, peer, "GET", "/metrics", &headers, "").await.1);
    }
    let log = log.text();
    assert!(log.contains("token obtained") && log.contains("cannot be asked"), "{log}");
    for text in shown.iter().chain([&log]) {
        assert!(!text.contains("canary"), "{text}");
    }
}
