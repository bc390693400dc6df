//! The log of what has ended tokens: every store writes the same.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use tokenry_core::family::Rotated;
use tokenry_core::revocation::Ended;
use tokenry_core::{Client, Realm, Timestamp, User};
use tokenry_store::{Change, Logged, Memory, Revision, Store, StoreError};
use tokio::runtime::Runtime;

use crate::fixture::{InFile, at, client, family, key, make_realms, realm, rotation, user};

every_store! {
    each_ending_is_written_once_and_in_order
    a_revoked_family_is_written_with_its_client
    a_family_is_told_as_long_as_its_access_tokens_live_and_remembered_to_its_end
    a_reused_refresh_token_is_written_with_its_client
    what_ends_nothing_writes_nothing
    a_row_takes_the_place_of_the_one_before_it_and_says_at_least_as_much
    what_is_put_knows_what_was_told_of_it
    a_change_that_is_not_made_writes_nothing
    rows_come_in_pages
    rows_are_forgotten_but_for_the_newest
    the_log_outlives_the_realm
    what_is_told_is_seen_as_a_change
    a_longer_lifetime_of_a_client_is_waited_for
    tokens_outlive_a_lifetime_that_is_made_shorter
    of_two_shorter_lifetimes_the_one_that_is_outlived_longest_counts
    tokens_outlive_the_lifetime_of_a_client
    a_key_has_signed_tokens_of_the_longer_lifetime
    a_realm_that_is_made_anew_is_not_outlived
}

type AnyStore = Arc<dyn Store>;

const DAY: u64 = 24 * 3600;

/// When the changes of these tests are made, and from when on nobody can have tokens of what was ended then.
const NOW: u64 = 1_000_000;
const SETTLED: u64 = NOW + 1;

async fn log(store: &AnyStore) -> Vec<Logged> {
    store.revocations(None, usize::MAX).await.unwrap()
}

async fn ended(store: &AnyStore) -> Vec<Ended> {
    log(store).await.into_iter().map(|row| row.revocation.ended).collect()
}

async fn change(store: &AnyStore, change: Change) {
    store.change(vec![change], None, at(NOW)).await.unwrap();
}

/// A realm `r` with a client, a user and a key.
async fn house(store: &AnyStore) {
    make_realms(&**store, &["r"]).await;
    for put in [
        Change::PutClient(client("r", "c", &[])),
        Change::PutUser(user("r", "u")),
        Change::PutKey(key("r", "k")),
    ] {
        change(store, put).await;
    }
}

fn keycloak() -> Realm {
    Realm { dialect: tokenry_core::realm::Dialect::Keycloak, ..realm("r") }
}

fn of_client(secs: u64) -> Ended {
    Ended::Client { id: "c".into(), not_before: at(secs) }
}

fn about(id: &str, secs: u64) -> Ended {
    Ended::Subject { id: id.into(), not_before: at(secs) }
}

async fn each_ending_is_written_once_and_in_order(store: AnyStore) {
    house(&store).await;
    let millis = Timestamp::from_millis;
    let mut disabled = client("r", "c", &[]);
    disabled.enabled = false;
    let mut raised = client("r", "c", &[]);
    raised.not_before = millis(NOW * 1000 + 1);
    let mut anew = user("r", "u");
    anew.not_before = at(NOW);
    let mut closed = realm("r");
    closed.not_before = millis(5_500);
    let mut leaked = key("r", "k");
    (leaked.retired_at, leaked.gone_at) = (Some(at(NOW)), Some(at(NOW)));
    let (id, kid) = (user("r", "u").subject, || Ended::Key("k".into()));
    let (realm_name, user_name) = (|| "r".to_owned(), || "u".to_owned());
    let steps: Vec<(&str, Change, Vec<Ended>)> = vec![
        (
            "a client is disabled",
            Change::PutClient(disabled),
            vec![of_client(SETTLED), about("c", SETTLED)],
        ),
        ("and enabled", Change::PutClient(client("r", "c", &[])), vec![]),
        // A token says whole seconds: of this one, all were issued before.
        (
            "its tokens are revoked",
            Change::PutClient(raised),
            vec![of_client(NOW + 1), about("c", NOW + 1)],
        ),
        (
            "it is removed",
            Change::RemoveClient { realm: realm_name(), client: "c".into() },
            vec![of_client(SETTLED), about("c", SETTLED)],
        ),
        ("and registered again", Change::PutClient(client("r", "c", &[])), vec![]),
        ("a user's password changes", Change::PutUser(anew), vec![about(&id, NOW)]),
        (
            "a user is removed",
            Change::RemoveUser { realm: realm_name(), user: user_name() },
            vec![about(&id, SETTLED)],
        ),
        ("a key is taken back", Change::PutKey(leaked), vec![kid()]),
        ("and forgotten", Change::RemoveKey { realm: realm_name(), kid: "k".into() }, vec![]),
        ("a key is made", Change::PutKey(key("r", "k")), vec![]),
        (
            "all tokens are revoked",
            Change::PutRealm(closed),
            vec![Ended::All { not_before: at(6) }],
        ),
        (
            "the realm is removed",
            Change::RemoveRealm { realm: realm_name() },
            vec![Ended::All { not_before: at(SETTLED) }],
        ),
        ("and made again", Change::PutRealm(realm("r")), vec![]),
    ];
    let mut last = None;
    for (name, step, expected) in steps {
        change(&store, step).await;
        let rows = store.revocations(last, 10).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.revocation.ended.clone()).collect();
        assert_eq!(found, expected, "{name}");
        assert!(rows.is_sorted_by(|a, b| a.number < b.number), "{name}");
        for row in &rows {
            let of_client = match &row.revocation.ended {
                Ended::Client { id, .. } | Ended::Subject { id, .. } => id == "c",
                _ => false,
            };
            assert_eq!((&*row.realm, row.at), ("r", at(NOW)));
            assert_eq!(row.client.as_deref(), of_client.then_some("c"), "{name}");
            assert!(row.revocation.until >= at(NOW + DAY), "{name}");
        }
        last = rows.last().map(|row| row.number).or(last);
    }
}

async fn a_revoked_family_is_written_with_its_client(store: AnyStore) {
    house(&store).await;
    let until = Timestamp::from_millis(NOW * 1000 + 1);
    let revoke = async |secs, until| {
        store.revoke_family("r", "c", family(7), at(NOW - 100 + secs), until).await.unwrap()
    };
    assert!(revoke(0, until).await);
    let rows = log(&store).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.at, row.client.as_deref()), (at(NOW - 100), Some("c")));
    assert_eq!(row.revocation.ended, Ended::Token(family(7)));
    assert_eq!(row.revocation.until, at(NOW + 1), "rounded up: seconds are told");
    // Again: nothing new. For longer: told again.
    assert!(!revoke(1, until).await);
    assert_eq!(log(&store).await, rows);
    revoke(1, at(NOW + 9)).await;
    let again = log(&store).await;
    let [again] = again.as_slice() else { panic!("{again:?}") };
    assert!(again.number > row.number);
    assert_eq!(again.revocation.until, at(NOW + 9));
}

async fn a_family_is_told_as_long_as_its_access_tokens_live_and_remembered_to_its_end(
    store: AnyStore,
) {
    house(&store).await;
    let end = at(NOW + 90 * DAY);
    let revoke = async |number| {
        store.revoke_family("r", "c", family(number), at(NOW), end).await.unwrap();
        let remembered = store.family("r", family(number)).await.unwrap().unwrap().expires_at;
        assert_eq!(remembered, end, "its refresh tokens stay refused");
        log(&store).await.last().unwrap().revocation.until
    };
    assert_eq!(revoke(1).await, at(SETTLED + 300));
    change(&store, own_lifetime("a", Some(7200))).await;
    assert_eq!(revoke(2).await, at(SETTLED + 7200));
    change(&store, own_lifetime("a", None)).await;
    change(&store, living(60)).await;
    assert_eq!(revoke(3).await, at(SETTLED + 7200), "tokens of the longer lifetime are about");
    change(&store, living(100 * DAY)).await;
    assert_eq!(revoke(4).await, end);
}

async fn a_reused_refresh_token_is_written_with_its_client(store: AnyStore) {
    house(&store).await;
    let reuse = async |number| {
        for (presented, expected) in [(0, None), (1, None), (0, Some(Rotated::Reused))] {
            let rotated = store.rotate(rotation(family(number), presented, at(100))).await.unwrap();
            assert!(expected.is_none_or(|expected| rotated == expected), "{rotated:?}");
        }
        let remembered = store.family("r", family(number)).await.unwrap().unwrap().expires_at;
        (remembered, log(&store).await)
    };
    let (remembered, rows) = reuse(1).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.at, row.client.as_deref()), (at(100), Some("c")));
    assert_eq!(row.revocation.ended, Ended::Token(family(1)));
    // As long as access tokens live; its refresh tokens live 1000 seconds.
    assert_eq!((row.revocation.until, remembered), (at(101 + 300), at(1100)));
    store.rotate(rotation(family(1), 0, at(101))).await.unwrap();
    assert_eq!(log(&store).await, rows);
    // Its access tokens may outlive its refresh tokens.
    change(&store, living(2000)).await;
    let (remembered, rows) = reuse(2).await;
    assert_eq!((rows[1].revocation.until, remembered), (at(101 + 2000), at(101 + 2000)));
}

async fn what_ends_nothing_writes_nothing(store: AnyStore) {
    house(&store).await;
    let mut renamed = client("r", "c", &[]);
    renamed.scope = "b".parse().unwrap();
    let mut opened = realm("r");
    opened.password_grant = true;
    // As steps of a key's life say it: after all that it has signed.
    let mut retired = key("r", "k");
    (retired.retired_at, retired.gone_at) = (Some(at(NOW)), Some(at(NOW + 300)));
    for step in [
        Change::PutMasterKeyCheck([1; 32]),
        Change::PutClient(renamed),
        Change::PutCredential {
            realm: "r".into(),
            client: "c".into(),
            credential: crate::fixture::credential("1"),
        },
        Change::RemoveCredential { realm: "r".into(), client: "c".into(), credential: "1".into() },
        Change::PutUser(user("r", "u")),
        Change::PutUser(user("r", "v")),
        Change::PutRealm(opened),
        Change::PutKey(retired),
        Change::RemoveClient { realm: "r".into(), client: "nobody".into() },
        Change::RemoveUser { realm: "r".into(), user: "nobody".into() },
        Change::RemoveKey { realm: "r".into(), kid: "none".into() },
        Change::RemoveRealm { realm: "none".into() },
    ] {
        change(&store, step.clone()).await;
        assert_eq!(log(&store).await, [], "{step:?}");
    }
    let gone = Change::RemoveKey { realm: "r".into(), kid: "k".into() };
    store.change(vec![gone], None, at(NOW + 300)).await.unwrap();
    assert_eq!(log(&store).await, [], "a key that is gone by itself");
}

async fn a_row_takes_the_place_of_the_one_before_it_and_says_at_least_as_much(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    change(&store, Change::PutRealm(keycloak())).await;
    let mut last = 0;
    for round in 0..20 {
        let remove = Change::RemoveClient { realm: "r".into(), client: "c".into() };
        let changes = vec![Change::PutClient(client("r", "c", &[])), remove];
        // The clock of the tenth was set back.
        let now = if round == 10 { at(5) } else { at(NOW + round) };
        store.change(changes, None, now).await.unwrap();
        let rows = log(&store).await;
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert!(row.number > last);
        last = row.number;
        let latest = NOW + if round == 10 { 9 } else { round };
        assert_eq!(row.revocation.ended, of_client(latest + 1));
        assert_eq!(row.revocation.until, at(latest + 1 + DAY));
        assert_eq!(row.at, now);
    }
}

async fn what_is_put_knows_what_was_told_of_it(store: AnyStore) {
    house(&store).await;
    let stored = async || {
        let found = store.load().await.unwrap();
        [found.realms[0].ended_before, found.clients[0].ended_before, found.users[0].ended_before]
    };
    let nothing = Timestamp::EPOCH;
    assert_eq!(stored().await, [nothing; 3]);
    let disabled = Client { enabled: false, ..client("r", "c", &[]) };
    let raised = |not_before| User { not_before, ..user("r", "u") };
    let steps = [
        ("a client is disabled", Change::PutClient(disabled), [nothing, at(SETTLED), nothing]),
        // Whoever puts it need not know.
        ("and enabled", Change::PutClient(client("r", "c", &[])), [nothing, at(SETTLED), nothing]),
        (
            "a password changes",
            Change::PutUser(raised(Timestamp::from_millis(NOW * 1000 + 1))),
            [nothing, at(SETTLED), at(NOW + 1)],
        ),
        (
            "all tokens are revoked",
            Change::PutRealm(Realm { not_before: at(NOW + 7), ..realm("r") }),
            [at(NOW + 7), at(SETTLED), at(NOW + 1)],
        ),
        // By somebody who has read it before.
        ("and not", Change::PutRealm(realm("r")), [at(NOW + 7), at(SETTLED), at(NOW + 1)]),
    ];
    for (name, step, expected) in steps {
        change(&store, step).await;
        assert_eq!(stored().await, expected, "{name}");
    }
    // In one change, and of another life.
    let again = vec![
        Change::RemoveRealm { realm: "r".into() },
        Change::PutRealm(realm("r")),
        Change::PutClient(client("r", "c", &[])),
        Change::PutClient(client("r", "d", &[])),
        Change::RemoveClient { realm: "r".into(), client: "d".into() },
        Change::PutClient(client("r", "d", &[])),
        Change::PutUser(user("r", "u")),
    ];
    store.change(again, None, at(NOW + 10)).await.unwrap();
    assert_eq!(stored().await, [at(NOW + 11), at(SETTLED), at(NOW + 1)]);
    let found = store.client("r", "d").await.unwrap().unwrap();
    assert_eq!(found.ended_before, at(NOW + 11));
}

async fn a_change_that_is_not_made_writes_nothing(store: AnyStore) {
    house(&store).await;
    let remove = || Change::RemoveClient { realm: "r".into(), client: "c".into() };
    let refused = vec![remove(), Change::PutClient(client("nowhere", "c", &[]))];
    let refused = store.change(refused, None, at(NOW)).await;
    assert!(matches!(refused, Err(StoreError::Missing(_))), "{refused:?}");
    let refused = store.change(vec![remove()], Some(Revision(999)), at(NOW)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(log(&store).await, []);
}

async fn rows_come_in_pages(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    for number in 1..=10 {
        store.revoke_family("r", "c", family(number), at(1), at(NOW)).await.unwrap();
    }
    let (mut read, mut last) = (Vec::new(), None);
    loop {
        let page = store.revocations(last, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(row) = page.last() else { break };
        last = Some(row.number);
        read.extend(page);
    }
    assert_eq!(read, log(&store).await);
    assert_eq!(read.len(), 10);
    assert_eq!(store.revocations(Some(u64::MAX), 3).await.unwrap(), []);
}

async fn rows_are_forgotten_but_for_the_newest(store: AnyStore) {
    make_realms(&*store, &["r"]).await;
    for (number, until) in [(1, 100), (2, 300), (3, 100), (4, 200)] {
        store.revoke_family("r", "c", family(number), at(1), at(until)).await.unwrap();
    }
    let left = async |now| {
        store.collect_garbage(at(now)).await.unwrap();
        log(&store).await.into_iter().map(|row| row.number).collect::<Vec<_>>()
    };
    assert_eq!(left(99).await, [1, 2, 3, 4]);
    assert_eq!(left(100).await, [2, 4]);
    assert_eq!(left(200).await, [2, 4]);
    assert_eq!(left(5000).await, [4]);
    store.revoke_family("r", "c", family(5), at(1), at(100)).await.unwrap();
    assert_eq!(left(5000).await, [5]);
    // What was forgotten can be written anew.
    store.revoke_family("r", "c", family(1), at(1), at(9000)).await.unwrap();
    assert_eq!(left(5000).await, [6]);
}

async fn the_log_outlives_the_realm(store: AnyStore) {
    house(&store).await;
    store.revoke_family("r", "c", family(1), at(1), at(2 * NOW)).await.unwrap();
    change(&store, Change::RemoveRealm { realm: "r".into() }).await;
    let all = Ended::All { not_before: at(SETTLED) };
    assert_eq!(ended(&store).await, [Ended::Token(family(1)), all]);
}

async fn what_is_told_is_seen_as_a_change(store: AnyStore) {
    house(&store).await;
    let before = store.revision().await.unwrap();
    change(&store, Change::RemoveClient { realm: "r".into(), client: "c".into() }).await;
    let between = store.revision().await.unwrap();
    store.revoke_family("r", "c", family(1), at(1), at(2 * NOW)).await.unwrap();
    assert!(before < between && between < store.revision().await.unwrap());
}

async fn a_longer_lifetime_of_a_client_is_waited_for(store: AnyStore) {
    house(&store).await;
    let mut patient = client("r", "patient", &[]);
    patient.access = Some(Duration::from_secs(3 * DAY));
    change(&store, Change::PutClient(patient)).await;
    change(&store, Change::RemoveClient { realm: "r".into(), client: "c".into() }).await;
    assert_eq!(log(&store).await[0].revocation.until, at(SETTLED + 3 * DAY));
}

/// A realm `r` whose tokens live so long.
fn living(secs: u64) -> Change {
    let mut realm = realm("r");
    realm.tokens.access = Duration::from_secs(secs);
    Change::PutRealm(realm)
}

/// A client of realm `r` whose tokens live so long, or as long as the realm's.
fn own_lifetime(id: &str, secs: Option<u64>) -> Change {
    let mut client = client("r", id, &[]);
    client.access = secs.map(Duration::from_secs);
    Change::PutClient(client)
}

/// Makes changes at some time, and gives until when the last row matters.
async fn until_after(store: &AnyStore, changes: Vec<Change>, secs: u64) -> Timestamp {
    store.change(changes, None, at(secs)).await.unwrap();
    log(store).await.last().unwrap().revocation.until
}

fn remove_client(id: &str) -> Change {
    Change::RemoveClient { realm: "r".into(), client: id.into() }
}

async fn tokens_outlive_a_lifetime_that_is_made_shorter(store: AnyStore) {
    house(&store).await;
    change(&store, living(7 * DAY)).await;
    change(&store, living(60)).await;
    let outlived = at(SETTLED + 7 * DAY);
    assert_eq!(store.outline().await.unwrap().outlived, [("r".to_owned(), outlived)]);
    let remove_user = Change::RemoveUser { realm: "r".into(), user: "u".into() };
    for ending in [remove_client("c"), remove_user] {
        assert_eq!(until_after(&store, vec![ending], NOW + DAY).await, outlived);
    }
    // Nothing else makes it longer, and once they have expired all is as it was.
    change(&store, living(60)).await;
    change(&store, living(120)).await;
    let later = NOW + 7 * DAY;
    let ending = vec![Change::PutClient(client("r", "c", &[])), remove_client("c")];
    assert_eq!(until_after(&store, ending, later).await, at(later + 1 + DAY));
    assert_eq!(store.outline().await.unwrap().outlived, [("r".to_owned(), outlived)]);
    let ending = vec![Change::RemoveRealm { realm: "r".into() }];
    assert_eq!(until_after(&store, ending, NOW + DAY).await, outlived);
}

async fn of_two_shorter_lifetimes_the_one_that_is_outlived_longest_counts(store: AnyStore) {
    house(&store).await;
    change(&store, living(9 * DAY)).await;
    // In one piece with what they are too short for.
    let changes = vec![living(2 * DAY), living(60), remove_client("c")];
    assert_eq!(until_after(&store, changes, NOW).await, at(SETTLED + 9 * DAY));
    store.change(vec![living(30)], None, at(NOW + DAY)).await.unwrap();
    let found = store.outline().await.unwrap().outlived;
    assert_eq!(found, [("r".to_owned(), at(SETTLED + 9 * DAY))]);
    store.change(vec![living(20 * DAY), living(30)], None, at(NOW + DAY)).await.unwrap();
    let found = store.outline().await.unwrap().outlived;
    assert_eq!(found, [("r".to_owned(), at(SETTLED + 21 * DAY))]);
}

async fn tokens_outlive_the_lifetime_of_a_client(store: AnyStore) {
    house(&store).await;
    let steps =
        [(own_lifetime("a", Some(60)), 2), (own_lifetime("a", None), 3), (remove_client("a"), 4)];
    for (step, days) in steps {
        change(&store, own_lifetime("a", Some(days * DAY))).await;
        change(&store, step.clone()).await;
        let expected = [("r".to_owned(), at(SETTLED + days * DAY))];
        assert_eq!(store.outline().await.unwrap().outlived, expected, "{step:?}");
        // Others may have had tokens from it by exchange, and it may have had some about others.
        let ending = vec![Change::PutClient(client("r", "c", &[])), remove_client("c")];
        assert_eq!(until_after(&store, ending, NOW).await, at(SETTLED + days * DAY), "{step:?}");
    }
}

async fn a_key_has_signed_tokens_of_the_longer_lifetime(store: AnyStore) {
    house(&store).await;
    let goes = |secs| {
        let mut key = key("r", "k");
        (key.retired_at, key.gone_at) = (Some(at(NOW)), Some(at(secs)));
        Change::PutKey(key)
    };
    change(&store, living(7 * DAY)).await;
    change(&store, living(60)).await;
    change(&store, goes(SETTLED + 7 * DAY)).await;
    assert_eq!(log(&store).await, [], "after all that it has signed");
    assert_eq!(until_after(&store, vec![goes(NOW + 6 * DAY)], NOW).await, at(SETTLED + 7 * DAY));
    assert_eq!(ended(&store).await, [Ended::Key("k".into())]);
}

async fn a_realm_that_is_made_anew_is_not_outlived(store: AnyStore) {
    change(&store, living(7 * DAY)).await;
    change(&store, living(60)).await;
    change(&store, Change::RemoveRealm { realm: "r".into() }).await;
    // Whatever it had issued has ended with it, and that is told until then.
    assert_eq!(log(&store).await[0].revocation.until, at(SETTLED + 7 * DAY));
    change(&store, living(60)).await;
    assert_eq!(store.outline().await.unwrap().outlived, []);
}

/// What nobody can read any more may say anything.
#[tokio::test]
async fn where_the_realm_is_unreadable_a_family_is_told_to_its_end() {
    let file = InFile::new();
    let store: AnyStore = Arc::new(file.open());
    house(&store).await;
    let conn = rusqlite::Connection::open(file.path()).unwrap();
    conn.execute("UPDATE realms SET document = '{}'", []).unwrap();
    store.revoke_family("r", "c", family(1), at(NOW), at(NOW + 90 * DAY)).await.unwrap();
    assert_eq!(log(&store).await[0].revocation.until, at(NOW + 90 * DAY));
    let until = until_after(&store, vec![living(60), remove_client("c")], NOW).await;
    assert_eq!(until, at(SETTLED + DAY));
}

#[tokio::test]
async fn a_restart_remembers_what_was_outlived() {
    let file = InFile::new();
    let store: AnyStore = Arc::new(file.open());
    change(&store, living(7 * DAY)).await;
    change(&store, Change::PutClient(client("r", "c", &[]))).await;
    change(&store, living(60)).await;
    drop(store);
    let store: AnyStore = Arc::new(file.open());
    let until = until_after(&store, vec![remove_client("c")], NOW + DAY).await;
    assert_eq!(until, at(SETTLED + 7 * DAY));
}

/// Any change of a small world, and when it is made.
fn any_change() -> impl Strategy<Value = (Change, Timestamp)> {
    let name = || prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
    let time = || (0..5_000_u64).prop_map(Timestamp::from_millis);
    let realm_name = || prop_oneof![9 => Just("r".to_owned()), 1 => Just("s".to_owned())];
    let put_realm = (realm_name(), time(), time(), any::<bool>(), 0..3_u64);
    let put_realm = put_realm.prop_map(|(name, n, c, k, days)| {
        let dialect = if k { keycloak().dialect } else { realm("r").dialect };
        let mut realm = Realm { not_before: n, created_at: c, dialect, ..realm(&name) };
        realm.tokens.access = Duration::from_secs(days * DAY);
        Change::PutRealm(realm)
    });
    let put_client = (realm_name(), name(), time(), time(), any::<bool>(), 0..3_u64);
    let put_client = put_client.prop_map(|(realm, id, not_before, created_at, enabled, days)| {
        let mut client = client(&realm, &id, &[]);
        (client.not_before, client.created_at) = (not_before, created_at);
        (client.enabled, client.access) = (enabled, Some(Duration::from_secs(days * DAY)));
        Change::PutClient(client)
    });
    let put_user = (realm_name(), name(), name(), time(), any::<bool>());
    let put_user = put_user.prop_map(|(realm, name, subject, not_before, enabled)| {
        let mut user = user(&realm, &name);
        (user.subject, user.not_before, user.enabled) = (subject, not_before, enabled);
        Change::PutUser(user)
    });
    let put_key = (realm_name(), name(), prop::option::of(time()), prop::option::of(0..700_u64));
    let put_key = put_key.prop_map(|(realm, kid, retired_at, gone_at)| {
        let mut key = key(&realm, &kid);
        (key.retired_at, key.gone_at) = (retired_at, gone_at.map(at));
        Change::PutKey(key)
    });
    let change = prop_oneof![
        2 => put_realm,
        6 => put_client,
        4 => put_user,
        4 => put_key,
        1 => realm_name().prop_map(|realm| Change::RemoveRealm { realm }),
        2 => (realm_name(), name()).prop_map(|(realm, client)| Change::RemoveClient { realm, client }),
        2 => (realm_name(), name()).prop_map(|(realm, user)| Change::RemoveUser { realm, user }),
        2 => (realm_name(), name()).prop_map(|(realm, kid)| Change::RemoveKey { realm, kid }),
    ];
    (change, time())
}

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]
    #[test]
    fn both_stores_write_the_same_whatever_changes(
        steps in prop::collection::vec((prop::collection::vec(any_change(), 1..4), 0..100_000_u64), 1..20)
    ) {
        let (file, memory) = (InFile::new(), Memory::new());
        let sqlite = file.open();
        Runtime::new().unwrap().block_on(async {
            make_realms(&memory, &["r"]).await;
            make_realms(&sqlite, &["r"]).await;
            for (changes, forget_at) in steps {
                let now = changes[0].1;
                let changes: Vec<_> = changes.into_iter().map(|(change, _)| change).collect();
                let made = memory.change(changes.clone(), None, now).await;
                assert_eq!(made.is_ok(), sqlite.change(changes, None, now).await.is_ok());
                memory.collect_garbage(at(forget_at)).await.unwrap();
                sqlite.collect_garbage(at(forget_at)).await.unwrap();
                let expected = memory.revocations(None, 100).await.unwrap();
                assert_eq!(sqlite.revocations(None, 100).await.unwrap(), expected);
                let expected = memory.outline().await.unwrap().outlived;
                assert_eq!(sqlite.outline().await.unwrap().outlived, expected);
            }
        });
    }
}
