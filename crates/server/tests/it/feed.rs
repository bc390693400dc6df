//! The revocation feed: who is told what, when, and how it ends.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokenry_core::jose::jws::Compact;
use tokenry_core::revocation::{CURRENT_EVERY, Ended, Event, EventReader, Revocation};
use tokenry_core::{Client, Particulars, Realm, Timestamp};
use tokenry_server::{Body, Limits, Tls};
use tokenry_store::{Change, Memory, Sqlite, Store, sqlite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::house::{
    House, SECRET, START, basic, billing, client, credential, put_credential, realm, user,
};
use crate::refresh::family;
use crate::socket::{start_of, stop};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What was ended at [`START`], ends all tokens issued before.
const SETTLED: u64 = START.as_secs() + 1;

/// The clients: `billing` has tokens, `api` may know of all, `other` of its own alone.
fn clients() -> Vec<Change> {
    let introspects = Particulars { introspects: vec!["*".into()], ..Particulars::default() };
    let api = Client { particulars: introspects.boxed(), ..client("api") };
    let mut changes = vec![Change::PutRealm(realm())];
    for client in [client("billing"), api, client("other")] {
        let id = client.id.clone();
        changes.extend([Change::PutClient(client), put_credential(&id, credential("c", SECRET))]);
    }
    changes
}

async fn house() -> House {
    House::with(clients()).await
}

fn pair(id: &str) -> String {
    format!("{id}:{SECRET}")
}

impl House {
    /// What runs beside the requests, until the test ends.
    fn keep_up(&self) {
        tokio::spawn(Arc::clone(&self.app).upkeep(std::future::pending()));
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> http::Response<Body> {
        let request = request.header("host", &self.host).body(()).unwrap();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST).into();
        self.app.handle(&request.into_parts().0, body.as_bytes(), &peer, "test").await
    }

    async fn try_follow(&self, id: &str, cursor: Option<&str>) -> http::Response<Body> {
        let mut request = Request::get("/revocations").header("authorization", basic(&pair(id)));
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        self.ask(request, "").await
    }

    async fn follow(&self, id: &str, cursor: Option<&str>) -> Follower {
        Follower::of(self.try_follow(id, cursor).await)
    }

    async fn revoke(&self, token: &str) {
        let form = format!("token={token}");
        let revoked =
            self.post_to("/revoke", &[("authorization", &basic(&billing()))], &form).await;
        assert_eq!(revoked.status, StatusCode::OK);
    }

    /// As the command line does it: in the store, past the server.
    async fn change_elsewhere(&self, change: Change) {
        self.store.change(vec![change], None, START).await.unwrap();
    }

    async fn metric(&self, name: &str) -> u64 {
        let administration = tokenry_server::Administration::new(Arc::clone(&self.app));
        let request = Request::get("/metrics").body(()).unwrap();
        let peer = Ipv4Addr::LOCALHOST.into();
        let answer = administration.handle(&request.into_parts().0, b"", peer, "test").await;
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.into()).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("tokenry_{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

struct Follower {
    headers: HeaderMap,
    body: Body,
    reader: EventReader,
    events: VecDeque<Event>,
    /// What came that was no event.
    comments: usize,
}

impl Follower {
    fn of(answer: http::Response<Body>) -> Self {
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        let (reader, events) = (EventReader::default(), VecDeque::new());
        Self { headers: parts.headers, body, reader, events, comments: 0 }
    }

    /// The next event; `None`: the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            let bytes = self.body.frame().await?.unwrap().into_data().unwrap();
            let read = self.reader.read(&bytes).unwrap();
            self.comments += usize::from(read.is_empty());
            self.events.extend(read);
        }
        self.events.pop_front()
    }

    async fn revoked(&mut self) -> (String, Revocation) {
        loop {
            match self.next().await.unwrap() {
                Event::Revoked { cursor, revocation } => return (cursor, revocation),
                Event::Current { .. } => {}
                Event::Reset => panic!("a reset"),
            }
        }
    }

    /// All that is told until there is nothing more to tell; and the cursor.
    async fn all(&mut self) -> (Vec<Ended>, Option<String>) {
        let mut ended = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Event::Revoked { revocation, .. } => ended.push(revocation.ended),
                Event::Current { cursor, .. } => return (ended, cursor),
                Event::Reset => panic!("a reset"),
            }
        }
    }

    /// Reads to the end.
    async fn rest(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(event) = self.next().await {
            if let Event::Revoked { revocation, .. } = event {
                ended.push(revocation.ended);
            }
        }
        ended
    }
}

fn of_client(id: &str, secs: u64) -> Ended {
    Ended::Client { id: id.into(), not_before: Timestamp::from_secs(secs) }
}

fn about(id: &str, secs: u64) -> Ended {
    Ended::Subject { id: id.into(), not_before: Timestamp::from_secs(secs) }
}

fn jti(token: &str) -> tokenry_core::family::FamilyId {
    let claims = Compact::parse(token).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(
        &base64::Engine::decode(
            &base64::prelude::BASE64_URL_SAFE_NO_PAD,
            token.split('.').nth(1).unwrap_or_default(),
        )
        .unwrap(),
    )
    .unwrap_or_else(|_| panic!("{claims:?}"));
    claims["jti"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_at_once_what_was_revoked_here() {
    let house = house().await;
    house.keep_up();
    let mut follower = house.follow("api", None).await;
    assert_eq!(follower.headers["content-type"], "text/event-stream");
    assert_eq!(follower.headers["cache-control"], "no-store");
    assert_eq!(follower.all().await, (vec![], None));
    let granted = house.token(&billing(), CC).await;
    let (access, refresh) = (granted.field("access_token"), granted.field("refresh_token"));

    let before = Instant::now();
    house.revoke(&access).await;
    let (_, told) = follower.revoked().await;
    assert_eq!(told.ended, Ended::Token(jti(&access)));
    assert_eq!(told.until, START + Duration::from_secs(300), "when it expires");
    house.revoke(&refresh).await;
    let (_, told) = follower.revoked().await;
    assert_eq!(told.ended, Ended::Token(family(&refresh)));
    assert_eq!(told.until, START + Duration::from_secs(301), "when its access tokens have expired");

    let refresh = house.token(&billing(), CC).await.field("refresh_token");
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    let successor = house.token(&billing(), &form).await.field("refresh_token");
    let form2 = format!("grant_type=refresh_token&refresh_token={successor}");
    house.token(&billing(), &form2).await;
    assert_eq!(house.token(&billing(), &form).await.refusal().0, 400);
    let (_, told) = follower.revoked().await;
    assert_eq!(told.ended, Ended::Token(family(&refresh)));
    assert_eq!(told.until, START + Duration::from_secs(301), "as are those of that family");
    assert_eq!(Instant::now(), before, "nobody has waited for a look");
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_what_others_have_changed() {
    let house = house().await;
    house.keep_up();
    house.change_elsewhere(Change::PutUser(user("alice", "secret"))).await;
    let mut follower = house.follow("api", None).await;
    follower.all().await;
    let id = user("alice", "secret").subject;
    let late = START + Duration::from_millis(5_001);
    let alice = tokenry_core::User { not_before: late, ..user("alice", "secret") };
    let kid = house.store.load().await.unwrap().keys[0].kid.clone();
    let not_before = Timestamp::from_secs(START.as_secs() + 6);
    let (realm_name, all) = ("r".to_owned(), Realm { not_before: late, ..realm() });
    let cases = [
        (
            Change::PutClient(Client { enabled: false, ..client("billing") }),
            vec![of_client("billing", SETTLED), about("billing", SETTLED)],
        ),
        (
            Change::RemoveClient { realm: realm_name.clone(), client: "other".into() },
            vec![of_client("other", SETTLED), about("other", SETTLED)],
        ),
        // A token says whole seconds, and those of the sixth were issued before in part: as introspection has it.
        (Change::PutUser(alice), vec![about(&id, START.as_secs() + 6)]),
        (Change::RemoveKey { realm: realm_name, kid: kid.clone() }, vec![Ended::Key(kid)]),
        (Change::PutRealm(all), vec![Ended::All { not_before }]),
    ];
    for (change, expected) in cases {
        let before = Instant::now();
        house.change_elsewhere(change).await;
        for expected in expected {
            let (_, told) = follower.revoked().await;
            assert_eq!(told.ended, expected);
            assert!(told.until >= START + DAY, "{told:?}");
        }
        assert!(before.elapsed() <= Duration::from_millis(200));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_feed_says_is_what_introspection_says() {
    for millis in [0, 1, 999, 1000, 1001] {
        let house = house().await;
        house.keep_up();
        let mut follower = house.follow("api", None).await;
        follower.all().await;
        let token = house.token(&billing(), CC).await.field("access_token");
        let not_before = START + Duration::from_millis(millis);
        house.change(vec![Change::PutClient(Client { not_before, ..client("billing") })]).await;
        let form = format!("token={token}");
        let auth = basic(&pair("api"));
        let answer = house.post_to("/introspect", &[("authorization", &auth)], &form).await;
        let ended = follower.revoked().await.1.ended;
        follower.revoked().await;
        let issued_at = house.verify(&token, "/jwks").await.iat;
        let client = Some("billing");
        let marks = tokenry_core::revocation::Marks { client, issued_at, ..Default::default() };
        assert_eq!(answer.json()["active"] == false, ended.covers(&marks), "{millis}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_is_told_what_came_since_in_order_and_once() {
    let house = house().await;
    house.keep_up();
    let revoke = async |number: u128| {
        let id = tokenry_core::family::FamilyId(number.to_be_bytes());
        house.store.revoke_family("r", "billing", id, START, START + DAY).await.unwrap();
        Ended::Token(id)
    };
    let (mut expected, mut told, mut cursor) = (Vec::new(), Vec::new(), None::<String>);
    let mut number = 0;
    for round in 0..20 {
        let mut follower = house.follow("api", cursor.as_deref()).await;
        for _ in 0..round % 4 {
            number += 1;
            expected.push(revoke(number).await);
        }
        // Cut wherever it may be, also before it has caught up.
        while told.len() < expected.len().saturating_sub(round % 3) {
            let (at, revocation) = follower.revoked().await;
            told.push(revocation.ended);
            cursor = Some(at);
        }
    }
    let mut follower = house.follow("api", cursor.as_deref()).await;
    let (rest, at) = follower.all().await;
    told.extend(rest);
    assert_eq!(told, expected);
    assert_eq!(at.unwrap(), format!("{number}-{}", START.as_millis()));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_store_is_of_no_use() {
    let house = house().await;
    house.keep_up();
    let id = tokenry_core::family::FamilyId([7; 16]);
    house.store.revoke_family("r", "billing", id, START, START + DAY).await.unwrap();
    let known = format!("1-{}", START.as_millis());
    let later = format!("1-{}", START.as_millis() + 1);
    let other_forms = [format!("0{known}"), format!("+{known}"), format!("{known}-u")];
    let other_forms = other_forms.iter().map(String::as_str);
    let others = ["", "x", "0-0", "1", "1-1", &later, "2-1", "99-1700000000000", "é"];
    for cursor in others.into_iter().chain(other_forms) {
        let mut follower = house.follow("api", Some(cursor)).await;
        assert_eq!(follower.next().await, Some(Event::Reset), "{cursor}");
        assert_eq!(follower.all().await, (vec![Ended::Token(id)], Some(known.clone())), "{cursor}");
    }
    let mut follower = house.follow("api", Some(&known)).await;
    assert_eq!(follower.all().await, (vec![], Some(known)));
}

#[tokio::test(start_paused = true)]
async fn another_store_under_a_running_server_is_noticed() {
    let (old, new) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let ids = [1, 2, 3].map(|n| tokenry_core::family::FamilyId([n; 16]));
    for (store, revoked) in [(&old, &ids[..]), (&new, &ids[..1])] {
        store.change(clients(), None, START).await.unwrap();
        for id in revoked {
            store.revoke_family("r", "billing", *id, START, START + DAY).await.unwrap();
        }
    }
    let store = Arc::new(Watched::of(old));
    let house = House::on(Arc::clone(&store) as Arc<dyn Store>, vec![]).await;
    let house = House { host: "auth.example".into(), ..house };
    house.keep_up();
    let mut follower = house.follow("api", None).await;
    assert_eq!(follower.all().await.0.len(), 3);
    store.replace(new);
    while follower.next().await != Some(Event::Reset) {}
    assert_eq!(follower.rest().await, [Ended::Token(ids[0])]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_introspects_nothing_is_told_of_its_own_tokens() {
    let house = house().await;
    house.keep_up();
    let machine = Client {
        grants: [tokenry_core::request::GrantType::ClientCredentials].into(),
        ..client("machine")
    };
    let alice = || Change::PutUser(user("alice", "secret"));
    house
        .change(vec![
            Change::PutClient(machine),
            put_credential("machine", credential("c", SECRET)),
            alice(),
            Change::PutClient(client("gone")),
        ])
        .await;
    for client in ["billing", "other", "machine"] {
        let id = tokenry_core::family::FamilyId::new(START, [client.as_bytes()[0]; 10]);
        house.store.revoke_family("r", client, id, START, START + DAY).await.unwrap();
    }
    let kid = house.store.load().await.unwrap().keys[0].kid.clone();
    house.change_elsewhere(Change::RemoveClient { realm: "r".into(), client: "gone".into() }).await;
    house.change_elsewhere(Change::RemoveUser { realm: "r".into(), user: "alice".into() }).await;
    house.change_elsewhere(Change::RemoveKey { realm: "r".into(), kid: kid.clone() }).await;

    let (all, cursor) = house.follow("api", None).await.all().await;
    assert_eq!(all.len(), 7, "{all:?}");
    let subject = about(&user("alice", "secret").subject, SETTLED);
    let own = |client: &str| {
        Ended::Token(tokenry_core::family::FamilyId::new(START, [client.as_bytes()[0]; 10]))
    };
    for (client, expected) in [
        ("billing", vec![own("billing"), subject.clone(), Ended::Key(kid.clone())]),
        ("other", vec![own("other"), subject, Ended::Key(kid.clone())]),
        // It can have no tokens about users.
        ("machine", vec![own("machine"), Ended::Key(kid)]),
    ] {
        let told = house.follow(client, None).await.all().await;
        assert_eq!(told.0, expected, "{client}");
        // The cursor says up to where there was anything for anybody; and what was told, since who is told more from now
        // on has missed something.
        let own = told.1.unwrap();
        assert!(own.starts_with(cursor.as_deref().unwrap()), "{own}");
        assert_eq!(house.follow(client, Some(&own)).await.all().await, (vec![], Some(own.clone())));
        let mut more = house.follow("api", Some(&own)).await;
        assert_eq!(more.next().await, Some(Event::Reset), "{client}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_realm_has_a_feed_of_its_own() {
    let house = house().await;
    house.keep_up();
    let mut second = Realm { name: "s".into(), ..realm() };
    second.issuer = "https://auth.example/s".parse().unwrap();
    house.change(vec![Change::PutRealm(second)]).await;
    let id = tokenry_core::family::FamilyId([1; 16]);
    house.store.revoke_family("s", "billing", id, START, START + DAY).await.unwrap();
    assert_eq!(house.follow("api", None).await.all().await.0, []);
}

#[tokio::test]
async fn two_nodes_on_one_file_tell_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.db");
    let open = || Arc::new(Sqlite::open(&path, &sqlite::Options::default()).unwrap());
    let a = House::on(open(), clients()).await;
    let b = House::on(open(), vec![]).await;
    let b = House { host: a.host.clone(), ..b };
    a.keep_up();
    b.keep_up();
    let mut follower = b.follow("api", None).await;
    follower.all().await;
    let refresh = a.token(&billing(), CC).await.field("refresh_token");
    a.revoke(&refresh).await;
    let (cursor, told) = follower.revoked().await;
    assert_eq!(told.ended, Ended::Token(family(&refresh)));
    // What one node has told, the other goes on from.
    assert_eq!(a.follow("api", Some(&cursor)).await.all().await, (vec![], Some(cursor)));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_to_be_current_while_the_store_is_down() {
    let store = Arc::new(Watched::default());
    let house = House::on(Arc::clone(&store) as Arc<dyn Store>, clients()).await;
    house.keep_up();
    let mut follower = house.follow("api", None).await;
    follower.all().await;
    // It is told again and again.
    let before = Instant::now();
    for _ in 0..3 {
        assert_eq!(follower.next().await, Some(Event::Current { cursor: None, everything: true }));
    }
    assert!(before.elapsed() <= CURRENT_EVERY * 3);
    store.down.store(true, Ordering::Relaxed);
    assert_eq!(house.try_follow("api", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let down = Instant::now();
    let told = tokio::time::timeout(CURRENT_EVERY * 10, follower.next()).await;
    assert!(told.is_err(), "{told:?}");
    assert!(follower.comments >= 9, "the connection lives");
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(follower.next().await, Some(Event::Current { cursor: None, everything: true }));
    assert!(down.elapsed() <= CURRENT_EVERY * 11);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_read_once_for_all_and_not_at_all_for_nobody() {
    let store = Arc::new(Watched::default());
    let house = House::on(Arc::clone(&store) as Arc<dyn Store>, clients()).await;
    house.keep_up();
    let read = || store.logs_read.swap(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    house.revoke(&house.token(&billing(), CC).await.field("access_token")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(read(), 0);
    let mut followers = Vec::new();
    for _ in 0..50 {
        let mut follower = house.follow("api", None).await;
        follower.all().await;
        followers.push(follower);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    read();
    house.revoke(&house.token(&billing(), CC).await.field("access_token")).await;
    for follower in &mut followers {
        follower.revoked().await;
    }
    assert_eq!(read(), 1);
    assert_eq!(house.metric("feed_followers").await, 50);
    assert_eq!(house.metric("feed_revocations_told_total").await, 100);
    assert_eq!(house.metric("feed_replays_total").await, 50);
}

#[tokio::test(start_paused = true)]
async fn no_more_follow_than_may() {
    let limits = Limits { max_followers: 3, max_followers_per_client: 2, ..Limits::default() };
    let house = House::limited(limits, clients()).await;
    house.keep_up();
    let first = house.follow("api", None).await;
    let second = house.follow("api", None).await;
    let full = house.try_follow("api", None).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.headers().contains_key("retry-after"));
    let third = house.follow("other", None).await;
    assert_eq!(house.try_follow("billing", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    let again = house.follow("api", None).await;
    drop((second, third, again));
    assert_eq!(house.metric("feed_followers").await, 0);
    house.follow("api", None).await;
    house.follow("api", None).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_the_places_are_for_those_that_are_told_everything() {
    let limits = Limits { max_followers: 7, ..Limits::default() };
    let house = House::limited(limits, clients()).await;
    house.keep_up();
    let mut others = Vec::new();
    for id in ["other", "billing", "other"] {
        others.push(house.follow(id, None).await);
    }
    for id in ["other", "billing"] {
        assert_eq!(house.try_follow(id, None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut verifiers = Vec::new();
    for _ in 0..4 {
        verifiers.push(house.follow("api", None).await);
    }
    assert_eq!(house.try_follow("api", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // What others leave is theirs as well.
    others.pop();
    verifiers.push(house.follow("api", None).await);
    assert_eq!(house.try_follow("other", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    verifiers.pop();
    others.push(house.follow("other", None).await);
    drop((others, verifiers));
    assert_eq!(house.metric("feed_followers").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_told_everything_has_few_places() {
    for (limit, of_other, of_api) in [(200, 20, 30), (5, 5, 5)] {
        let limits = Limits { max_followers_per_client: limit, ..Limits::default() };
        let house = House::limited(limits, clients()).await;
        house.keep_up();
        for (id, expected) in [("other", of_other), ("api", of_api)] {
            let mut followers = Vec::new();
            while followers.len() < 30 {
                let answer = house.try_follow(id, None).await;
                if answer.status() != StatusCode::OK {
                    break;
                }
                followers.push(answer);
            }
            assert_eq!(followers.len(), expected, "{id} of {limit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_realm_does_not_keep_another_out() {
    let limits = Limits { max_followers: 6, ..Limits::default() };
    let mut second = Realm { name: "s".into(), ..realm() };
    second.issuer = "https://auth.example/s".parse().unwrap();
    let mut changes = clients();
    changes.push(Change::PutRealm(second));
    for change in clients() {
        match change {
            Change::PutClient(client) => {
                changes.push(Change::PutClient(Client { realm: "s".into(), ..client }));
            }
            Change::PutCredential { client, credential, .. } => {
                let realm = "s".into();
                changes.push(Change::PutCredential { realm, client, credential });
            }
            _ => {}
        }
    }
    let house = House::limited(limits, changes).await;
    house.keep_up();
    let of_second = async |id: &str| {
        let request = Request::get("/s/revocations").header("authorization", basic(&pair(id)));
        house.ask(request, "").await
    };
    let mut first = Vec::new();
    for _ in 0..6 {
        let mut follower = house.follow("api", None).await;
        follower.all().await;
        first.push(follower);
    }
    let mut second = Vec::new();
    for _ in 0..3 {
        // The newest of the other realm makes room, at once.
        let mut newest = first.pop().unwrap();
        let newest = tokio::spawn(async move { newest.rest().await });
        tokio::task::yield_now().await;
        let before = Instant::now();
        second.push(Follower::of(of_second("api").await));
        assert_eq!(newest.await.unwrap(), []);
        assert_eq!(Instant::now(), before);
    }
    let full = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(of_second("api").await.status(), full);
    assert_eq!(house.try_follow("api", None).await.status(), full);
    // Who is told less takes nothing from those.
    assert_eq!(of_second("other").await.status(), full);
    for follower in first.iter_mut().chain(&mut second) {
        follower.all().await;
    }
    assert_eq!(house.metric("feed_followers").await, 6);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_listen_loses_the_place_and_others_notice_nothing() {
    let limits = Limits { max_followers: 2, ..Limits::default() };
    let house = House::limited(limits, clients()).await;
    house.keep_up();
    let mut deaf = house.follow("api", None).await;
    deaf.all().await;
    let mut awake = house.follow("api", None).await;
    awake.all().await;
    for number in 0..20_u8 {
        let id = tokenry_core::family::FamilyId([number; 16]);
        house.store.revoke_family("r", "billing", id, START, START + DAY).await.unwrap();
        assert_eq!(awake.revoked().await.1.ended, Ended::Token(id));
        while !matches!(awake.next().await, Some(Event::Current { .. })) {}
    }
    assert_eq!(house.metric("feed_followers").await, 1);
    house.follow("other", None).await;
    assert_eq!(deaf.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_changes_shows_again_who_it_is() {
    let house = house().await;
    house.keep_up();
    let api = clients()
        .into_iter()
        .find_map(|change| match change {
            Change::PutClient(client) if client.id == "api" => Some(client),
            _ => None,
        })
        .unwrap();
    let mut untouched = house.follow("other", None).await;
    untouched.all().await;

    // It goes on where it was.
    let mut follower = house.follow("api", None).await;
    follower.all().await;
    house
        .change_elsewhere(put_credential("api", credential("d", "another-0123456789-secret")))
        .await;
    assert_eq!(follower.rest().await, []);
    let mut follower = house.follow("api", None).await;
    follower.all().await;

    // What has ended it is told first.
    house.change_elsewhere(Change::PutClient(Client { enabled: false, ..api })).await;
    assert_eq!(follower.rest().await, [of_client("api", SETTLED), about("api", SETTLED)]);
    assert_eq!(house.try_follow("api", None).await.status(), StatusCode::UNAUTHORIZED);

    house.change_elsewhere(Change::RemoveRealm { realm: "r".into() }).await;
    let not_before = Timestamp::from_secs(SETTLED);
    assert_eq!(untouched.rest().await, [Ended::All { not_before }]);
    assert_eq!(house.try_follow("other", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_whether_it_is_told_everything() {
    let house = house().await;
    house.keep_up();
    let current = async |id: &str| house.follow(id, None).await.next().await.unwrap();
    let expected = |everything| Event::Current { cursor: None, everything };
    for (id, everything) in [("api", true), ("billing", false), ("other", false)] {
        assert_eq!(current(id).await, expected(everything), "{id}");
    }
    // For one audience alone, it may ask about tokens of anybody for that audience.
    let introspects = Particulars { introspects: vec!["api".into()], ..Particulars::default() };
    let narrow = Client { particulars: introspects.boxed(), ..client("other") };
    house.change(vec![Change::PutClient(narrow)]).await;
    assert_eq!(current("other").await, expected(true));
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_follower_is_told_before_it_ends() {
    // Nothing runs beside: what is known of the change is known by the one that ends the stream.
    let house = house().await;
    let mut follower = house.follow("other", None).await;
    follower.all().await;
    let disabled = Client { enabled: false, ..client("other") };
    house.change(vec![Change::PutClient(disabled)]).await;
    assert_eq!(follower.rest().await, [of_client("other", SETTLED), about("other", SETTLED)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_lasts_ten_minutes_at_most() {
    let house = house().await;
    house.keep_up();
    let mut follower = house.follow("api", None).await;
    let began = Instant::now();
    assert_eq!(follower.rest().await, []);
    let lasted = began.elapsed();
    let (least, most) = (Duration::from_secs(480), Duration::from_secs(605));
    assert!(least <= lasted && lasted <= most, "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_is_held_is_read_from_the_store() {
    const ROWS: u32 = 9_000;
    let house = house().await;
    house.keep_up();
    let id = |n: u32| tokenry_core::family::FamilyId(u128::from(n).to_be_bytes());
    for number in 1..=ROWS {
        let client = if number % 3 == 0 { "billing" } else { "other" };
        house.store.revoke_family("r", client, id(number), START, START + DAY).await.unwrap();
    }
    let (all, cursor) = house.follow("api", None).await.all().await;
    assert!(all.iter().eq((1..=ROWS).map(|n| Ended::Token(id(n))).collect::<Vec<_>>().iter()));
    let (own, same) = house.follow("billing", None).await.all().await;
    assert_eq!(own.len(), ROWS as usize / 3);
    assert_eq!(cursor.unwrap() + "-u", same.unwrap());
    let early = format!("10-{}", START.as_millis());
    let (rest, _) = house.follow("api", Some(&early)).await.all().await;
    assert_eq!(rest.len(), ROWS as usize - 10);
}

#[tokio::test]
async fn who_may_follow_and_how() {
    let house = house().await;
    let form = format!("client_id=api&client_secret={SECRET}");
    let post = || {
        Request::post("/revocations").header("content-type", "application/x-www-form-urlencoded")
    };
    assert_eq!(house.ask(post(), &form).await.status(), StatusCode::OK);
    assert_eq!(house.try_follow("api", None).await.status(), StatusCode::OK);

    let refused = async |request: http::request::Builder, body: &str| {
        let answer = house.ask(request, body).await;
        let (parts, body) = answer.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        (parts.status.as_u16(), json["error"].as_str().unwrap().to_owned())
    };
    let get = |path: &str| Request::get(path.to_owned());
    let invalid_client = (401, "invalid_client".to_owned());
    let invalid_request = (400, "invalid_request".to_owned());
    assert_eq!(refused(get("/revocations"), "").await, invalid_client);
    let wrong = get("/revocations").header("authorization", basic("api:wrong"));
    assert_eq!(refused(wrong, "").await, invalid_client);
    // RFC 6749 §2.3.1: credentials "MUST NOT be included in the request URI".
    let in_url = format!("/revocations?client_id=api&client_secret={SECRET}");
    assert_eq!(refused(get(&in_url), "").await, invalid_request);
    let twice = format!("{form}&client_id=api");
    assert_eq!(refused(post(), &twice).await, invalid_request);
    let put = Request::builder().method(Method::PUT).uri("/revocations");
    let answer = house.ask(put, "").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
}

#[tokio::test]
async fn row_166_the_feed_answers_where_the_metadata_say() {
    let keycloak = Realm {
        issuer: "https://auth.example/realms/acme".parse().unwrap(),
        dialect: tokenry_core::realm::Dialect::Keycloak,
        ..realm()
    };
    let below = "/realms/acme/protocol/openid-connect";
    for (realm, metadata, path, introspection) in [
        (
            realm(),
            "/.well-known/oauth-authorization-server",
            "/revocations".into(),
            "/introspect".into(),
        ),
        (
            keycloak,
            "/realms/acme/.well-known/openid-configuration",
            format!("{below}/revocations"),
            format!("{below}/token/introspect"),
        ),
    ] {
        let mut changes = clients();
        changes[0] = Change::PutRealm(realm);
        let house = House::with(changes).await;
        let named = house.get(metadata).await.field("revocation_feed_endpoint");
        assert_eq!(named, format!("https://auth.example{path}"));
        let request = || Request::get(&path);
        let auth = basic(&pair("api"));
        let answer = house.ask(request().header("authorization", auth), "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        // Who is nobody is told what introspection tells them.
        let feed = house.ask(request(), "").await;
        let other = house.post_to(&introspection, &[], "token=x").await;
        assert_eq!(feed.status(), other.status);
        let feed = feed.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(feed, other.text.as_bytes());
    }
}

fn get(id: &str) -> String {
    let auth = basic(&pair(id));
    format!("GET /revocations HTTP/1.1\r\nhost: auth.example\r\nauthorization: {auth}\r\n\r\n")
}

/// Reads until a text has come so often.
async fn read_until(stream: &mut TcpStream, text: &str, times: usize) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while String::from_utf8_lossy(&read).matches(text).count() < times {
        let n = stream.read(&mut piece).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..n]);
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_follower_takes_no_place_of_a_request_and_is_not_idle() {
    let limits =
        Limits { max_requests: 1, header_timeout: Duration::from_millis(20), ..Limits::default() };
    let running = start_of(clients(), limits, None).await;
    let mut follower = TcpStream::connect(running.address).await.unwrap();
    follower.write_all(get("api").as_bytes()).await.unwrap();
    read_until(&mut follower, "event: current", 1).await;
    // One that says nothing is closed meanwhile, several times over.
    for _ in 0..3 {
        let mut idle = TcpStream::connect(running.address).await.unwrap();
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
    }
    let mut second = TcpStream::connect(running.address).await.unwrap();
    second.write_all(get("api").as_bytes()).await.unwrap();
    read_until(&mut second, "event: current", 1).await;
    let mut piece = [0; 16];
    let nothing = follower.try_read(&mut piece).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "it is still there");
}

#[tokio::test]
async fn a_shutdown_ends_streams_at_once() {
    let hour = Duration::from_secs(3600);
    let limits = Limits { drain_timeout: hour, header_timeout: hour, ..Limits::default() };
    let running = start_of(clients(), limits, None).await;
    let mut follower = TcpStream::connect(running.address).await.unwrap();
    follower.write_all(get("api").as_bytes()).await.unwrap();
    let head = read_until(&mut follower, "event: current", 1).await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    stop(running).await;
    let mut rest = String::new();
    follower.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "complete: {rest:?}");
}

#[tokio::test]
async fn a_shutdown_ends_streams_of_http_2_at_once_too() {
    let made = rcgen::generate_simple_self_signed(["auth.example".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(pem.0.as_bytes(), pem.1.as_bytes()).unwrap();
    let hour = Duration::from_secs(3600);
    let limits = Limits { drain_timeout: hour, header_timeout: hour, ..Limits::default() };
    let running = start_of(clients(), limits, Some(tls)).await;

    let stream = connect_h2(running.address, made.cert.der().clone()).await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://auth.example/revocations")
        .header("authorization", basic(&pair("api")))
        .body(http_body_util::Empty::<Bytes>::new())
        .unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: current"), "{first:?}");
    stop(running).await;
    // An error where it were cut off.
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), Bytes::new());
    drop(sender);
    connection.await.unwrap().unwrap();
}

async fn connect_h2(
    address: std::net::SocketAddr,
    certificate: rustls_pki_types::CertificateDer<'static>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(address).await.unwrap();
    connector.connect("auth.example".try_into().unwrap(), socket).await.unwrap()
}
