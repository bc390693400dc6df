//! Status lists (draft-ietf-oauth-status-list-21): places of tokens, and what is told of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokenry_core::jose::Claims;
use tokenry_core::jose::jws::Compact;
use tokenry_core::realm::Rotate;
use tokenry_core::status_list::{Place, Reference, Status, StatusListToken};
use tokenry_core::{Client, Particulars, Realm};
use tokenry_store::Change;

use crate::house::{
    Answer, House, SECRET, START, basic, billing, client, credential, put_credential, realm,
    refusal,
};
use crate::keycloak::{TOKEN, keycloak};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";
const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A realm with lists and refresh tokens.
fn listed() -> Realm {
    let mut realm = realm();
    realm.tokens.status_list = true;
    realm
}

/// A realm with lists and without refresh tokens.
fn alone() -> Realm {
    let mut realm = listed();
    realm.tokens.refresh = None;
    realm
}

fn changes(realm: Realm) -> Vec<Change> {
    let mut changes = vec![Change::PutRealm(realm)];
    for (number, id) in ["billing", "gateway"].into_iter().enumerate() {
        changes.push(Change::PutClient(client(id)));
        changes.push(put_credential(id, credential(&format!("cred-{number:03}"), SECRET)));
    }
    changes
}

/// Another node on the same store.
async fn another(house: &House) -> House {
    let node = House::on(Arc::clone(&house.store), Vec::new()).await;
    House { host: house.host.clone(), ..node }
}

async fn claims(house: &House, token: &str) -> Claims {
    house.verify(token, "/jwks").await
}

async fn reference(house: &House, token: &str) -> Reference {
    Reference::of(&claims(house, token).await).unwrap().unwrap()
}

fn place(id: &str) -> Option<Place> {
    Place::of(id.parse().unwrap())
}

fn path(uri: &str) -> &str {
    uri.strip_prefix("https://auth.example").unwrap()
}

/// What this node's list says of a token now, its signature checked.
async fn status(house: &House, token: &str) -> Status {
    let Reference { idx, uri } = reference(house, token).await;
    list(house, &house.get(path(&uri)).await, &uri).await.list.status(idx).unwrap()
}

async fn list(house: &House, answer: &Answer, uri: &str) -> StatusListToken {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let claims = house.verify(&answer.text, "/jwks").await;
    let typ = Compact::parse(&answer.text).unwrap().header().typ().map(str::to_owned);
    StatusListToken::read(typ.as_deref(), &claims, uri, house.app.now()).unwrap()
}

async fn revoke(house: &House, id: &str, token: &str) -> StatusCode {
    let basic = basic(&format!("{id}:{SECRET}"));
    let body = format!("token={token}");
    house.post_to("/revoke", &[("authorization", &basic)], &body).await.status
}

async fn refresh(house: &House, token: &str) -> Answer {
    house.token(&billing(), &format!("grant_type=refresh_token&refresh_token={token}")).await
}

#[tokio::test]
async fn row_193_a_token_names_its_place_and_so_does_what_would_be_revoked() {
    let house = House::of(alone()).await;
    for index in 0..3 {
        let token = house.token(&billing(), CC).await.field("access_token");
        let claims = claims(&house, &token).await;
        let Reference { idx, uri } = Reference::of(&claims).unwrap().unwrap();
        assert_eq!((idx, &*uri), (index, "https://auth.example/status-lists/0"));
        let own = Place { list: 0, index: index as u16 };
        assert_eq!(place(claims.jti.as_deref().unwrap()), Some(own));
    }
}

#[tokio::test]
async fn row_193_tokens_of_one_family_share_its_place() {
    for policy in [Rotate::Rotate, Rotate::Reissue, Rotate::Keep] {
        let mut realm = listed();
        realm.tokens.refresh.as_mut().unwrap().policy = policy;
        let house = House::of(realm).await;
        let first = house.token(&billing(), CC).await;
        let second = refresh(&house, &first.field("refresh_token")).await;
        let other = house.token(&billing(), CC).await;
        let mut seen = Vec::new();
        for answer in [&first, &second, &other] {
            let claims = claims(&house, &answer.field("access_token")).await;
            let idx = Reference::of(&claims).unwrap().unwrap().idx;
            let sid = claims.other["sid"].as_str().unwrap().to_owned();
            assert_eq!(place(&sid).map(|place| u64::from(place.index)), Some(idx));
            assert_eq!(place(claims.jti.as_deref().unwrap()), None);
            seen.push((idx, sid));
        }
        assert_eq!(seen[0], seen[1], "{policy:?}");
        assert_ne!(seen[0], seen[2]);
    }
}

#[tokio::test]
async fn row_193_the_list_is_signed_and_says_what_it_is() {
    let house = House::of(alone()).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    let uri = "https://auth.example/status-lists/0";
    let answer = house.get("/status-lists/0").await;
    assert_eq!(answer.headers["content-type"], "application/statuslist+jwt");
    assert_eq!(answer.headers["cache-control"], "public, max-age=60");
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let header = Compact::parse(&answer.text).unwrap().header().typ().map(str::to_owned);
    assert_eq!(header.as_deref(), Some("statuslist+jwt"));
    let read = list(&house, &answer, uri).await;
    assert_eq!((read.issued_at, read.ttl), (START, Some(Duration::from_secs(60))));
    assert_eq!(read.expires_at, Some(START + Duration::from_secs(300)));
    assert_eq!((read.list.bits(), read.list.len()), (1, 65_536));
    assert_eq!(status(&house, &token).await, Status::Valid);

    let get = Request::get("/status-lists/0").header("host", &house.host);
    let again = get.header("if-none-match", answer.headers["etag"].clone());
    let again = house.send(again.body(Bytes::new()).unwrap()).await;
    assert_eq!((again.status, &*again.text), (StatusCode::NOT_MODIFIED, ""));
    for (method, status) in [
        (Method::HEAD, StatusCode::OK),
        (Method::OPTIONS, StatusCode::NO_CONTENT),
        (Method::POST, StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let other = house.request(method.clone(), "/status-lists/0").await;
        assert_eq!(other.status, status, "{method}");
        assert_eq!(other.headers.contains_key("allow"), method != Method::HEAD);
    }
}

#[tokio::test]
async fn row_193_a_revoked_access_token_is_told_at_once_and_no_other() {
    let store = Arc::new(Watched::default());
    // No snapshot ever tells it: what this node has revoked it knows by itself.
    store.behind.store(true, Ordering::Relaxed);
    let house = House::on(store, changes(alone())).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(house.token(&billing(), CC).await.field("access_token"));
    }
    assert_eq!(status(&house, &tokens[1]).await, Status::Valid);
    assert_eq!(revoke(&house, "billing", &tokens[1]).await, StatusCode::OK);
    assert_eq!(status(&house, &tokens[1]).await, Status::Invalid);
    for other in [&tokens[0], &tokens[2]] {
        assert_eq!(status(&house, other).await, Status::Valid);
    }
}

#[tokio::test]
async fn row_193_what_ends_a_family_ends_it_in_the_list() {
    type End = for<'a> fn(&'a House, &'a Answer) -> futures::End<'a>;
    let ends: [(&str, End); 3] = [
        ("its refresh token is revoked", |house, first| {
            Box::pin(async move {
                revoke(house, "billing", &first.field("refresh_token")).await;
            })
        }),
        ("an access token of it is revoked", |house, first| {
            Box::pin(async move {
                revoke(house, "billing", &first.field("access_token")).await;
            })
        }),
        ("a refresh token is used twice", |house, first| {
            Box::pin(async move {
                let used = first.field("refresh_token");
                assert_eq!(refresh(house, &used).await.status, StatusCode::OK);
                house.clock.advance(Duration::from_secs(31));
                assert_eq!(refresh(house, &used).await.refusal(), refusal(400, "invalid_grant"));
            })
        }),
    ];
    for (name, end) in ends {
        let house = House::with(changes(listed())).await;
        let other = house.token(&billing(), CC).await;
        let first = house.token(&billing(), CC).await;
        let token = first.field("access_token");
        assert_eq!(status(&house, &token).await, Status::Valid, "{name}");
        end(&house, &first).await;
        assert_eq!(status(&house, &token).await, Status::Invalid, "{name}");
        let again = refresh(&house, &first.field("refresh_token")).await;
        assert_eq!(again.refusal(), refusal(400, "invalid_grant"), "{name}");
        assert_eq!(status(&house, &other.field("access_token")).await, Status::Valid, "{name}");
    }
}

mod futures {
    use std::pin::Pin;

    pub(super) type End<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
}

#[tokio::test]
async fn row_193_a_family_that_ended_by_an_access_token_stays_ended_as_long_as_it_could_live() {
    let house = House::with(changes(listed())).await;
    let first = house.token(&billing(), CC).await;
    revoke(&house, "billing", &first.field("access_token")).await;
    // The access token is long gone; the refresh token would not be.
    house.clock.advance(Duration::from_secs(1799));
    house.store.collect_garbage(house.app.now()).await.unwrap();
    let another = another(&house).await;
    another.clock.advance(Duration::from_secs(1799));
    let again = refresh(&another, &first.field("refresh_token")).await;
    assert_eq!(again.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_193_every_node_tells_what_any_has_revoked() {
    let one = House::with(changes(alone())).await;
    let token = one.token(&billing(), CC).await.field("access_token");
    let two = another(&one).await;
    // It took no list itself.
    assert_eq!(status(&two, &token).await, Status::Valid);
    revoke(&one, "billing", &token).await;
    two.app.reload().await.unwrap();
    assert_eq!(status(&two, &token).await, Status::Invalid);
    one.app.reload().await.unwrap();
    assert_eq!(status(&one, &token).await, Status::Invalid);
    // What it gives out itself lies in another list.
    let other = two.token(&billing(), CC).await.field("access_token");
    assert_eq!(reference(&two, &other).await.uri, "https://auth.example/status-lists/1");
    assert_eq!(status(&one, &other).await, Status::Valid);
}

#[tokio::test]
async fn row_193_a_token_costs_no_write() {
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(listed())).await;
    for _ in 0..200 {
        house.token(&billing(), CC).await.field("access_token");
    }
    assert_eq!(store.written(), 1);
    // Not even the store need be there.
    store.down.store(true, Ordering::Relaxed);
    let last = house.token(&billing(), CC).await.field("access_token");
    assert_eq!(reference(&house, &last).await.idx, 200);
    store.down.store(false, Ordering::Relaxed);
    // A change of the realm does not begin another list.
    house.change(vec![Change::PutRealm(Realm { audience: vec!["b".into()], ..listed() })]).await;
    let next = house.token(&billing(), CC).await.field("access_token");
    assert_eq!(reference(&house, &next).await.idx, 201);
    // A node that begins anew does.
    let restarted = another(&house).await;
    for _ in 0..200 {
        restarted.token(&billing(), CC).await.field("access_token");
    }
    assert_eq!(store.written(), 2);
}

#[tokio::test]
async fn row_193_without_a_list_there_is_no_token() {
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(listed())).await;
    house.get("/jwks").await;
    // The client is held from here on.
    let basic = basic(&billing());
    house.post_to("/introspect", &[("authorization", &basic)], "token=x").await;
    store.down.store(true, Ordering::Relaxed);
    let answer = house.token(&billing(), CC).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(house.token(&billing(), CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_193_without_the_setting_nothing_changes() {
    for realm in [realm(), without_refresh()] {
        let store = Arc::new(Watched::default());
        let house = House::on(store.clone(), changes(realm)).await;
        let answer = house.token(&billing(), CC).await;
        let claims = claims(&house, &answer.field("access_token")).await;
        assert_eq!(Reference::of(&claims), Ok(None));
        let others: Vec<_> = claims.other.keys().map(String::as_str).collect();
        assert!(others.is_empty() || others == ["sid"], "{others:?}");
        assert_eq!(place(claims.jti.as_deref().unwrap()), None);
        assert_eq!(house.get("/status-lists/0").await.status, StatusCode::NOT_FOUND);
        assert_eq!((store.written(), store.asked_for_lists.load(Ordering::Relaxed)), (0, 0));
        // An access token that came with a refresh token ends alone.
        revoke(&house, "billing", &answer.field("access_token")).await;
        if answer.fields().contains(&"refresh_token".to_owned()) {
            let again = refresh(&house, &answer.field("refresh_token")).await;
            assert_eq!(again.status, StatusCode::OK);
        }
    }
}

fn without_refresh() -> Realm {
    let mut realm = realm();
    realm.tokens.refresh = None;
    realm
}

#[tokio::test]
async fn row_193_a_family_that_began_without_a_place_goes_on_without() {
    let house = House::with(changes(realm())).await;
    let first = house.token(&billing(), CC).await;
    house.change(vec![Change::PutRealm(listed())]).await;
    let second = refresh(&house, &first.field("refresh_token")).await;
    let claims = claims(&house, &second.field("access_token")).await;
    assert_eq!(Reference::of(&claims), Ok(None));
    // And its access tokens end alone.
    revoke(&house, "billing", &second.field("access_token")).await;
    assert_eq!(refresh(&house, &second.field("refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_193_a_list_that_was_never_taken_is_not_there() {
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(listed())).await;
    let asked = || store.asked_for_lists.load(Ordering::Relaxed);
    assert_eq!(house.get("/status-lists/0").await.status, StatusCode::NOT_FOUND);
    house.token(&billing(), CC).await.field("access_token");
    assert_eq!(house.get("/status-lists/0").await.status, StatusCode::OK);
    for other in ["", "/", "/x", "/-1", "/00", "/+0", "/0/", "/0/0", "/4294967296"] {
        let answer = house.get(&format!("/status-lists{other}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{other}");
    }
    assert_eq!(asked(), 1);
    // Who asks for what is not there does not keep the store busy.
    house.clock.advance(Duration::from_millis(100));
    assert_eq!(house.get("/status-lists/1").await.status, StatusCode::NOT_FOUND);
    for number in 1..1000 {
        let answer = house.get(&format!("/status-lists/{number}")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(asked(), 2);
    assert_eq!(house.get("/status-lists/0").await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_193_a_list_is_signed_once_until_it_changes_or_is_old() {
    let house = House::with(changes(alone())).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    let get = || house.get("/status-lists/0");
    let first = get().await;
    house.clock.advance(Duration::from_secs(59));
    // Neither a token that is given nor one that is revoked elsewhere changes anything.
    house.token(&billing(), CC).await.field("access_token");
    assert_eq!(get().await, first);
    house.clock.advance(Duration::from_secs(1));
    let second = get().await;
    assert_ne!(second.text, first.text);
    assert_ne!(second.headers["etag"], first.headers["etag"]);
    revoke(&house, "billing", &token).await;
    let third = get().await;
    assert_ne!(third.text, second.text);
    // What the snapshot knows as well is no news.
    house.app.reload().await.unwrap();
    assert_eq!(get().await, third);
    // A key that is taken away signs nothing any more.
    let kid = house.store.load().await.unwrap().keys[0].kid.clone();
    house.change(vec![Change::RemoveKey { realm: "r".into(), kid }]).await;
    house.app.look_after_keys().await.unwrap();
    assert_ne!(get().await.text, third.text);
    assert_eq!(
        list(&house, &get().await, "https://auth.example/status-lists/0").await.list.len(),
        65_536
    );
}

#[tokio::test]
async fn row_193_nobody_keeps_the_server_signing() {
    let house = House::with(changes(alone())).await;
    let token = house.token(&billing(), CC).await.field("access_token");
    assert_eq!(status(&house, &token).await, Status::Valid);
    for _ in 1..200 {
        house.store.take_status_list("r").await.unwrap();
    }
    house.clock.advance(Duration::from_secs(100));
    let mut given = 0;
    for number in 1..200 {
        let answer = house.get(&format!("/status-lists/{number}")).await;
        given += usize::from(answer.status == StatusCode::OK);
        assert!(answer.status == StatusCode::OK || answer.headers["retry-after"] == "1");
    }
    assert_eq!(given, 100);
    // What is known is given as it was, and what has changed is signed.
    assert_eq!(status(&house, &token).await, Status::Valid);
    revoke(&house, "billing", &token).await;
    assert_eq!(status(&house, &token).await, Status::Invalid);
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.get("/status-lists/199").await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_193_nobody_who_asks_for_old_lists_keeps_those_in_use_from_being_signed() {
    let house = House::with(changes(alone())).await;
    for _ in 0..3000 {
        house.store.take_status_list("r").await.unwrap();
    }
    let statuses = async |numbers: std::ops::Range<u32>| {
        let mut given = Vec::new();
        for number in numbers {
            let answer = house.get(&format!("/status-lists/{number}")).await;
            if answer.status == StatusCode::OK {
                given.push(number);
            }
        }
        given
    };
    // How many there are is known from here on.
    assert_eq!(statuses(2999..3000).await, [2999]);
    assert_eq!(statuses(0..599).await, (0..10).collect::<Vec<_>>());
    assert_eq!(statuses(600..650).await.len(), 50, "the newest have their own");
    // What is in use is signed again in time, whatever is asked for besides.
    house.clock.advance(Duration::from_secs(61));
    statuses(100..599).await;
    let answer = house.get("/status-lists/0").await;
    let read = list(&house, &answer, "https://auth.example/status-lists/0").await;
    assert_eq!(read.issued_at, house.app.now());
}

#[tokio::test]
async fn row_193_a_store_that_fails_is_asked_no_more_often() {
    let store = Arc::new(Watched::default());
    let house = House::on(store.clone(), changes(listed())).await;
    store.down.store(true, Ordering::Relaxed);
    for number in 0..20 {
        let answer = house.get(&format!("/status-lists/{number}")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(store.asked_for_lists.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn row_193_an_exchanged_token_has_a_place_of_its_own() {
    let realm = Realm { audience: vec!["gateway".into()], ..listed() };
    let house = House::with(changes(realm)).await;
    let subject = house.token(&billing(), CC).await;
    let body = format!(
        "{EXCHANGE}&subject_token={}&subject_token_type={ACCESS}",
        subject.field("access_token")
    );
    let gateway = format!("gateway:{SECRET}");
    let exchanged = house.token(&gateway, &body).await.field("access_token");
    let theirs = reference(&house, &subject.field("access_token")).await;
    assert_ne!(reference(&house, &exchanged).await, theirs);
    // Who exchanged it gives back what it has, and nothing of somebody else.
    assert_eq!(revoke(&house, "gateway", &exchanged).await, StatusCode::OK);
    assert_eq!(status(&house, &exchanged).await, Status::Invalid);
    assert_eq!(status(&house, &subject.field("access_token")).await, Status::Valid);
    assert_eq!(refresh(&house, &subject.field("refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_193_opaque_tokens_and_tokens_given_again_take_no_place() {
    let mut realm = alone();
    realm.tokens.reuse = Some(Duration::from_secs(30));
    let house = House::with(changes(realm)).await;
    let first = house.token(&billing(), CC).await.field("access_token");
    for _ in 0..5 {
        assert_eq!(house.token(&billing(), CC).await.field("access_token"), first);
    }
    let next = house.token(&format!("gateway:{SECRET}"), CC).await.field("access_token");
    assert_eq!(reference(&house, &next).await.idx, 1);
    let opaque = Particulars { opaque: Some(true), ..Particulars::default() };
    let client = Client { particulars: opaque.boxed(), ..client("billing") };
    house.change(vec![Change::PutClient(client)]).await;
    assert!(house.token(&billing(), CC).await.field("access_token").starts_with("tka_"));
    let plain = house.token(&format!("gateway:{SECRET}"), &format!("{CC}&scope=read")).await;
    assert_eq!(reference(&house, &plain.field("access_token")).await.idx, 2);
}

#[tokio::test]
async fn row_193_keycloaks_tokens_name_a_place_too() {
    let mut realm = keycloak();
    realm.tokens.status_list = true;
    let house = House::of(realm).await;
    let answer = house.post_to(TOKEN, &[("authorization", &basic(&billing()))], CC).await;
    let below = TOKEN.strip_suffix("/token").unwrap();
    let jwks = format!("{below}/certs");
    let claims = house.verify(&answer.field("access_token"), &jwks).await;
    let Reference { idx, uri } = Reference::of(&claims).unwrap().unwrap();
    let path = format!("{below}/status-lists/0");
    assert_eq!(uri, format!("https://sso.example{path}"));
    let fetched = house.get(&path).await;
    let list = house.verify(&fetched.text, &jwks).await;
    assert_eq!(list.sub.as_ref(), Some(&uri));
    let read = StatusListToken::read(Some("statuslist+jwt"), &list, &uri, house.app.now());
    assert_eq!(read.unwrap().list.status(idx), Ok(Status::Valid));
    assert!(fetched.headers.contains_key("x-content-type-options"));
    let missing = house.get(&format!("{below}/status-lists/1")).await;
    assert_eq!(missing.refusal(), refusal(404, "HTTP 404 Not Found"));
}
