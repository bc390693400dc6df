//! Clients are loaded as they are needed, held within a limit, and never stale.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use tokenry_core::{Client, MasterKey};
use tokenry_server::{App, Limits, SystemClock};
use tokenry_store::Change;

use crate::house::{House, MASTER, SECRET, client, credential, put_credential, realm, refusal};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";

/// A house with clients `c0` to `c{n-1}`, of which `max_clients` are held.
async fn house(n: usize, max_clients: usize) -> (House, Arc<Watched>) {
    let store = Arc::new(Watched::default());
    let mut changes = vec![Change::PutRealm(realm())];
    for i in 0..n {
        changes.push(Change::PutClient(client(&format!("c{i}"))));
        changes.push(put_credential(&format!("c{i}"), credential("cred-001", SECRET)));
    }
    let mut house = House::on(store.clone(), changes).await;
    let limits = Limits { max_clients, ..Limits::default() };
    let app = App::start(store.clone(), MasterKey::new(MASTER), Arc::new(SystemClock), limits);
    house.app = app.await.unwrap();
    (house, store)
}

async fn status(house: &House, id: &str) -> StatusCode {
    house.token(&format!("{id}:{SECRET}"), CC).await.status
}

#[tokio::test]
async fn a_few_clients_are_held_from_the_start() {
    let (house, store) = house(50, 1000).await;
    let before = store.looked_up();
    for i in 0..50 {
        assert_eq!(status(&house, &format!("c{i}")).await, StatusCode::OK);
    }
    assert_eq!(store.looked_up(), before);
}

#[tokio::test]
async fn more_clients_than_are_held_are_loaded_as_they_ask() {
    let (house, store) = house(200, 20).await;
    for _ in 0..2 {
        for i in 0..200 {
            assert_eq!(status(&house, &format!("c{i}")).await, StatusCode::OK);
        }
    }
    assert!(store.looked_up() > 200, "{}", store.looked_up());
    assert!(house.app.summary().clients == 200);
    // One that was just loaded is held.
    let before = store.looked_up();
    assert_eq!(status(&house, "c199").await, StatusCode::OK);
    assert_eq!(store.looked_up(), before);
}

#[tokio::test]
async fn a_client_that_does_not_exist_never_reaches_the_store() {
    let (house, store) = house(200, 20).await;
    let before = store.looked_up();
    for i in 0..1000 {
        assert_eq!(
            house.token(&format!("x{i}:{SECRET}"), CC).await.refusal(),
            refusal(401, "invalid_client")
        );
    }
    assert_eq!(store.looked_up(), before);
}

#[tokio::test]
async fn row_305_clients_that_are_held_get_tokens_while_the_store_is_down() {
    let (house, store) = house(200, 20).await;
    assert_eq!(status(&house, "c7").await, StatusCode::OK);
    store.down.store(true, Ordering::Relaxed);
    assert_eq!(status(&house, "c7").await, StatusCode::OK);
    let mut unavailable = 0;
    for i in 0..200 {
        let answer = house.token(&format!("c{i}:{SECRET}"), CC).await;
        if answer.status != StatusCode::OK {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers["retry-after"], "1");
            unavailable += 1;
        }
    }
    assert!(unavailable >= 180, "{unavailable}");
    assert_eq!(house.token("nobody:x", CC).await.refusal(), refusal(401, "invalid_client"));
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(status(&house, "c150").await, StatusCode::OK);
}

#[tokio::test]
async fn a_change_is_seen_and_a_new_client_is_known() {
    let (house, _) = house(200, 20).await;
    assert_eq!(status(&house, "c7").await, StatusCode::OK);
    let disabled = Client { enabled: false, ..client("c7") };
    house.change(vec![Change::PutClient(disabled)]).await;
    assert_eq!(status(&house, "c7").await, StatusCode::UNAUTHORIZED);

    assert_eq!(status(&house, "new").await, StatusCode::UNAUTHORIZED);
    let new = vec![
        Change::PutClient(client("new")),
        put_credential("new", credential("cred-001", SECRET)),
    ];
    house.change(new).await;
    assert_eq!(status(&house, "new").await, StatusCode::OK);

    house.change(vec![Change::RemoveClient { realm: "r".into(), client: "new".into() }]).await;
    assert_eq!(status(&house, "new").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_realm_that_is_made_again_has_none_of_the_old_clients() {
    let (house, _) = house(5, 100).await;
    assert_eq!(status(&house, "c1").await, StatusCode::OK);
    house.change(vec![Change::RemoveRealm { realm: "r".into() }, Change::PutRealm(realm())]).await;
    assert_eq!(status(&house, "c1").await, StatusCode::UNAUTHORIZED);
}
