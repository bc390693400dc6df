//! Keys over the life of a realm.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokenry_core::jose::JwkSet;
use tokenry_core::jose::jws::Compact;
use tokenry_core::key::KeyRecord;
use tokenry_core::{Client, MasterKey, Realm};
use tokenry_server::{App, Limits, StartError};
use tokenry_store::{Change, Memory, Store};

use crate::house::{House, START, billing, realm};

const CC: &str = "grant_type=client_credentials";
const HOUR: Duration = Duration::from_secs(3600);

async fn kid(house: &House) -> String {
    let token = house.token(&billing(), CC).await.field("access_token");
    Compact::parse(&token).unwrap().header().kid().unwrap().to_owned()
}

async fn published(house: &House) -> Vec<String> {
    let set = JwkSet::parse(house.get("/jwks").await.text.as_bytes()).unwrap();
    set.keys().iter().map(|key| key.kid().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn row_159_keys_are_announced_before_they_sign_and_stay_after() {
    let house = House::of(realm()).await;
    let first = kid(&house).await;
    house.clock.advance(89 * 24 * HOUR);
    house.app.look_after_keys().await.unwrap();
    let both = published(&house).await;
    assert_eq!(both.len(), 2, "the successor is announced a day ahead");
    assert_eq!(kid(&house).await, first);

    house.clock.advance(24 * HOUR);
    house.app.look_after_keys().await.unwrap();
    let second = kid(&house).await;
    assert_ne!(second, first);
    assert_eq!(published(&house).await.len(), 2, "tokens of the first are about");

    house.clock.advance(2 * HOUR);
    house.app.look_after_keys().await.unwrap();
    house.app.reload().await.unwrap();
    assert_eq!(published(&house).await, [second]);
    assert_eq!(house.store.load().await.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn row_159_a_key_stays_as_long_as_the_longest_token_of_any_client() {
    let house = House::of(realm()).await;
    let long = Client { access: Some(20 * HOUR), ..crate::house::client("long") };
    house.change(vec![Change::PutClient(long)]).await;
    let first = kid(&house).await;
    for days in [89, 1] {
        house.clock.advance(days * 24 * HOUR);
        house.app.look_after_keys().await.unwrap();
    }
    assert_ne!(kid(&house).await, first);
    house.clock.advance(20 * HOUR);
    house.app.look_after_keys().await.unwrap();
    house.app.reload().await.unwrap();
    assert!(published(&house).await.contains(&first), "a token of the client may be about");
    house.clock.advance(4 * HOUR);
    house.app.reload().await.unwrap();
    assert!(!published(&house).await.contains(&first));
}

#[tokio::test]
async fn row_159_a_key_stays_as_long_as_tokens_of_a_lifetime_that_was_made_shorter() {
    let house = House::of(realm()).await;
    let long = |access| Change::PutClient(Client { access, ..crate::house::client("long") });
    house.change(vec![long(Some(20 * HOUR))]).await;
    let first = kid(&house).await;
    house.clock.advance(89 * 24 * HOUR);
    house.app.look_after_keys().await.unwrap();
    house.clock.advance(24 * HOUR);
    house.change(vec![long(None)]).await;
    house.app.reload().await.unwrap();
    house.app.look_after_keys().await.unwrap();
    assert_ne!(kid(&house).await, first);
    house.clock.advance(20 * HOUR);
    house.app.look_after_keys().await.unwrap();
    house.app.reload().await.unwrap();
    assert!(published(&house).await.contains(&first), "a token of the client may be about");
    assert_eq!(house.store.revocations(None, 9).await.unwrap(), [], "nobody's tokens have ended");
    house.clock.advance(4 * HOUR);
    house.app.reload().await.unwrap();
    assert!(!published(&house).await.contains(&first));
}

#[tokio::test]
async fn a_sealed_key_that_is_moved_to_another_realm_does_not_open() {
    let house = House::of(realm()).await;
    let first = kid(&house).await;
    let stolen = house.store.load().await.unwrap().keys.remove(0);
    let other =
        Realm { name: "s".into(), issuer: "https://other.example".parse().unwrap(), ..realm() };
    let moved = KeyRecord { realm: "s".into(), ..stolen };
    house.change(vec![Change::PutRealm(other), Change::PutKey(moved)]).await;
    let jwks = Request::get("https://other.example/jwks").body(Bytes::new()).unwrap();
    let answer = house.send(jwks).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.text.contains(&first), "{}", answer.text);
    assert!(answer.text.contains("\"kid\""), "the realm makes a key of its own: {}", answer.text);
    assert_eq!(published(&house).await, [first]);
}

#[tokio::test]
async fn row_161_a_key_that_is_removed_disappears_at_once() {
    let house = House::of(realm()).await;
    let first = kid(&house).await;
    house.change(vec![Change::RemoveKey { realm: "r".into(), kid: first.clone() }]).await;
    house.app.look_after_keys().await.unwrap();
    assert!(!published(&house).await.contains(&first));
    assert_ne!(kid(&house).await, first);
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let house = House::on(
        store.clone(),
        vec![
            Change::PutRealm(realm()),
            Change::PutClient(crate::house::client("billing")),
            crate::house::put_credential(
                "billing",
                crate::house::credential("cred-001", crate::house::SECRET),
            ),
        ],
    )
    .await;
    let before = kid(&house).await;
    let again = House::on(store, vec![Change::PutRealm(realm())]).await;
    assert_eq!(kid(&again).await, before);
}

#[tokio::test]
async fn two_nodes_that_start_at_once_agree_on_one_key() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    store.change(vec![Change::PutRealm(realm())], None, START).await.unwrap();
    let start = || async {
        let clock = Arc::new(tokenry_server::SystemClock);
        App::start(store.clone(), MasterKey::new([1; 32]), clock, Limits::default()).await.unwrap()
    };
    let (a, b) = tokio::join!(start(), start());
    for app in [a, b] {
        app.reload().await.unwrap();
        app.look_after_keys().await.unwrap();
    }
    assert_eq!(store.load().await.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_wrong_master_key_does_not_start() {
    let house = House::of(realm()).await;
    let before = house.store.load().await.unwrap();
    let started = App::start(
        house.store.clone(),
        MasterKey::new([0; 32]),
        house.clock.clone(),
        Limits::default(),
    )
    .await;
    assert!(matches!(started.unwrap_err(), StartError::WrongMasterKey));
    assert_eq!(house.store.load().await.unwrap().revision, before.revision);
}
