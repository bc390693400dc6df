//! Token reuse: the same token for who asks for the same again.

use std::time::Duration;

use tokenry_core::{Client, Realm};
use tokenry_store::Change;

use crate::house::{House, billing, client, realm};

const CC: &str = "grant_type=client_credentials";

fn reusing() -> Realm {
    let mut realm = realm();
    realm.tokens.reuse = Some(Duration::from_secs(30));
    realm.tokens.refresh = None;
    realm
}

async fn token(house: &House, body: &str) -> (String, u64) {
    let answer = house.token(&billing(), body).await;
    (answer.field("access_token"), answer.json()["expires_in"].as_u64().unwrap())
}

#[tokio::test]
async fn asking_again_gives_the_same_token_with_what_is_left_of_it() {
    let house = House::of(reusing()).await;
    let (first, lives) = token(&house, CC).await;
    house.clock.advance(Duration::from_secs(29));
    let (second, left) = token(&house, CC).await;
    assert_eq!((&second, lives, left), (&first, 300, 271));
    house.clock.advance(Duration::from_secs(1));
    let (third, lives) = token(&house, CC).await;
    assert_ne!(third, first);
    assert_eq!(lives, 300);
}

#[tokio::test]
async fn another_scope_is_another_token() {
    let house = House::of(reusing()).await;
    let (both, _) = token(&house, CC).await;
    let (read, _) = token(&house, &format!("{CC}&scope=read")).await;
    assert_ne!(both, read);
    assert_eq!(token(&house, &format!("{CC}&scope=write+read")).await.0, both);
}

#[tokio::test]
async fn a_token_is_never_given_past_its_end() {
    let mut short = reusing();
    short.tokens.access = Duration::from_secs(10);
    let house = House::of(short).await;
    let (first, _) = token(&house, CC).await;
    house.clock.advance(Duration::from_secs(10));
    assert_ne!(token(&house, CC).await.0, first);
}

#[tokio::test]
async fn after_any_change_of_client_realm_or_key_the_token_is_another() {
    let changes: [fn(&House) -> Vec<Change>; 3] = [
        |_| vec![Change::PutClient(Client { audience: vec!["b".into()], ..client("billing") })],
        |_| vec![Change::PutRealm(Realm { audience: vec!["c".into()], ..reusing() })],
        |_| vec![Change::PutClient(Client { reuse: Some(Duration::ZERO), ..client("billing") })],
    ];
    for change in changes {
        let house = House::of(reusing()).await;
        let (first, _) = token(&house, CC).await;
        house.change(change(&house)).await;
        assert_ne!(token(&house, CC).await.0, first);
    }
    let house = House::of(reusing()).await;
    let (first, _) = token(&house, CC).await;
    let kid = house.store.load().await.unwrap().keys[0].kid.clone();
    house.change(vec![Change::RemoveKey { realm: "r".into(), kid }]).await;
    house.app.look_after_keys().await.unwrap();
    assert_ne!(token(&house, CC).await.0, first);
}

#[tokio::test]
async fn it_is_off_by_default_and_where_there_is_a_refresh_token() {
    let house = House::of(realm()).await;
    assert_ne!(token(&house, CC).await.0, token(&house, CC).await.0);
    let mut with_refresh = realm();
    with_refresh.tokens.reuse = Some(Duration::from_secs(30));
    let house = House::of(with_refresh).await;
    assert_ne!(token(&house, CC).await.0, token(&house, CC).await.0);
}
