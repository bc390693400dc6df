//! The suite that every store must pass.

use std::sync::Arc;
use std::time::Duration;

use tokenry_core::family::{Family, Rotated, Rotation};
use tokenry_core::opaque::StoredToken;
use tokenry_core::{Client, Realm, Timestamp, User};
use tokenry_store::{Change, Memory, Revision, Snapshot, Store, StoreError};

use crate::fixture::{
    GRACE, InFile, at, client, credential, family, key, make_realms, realm, rotation, user,
};

/// Makes each of the functions a test of each store.
macro_rules! every_store {
    ($($name:ident)+) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Arc::new(super::Memory::new())).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let file = super::InFile::new();
                super::$name(super::Arc::new(file.open())).await;
            })+
        }
    };
}

every_store! {
    a_new_store_is_empty
    what_was_put_is_loaded
    putting_again_replaces
    a_replaced_client_keeps_its_credentials
    a_removed_client_takes_its_credentials_along
    a_removed_realm_takes_everything_along
    removing_what_is_not_there_changes_nothing
    what_belongs_to_nothing_is_refused
    a_change_is_made_whole_or_not_at_all
    a_change_is_refused_when_another_came_first
    of_changes_that_expect_the_same_revision_one_is_made
    the_revision_grows_with_changes_and_revocations_alone
    a_rotation_does_what_the_core_says
    families_of_different_realms_are_different
    a_rotation_in_a_realm_that_is_gone_is_refused
    a_revoked_family_stays_revoked
    a_family_can_be_revoked_before_anything_is_remembered_of_it
    a_second_revocation_is_remembered_at_least_as_long
    a_hundred_concurrent_refreshes_leave_one_living_generation
    concurrent_reuse_is_reported_once
    what_is_used_up_is_new_once
    opaque_tokens_are_held_until_they_expire
    a_status_list_is_taken_once
    garbage_is_what_has_expired
    garbage_is_found_in_a_large_table
    extreme_values_are_kept
}

type AnyStore = Arc<dyn Store>;

async fn a_new_store_is_empty(store: AnyStore) {
    let found = store.load().await.unwrap();
    let Snapshot { revision, master_key_check, realms, clients, usage, .. } = found;
    let Snapshot { users, keys, revoked, outlived, .. } = found;
    assert_eq!((revision, master_key_check), (Revision(0), None));
    assert!(realms.is_empty() && clients.is_empty() && users.is_empty());
    assert!(usage.is_empty() && keys.is_empty() && revoked.is_empty() && outlived.is_empty());
    assert_eq!(store.revision().await.unwrap(), Revision(0));
    assert_eq!(store.family("r", family(1)).await.unwrap(), None);
}

async fn what_was_put_is_loaded(store: AnyStore) {
    let put_credential = |client: &str, id: &str| Change::PutCredential {
        realm: "r".into(),
        client: client.into(),
        credential: credential(id),
    };
    let changes = vec![
        Change::PutMasterKeyCheck([9; 32]),
        Change::PutRealm(realm("r")),
        Change::PutRealm(realm("other")),
        Change::PutClient(client("r", "b", &[])),
        Change::PutClient(client("r", "a", &[])),
        Change::PutClient(client("other", "a", &[])),
        put_credential("b", "2"),
        put_credential("b", "1"),
        Change::PutUser(user("r", "u")),
        Change::PutKey(key("r", "k")),
    ];
    let revision = store.change(changes, None, at(1)).await.unwrap();
    let found = store.load().await.unwrap();
    assert_eq!(found.revision, revision);
    assert_eq!(found.master_key_check, Some([9; 32]));
    assert_eq!(found.realms, [realm("other"), realm("r")]);
    let clients = [client("other", "a", &[]), client("r", "a", &[]), client("r", "b", &["1", "2"])];
    assert_eq!(found.clients, clients);
    assert_eq!(found.users, [user("r", "u")]);
    assert_eq!(found.keys, [key("r", "k")]);
}

async fn putting_again_replaces(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let mut newer = realm("r");
    newer.password_grant = true;
    let mut disabled = user("r", "u");
    disabled.enabled = false;
    let mut resealed = key("r", "k");
    resealed.sealed = vec![];
    let mut relabelled = credential("1");
    relabelled.label = "new".into();
    let put =
        |credential| Change::PutCredential { realm: "r".into(), client: "c".into(), credential };
    let changes = vec![
        Change::PutUser(user("r", "u")),
        Change::PutKey(key("r", "k")),
        Change::PutClient(client("r", "c", &[])),
        put(credential("1")),
        Change::PutRealm(newer.clone()),
        Change::PutUser(disabled.clone()),
        Change::PutKey(resealed.clone()),
        put(relabelled.clone()),
        Change::PutMasterKeyCheck([1; 32]),
        Change::PutMasterKeyCheck([2; 32]),
    ];
    store.change(changes, None, at(1)).await.unwrap();
    let found = store.load().await.unwrap();
    assert_eq!(found.realms, [newer]);
    assert_eq!(found.users, [User { ended_before: at(2), ..disabled }]);
    assert_eq!(found.keys, [resealed]);
    assert_eq!(found.clients[0].credentials, [relabelled]);
    assert_eq!(found.master_key_check, Some([2; 32]));
}

async fn a_replaced_client_keeps_its_credentials(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let added = Change::PutCredential {
        realm: "r".into(),
        client: "c".into(),
        credential: credential("1"),
    };
    let mut disabled = client("r", "c", &["ignored"]);
    disabled.enabled = false;
    let changes =
        vec![Change::PutClient(client("r", "c", &["ignored"])), added, Change::PutClient(disabled)];
    store.change(changes, None, at(1)).await.unwrap();
    let found = store.load().await.unwrap().clients.remove(0);
    assert!(!found.enabled);
    assert_eq!(found.credentials, [credential("1")]);
}

async fn a_removed_client_takes_its_credentials_along(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let add = |client: &str, id: &str| Change::PutCredential {
        realm: "r".into(),
        client: client.into(),
        credential: credential(id),
    };
    let changes = vec![
        Change::PutClient(client("r", "c", &[])),
        Change::PutClient(client("r", "d", &[])),
        add("c", "1"),
        add("d", "1"),
        add("d", "2"),
        Change::RemoveClient { realm: "r".into(), client: "c".into() },
        Change::PutClient(client("r", "c", &[])),
        Change::RemoveCredential { realm: "r".into(), client: "d".into(), credential: "1".into() },
    ];
    store.change(changes, None, at(1)).await.unwrap();
    let found = store.load().await.unwrap().clients;
    // What was told of the one of this name stays with the name.
    let again = Client { ended_before: at(2), ..client("r", "c", &[]) };
    assert_eq!(found, [again, client("r", "d", &["2"])]);
}

async fn a_removed_realm_takes_everything_along(store: AnyStore) {
    make_realms(&*store, &["r", "rr"]).await;
    let mut changes = Vec::new();
    for realm in ["r", "rr"] {
        changes.push(Change::PutClient(client(realm, "c", &[])));
        changes.push(Change::PutCredential {
            realm: realm.into(),
            client: "c".into(),
            credential: credential("1"),
        });
        changes.push(Change::PutUser(user(realm, "u")));
        changes.push(Change::PutKey(key(realm, "k")));
        store.revoke_family(realm, "c", family(1), at(1), at(9)).await.unwrap();
        store
            .rotate(Rotation { realm: realm.into(), ..rotation(family(2), 0, at(1)) })
            .await
            .unwrap();
    }
    store.change(changes, None, at(1)).await.unwrap();
    // Made anew at once: still without anything of its former life.
    let again = vec![Change::RemoveRealm { realm: "r".into() }, Change::PutRealm(realm("r"))];
    store.change(again, None, at(1)).await.unwrap();
    let found = store.load().await.unwrap();
    // But for what was told of the one of this name.
    assert_eq!(found.realms, [Realm { ended_before: at(2), ..realm("r") }, realm("rr")]);
    assert_eq!(found.clients, [client("rr", "c", &["1"])]);
    assert_eq!(found.users, [user("rr", "u")]);
    assert_eq!(found.keys, [key("rr", "k")]);
    assert_eq!(found.revoked, [("rr".to_owned(), family(1), at(9))]);
    assert_eq!(store.family("r", family(2)).await.unwrap(), None);
    assert!(store.family("rr", family(2)).await.unwrap().is_some());
}

async fn removing_what_is_not_there_changes_nothing(store: AnyStore) {
    let (realm, client) = (|| "r".to_owned(), || "c".to_owned());
    let changes = vec![
        Change::RemoveRealm { realm: realm() },
        Change::RemoveClient { realm: realm(), client: client() },
        Change::RemoveCredential { realm: realm(), client: client(), credential: "1".into() },
        Change::RemoveUser { realm: realm(), user: "u".into() },
        Change::RemoveKey { realm: realm(), kid: "k".into() },
    ];
    store.change(changes, None, at(1)).await.unwrap();
}

async fn what_belongs_to_nothing_is_refused(store: AnyStore) {
    let cases = [
        (Change::PutClient(client("r", "c", &[])), r#"realm "r" does not exist"#),
        (Change::PutUser(user("r", "u")), r#"realm "r" does not exist"#),
        (Change::PutKey(key("r", "k")), r#"realm "r" does not exist"#),
        (
            Change::PutCredential {
                realm: "r".into(),
                client: "c".into(),
                credential: credential("1"),
            },
            r#"client "c" of realm "r" does not exist"#,
        ),
    ];
    for (change, text) in cases {
        let error = store.change(vec![change.clone()], None, at(1)).await.unwrap_err();
        assert_eq!(error.to_string(), text, "{change:?}");
    }
    assert_eq!(store.revision().await.unwrap(), Revision(0));
}

async fn a_change_is_made_whole_or_not_at_all(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let before = store.load().await.unwrap();
    let changes = vec![
        Change::PutRealm(realm("s")),
        Change::RemoveRealm { realm: "r".into() },
        Change::PutClient(client("nowhere", "c", &[])),
    ];
    let refused = store.change(changes, None, at(1)).await;
    assert!(matches!(refused, Err(StoreError::Missing(_))), "{refused:?}");
    let after = store.load().await.unwrap();
    assert_eq!((before.revision, before.realms), (after.revision, after.realms));
}

async fn a_change_is_refused_when_another_came_first(store: AnyStore) {
    let put = |name: &str| vec![Change::PutRealm(realm(name))];
    let first = store.change(put("a"), Some(Revision(0)), at(1)).await.unwrap();
    let refused = store.change(put("b"), Some(Revision(0)), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    let refused = store.change(vec![], Some(Revision(0)), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    let second = store.change(put("c"), Some(first), at(1)).await.unwrap();
    assert!(second > first);
    assert_eq!(store.load().await.unwrap().realms, [realm("a"), realm("c")]);
}

async fn of_changes_that_expect_the_same_revision_one_is_made(store: AnyStore) {
    let changes = (0..20).map(|i| {
        let store = Arc::clone(&store);
        let put = vec![Change::PutRealm(realm(&format!("realm-{i}")))];
        tokio::spawn(async move { store.change(put, Some(Revision(0)), at(1)).await.is_ok() })
    });
    let mut made = 0;
    for change in changes.collect::<Vec<_>>() {
        made += u32::from(change.await.unwrap());
    }
    assert_eq!((made, store.load().await.unwrap().realms.len()), (1, 1));
}

async fn the_revision_grows_with_changes_and_revocations_alone(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let mut last = store.revision().await.unwrap();
    let mut grew = async || {
        let now = store.revision().await.unwrap();
        std::mem::replace(&mut last, now) < now
    };
    store.change(vec![], None, at(1)).await.unwrap();
    assert!(!grew().await, "no change");
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    assert!(!grew().await, "a rotation, and its repetition");
    store.rotate(rotation(family(1), 7, at(100))).await.unwrap();
    assert!(grew().await, "a reuse");
    store.rotate(rotation(family(1), 7, at(100))).await.unwrap();
    assert!(!grew().await, "a rotation in a revoked family");
    store.revoke_family("r", "c", family(2), at(100), at(200)).await.unwrap();
    assert!(grew().await, "a revocation");
    store.revoke_family("r", "c", family(2), at(100), at(200)).await.unwrap();
    assert!(!grew().await, "the same revocation");
    store.collect_garbage(at(100_000)).await.unwrap();
    assert!(!grew().await, "forgetting");
    store.change(vec![Change::PutUser(user("r", "u"))], None, at(1)).await.unwrap();
    assert!(grew().await, "a change");
}

/// Every way that [`Rotation::apply`] distinguishes, and the boundaries between them. What was reused is remembered for as
/// long as its access tokens live as well.
async fn a_rotation_does_what_the_core_says(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let rotated_at = at(100);
    let ends = rotated_at + GRACE;
    let later = ends + Duration::from_millis(1);
    let mut number = 0;
    for current in [None, Some(1), Some(3)] {
        for revoked in [false, true] {
            for presented in [0, 1, 2, 3, 4, u32::MAX - 1, u32::MAX] {
                for (now, lifetime, grace) in [
                    (at(1), 5000, GRACE),
                    (rotated_at, 1, GRACE),
                    (rotated_at, 1, Duration::ZERO),
                    (ends, 9, GRACE),
                    (later, 9, GRACE),
                    (later, 5000, GRACE),
                ] {
                    number += 1;
                    let id = family(number);
                    let mut known = None;
                    if let Some(generation) = current {
                        known = Some(bring_to(&*store, number, generation, rotated_at).await);
                    }
                    if revoked {
                        store.revoke_family("r", "c", id, at(101), at(900)).await.unwrap();
                        known = store.family("r", id).await.unwrap();
                    }
                    let expires_at = now + Duration::from_secs(lifetime);
                    let rotation = Rotation { expires_at, grace, ..rotation(id, presented, now) };
                    let (mut after, expected) = rotation.apply(known);
                    if expected == Rotated::Reused {
                        let settled = Timestamp::from_secs(now.as_millis().div_ceil(1000) + 1);
                        let access = settled + Duration::from_secs(300);
                        after.expires_at = after.expires_at.max(access);
                    }
                    let case = format!("{rotation:?} of {known:?}");
                    assert_eq!(store.rotate(rotation).await.unwrap(), expected, "{case}");
                    assert_eq!(store.family("r", id).await.unwrap(), Some(after), "{case}");
                }
            }
        }
    }
}

/// A living family, brought to this generation at `rotated_at`.
async fn bring_to(
    store: &dyn Store,
    number: u64,
    generation: u32,
    rotated_at: Timestamp,
) -> Family {
    for presented in 0..generation {
        store.rotate(rotation(family(number), presented, rotated_at)).await.unwrap();
    }
    store.family("r", family(number)).await.unwrap().unwrap()
}

async fn families_of_different_realms_are_different(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    let in_s =
        |presented| Rotation { realm: "s".into(), ..rotation(family(1), presented, at(100)) };
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    store.rotate(rotation(family(1), 9, at(100))).await.unwrap();
    assert_eq!(store.family("s", family(1)).await.unwrap(), None);
    let first = store.rotate(in_s(0)).await.unwrap();
    assert_eq!(first, Rotated::Successor { generation: 1, rotated_at: at(100) });
}

async fn a_rotation_in_a_realm_that_is_gone_is_refused(store: AnyStore) {
    for presented in [0, 3] {
        let refused = store.rotate(rotation(family(1), presented, at(100))).await;
        assert!(matches!(refused, Err(StoreError::Missing(_))), "{refused:?}");
    }
    let refused = store.revoke_family("r", "c", family(1), at(1), at(2)).await;
    assert!(matches!(refused, Err(StoreError::Missing(_))), "{refused:?}");
    assert_eq!(store.family("r", family(1)).await.unwrap(), None);
    assert_eq!(store.revision().await.unwrap(), Revision(0));
}

async fn a_revoked_family_stays_revoked(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    assert!(store.revoke_family("r", "c", family(1), at(110), at(500)).await.unwrap());
    for presented in [0, 1, 2] {
        let answer = store.rotate(rotation(family(1), presented, at(111))).await.unwrap();
        assert_eq!(answer, Rotated::Revoked, "{presented}");
    }
    assert!(!store.revoke_family("r", "c", family(1), at(120), at(500)).await.unwrap());
    let known = store.family("r", family(1)).await.unwrap().unwrap();
    assert_eq!(known.revoked_at, Some(at(110)));
    // The later of both: the successor's, and what the revocation asked for.
    assert_eq!(known.expires_at, at(1100));
    assert_eq!(store.load().await.unwrap().revoked, [("r".to_owned(), family(1), at(1100))]);
}

async fn a_family_can_be_revoked_before_anything_is_remembered_of_it(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    assert!(store.revoke_family("r", "c", family(1), at(100), at(500)).await.unwrap());
    let known = Family {
        generation: 0,
        rotated_at: at(100),
        revoked_at: Some(at(100)),
        expires_at: at(500),
    };
    assert_eq!(store.family("r", family(1)).await.unwrap(), Some(known));
    assert_eq!(store.rotate(rotation(family(1), 0, at(101))).await.unwrap(), Rotated::Revoked);
}

async fn a_second_revocation_is_remembered_at_least_as_long(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    for (expires_at, remembered) in [(500, 500), (600, 600), (400, 600)] {
        store.revoke_family("r", "c", family(1), at(100), at(expires_at)).await.unwrap();
        let revoked = store.load().await.unwrap().revoked;
        assert_eq!(revoked, [("r".to_owned(), family(1), at(remembered))]);
    }
}

async fn a_hundred_concurrent_refreshes_leave_one_living_generation(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    for generation in 0..5 {
        let refreshes = (0..100).map(|i| {
            let store = Arc::clone(&store);
            let now = at(1000 * u64::from(generation) + i % 30);
            tokio::spawn(async move { store.rotate(rotation(family(1), generation, now)).await })
        });
        let mut answers = Vec::new();
        for refresh in refreshes.collect::<Vec<_>>() {
            answers.push(refresh.await.unwrap().unwrap());
        }
        assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
        let known = store.family("r", family(1)).await.unwrap().unwrap();
        let Family { generation: current, rotated_at, revoked_at: None, .. } = known else {
            panic!("{known:?}")
        };
        assert_eq!(current, generation + 1);
        assert_eq!(answers[0], Rotated::Successor { generation: current, rotated_at });
    }
}

async fn concurrent_reuse_is_reported_once(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    for presented in 0..3 {
        store.rotate(rotation(family(1), presented, at(100))).await.unwrap();
    }
    let reuses = (0..100).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.rotate(rotation(family(1), 0, at(100))).await })
    });
    let mut reported = 0;
    for reuse in reuses.collect::<Vec<_>>() {
        match reuse.await.unwrap().unwrap() {
            Rotated::Reused => reported += 1,
            other => assert_eq!(other, Rotated::Revoked),
        }
    }
    assert_eq!(reported, 1);
}

async fn opaque_tokens_are_held_until_they_expire(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    let before = store.revision().await.unwrap();
    let held = |secs| StoredToken {
        digest: [secs as u8; 32],
        claims: format!(r#"{{"n":{secs}}}"#),
        expires_at: at(secs),
    };
    store.put_token("r", family(1), held(100)).await.unwrap();
    store.put_token("r", family(2), held(200)).await.unwrap();
    store.put_token("s", family(1), held(200)).await.unwrap();
    let missing = store.put_token("t", family(1), held(1)).await;
    assert!(matches!(missing, Err(StoreError::Missing(_))));
    assert_eq!(store.token("r", family(1)).await.unwrap(), Some(held(100)));
    assert_eq!(store.token("s", family(2)).await.unwrap(), None);
    // Nobody holds it in memory, so nobody has to be told.
    assert_eq!(store.revision().await.unwrap(), before);
    assert_eq!(store.collect_garbage(at(100)).await.unwrap(), 1);
    assert_eq!(store.token("r", family(1)).await.unwrap(), None);
    assert_eq!(store.token("r", family(2)).await.unwrap(), Some(held(200)));
    store.change(vec![Change::RemoveRealm { realm: "r".into() }], None, at(1)).await.unwrap();
    assert_eq!(store.token("r", family(2)).await.unwrap(), None);
    assert_eq!(store.token("s", family(1)).await.unwrap(), Some(held(200)));
}

async fn what_is_used_up_is_new_once(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    let before = store.revision().await.unwrap();
    let asked = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.use_up("r", family(1), at(100)).await.unwrap() })
    });
    let mut new = 0;
    for asked in asked.collect::<Vec<_>>() {
        new += usize::from(asked.await.unwrap());
    }
    assert_eq!(new, 1);
    assert!(store.use_up("r", family(2), at(200)).await.unwrap());
    assert!(store.use_up("s", family(1), at(100)).await.unwrap(), "another realm's");
    assert!(matches!(store.use_up("t", family(1), at(1)).await, Err(StoreError::Missing(_))));
    // Nobody holds it in memory, so nobody has to be told.
    assert_eq!(store.revision().await.unwrap(), before);

    assert_eq!(store.collect_garbage(at(100)).await.unwrap(), 2);
    assert!(store.use_up("r", family(1), at(300)).await.unwrap());
    assert!(!store.use_up("r", family(2), at(300)).await.unwrap());
    store.change(vec![Change::RemoveRealm { realm: "r".into() }], None, at(1)).await.unwrap();
    make_realms(&*store, &["r"]).await;
    assert!(store.use_up("r", family(2), at(300)).await.unwrap(), "gone with its realm");
}

async fn a_status_list_is_taken_once(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    let before = store.revision().await.unwrap();
    assert_eq!(store.status_lists("r").await.unwrap(), 0);
    let asked = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.take_status_list("r").await.unwrap() })
    });
    let mut taken = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        taken.push(asked.await.unwrap());
    }
    taken.sort_unstable();
    assert_eq!(taken, (0..50).collect::<Vec<_>>());
    assert_eq!(store.status_lists("r").await.unwrap(), 50);
    assert_eq!(store.take_status_list("s").await.unwrap(), 0, "another realm's");
    assert!(matches!(store.take_status_list("t").await, Err(StoreError::Missing(_))));
    assert_eq!(store.status_lists("t").await.unwrap(), 0);
    // Nobody else holds it in memory, so nobody has to be told.
    assert_eq!(store.revision().await.unwrap(), before);

    store.collect_garbage(at(u64::MAX / 4000)).await.unwrap();
    assert_eq!(store.take_status_list("r").await.unwrap(), 50, "no garbage");
    store.change(vec![Change::RemoveRealm { realm: "r".into() }], None, at(1)).await.unwrap();
    make_realms(&*store, &["r"]).await;
    assert_eq!(store.status_lists("r").await.unwrap(), 0, "gone with its realm");
    assert_eq!(store.status_lists("s").await.unwrap(), 1);
}

async fn garbage_is_what_has_expired(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    store.rotate(rotation(family(1), 0, at(1))).await.unwrap();
    store.rotate(rotation(family(2), 0, at(2))).await.unwrap();
    store.revoke_family("r", "c", family(3), at(1), at(1000)).await.unwrap();
    store.revoke_family("s", "c", family(4), at(1), at(1002)).await.unwrap();
    assert_eq!(store.collect_garbage(at(999)).await.unwrap(), 0);
    assert_eq!(store.collect_garbage(at(1001)).await.unwrap(), 2);
    assert_eq!(store.collect_garbage(at(1001)).await.unwrap(), 0);
    let known = [("r", 1, false), ("r", 2, true), ("r", 3, false), ("s", 4, true)];
    for (realm, number, is_there) in known {
        let found = store.family(realm, family(number)).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{number}");
    }
}

/// More rows than are looked through, and more garbage than is deleted, at once.
async fn garbage_is_found_in_a_large_table(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    const ROWS: u64 = 21_000;
    for first in (0..ROWS).step_by(1000) {
        let rotations = (first..first + 1000).map(|i| {
            let store = Arc::clone(&store);
            let now = at(if i % 3 == 0 { 1 } else { 2 });
            tokio::spawn(async move { store.rotate(rotation(family(i), 0, now)).await })
        });
        for done in rotations.collect::<Vec<_>>() {
            done.await.unwrap().unwrap();
        }
    }
    assert_eq!(store.collect_garbage(at(1001)).await.unwrap(), ROWS / 3);
    assert_eq!(store.collect_garbage(at(1002)).await.unwrap(), ROWS - ROWS / 3);
    assert_eq!(store.collect_garbage(at(1002)).await.unwrap(), 0);
}

async fn extreme_values_are_kept(store: AnyStore) {
    let name = "a'b\"c\0d%_é";
    let mut odd = realm("r");
    odd.name = name.into();
    let far = Timestamp::from_millis(i64::MAX as u64);
    // No access token lives longer than what can be stored.
    let now = far - Duration::from_secs(302);
    store.change(vec![Change::PutRealm(odd.clone())], None, at(1)).await.unwrap();
    let id = tokenry_core::family::FamilyId([0xff; 16]);
    let rotation = Rotation {
        realm: name.into(),
        client: "c".into(),
        family: id,
        presented: u32::MAX,
        now,
        grace: Duration::MAX,
        expires_at: far,
    };
    assert_eq!(store.rotate(rotation).await.unwrap(), Rotated::Reused);
    let known =
        Family { generation: u32::MAX, rotated_at: now, revoked_at: Some(now), expires_at: far };
    assert_eq!(store.family(name, id).await.unwrap(), Some(known));
    let found = store.load().await.unwrap();
    assert_eq!(found.realms, [odd]);
    assert_eq!(found.revoked, [(name.to_owned(), id, far)]);
}
