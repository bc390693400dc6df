//! Clients as they are needed, and what a server that holds some of them has to drop: rules for every store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokenry_core::Client;
use tokenry_core::jose::Algorithm;
use tokenry_store::{Change, Item, Memory, Revision, Snapshot, Store, Touched, Usage};

use crate::fixture::{
    InFile, at, client, credential, family, key, make_realms, realm, rotation, user,
};

every_store! {
    an_outline_is_everything_but_the_clients
    usage_is_what_clients_have_of_their_own
    usage_goes_with_the_clients
    an_access_lifetime_is_rounded_up_and_never_down
    a_client_is_found_with_its_own_credentials
    pages_follow_one_another_in_order_without_gap_or_repetition
    a_page_begins_after_a_client_that_is_gone
    each_change_is_told_as_what_it_touches
    a_change_of_something_of_its_own_concerns_the_realm_too
    what_was_touched_twice_is_told_once
    what_was_refused_touches_nothing
    a_rotation_touches_nothing_and_a_revocation_the_rest
    a_removed_realm_touches_everything
    a_change_of_very_many_clients_touches_everything
    what_was_too_long_ago_is_not_known
    a_revision_from_the_future_is_not_known
    a_copy_kept_by_what_was_touched_is_what_is_stored
}

type AnyStore = Arc<dyn Store>;

fn put(realm: &str, id: &str) -> Change {
    Change::PutClient(client(realm, id, &[]))
}

fn add(client: &str, id: &str) -> Change {
    let credential = credential(id);
    Change::PutCredential { realm: "r".into(), client: client.into(), credential }
}

fn item(realm: &str, id: &str) -> Item {
    Item::Client { realm: realm.into(), id: id.into() }
}

/// A client with its own algorithm and lifetime.
fn own(realm: &str, id: &str, signing: Option<Algorithm>, access: Option<Duration>) -> Change {
    Change::PutClient(Client { signing, access, ..client(realm, id, &[]) })
}

async fn an_outline_is_everything_but_the_clients(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let changes = vec![
        Change::PutMasterKeyCheck([9; 32]),
        Change::PutUser(user("r", "u")),
        Change::PutKey(key("r", "k")),
        own("r", "c", Some(Algorithm::Es384), None),
    ];
    store.change(changes, None, at(1)).await.unwrap();
    store.revoke_family("r", "c", family(1), at(1), at(9)).await.unwrap();
    let whole = store.load().await.unwrap();
    assert_eq!(whole.clients.len(), 1);
    let expected = Snapshot { clients: vec![], ..whole };
    assert_eq!(format!("{:?}", store.outline().await.unwrap()), format!("{expected:?}"));
}

async fn usage_is_what_clients_have_of_their_own(store: AnyStore) {
    use Algorithm::{EdDsa, Es256, Rs256};
    make_realms(&*store, &["r", "plain", "s", "none"]).await;
    let secs = |secs| Some(Duration::from_secs(secs));
    let changes = vec![
        own("r", "a", Some(EdDsa), None),
        own("r", "b", Some(Rs256), secs(3600)),
        own("r", "c", Some(EdDsa), secs(300)),
        own("r", "d", Some(Es256), None),
        own("r", "e", None, None),
        own("plain", "a", None, None),
        own("s", "a", None, secs(0)),
    ];
    store.change(changes, None, at(1)).await.unwrap();
    let expected = [
        Usage {
            realm: "r".into(),
            algorithms: vec![Rs256, Es256, EdDsa],
            longest_access: secs(3600),
        },
        Usage { realm: "s".into(), algorithms: vec![], longest_access: secs(0) },
    ];
    assert_eq!(store.outline().await.unwrap().usage, expected);
    assert_eq!(store.load().await.unwrap().usage, expected);
}

async fn usage_goes_with_the_clients(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    let long = Some(Duration::from_secs(3600));
    let changes = vec![
        own("r", "a", Some(Algorithm::Rs256), long),
        own("r", "b", Some(Algorithm::Es256), None),
        own("s", "a", Some(Algorithm::Rs256), long),
    ];
    store.change(changes, None, at(1)).await.unwrap();
    let changes = vec![
        own("r", "a", None, None),
        Change::RemoveClient { realm: "r".into(), client: "b".into() },
        Change::RemoveRealm { realm: "s".into() },
        Change::PutRealm(realm("s")),
    ];
    store.change(changes, None, at(1)).await.unwrap();
    assert_eq!(store.outline().await.unwrap().usage, []);
}

async fn an_access_lifetime_is_rounded_up_and_never_down(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let cases = [
        (Duration::from_nanos(1), Duration::from_millis(1)),
        (Duration::new(7, 1_000_000), Duration::from_millis(7001)),
        (Duration::new(7, 1_000_001), Duration::from_millis(7002)),
        (Duration::new(7, 999_999_999), Duration::from_millis(8000)),
    ];
    for (access, expected) in cases {
        store.change(vec![own("r", "c", None, Some(access))], None, at(1)).await.unwrap();
        let usage = store.outline().await.unwrap().usage;
        assert_eq!(usage[0].longest_access, Some(expected), "{access:?}");
    }
    for access in [Duration::from_secs(u64::MAX), Duration::MAX] {
        store.change(vec![own("r", "c", None, Some(access))], None, at(1)).await.unwrap();
        let longest = store.outline().await.unwrap().usage[0].longest_access.unwrap();
        assert!(longest > Duration::from_secs(86_400 * 366 * 200_000_000), "{longest:?}");
    }
}

async fn a_client_is_found_with_its_own_credentials(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    assert_eq!(store.client("r", "c").await.unwrap(), None);
    let changes = vec![
        put("r", "c"),
        put("r", "cc"),
        put("r", "bare"),
        put("s", "c"),
        add("c", "2"),
        add("c", "1"),
        add("cc", "3"),
        Change::PutCredential {
            realm: "s".into(),
            client: "c".into(),
            credential: credential("4"),
        },
    ];
    store.change(changes, None, at(1)).await.unwrap();
    let found = async |realm, id| store.client(realm, id).await.unwrap();
    assert_eq!(found("r", "c").await, Some(client("r", "c", &["1", "2"])));
    assert_eq!(found("s", "c").await, Some(client("s", "c", &["4"])));
    assert_eq!(found("r", "bare").await, Some(client("r", "bare", &[])));
    for (realm, id) in [("r", "C"), ("r", ""), ("s", "cc"), ("", "c"), ("nowhere", "c")] {
        assert_eq!(found(realm, id).await, None, "{realm:?} {id:?}");
    }
    let remove =
        Change::RemoveCredential { realm: "r".into(), client: "c".into(), credential: "1".into() };
    store.change(vec![remove], None, at(1)).await.unwrap();
    assert_eq!(found("r", "c").await, Some(client("r", "c", &["2"])));
    let remove = Change::RemoveClient { realm: "r".into(), client: "c".into() };
    store.change(vec![remove], None, at(1)).await.unwrap();
    assert_eq!(found("r", "c").await, None);
}

async fn pages_follow_one_another_in_order_without_gap_or_repetition(store: AnyStore) {
    let realms = ["a", "a-", "ab", "b"];
    make_realms(&*store, &realms).await;
    let ids = ["1", "10", "11", "2", "A", "a", "aa", "z~", "é"];
    let mut changes = Vec::new();
    // The other way round, so that the order is the store's.
    for realm in realms.into_iter().rev().skip(1) {
        for id in ids.into_iter().rev() {
            changes.push(put(realm, id));
            let credential = credential(&format!("of-{realm}-{id}"));
            let (realm, client) = (realm.into(), id.into());
            changes.push(Change::PutCredential { realm, client, credential });
        }
    }
    store.change(changes, None, at(1)).await.unwrap();
    let all = store.load().await.unwrap().clients;
    assert_eq!(all.len(), 27);
    assert!(all.iter().is_sorted_by_key(|c| (&c.realm, &c.id)));
    assert!(all.iter().all(|c| c.credentials[0].id == format!("of-{}-{}", c.realm, c.id)));
    let all_ids: Vec<_> = all.iter().map(|c| (c.realm.clone(), c.id.clone())).collect();
    for size in [1, 2, 8, 9, 26, 27, 28, usize::MAX] {
        let (mut clients, mut ids) = (Vec::<Client>::new(), Vec::<(String, String)>::new());
        loop {
            let after = clients.last().map(|c| (&*c.realm, &*c.id));
            let page = store.clients(after, size).await.unwrap();
            let after = ids.last().map(|(realm, id)| (&**realm, &**id));
            let page_of_ids = store.client_ids(after, size).await.unwrap();
            assert!(page.len() <= size && page.len() == page_of_ids.len(), "{size}");
            if page.is_empty() {
                break;
            }
            clients.extend(page);
            ids.extend(page_of_ids);
        }
        assert_eq!(clients, all, "{size}");
        assert_eq!(ids, all_ids, "{size}");
    }
    assert_eq!(store.clients(None, 0).await.unwrap(), []);
    assert_eq!(store.client_ids(None, 0).await.unwrap(), []);
}

async fn a_page_begins_after_a_client_that_is_gone(store: AnyStore) {
    make_realms(&*store, &["r", "s"]).await;
    store.change(vec![put("r", "a"), put("r", "c"), put("s", "a")], None, at(1)).await.unwrap();
    for (after, expected) in [
        (("r", ""), vec!["a", "c", "a"]),
        (("r", "b"), vec!["c", "a"]),
        (("r", "c"), vec!["a"]),
        (("rr", "z"), vec!["a"]),
        (("s", "a"), vec![]),
    ] {
        let page = store.clients(Some(after), 9).await.unwrap();
        assert_eq!(page.iter().map(|c| &*c.id).collect::<Vec<_>>(), expected, "{after:?}");
        let page = store.client_ids(Some(after), 9).await.unwrap();
        assert_eq!(page.iter().map(|(_, id)| &**id).collect::<Vec<_>>(), expected, "{after:?}");
    }
}

async fn each_change_is_told_as_what_it_touches(store: AnyStore) {
    let (realm_r, c) = (|| "r".to_owned(), || "c".to_owned());
    let the_client = || vec![item("r", "c")];
    let rest = || vec![Item::Rest];
    let cases = [
        (Change::PutMasterKeyCheck([1; 32]), rest()),
        (Change::PutRealm(realm("r")), rest()),
        (put("r", "c"), the_client()),
        (put("r", "c"), the_client()),
        (add("c", "1"), the_client()),
        (
            Change::RemoveCredential { realm: realm_r(), client: c(), credential: "1".into() },
            the_client(),
        ),
        (Change::RemoveClient { realm: realm_r(), client: c() }, the_client()),
        (Change::PutUser(user("r", "u")), rest()),
        (Change::RemoveUser { realm: realm_r(), user: "u".into() }, rest()),
        (Change::PutKey(key("r", "k")), rest()),
        (Change::RemoveKey { realm: realm_r(), kid: "k".into() }, rest()),
    ];
    let mut since = store.revision().await.unwrap();
    for (change, expected) in cases {
        let revision = store.change(vec![change.clone()], None, at(1)).await.unwrap();
        let expected = Touched { revision, what: Some(expected) };
        assert_eq!(store.touched(since).await.unwrap(), expected, "{change:?}");
        let nothing = Touched { revision, what: Some(vec![]) };
        assert_eq!(store.touched(revision).await.unwrap(), nothing, "{change:?}");
        since = revision;
    }
    let all = store.touched(Revision(0)).await.unwrap().what;
    assert_eq!(all, Some(vec![item("r", "c"), Item::Rest]));
}

async fn a_change_of_something_of_its_own_concerns_the_realm_too(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let day = Some(Duration::from_secs(86_400));
    for change in [own("r", "a", Some(Algorithm::Rs256), None), own("r", "a", None, day)] {
        let since = store.revision().await.unwrap();
        store.change(vec![change], None, at(1)).await.unwrap();
        let what = store.touched(since).await.unwrap().what;
        assert_eq!(what, Some(vec![item("r", "a"), Item::Rest]));
    }
}

async fn what_was_touched_twice_is_told_once(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let since = store.revision().await.unwrap();
    store.change(vec![put("r", "a"), add("a", "1"), put("r", "b")], None, at(1)).await.unwrap();
    let between = store.revision().await.unwrap();
    store.change(vec![put("r", "a"), add("a", "2"), add("a", "3")], None, at(1)).await.unwrap();
    let what = async |since| store.touched(since).await.unwrap().what.unwrap();
    assert_eq!(what(since).await, [item("r", "a"), item("r", "b")]);
    assert_eq!(what(between).await, [item("r", "a")]);
}

async fn what_was_refused_touches_nothing(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let revision = store.revision().await.unwrap();
    let missing = vec![put("r", "a"), Change::PutUser(user("nowhere", "u"))];
    store.change(missing, None, at(1)).await.unwrap_err();
    store.change(vec![put("r", "a")], Some(Revision(99)), at(1)).await.unwrap_err();
    let removal = vec![Change::RemoveRealm { realm: "r".into() }, put("r", "a")];
    store.change(removal, None, at(1)).await.unwrap_err();
    store.change(vec![], None, at(1)).await.unwrap();
    let nothing = Touched { revision, what: Some(vec![]) };
    assert_eq!(store.touched(revision).await.unwrap(), nothing);
}

async fn a_rotation_touches_nothing_and_a_revocation_the_rest(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let since = store.revision().await.unwrap();
    let what = async || store.touched(since).await.unwrap().what.unwrap();
    store.rotate(rotation(family(1), 0, at(100))).await.unwrap();
    assert_eq!(what().await, []);
    store.rotate(rotation(family(1), 9, at(100))).await.unwrap();
    assert_eq!(what().await, [Item::Rest]);
    let since = store.revision().await.unwrap();
    store.revoke_family("r", "c", family(2), at(100), at(200)).await.unwrap();
    assert_eq!(store.touched(since).await.unwrap().what, Some(vec![Item::Rest]));
}

async fn a_removed_realm_touches_everything(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    store.change(vec![put("r", "a")], None, at(1)).await.unwrap();
    let since = store.revision().await.unwrap();
    // At once another one of its name: whoever holds the client "a" must not take it for a client of this one.
    let anew = vec![Change::RemoveRealm { realm: "r".into() }, Change::PutRealm(realm("r"))];
    let revision = store.change(anew, None, at(1)).await.unwrap();
    assert_eq!(store.client("r", "a").await.unwrap(), None);
    assert_eq!(store.touched(since).await.unwrap(), Touched { revision, what: None });
    store.change(vec![put("r", "b")], None, at(1)).await.unwrap();
    assert_eq!(store.touched(since).await.unwrap().what, None);
    assert_eq!(store.touched(revision).await.unwrap().what, Some(vec![item("r", "b")]));
}

async fn a_change_of_very_many_clients_touches_everything(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let put = |count| (0..count).map(|i| put("r", &format!("{i:05}"))).collect::<Vec<_>>();
    let since = store.revision().await.unwrap();
    let mut many = put(1000);
    many.extend((0..1000).map(|i| add(&format!("{i:05}"), "1")));
    let revision = store.change(many, None, at(1)).await.unwrap();
    let what = store.touched(since).await.unwrap().what.unwrap();
    assert_eq!(what.len(), 1000);
    assert_eq!(what[999], item("r", "00999"));
    let after = store.change(put(1001), None, at(1)).await.unwrap();
    for since in [since, revision] {
        assert_eq!(store.touched(since).await.unwrap(), Touched { revision: after, what: None });
    }
    assert_eq!(store.touched(after).await.unwrap().what, Some(vec![]));
    store.change(vec![Change::PutUser(user("r", "u"))], None, at(1)).await.unwrap();
    assert_eq!(store.touched(after).await.unwrap().what, Some(vec![Item::Rest]));
}

async fn what_was_too_long_ago_is_not_known(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let put = |from: usize, count: usize| {
        (from..from + count).map(|i| put("r", &format!("{i:05}"))).collect::<Vec<_>>()
    };
    let mut revisions = vec![store.revision().await.unwrap()];
    for batch in 0..10 {
        revisions.push(store.change(put(batch * 1000, 1000), None, at(1)).await.unwrap());
    }
    let what = async |since| store.touched(since).await.unwrap().what;
    assert_eq!(what(revisions[0]).await.map(|items| items.len()), Some(10_000), "just full");
    // One more: the first batch is known in part only, and that is as good as not at all.
    store.change(put(20_000, 1), None, at(1)).await.unwrap();
    assert_eq!(what(revisions[0]).await, None);
    assert_eq!(what(revisions[1]).await.map(|items| items.len()), Some(9001));
    store.change(put(20_001, 999), None, at(1)).await.unwrap();
    assert_eq!(what(revisions[1]).await.map(|items| items.len()), Some(10_000));
    store.change(put(20_000, 1), None, at(1)).await.unwrap();
    assert_eq!(what(revisions[1]).await, None);
    let known = what(revisions[2]).await.unwrap();
    assert_eq!(known.len(), 9000);
    assert!(known.contains(&item("r", "20000")) && known.contains(&item("r", "02000")));
}

async fn a_revision_from_the_future_is_not_known(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    let revision = store.revision().await.unwrap();
    for since in [Revision(revision.0 + 1), Revision(u64::MAX)] {
        assert_eq!(store.touched(since).await.unwrap(), Touched { revision, what: None });
    }
}

/// What a server holds: the clients it was asked for, also those that are not there.
#[derive(Default)]
struct Copy {
    revision: Revision,
    held: BTreeMap<(String, String), Option<Client>>,
    rest: String,
    relearned: u32,
}

impl Copy {
    async fn refresh(&mut self, store: &dyn Store) {
        let touched = store.touched(self.revision).await.unwrap();
        let stale_rest = match touched.what {
            None => {
                self.relearned += 1;
                self.held.clear();
                true
            }
            Some(items) => {
                for item in &items {
                    if let Item::Client { realm, id } = item {
                        self.held.remove(&(realm.clone(), id.clone()));
                    }
                }
                items.contains(&Item::Rest)
            }
        };
        if stale_rest {
            self.rest = Self::rest(store).await;
        }
        self.revision = touched.revision;
    }

    async fn rest(store: &dyn Store) -> String {
        let Snapshot { realms, users, keys, revoked, .. } = store.outline().await.unwrap();
        format!("{realms:?} {users:?} {keys:?} {revoked:?}")
    }
}

async fn a_copy_kept_by_what_was_touched_is_what_is_stored(store: AnyStore) {
    let mut state = 1_u64;
    // Knuth's, whose high bits are random enough to pick from a list.
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let rest = Copy::rest(&*store).await;
    let mut copies = [(); 2].map(|()| Copy { rest: rest.clone(), ..Copy::default() });
    for step in 0..600 {
        let realm_name = ["r", "s"][random(2)].to_owned();
        let id = ["a", "b", "c", "d"][random(4)].to_owned();
        let change = match random(24) {
            0 => Change::RemoveRealm { realm: realm_name },
            1..6 => Change::PutRealm(realm(&realm_name)),
            6 => Change::PutUser(user(&realm_name, &id)),
            7..12 => Change::RemoveClient { realm: realm_name, client: id },
            12..18 => Change::PutCredential {
                realm: realm_name,
                client: id,
                credential: credential(["1", "2"][random(2)]),
            },
            _ => Change::PutClient(Client {
                enabled: random(2) == 0,
                ..client(&realm_name, &id, &[])
            }),
        };
        // Some are refused, since there is no such realm or client.
        let _ = store.change(vec![change], None, at(1)).await;
        // One looks often, the other one seldom.
        for (copy, every) in copies.iter_mut().zip([1, 7]) {
            if step % every != 0 {
                continue;
            }
            copy.refresh(&*store).await;
            for ((realm, id), held) in &copy.held {
                let stored = store.client(realm, id).await.unwrap();
                assert_eq!(*held, stored, "client {id} of {realm} at step {step}");
            }
            assert_eq!(copy.rest, Copy::rest(&*store).await, "the rest at step {step}");
            for realm in ["r", "s"] {
                let id = ["a", "b", "c", "d"][random(4)];
                let client = store.client(realm, id).await.unwrap();
                copy.held.insert((realm.to_owned(), id.to_owned()), client);
            }
        }
    }
    let relearned: BTreeSet<_> = copies.iter().map(|copy| copy.relearned).collect();
    assert!(relearned.iter().all(|times| (1..60).contains(times)), "{relearned:?}");
}
