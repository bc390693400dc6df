use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use http::Response;
use tokenry_core::Timestamp;
use tokio::time::Instant;

use super::*;
use crate::testing::{
    BEGINNING, Server, answer, builder, builder_of, grant, grant_alone, pass, refusal,
};
use crate::{Defect, TransportError};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn text(keeper: &Keeper) -> String {
    keeper.token().await.unwrap().access_token().expose().to_owned()
}

fn drained(events: &mut broadcast::Receiver<Event>) -> Vec<String> {
    std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| {
            let debug = format!("{event:?}");
            debug.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_ready_to_be_sent() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    assert!(keeper.try_token().is_none() && keeper.try_header().is_none());
    let token = keeper.token().await.unwrap();
    assert_eq!(token.header(), "Bearer a1");
    assert!(
        keeper.try_header().is_some_and(|header| header == token.header() && header.is_sensitive())
    );
    assert!(token.header().is_sensitive());
    assert_eq!(token.generation(), 1);
    assert_eq!(token.expires_at(), Some(Timestamp::from_millis(1_000_300_020)));
    assert_eq!(keeper.try_token().unwrap().access_token(), token.access_token());
}

#[tokio::test(start_paused = true)]
async fn row_262_a_thousand_callers_at_expiry_are_one_request() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    text(&keeper).await;
    // Longer than a lifetime, so the keeper has stopped and the token is gone.
    pass(HOUR).await;
    let before = server.count();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { text(&keeper).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap());
    }
    assert_eq!(server.count(), before + 1);
    assert!(tokens.iter().all(|token| *token == format!("a{}", before + 1)));
}

#[tokio::test(start_paused = true)]
async fn row_262_a_thousand_callers_share_a_refusal() {
    let server = Server::new(|_, _| Ok(refusal(401, "invalid_client")));
    let keeper = builder("truphone", &server).build().unwrap();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.token().await.unwrap_err().to_string() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "the server refused the credentials: 401 invalid_client");
    }
    // Those that come just after get it as well.
    keeper.token().await.unwrap_err();
    assert_eq!(server.count(), 1);
    pass(5 * SECOND).await;
    keeper.token().await.unwrap_err();
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_steady_client_makes_at_most_1_4_requests_per_lifetime() {
    for lifetime in [10, 60, 300, 3600] {
        let server = Server::granting(lifetime);
        let keeper = builder("truphone", &server).build().unwrap();
        let lifetimes = 100;
        let end = Instant::now() + Duration::from_secs(lifetime) * lifetimes;
        let mut waited = 0;
        while Instant::now() < end {
            waited += u32::from(keeper.try_token().is_none());
            text(&keeper).await;
            pass(Duration::from_secs(lifetime) / 50).await;
        }
        assert!(
            server.count() <= usize::try_from(lifetimes).unwrap() * 14 / 10,
            "{} requests in {lifetimes} lifetimes of {lifetime} s",
            server.count()
        );
        assert_eq!(waited, 1, "callers waited for tokens of {lifetime} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_keeper_makes_no_request() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    pass(HOUR).await;
    assert_eq!(server.count(), 0);
    let mut events = keeper.events();
    text(&keeper).await;
    // One renewal within the lifetime in which somebody asked, and then silence.
    pass(24 * HOUR).await;
    assert_eq!(server.count(), 2);
    assert_eq!(drained(&mut events), ["Obtained", "Refreshed", "RefreshTokenReplaced", "Idle"]);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_late_401_for_the_old_token_does_not_evict_the_new_one() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    let old = keeper.token().await.unwrap();
    pass(230 * SECOND).await;
    assert_eq!(text(&keeper).await, "a2");
    keeper.invalidate(&old);
    assert_eq!(keeper.try_token().unwrap().access_token().expose(), "a2");
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_265_a_burst_of_401s_is_one_refresh() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    let token = keeper.token().await.unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (keeper, token) = (keeper.clone(), token.clone());
            tokio::spawn(async move {
                keeper.invalidate(&token);
                text(&keeper).await
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "a2");
    }
    assert_eq!(server.count(), 2);
    assert_eq!(server.requests()[1].refresh_token(), Some("r1"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_source_is_none_of_its_business() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    let other = builder("truphone", &server).build().unwrap();
    text(&keeper).await;
    keeper.invalidate(&other.token().await.unwrap());
    assert!(keeper.try_token().is_some());
}

#[tokio::test(start_paused = true)]
async fn row_264_an_outage_is_invisible_while_the_token_is_good() {
    let down = Arc::new(AtomicBool::new(false));
    let server = Server::new({
        let down = down.clone();
        move |_, n| match down.load(Ordering::Relaxed) {
            true => Err(TransportError::Other("connection refused".to_owned())),
            false => Ok(grant(n, 300)),
        }
    });
    let keeper = builder("truphone", &server).patience(Duration::ZERO).build().unwrap();
    text(&keeper).await;
    down.store(true, Ordering::Relaxed);
    for _ in 0..269 {
        assert_eq!(text(&keeper).await, "a1");
        pass(SECOND).await;
    }
    assert!(server.count() < 12, "{} requests in 44 s of outage", server.count());
    // Within the hard margin it is not handed out, although the server would still take it.
    pass(2 * SECOND).await;
    keeper.token().await.unwrap_err();
    down.store(false, Ordering::Relaxed);
    pass(30 * SECOND).await;
    assert_eq!(text(&keeper).await, format!("a{}", server.count()));
}

#[tokio::test(start_paused = true)]
async fn row_263_retry_after_is_honoured_while_the_old_token_is_served() {
    let server = Server::new(|_, n| match n {
        2 => {
            let mut response = answer(429, "slow down");
            response.headers_mut().insert("retry-after", "20".parse().unwrap());
            Ok(response)
        }
        _ => Ok(grant(n, 300)),
    });
    let keeper = builder("truphone", &server).build().unwrap();
    text(&keeper).await;
    pass(226 * SECOND).await;
    assert_eq!(server.count(), 2);
    pass(19 * SECOND).await;
    assert_eq!((text(&keeper).await.as_str(), server.count()), ("a1", 2));
    pass(3 * SECOND).await;
    assert_eq!((text(&keeper).await.as_str(), server.count()), ("a3", 3));
}

#[tokio::test(start_paused = true)]
async fn row_261_a_dead_refresh_token_falls_back_to_credentials_once() {
    for (provider, status, code) in [
        ("truphone", 400, "invalid_grant"),
        ("truphone", 401, "invalid_token"),
        ("simacan", 401, ""),
        ("tuinly", 400, "invalid_client"),
    ] {
        let server = Server::new(move |asked, n| match asked.refresh_token() {
            Some("r1") => Ok(refusal(status, code)),
            _ => Ok(grant(n, 300)),
        });
        let keeper = builder(provider, &server).build().unwrap();
        let mut events = keeper.events();
        text(&keeper).await;
        pass(226 * SECOND).await;
        assert_eq!(text(&keeper).await, "a3", "{provider} {status}");
        let requests = server.requests();
        let refreshes: Vec<_> = requests.iter().map(|asked| asked.refresh_token()).collect();
        assert_eq!(refreshes, [None, Some("r1"), None], "{provider} {status}");
        assert_eq!(
            drained(&mut events),
            ["Obtained", "RefreshFailed", "FellBackToCredentials", "Obtained"]
        );
        // The next one begins with the new refresh token.
        pass(226 * SECOND).await;
        assert_eq!(server.requests()[3].refresh_token(), Some("r3"), "{provider} {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn simacan_refreshes_with_each_new_refresh_token_and_sends_the_password_once() {
    let server = Server::granting(3600);
    let keeper = builder("simacan", &server).build().unwrap();
    for _ in 0..10 {
        text(&keeper).await;
        pass(2700 * SECOND).await;
    }
    let requests = server.requests();
    assert_eq!(requests[0].path, "/api/v1/auth/password");
    for (n, refresh) in requests.iter().enumerate().skip(1) {
        assert_eq!(refresh.path, "/api/v1/auth/refresh");
        assert_eq!(refresh.refresh_token(), Some(format!("r{n}").as_str()));
        assert_eq!(refresh.form.len(), 1);
    }
    assert!(requests.len() >= 10);
}

#[tokio::test(start_paused = true)]
async fn simacan_never_gets_its_password_in_a_loop() {
    let server = Server::new(|_, _| Ok(refusal(401, "invalid_grant")));
    let keeper = builder("simacan", &server).build().unwrap();
    let end = Instant::now() + HOUR;
    while Instant::now() < end {
        keeper.token().await.unwrap_err();
        pass(SECOND).await;
    }
    assert!(server.count() <= 121, "{} passwords in an hour", server.count());
}

#[tokio::test(start_paused = true)]
async fn tuinly_is_refreshed_with_the_first_refresh_token_again_and_again() {
    let server = Server::new(|asked, n| match asked.refresh_token() {
        None => Ok(grant(n, 3600)),
        Some(_) => Ok(grant_alone(n, 3600)),
    });
    let keeper = builder("tuinly", &server).build().unwrap();
    let mut events = keeper.events();
    for _ in 0..5 {
        text(&keeper).await;
        pass(2701 * SECOND).await;
    }
    let requests = server.requests();
    assert!(requests.len() >= 5);
    assert!(requests[1..].iter().all(|asked| asked.refresh_token() == Some("r1")));
    assert_eq!(drained(&mut events)[..3], ["Obtained", "Refreshed", "RefreshTokenKept"]);
}

#[tokio::test(start_paused = true)]
async fn row_260_a_token_that_says_nothing_lives_as_documented_or_5_minutes() {
    let unheard_of = Provider::at("https://as.example/token").unwrap();
    for (provider, lifetime) in [(Provider::named("tuinly").unwrap(), 3600), (unheard_of, 300)] {
        let server = Server::new(|_, n| {
            Ok(answer(200, &format!(r#"{{"access_token":"a{n}","token_type":"bearer"}}"#)))
        });
        let credentials = Credentials::client("acme", Secret::new("secret-1"));
        let keeper = builder_of(provider, credentials, &server).build().unwrap();
        text(&keeper).await;
        pass(Duration::from_secs(lifetime) * 3 / 4 - SECOND).await;
        assert_eq!(text(&keeper).await, "a1");
        pass(2 * SECOND).await;
        assert_eq!(text(&keeper).await, "a2");
    }
}

#[tokio::test(start_paused = true)]
async fn row_259_a_token_of_an_unknown_type_is_never_handed_out() {
    let server = Server::new(|_, _| {
        Ok(answer(200, r#"{"access_token":"a","token_type":"mac","expires_in":300}"#))
    });
    let keeper = builder("tuinly", &server).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Unusable { what: Defect::TokenType(_), .. }), "{error}");
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_267_a_redirect_of_a_token_request_is_not_followed() {
    let server = Server::new(|_, _| {
        let location = Response::builder().status(307).header("location", "https://evil.example/");
        Ok(location.body(Bytes::new()).unwrap())
    });
    let keeper = builder("tuinly", &server).patience(Duration::ZERO).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Unusable { status: 307, what: Defect::Redirect }), "{error}");
    assert!(server.requests().iter().all(|asked| asked.path == "/token"));
}

#[tokio::test(start_paused = true)]
async fn row_276_a_suspended_machine_does_not_send_an_expired_token() {
    let server = Server::granting(300);
    let wall = Arc::new(AtomicU64::new(1_000_000_000));
    let read = wall.clone();
    let keeper = builder("truphone", &server)
        .wall_clock(move || Timestamp::from_millis(read.load(Ordering::Relaxed)))
        .build()
        .unwrap();
    assert_eq!(text(&keeper).await, "a1");
    wall.fetch_add(299_000, Ordering::Relaxed);
    assert!(keeper.try_token().is_none() && keeper.try_header().is_none());
    assert_eq!(text(&keeper).await, "a2");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_take_the_flight_along() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    let impatient = tokio::time::timeout(Duration::from_millis(5), keeper.token()).await;
    assert!(impatient.is_err());
    assert_eq!(text(&keeper).await, "a1");
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_poisons_nothing() {
    let requests = AtomicU64::new(0);
    let keeper = builder("truphone", &Server::granting(300))
        .transport(move |_| match requests.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("the test says so"),
            n => ready(Ok(grant(usize::try_from(n).unwrap(), 300))),
        })
        .patience(Duration::ZERO)
        .build()
        .unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Abandoned), "{error}");
    pass(SECOND).await;
    assert_eq!(text(&keeper).await, "a1");
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_never_answers_times_out() {
    let keeper = builder("truphone", &Server::granting(300))
        .transport(|_| std::future::pending())
        .patience(Duration::ZERO)
        .build()
        .unwrap();
    let began = Instant::now();
    let error = keeper.token().await.unwrap_err();
    let Error::Transport(TransportError::Timeout { after }) = error else { panic!("{error}") };
    assert_eq!(began.elapsed(), after);
}

#[test]
fn a_runtime_that_ends_takes_only_its_own_request_along() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = runtime();
    let server = Server::granting(300);
    let keeper = first.block_on(async {
        let keeper = builder("truphone", &server).wall_clock(|| Timestamp::EPOCH).build().unwrap();
        let impatient = tokio::time::timeout(Duration::from_millis(5), keeper.token()).await;
        assert!(impatient.is_err());
        keeper
    });
    drop(first);
    let token = runtime().block_on(async { text(&keeper).await });
    assert_eq!((token.as_str(), server.count()), ("a2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_keeper_leaves_no_task_behind() {
    let server = Server::new(|_, _| Err(TransportError::Other("down".to_owned())));
    let keeper = builder("truphone", &server).patience(Duration::ZERO).build().unwrap();
    keeper.token().await.unwrap_err();
    let shared = Arc::downgrade(&keeper.0.0);
    drop(keeper);
    pass(SECOND).await;
    assert!(shared.upgrade().is_none());

    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    text(&keeper).await;
    let shared = Arc::downgrade(&keeper.0.0);
    drop(keeper);
    pass(SECOND).await;
    assert!(shared.upgrade().is_none());
}

#[test]
fn outside_of_a_runtime_a_keeper_says_so() {
    let server = Server::granting(300);
    let keeper = builder("truphone", &server).build().unwrap();
    assert!(matches!(keeper.0.0.ask(), Err(Error::NoRuntime)));
}

#[test]
fn credentials_of_the_wrong_kind_are_told_before_anything_is_sent() {
    let server = Server::granting(300);
    let wrong = |provider: &str, credentials| {
        let provider = Provider::named(provider).unwrap();
        let keeper = Keeper::builder(provider, credentials).transport(server.clone()).build();
        keeper.unwrap_err().to_string()
    };
    assert_eq!(
        wrong("simacan", Credentials::client("a", Secret::new("b"))),
        r#"provider "simacan" needs a username and a password"#
    );
    assert_eq!(
        wrong("tuinly", Credentials::password("a", Secret::new("b"))),
        r#"provider "tuinly" needs a client id and a client secret"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_keeper_counts_what_it_does() {
    let server = Server::new(|_, n| match n {
        1 => Ok(grant(1, 300)),
        2 => Ok(answer(429, "")),
        _ => Ok(grant(n, 300)),
    });
    let keeper = builder("truphone", &server).build().unwrap();
    let waiter = tokio::spawn({
        let keeper = keeper.clone();
        async move { keeper.token().await }
    });
    pass(Duration::from_millis(10)).await;
    assert_eq!(keeper.metrics().waiting, 1);
    let token = waiter.await.unwrap().unwrap();
    assert_eq!(keeper.metrics().waiting, 0);
    let mut failing = 0;
    while keeper.metrics().refreshed == 0 {
        if keeper.metrics().refresh_failures == 1 {
            failing += 1;
        }
        keeper.token().await.unwrap();
        pass(Duration::from_millis(50)).await;
    }
    keeper.invalidate(&token);
    keeper.invalidate(&keeper.token().await.unwrap());
    let metrics = keeper.metrics();
    assert_eq!((metrics.obtained, metrics.refreshed), (1, 1));
    assert_eq!((metrics.obtain_failures, metrics.refresh_failures), (0, 1));
    assert_eq!((metrics.unauthorized, metrics.withdrawn), (2, 1));
    assert!(failing > 0);
    assert_eq!(metrics.served_while_failing, failing);
    assert_eq!(metrics.good_for, None);
}

#[tokio::test(start_paused = true)]
async fn row_276_either_clock_alone_takes_an_expired_token_away() {
    let lifetime = Duration::from_secs(300);
    let down =
        || Server::new(|_, n| if n == 1 { Ok(grant_alone(1, 300)) } else { Ok(answer(503, "")) });
    // The wall clock stands still.
    let server = down();
    let keeper = builder("truphone", &server).wall_clock(|| BEGINNING).build().unwrap();
    keeper.token().await.unwrap();
    pass(lifetime - Duration::from_secs(31)).await;
    assert!(keeper.try_token().is_some());
    pass(Duration::from_secs(2)).await;
    assert!(keeper.try_token().is_none());
    // The steady clock stands still: the machine is suspended.
    let ahead = Arc::new(AtomicU64::new(0));
    let wall = ahead.clone();
    let server = down();
    let keeper = builder("truphone", &server)
        .wall_clock(move || BEGINNING + Duration::from_secs(wall.load(Ordering::Relaxed)))
        .build()
        .unwrap();
    keeper.token().await.unwrap();
    ahead.store(269, Ordering::Relaxed);
    assert!(keeper.try_token().is_some());
    ahead.store(271, Ordering::Relaxed);
    assert!(keeper.try_token().is_none());
    // It was set back: nobody knows how old the token is, until both clocks have been asked.
    ahead.store(0, Ordering::Relaxed);
    let server = down();
    let wall = ahead.clone();
    let keeper = builder("truphone", &server)
        .wall_clock(move || BEGINNING + Duration::from_secs(3600 - wall.load(Ordering::Relaxed)))
        .build()
        .unwrap();
    keeper.token().await.unwrap();
    ahead.store(3000, Ordering::Relaxed);
    assert!(keeper.try_token().is_none());
    keeper.token().await.unwrap();
    assert_eq!(server.count(), 1);
    assert!(keeper.try_token().is_some());
}
