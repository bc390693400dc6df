//! Several processes at one database, such as the command line beside the server.

use std::sync::{Arc, Barrier};

use tokenry_core::family::Rotated;
use tokenry_store::{Change, Item, Store};

use crate::fixture::{GRACE, InFile, at, client, family, make_realms, open, realm, rotation};

#[test]
fn a_new_database_is_made_once_however_many_open_it() {
    let file = InFile::new();
    let barrier = Arc::new(Barrier::new(8));
    let opening = (0..8).map(|_| {
        let (path, barrier) = (file.path(), Arc::clone(&barrier));
        std::thread::spawn(move || {
            barrier.wait();
            open(&path)
        })
    });
    for thread in opening.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn each_sees_what_the_other_did() {
    let file = InFile::new();
    let (server, shell) = (file.open(), file.open());
    make_realms(&server, &["r"]).await;
    let seen = shell.revision().await.unwrap();
    assert_eq!(seen, server.revision().await.unwrap());
    let next = shell.change(vec![Change::PutRealm(realm("s"))], Some(seen), at(1)).await.unwrap();
    assert_eq!(server.revision().await.unwrap(), next);
    assert_eq!(server.load().await.unwrap().realms.len(), 2);
    shell.revoke_family("r", "c", family(1), at(1), at(9)).await.unwrap();
    assert!(server.revision().await.unwrap() > next);
    assert_eq!(server.rotate(rotation(family(1), 0, at(2))).await.unwrap(), Rotated::Revoked);
}

#[tokio::test]
async fn a_client_put_by_another_process_is_told_and_found() {
    let file = InFile::new();
    let (server, shell) = (file.open(), file.open());
    make_realms(&server, &["r"]).await;
    let seen = server.revision().await.unwrap();
    assert_eq!(server.client("r", "c").await.unwrap(), None);
    let next =
        shell.change(vec![Change::PutClient(client("r", "c", &[]))], None, at(1)).await.unwrap();
    let touched = server.touched(seen).await.unwrap();
    assert_eq!(touched.revision, next);
    assert_eq!(touched.what, Some(vec![Item::Client { realm: "r".into(), id: "c".into() }]));
    assert_eq!(server.client("r", "c").await.unwrap(), Some(client("r", "c", &[])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_presented_to_two_at_once_has_one_successor() {
    let file = InFile::new();
    let stores = [Arc::new(file.open()), Arc::new(file.open())];
    make_realms(&*stores[0], &["r"]).await;
    for generation in 0..20 {
        let now = at(100 * u64::from(generation));
        let refreshes = (0..20).map(|i| {
            let store = Arc::clone(&stores[i % 2]);
            tokio::spawn(async move { store.rotate(rotation(family(1), generation, now)).await })
        });
        for refresh in refreshes.collect::<Vec<_>>() {
            let expected = Rotated::Successor { generation: generation + 1, rotated_at: now };
            assert_eq!(refresh.await.unwrap().unwrap(), expected);
        }
    }
    let late = at(1900) + GRACE + GRACE;
    assert_eq!(stores[1].rotate(rotation(family(1), 19, late)).await.unwrap(), Rotated::Reused);
    assert_eq!(stores[0].rotate(rotation(family(1), 20, late)).await.unwrap(), Rotated::Revoked);
}
