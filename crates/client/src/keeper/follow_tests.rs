//! Keepers that follow their issuer's revocation feed: what becomes of their tokens, and when they ask for it.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use tokenry_core::Timestamp;
use tokenry_core::revocation::{Ended, Event as Told, Revocation};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::*;
use crate::provider::{ClientAuthentication, CredentialsGrant};
use crate::testing::{Asked, BEGINNING, Server, answer, builder_of, pass, refusal};
use crate::{FeedMetrics, FeedState, KeeperBuilder, Pieces, Streaming, Transport, TransportError};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const FEED: &str = "https://as.example/revocations";
const FAMILY: &str = "01234567-89ab-7fff-bfff-ffffffffffff";

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(BEGINNING.as_secs() + secs)
}

/// The identifier of the n-th token.
fn jti(n: usize) -> String {
    format!("00000000-0000-7000-8000-{n:012}")
}

/// A server whose n-th token is a JWT of this moment.
fn issuing(expires_in: u64) -> Server {
    Server::new(move |asked, n| Ok(issued(asked, n, expires_in)))
}

fn issued(asked: &Asked, n: usize, expires_in: u64) -> Response<Bytes> {
    let iat = asked.at.as_secs();
    let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"kid":"k{n}"}}"#));
    let family = if n == 1 { FAMILY.to_owned() } else { format!("another than {n}") };
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(
        r#"{{"jti":"{}","sid":"{family}","client_id":"acme","sub":"acme","iat":{iat}}}"#,
        jti(n)
    ));
    answer(
        200,
        &format!(
            r#"{{"access_token":"{header}.{claims}.c2ln","refresh_token":"r{n}","token_type":"Bearer","expires_in":{expires_in}}}"#
        ),
    )
}

/// How the feed answers once.
enum Answer {
    Stream(UnboundedReceiver<Bytes>),
    Status(u16, Option<u64>),
    Broken,
    Html,
    Panics,
}

#[derive(Clone, Debug)]
struct Opened {
    at: Instant,
    method: Method,
    url: String,
    headers: HeaderMap,
    form: String,
}

impl Opened {
    fn cursor(&self) -> Option<&str> {
        self.headers.get("last-event-id").map(|value| value.to_str().unwrap())
    }
}

/// A feed that does as the test says.
#[derive(Clone, Default)]
struct Feed(Arc<std::sync::Mutex<Script>>);

struct Script {
    next: VecDeque<Answer>,
    /// When it was not told what to do.
    otherwise: fn() -> Answer,
    opened: Vec<Opened>,
}

impl Default for Script {
    fn default() -> Self {
        let otherwise = || Answer::Status(503, None);
        Self { next: VecDeque::new(), otherwise, opened: Vec::new() }
    }
}

impl Feed {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn next(&self, answer: Answer) {
        self.script().next.push_back(answer);
    }

    /// The next connection.
    fn stream(&self) -> Line {
        let (line, pieces) = unbounded_channel();
        self.next(Answer::Stream(pieces));
        Line(line)
    }

    fn opened(&self) -> Vec<Opened> {
        self.script().opened.clone()
    }

    fn count(&self) -> usize {
        self.opened().len()
    }
}

/// A connection, as the server sees it.
struct Line(UnboundedSender<Bytes>);

impl Line {
    async fn say(&self, events: impl IntoIterator<Item = Told>) {
        let text: String = events.into_iter().map(|event| event.encode()).collect();
        let _ = self.0.send(text.into());
        // Until it is heard, and what is to be done is done.
        pass(Duration::from_millis(1)).await;
    }

    async fn revoke(&self, number: u64, ended: Ended) {
        self.say([revoked(number, ended)]).await;
    }

    async fn current(&self, number: u64) {
        self.say([current(number)]).await;
    }

    /// Says that it is current, as often as it should, for so long.
    async fn go_on(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.current(1).await;
            pass((4 * SECOND).min(end - Instant::now())).await;
        }
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

fn revoked(number: u64, ended: Ended) -> Told {
    let revocation = Revocation { ended, until: at(100_000) };
    Told::Revoked { cursor: format!("{number}-7"), revocation }
}

fn current(number: u64) -> Told {
    Told::Current { cursor: Some(format!("{number}-7")), everything: false }
}

fn token(n: usize) -> Ended {
    Ended::Token(jti(n).parse().unwrap())
}

fn client(secs: u64) -> Ended {
    Ended::Client { id: "acme".into(), not_before: at(secs) }
}

impl Pieces for UnboundedReceiver<Bytes> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async { Ok(self.recv().await) })
    }
}

impl Streaming for Feed {
    fn open(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Box<dyn Pieces>>, TransportError>> {
        let mut script = self.script();
        script.opened.push(Opened {
            at: Instant::now(),
            method: request.method().clone(),
            url: request.uri().to_string(),
            headers: request.headers().clone(),
            form: String::from_utf8(request.body().to_vec()).unwrap(),
        });
        let next = script.next.pop_front().unwrap_or_else(script.otherwise);
        drop(script);
        Box::pin(async {
            pass(Duration::from_millis(20)).await;
            let nothing = || Box::new(unbounded_channel().1) as Box<dyn Pieces>;
            let response = Response::builder();
            let (response, body) = match next {
                Answer::Stream(pieces) => {
                    let kind = "text/event-stream; charset=utf-8";
                    (response.header("content-type", kind), Box::new(pieces) as Box<dyn Pieces>)
                }
                Answer::Status(status, None) => (response.status(status), nothing()),
                Answer::Status(status, Some(after)) => {
                    (response.status(status).header("retry-after", after), nothing())
                }
                Answer::Html => (response.header("content-type", "text/html"), nothing()),
                Answer::Broken => {
                    let (host, cause) = ("as.example".into(), "reset".into());
                    return Err(TransportError::Broken { host, cause });
                }
                Answer::Panics => std::panic::resume_unwind(Box::new("as a test wants")),
            };
            Ok(response.body(body).unwrap())
        })
    }
}

struct Both {
    server: Server,
    feed: Feed,
}

impl Transport for Both {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        self.server.send(request)
    }

    fn streaming(&self) -> Option<&dyn Streaming> {
        Some(&self.feed)
    }
}

fn provider() -> Provider {
    Provider::at("https://as.example/token").unwrap().with_revocation_feed_url(FEED).unwrap()
}

fn following(server: &Server, feed: &Feed, provider: Provider) -> KeeperBuilder {
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    builder_of(provider, credentials, server)
        .transport(Both { server: server.clone(), feed: feed.clone() })
        .follow_revocations()
}

fn keeper(server: &Server, feed: &Feed) -> Keeper {
    following(server, feed, provider()).build().unwrap()
}

/// A keeper that holds a token and is current.
async fn current_keeper() -> (Server, Feed, Keeper, Line) {
    let (server, feed) = (issuing(300), Feed::default());
    let line = feed.stream();
    let keeper = keeper(&server, &feed);
    keeper.token().await.unwrap();
    pass(50 * Duration::from_millis(1)).await;
    line.current(1).await;
    assert_eq!(metrics(&keeper).state, FeedState::Following);
    (server, feed, keeper, line)
}

fn metrics(keeper: &Keeper) -> FeedMetrics {
    keeper.metrics().feed.unwrap()
}

fn generation(keeper: &Keeper) -> Option<u64> {
    keeper.try_token().map(|token| token.generation())
}

fn told(events: &mut broadcast::Receiver<Event>) -> Vec<String> {
    std::iter::from_fn(|| events.try_recv().ok()).map(|event| format!("{event:?}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_replaced_before_anybody_asks() {
    for (ended, grant) in [
        (token(1), "refresh_token"),
        (Ended::Token(FAMILY.parse().unwrap()), "client_credentials"),
        (client(0), ""),
        (client(1), "refresh_token"),
        (Ended::Client { id: "other".into(), not_before: at(9) }, ""),
        (Ended::Subject { id: "acme".into(), not_before: at(1) }, "refresh_token"),
        (Ended::All { not_before: at(1) }, "refresh_token"),
        (Ended::Key("k1".into()), "refresh_token"),
        (Ended::Key("k2".into()), ""),
        (token(2), ""),
    ] {
        let (server, _feed, keeper, line) = current_keeper().await;
        let mut events = keeper.events();
        pass(SECOND).await;
        line.revoke(2, ended.clone()).await;
        if grant.is_empty() {
            pass(SECOND).await;
            assert_eq!((server.count(), generation(&keeper)), (1, Some(1)), "{ended:?}");
            continue;
        }
        // It is not handed out any more.
        assert_eq!(generation(&keeper), None, "{ended:?}");
        pass(SECOND / 2).await;
        assert_eq!((server.count(), generation(&keeper)), (2, Some(2)), "{ended:?}");
        assert_eq!(server.requests()[1].form["grant_type"], grant, "{ended:?}");
        assert!(told(&mut events)[0].starts_with("Revoked { generation: 1 }"), "{ended:?}");
        let metrics = metrics(&keeper);
        assert_eq!((metrics.received, metrics.revoked), (1, 1));
        assert_eq!(keeper.metrics().unauthorized, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_meanwhile_waits_for_the_successor() {
    let (server, _feed, keeper, line) = current_keeper().await;
    pass(SECOND).await;
    // All keepers hear this, and take their time unless somebody waits.
    line.revoke(2, Ended::All { not_before: at(1) }).await;
    assert_eq!(keeper.phase(), Phase::HeldBack);
    let before = Instant::now();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.token().await.unwrap().generation() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 2);
    }
    assert_eq!(before.elapsed(), Duration::from_millis(20));
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_has_heard_of_it_gives_a_token_that_is_good_at_once() {
    // Its tokens are dated after the point before which all have ended.
    let server = Server::new(|asked, n| {
        let ahead = if n == 1 { Duration::ZERO } else { 2 * SECOND };
        Ok(issued(&Asked { at: asked.at + ahead, ..asked.clone() }, n, 300))
    });
    let feed = Feed::default();
    let line = feed.stream();
    let keeper = keeper(&server, &feed);
    keeper.token().await.unwrap();
    pass(SECOND).await;
    line.revoke(2, client(3)).await;
    let before = Instant::now();
    assert_eq!(keeper.token().await.unwrap().generation(), 2);
    assert_eq!(before.elapsed(), Duration::from_millis(20));
    line.go_on(MINUTE).await;
    assert_eq!((server.count(), metrics(&keeper).revoked), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_is_asked_again_when_that_point_is_past_and_nobody_gets_what_it_gave() {
    let (server, _feed, keeper, line) = current_keeper().await;
    pass(SECOND).await;
    // It is 1.07 s: what is issued before 3 s has ended.
    line.revoke(2, client(3)).await;
    let token = keeper.token().await.unwrap();
    assert_eq!((server.count(), token.generation()), (3, 3));
    let asked = server.requests()[2].at;
    assert!(at(3) <= asked && asked <= at(3) + SECOND / 5, "{asked}");
    pass(SECOND).await;
    assert_eq!((server.count(), metrics(&keeper).revoked), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_while_its_token_is_on_its_way_is_replaced_when_it_comes() {
    let (server, _feed, keeper, line) = current_keeper().await;
    line.go_on(224 * SECOND).await;
    keeper.token().await.unwrap();
    while server.count() == 1 {
        pass(Duration::from_millis(1)).await;
    }
    // The request is at the server, and its answer is not here.
    line.say([revoked(2, token(2)), current(2)]).await;
    assert_eq!((server.count(), generation(&keeper)), (2, Some(1)));
    pass(100 * Duration::from_millis(1)).await;
    assert_eq!((server.count(), generation(&keeper)), (3, Some(3)));
    assert_eq!(metrics(&keeper).revoked, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_again_does_nothing() {
    let (server, feed, keeper, line) = current_keeper().await;
    pass(SECOND).await;
    line.say([revoked(2, token(1)), revoked(3, client(1)), revoked(4, token(1))]).await;
    pass(SECOND).await;
    assert_eq!((server.count(), generation(&keeper)), (2, Some(2)));
    line.say([Told::Reset, revoked(2, token(1)), revoked(3, client(1)), current(3)]).await;
    let again = feed.stream();
    drop(line);
    pass(SECOND).await;
    again.say([revoked(2, token(1)), revoked(3, client(1)), current(3)]).await;
    pass(SECOND).await;
    assert_eq!((server.count(), generation(&keeper), feed.count()), (2, Some(2), 2));
    assert_eq!(metrics(&keeper).revoked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_401_for_what_was_revoked_changes_nothing() {
    let (server, _feed, keeper, line) = current_keeper().await;
    let old = keeper.token().await.unwrap();
    line.revoke(2, token(1)).await;
    keeper.invalidate(&old);
    assert_eq!(keeper.token().await.unwrap().generation(), 2);
    keeper.invalidate(&old);
    assert_eq!((server.count(), generation(&keeper)), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn an_opaque_token_ends_with_all_others_of_its_client() {
    for (ended, replaced) in [
        (client(1), true),
        (Ended::All { not_before: at(1) }, true),
        (client(0), false),
        (Ended::Client { id: "other".into(), not_before: at(1) }, false),
        (Ended::Subject { id: "acme".into(), not_before: at(1) }, false),
        (Ended::Key("k1".into()), false),
        (token(1), false),
    ] {
        let (server, feed) = (Server::granting(300), Feed::default());
        let line = feed.stream();
        let keeper = keeper(&server, &feed);
        keeper.token().await.unwrap();
        pass(2 * SECOND).await;
        line.revoke(2, ended.clone()).await;
        pass(SECOND).await;
        let expected = if replaced { (2, Some(2)) } else { (1, Some(1)) };
        assert_eq!((server.count(), generation(&keeper)), expected, "{ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_revokes_every_token_causes_no_storm() {
    let (server, _feed, keeper, line) = current_keeper().await;
    // Not even all at once: each is told of by itself, as soon as it is there.
    let end = Instant::now() + HOUR;
    let (mut known, mut waited) = (1, Duration::ZERO);
    while Instant::now() < end {
        line.say([revoked(2, token(known)), current(2)]).await;
        let before = Instant::now();
        keeper.token().await.unwrap();
        waited += before.elapsed();
        pass(100 * Duration::from_millis(1)).await;
        known = server.count();
    }
    // A minute each, once the first few have come.
    assert!((60..=70).contains(&server.count()), "{}", server.count());
    assert!(waited < 10 * SECOND, "{waited:?}");

    // Nor one that says that all tokens have ended, whenever they were issued.
    let (server, _feed, keeper, line) = current_keeper().await;
    line.revoke(2, Ended::All { not_before: at(1_000_000) }).await;
    for _ in 0..3600 {
        line.current(2).await;
        let _ = keeper.token().await;
        pass(SECOND).await;
    }
    assert!((30..=70).contains(&server.count()), "{}", server.count());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_no_more_gets_no_token_and_is_told_so() {
    let feed = Feed::default();
    let server = Server::new(|asked, n| {
        Ok(if n == 1 { issued(asked, n, 300) } else { refusal(401, "invalid_client") })
    });
    let line = feed.stream();
    let keeper = keeper(&server, &feed);
    keeper.token().await.unwrap();
    pass(SECOND).await;
    line.revoke(2, client(3)).await;
    drop(line);
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_feed_is_asked_for_as_tokens_are() {
    let (server, feed) = (issuing(300), Feed::default());
    let _line = feed.stream();
    let keeper = following(&server, &feed, provider()).resource("https://api.example").build();
    let keeper = keeper.unwrap();
    assert_eq!(metrics(&keeper).state, FeedState::Idle);
    pass(MINUTE).await;
    let before = Instant::now();
    keeper.token().await.unwrap();
    pass(SECOND).await;
    let [opened] = &feed.opened()[..] else { panic!("not once") };
    assert!(opened.at - before >= Duration::from_millis(20), "there is no token yet");
    assert_eq!((&opened.method, opened.url.as_str()), (&Method::POST, FEED));
    assert_eq!(opened.headers["authorization"], server.requests()[0].headers["authorization"]);
    assert_eq!(opened.headers["accept"], "text/event-stream");
    assert_eq!((opened.form.as_str(), opened.cursor()), ("", None));

    // The client's secret in the form, and the other one if the first is refused.
    let feed = Feed::default();
    feed.next(Answer::Status(401, None));
    let _line = feed.stream();
    let provider = provider().with_client_authentication(ClientAuthentication::Post);
    let credentials = Credentials::client("acme", Secret::new("old"));
    let keeper = builder_of(provider, credentials.or_secret(Secret::new("new")), &server)
        .transport(Both { server: server.clone(), feed: feed.clone() })
        .follow_revocations()
        .build()
        .unwrap();
    keeper.token().await.unwrap();
    pass(SECOND).await;
    let forms: Vec<_> = feed.opened().into_iter().map(|opened| opened.form).collect();
    assert_eq!(forms, ["client_id=acme&client_secret=old", "client_id=acme&client_secret=new"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_followed_by_another_from_where_it_was() {
    let (_server, feed, keeper, line) = current_keeper().await;
    line.say([revoked(5, token(99)), current(5)]).await;
    for _ in 0..9 {
        keeper.token().await.unwrap();
        line.go_on(MINUTE).await;
    }
    // Another has taken the place of 5-7.
    line.say([revoked(8, token(99))]).await;
    let mut events = keeper.events();
    let again = feed.stream();
    let before = Instant::now();
    drop(line);
    pass(SECOND).await;
    let opened = feed.opened();
    assert_eq!(opened.len(), 2);
    assert_eq!(opened[1].cursor(), Some("8-7"));
    assert!(opened[1].at - before <= 250 * Duration::from_millis(1));
    assert_eq!(metrics(&keeper).state, FeedState::Behind);
    assert!(metrics(&keeper).behind_for.is_some());
    again.current(8).await;
    let metrics = metrics(&keeper);
    assert_eq!((metrics.state, metrics.behind_for), (FeedState::Following, None));
    assert_eq!(metrics.reconnects, 1);
    assert_eq!(told(&mut events), [""; 0], "servers do so all the time");

    // A cursor that is of no use is not sent again.
    again.say([Told::Reset]).await;
    assert_eq!(self::metrics(&keeper).state, FeedState::Behind);
    drop(again);
    pass(SECOND).await;
    assert_eq!(feed.opened()[2].cursor(), None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_asked_for_anew() {
    let (server, feed, keeper, line) = current_keeper().await;
    let again = feed.stream();
    line.0.send("id: 2-7\nevent: revoked\ndata: {\"news\":1}\n\n".into()).unwrap();
    pass(SECOND).await;
    assert_eq!(feed.opened()[1].cursor(), None);
    again.say([revoked(2, token(1)), current(2)]).await;
    pass(SECOND).await;
    assert_eq!((server.count(), generation(&keeper)), (2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_silent_is_left() {
    let (_server, feed, keeper, line) = current_keeper().await;
    pass(14 * SECOND).await;
    assert_eq!((feed.count(), line.is_closed()), (1, false));
    line.current(2).await;
    // Neither comments nor revocations say that it is current.
    for n in 0..14 {
        line.0.send(": still here\n\n".into()).unwrap();
        line.revoke(n, token(99)).await;
        pass(SECOND).await;
    }
    assert_eq!((feed.count(), line.is_closed()), (1, false));
    pass(2 * SECOND).await;
    assert_eq!((feed.count() > 1, line.is_closed()), (true, true));
    // One that says nothing at all is left sooner.
    let silent = feed.stream();
    while !feed.script().next.is_empty() {
        pass(SECOND).await;
    }
    pass(4 * SECOND).await;
    assert!(!silent.is_closed());
    pass(2 * SECOND).await;
    assert!(silent.is_closed());
    assert_eq!(generation(&keeper), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_asks_anew() {
    let (server, feed) = (issuing(3600), Feed::default());
    let line = feed.stream();
    let (began, slept) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let sleeps = Arc::clone(&slept);
    let keeper = following(&server, &feed, provider())
        .wall_clock(move || {
            BEGINNING + began.elapsed() + Duration::from_secs(sleeps.load(Ordering::Relaxed))
        })
        .build()
        .unwrap();
    keeper.token().await.unwrap();
    pass(SECOND).await;
    line.current(1).await;
    slept.store(600, Ordering::Relaxed);
    pass(6 * SECOND).await;
    assert_eq!((line.is_closed(), feed.count() > 1), (true, true));
    assert_eq!(feed.opened()[1].cursor(), Some("1-7"));

    // What was on its way meanwhile, and is there first, says nothing of now.
    let line = feed.stream();
    while !feed.script().next.is_empty() {
        pass(SECOND).await;
    }
    pass(SECOND).await;
    line.current(2).await;
    assert_eq!(metrics(&keeper).state, FeedState::Following);
    slept.store(1200, Ordering::Relaxed);
    line.current(3).await;
    assert_eq!((line.is_closed(), metrics(&keeper).state), (true, FeedState::Behind));
}

/// Uses the keeper for so long.
async fn used(keeper: &Keeper, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        keeper.token().await.unwrap();
        pass(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_is_asked_less_and_less_and_tokens_do_not_notice() {
    let every_30s = 200..=300;
    let every_minute = 45..=70;
    let cases: [(fn() -> Answer, _, _, _); 8] = [
        (|| Answer::Broken, every_30s.clone(), FeedState::Behind, "Transport(Broken"),
        (|| Answer::Html, every_30s.clone(), FeedState::Behind, "NotAFeed"),
        (|| Answer::Panics, every_30s.clone(), FeedState::Behind, "Panicked"),
        (|| Answer::Stream(unbounded_channel().1), every_30s, FeedState::Behind, "Closed"),
        (|| Answer::Status(503, Some(50)), every_minute.clone(), FeedState::Behind, "Unavailable"),
        (|| Answer::Status(403, None), every_minute.clone(), FeedState::NotAllowed, "NotAllowed"),
        (|| Answer::Status(401, None), every_minute, FeedState::NotAllowed, "NotAllowed"),
        (|| Answer::Status(404, None), 9..=13, FeedState::NoFeed, "NoFeed"),
    ];
    for (otherwise, expected, state, error) in cases {
        let (server, feed) = (issuing(300), Feed::default());
        feed.script().otherwise = otherwise;
        let keeper = keeper(&server, &feed);
        let mut events = keeper.events();
        used(&keeper, HOUR).await;
        assert!(expected.contains(&feed.count()), "{state:?} {}", feed.count());
        assert!((16..=17).contains(&server.count()), "{state:?}");
        assert_eq!(metrics(&keeper).state, state);
        let told = told(&mut events);
        let lost: Vec<_> = told.iter().filter(|event| event.starts_with("FeedLost")).collect();
        assert_eq!(lost.len(), 1, "{told:?}");
        assert!(lost[0].starts_with(&format!("FeedLost {{ error: {error}")), "{told:?}");
        // Whoever stops using it, and comes back, does not ask sooner.
        let before = feed.count();
        for _ in 0..10 {
            keeper.invalidate(&keeper.token().await.unwrap());
            let _ = keeper.token().await;
        }
        assert!(feed.count() <= before + 1, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_pause_is_short_and_a_feed_that_is_back_is_told() {
    let (_server, feed, keeper, line) = current_keeper().await;
    let mut events = keeper.events();
    line.go_on(5 * SECOND).await;
    let lost_at = Instant::now();
    drop(line);
    used(&keeper, MINUTE).await;
    let opened = feed.opened();
    assert!(opened[1].at - lost_at <= 250 * Duration::from_millis(1));
    let pauses: Vec<_> = opened[1..].windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= 31 * SECOND), "{pauses:?}");
    let back = feed.stream();
    while feed.count() == opened.len() {
        used(&keeper, SECOND).await;
    }
    back.current(2).await;
    let told: Vec<_> =
        told(&mut events).into_iter().filter(|event| event.starts_with("Feed")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("FeedLost { error: Unavailable { status: 503"), "{told:?}");
    assert_eq!(told[1], "FeedFollowed");
    assert_eq!(metrics(&keeper).state, FeedState::Following);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_nobody_uses_has_no_connection() {
    let (server, feed, keeper, line) = current_keeper().await;
    line.go_on(10 * MINUTE).await;
    assert!(line.is_closed());
    assert_eq!((server.count(), feed.count()), (2, 1));
    assert_eq!((metrics(&keeper).state, metrics(&keeper).behind_for), (FeedState::Idle, None));
    pass(24 * HOUR).await;
    assert_eq!((server.count(), feed.count()), (2, 1));
    // Whoever comes back is told what was missed.
    let again = feed.stream();
    assert_eq!(keeper.token().await.unwrap().generation(), 3);
    pass(SECOND).await;
    assert_eq!((feed.count(), feed.opened()[1].cursor()), (2, Some("1-7")));
    assert_eq!(metrics(&keeper).state, FeedState::Behind);
    again.say([revoked(2, token(3)), current(2)]).await;
    pass(SECOND).await;
    assert_eq!(generation(&keeper), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_dropped_leaves_no_connection_behind() {
    let (_server, feed, keeper, line) = current_keeper().await;
    let shared = Arc::downgrade(&keeper.0.0);
    drop(keeper);
    pass(Duration::from_millis(1)).await;
    assert!(line.is_closed());
    assert_eq!(shared.strong_count(), 0);

    // While it waits for the next try as well.
    drop(line);
    let keeper = self::keeper(&issuing(300), &feed);
    keeper.token().await.unwrap();
    pass(MINUTE).await;
    let (before, shared) = (feed.count(), Arc::downgrade(&keeper.0.0));
    drop(keeper);
    pass(HOUR).await;
    assert_eq!((feed.count(), shared.strong_count()), (before, 0));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_for_it_does_not_follow() {
    let (server, feed) = (issuing(300), Feed::default());
    let credentials = Credentials::client("acme", Secret::new("secret-1"));
    let keeper = builder_of(provider(), credentials, &server)
        .transport(Both { server: server.clone(), feed: feed.clone() })
        .build()
        .unwrap();
    used(&keeper, HOUR).await;
    assert_eq!((feed.count(), keeper.metrics().feed), (0, None));
}

#[tokio::test(start_paused = true)]
async fn the_issuers_metadata_say_where_the_feed_is() {
    let feed = Feed::default();
    let place = Arc::new(std::sync::Mutex::new(None::<&str>));
    let named = Arc::clone(&place);
    let server = Server::new(move |asked, n| {
        if asked.path != "/.well-known/oauth-authorization-server" {
            return Ok(issued(asked, n, 300));
        }
        let named = named.lock().unwrap();
        let named = named.map(|url| format!(r#","revocation_feed_endpoint":"{url}""#));
        let named = named.unwrap_or_default();
        Ok(answer(
            200,
            &format!(
                r#"{{"issuer":"https://as.example","token_endpoint":"https://as.example/token"{named}}}"#
            ),
        ))
    });
    let line = feed.stream();
    let at_issuer =
        Provider::at("https://as.example/token").unwrap().with_issuer("https://as.example");
    let keeper = following(&server, &feed, at_issuer.clone()).build().unwrap();
    let mut events = keeper.events();
    used(&keeper, HOUR).await;
    // It is no error, and looked for every five minutes.
    assert_eq!((feed.count(), metrics(&keeper).state), (0, FeedState::NoFeed));
    let looked = server.requests().iter().filter(|asked| asked.path.contains("known")).count();
    assert!((9..=13).contains(&looked), "{looked}");
    let lost: Vec<_> =
        told(&mut events).into_iter().filter(|event| event.starts_with("Feed")).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("error: NoFeed"), "{lost:?}");
    *place.lock().unwrap() = Some(FEED);
    while feed.count() == 0 {
        used(&keeper, SECOND).await;
    }
    assert_eq!(feed.opened()[0].url, FEED);
    line.current(1).await;
    assert_eq!(metrics(&keeper).state, FeedState::Following);
    let found = server.requests().iter().filter(|asked| asked.path.contains("known")).count();

    // It is known from then on, until it moves.
    let again = feed.stream();
    used(&keeper, SECOND).await;
    drop(line);
    used(&keeper, SECOND).await;
    again.current(1).await;
    let known = server.requests().iter().filter(|asked| asked.path.contains("known")).count();
    assert_eq!((feed.opened()[1].url.as_str(), known), (FEED, found));
    let elsewhere = "https://feed.example/revocations";
    *place.lock().unwrap() = Some(elsewhere);
    feed.next(Answer::Status(404, None));
    let moved = feed.stream();
    drop(again);
    while feed.count() < 4 {
        used(&keeper, SECOND).await;
    }
    moved.current(2).await;
    assert_eq!(feed.opened()[3].url, elsewhere);
    assert_eq!(metrics(&keeper).state, FeedState::Following);

    // Who gets tokens elsewhere does not show its credentials there.
    let feed = Feed::default();
    let elsewhere = at_issuer.with_token_url("https://proxy.example/token").unwrap();
    let keeper = following(&server, &feed, elsewhere).build().unwrap();
    used(&keeper, HOUR).await;
    assert_eq!((feed.count(), metrics(&keeper).state), (0, FeedState::NoFeed));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_follow_is_told_before_anything_is_sent() {
    let (server, feed) = (issuing(300), Feed::default());
    let credentials = || Credentials::client("acme", Secret::new("secret-1"));
    let closure = builder_of(provider(), credentials(), &server).follow_revocations();
    assert!(matches!(closure.build().unwrap_err(), BuildError::NotStreaming));
    let nameless = provider().with_client_authentication(ClientAuthentication::None);
    for (provider, credentials) in [
        (nameless.clone(), credentials()),
        (
            nameless.with_grant(CredentialsGrant::Password),
            Credentials::password("anna", Secret::new("p")),
        ),
    ] {
        let both = Both { server: server.clone(), feed: feed.clone() };
        let builder = builder_of(provider, credentials, &server).transport(both);
        let error = builder.follow_revocations().build().unwrap_err();
        assert!(error.to_string().ends_with("needs a client to follow revocations"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_refresh_token_that_is_dead_is_neither_sent_nor_revoked() {
    let (server, feed) = (issuing(300), Feed::default());
    let line = feed.stream();
    let provider = provider().with_revocation_url("https://as.example/revoke").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let builder = following(&server, &feed, provider);
    let keeper = builder.refresh_token_file(folder.path().join("r")).build().unwrap();
    keeper.token().await.unwrap();
    pass(SECOND).await;
    line.revoke(2, Ended::Token(FAMILY.parse().unwrap())).await;
    pass(10 * SECOND).await;
    let asked: Vec<_> = server.requests().into_iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["/token", "/token"]);
    assert_eq!(server.requests()[1].refresh_token(), None);
    line.go_on(220 * SECOND).await;
    keeper.token().await.unwrap();
    pass(10 * SECOND).await;
    assert_eq!(server.requests()[2].refresh_token(), Some("r2"));
}
