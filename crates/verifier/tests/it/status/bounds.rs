//! What tokens with many lists cost at most.

use serde_json::json;
use tokenry_core::jose::Algorithm;
use tokenry_core::status_list::StatusList;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{House, Lists, Reply, SECOND, is_unavailable, list, settle};
use crate::issuer::{START, key};

fn uri(number: usize) -> String {
    format!("https://id.example/status-lists/{number}")
}

/// So many lists, all of them there.
async fn house(lists: usize) -> House {
    let key = key(Algorithm::Es256);
    let source = Lists::default();
    for number in 0..lists {
        let claims = json!({ "sub": uri(number), "exp": START + 1_000_000, "ttl": 300 });
        source.reply_at(&uri(number), Reply::List(list(&key, &claims, &[])));
    }
    House::of(key, source).await
}

#[tokio::test(start_paused = true)]
async fn lists_that_nobody_has_named_are_fetched_at_a_bounded_rate() {
    let house = house(0).await;
    let mut now = 0;
    for (expected, secs) in [(64, 1), (80, 1), (96, 10), (160, 0)] {
        for _ in 0..200 {
            now += 1;
            assert!(is_unavailable(&house.ask(&house.token_at(&uri(now), 0)).await));
        }
        settle().await;
        assert_eq!(house.lists.fetches(), expected);
        sleep(SECOND * secs).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_lists_are_fetched_at_once_and_all_arrive() {
    let house = house(40).await;
    house.lists.delay(SECOND / 10);
    let mut requests = JoinSet::new();
    for number in 0..40 {
        let (verifier, token) = (house.verifier.clone(), house.token_at(&uri(number), 0));
        requests.spawn(async move { verifier.verify(&token, verifier.now()).await.is_ok() });
    }
    assert_eq!(requests.join_all().await, [true; 40]);
    assert_eq!((house.lists.fetches(), house.lists.most()), (40, 8));
}

#[tokio::test(start_paused = true)]
async fn a_full_table_takes_no_more_lists_and_lets_go_those_that_nobody_needs() {
    const MOST: usize = 1024;
    let house = house(MOST + 2).await;
    let tokens: Vec<String> = (0..MOST + 2).map(|it| house.token_at(&uri(it), 0)).collect();
    for batch in tokens[..MOST].chunks(16) {
        for token in batch {
            assert_eq!(house.ask(token).await, Ok(()));
        }
        sleep(SECOND).await;
    }
    assert_eq!(house.metrics().held, MOST);
    assert!(is_unavailable(&house.ask(&tokens[MOST]).await), "all are in use");
    assert_eq!(house.ask(&tokens[0]).await, Ok(()));
    // Of a `ttl` of 300 seconds, twice that. The one that was asked for last stays.
    sleep(SECOND * 500).await;
    assert_eq!(house.ask(&tokens[0]).await, Ok(()));
    sleep(SECOND * 101).await;
    let fetches = house.lists.fetches();
    assert_eq!(house.ask(&tokens[MOST]).await, Ok(()));
    assert_eq!(house.ask(&tokens[0]).await, Ok(()));
    assert_eq!(house.lists.fetches(), fetches + 1);
}

#[tokio::test(start_paused = true)]
async fn lists_that_are_not_there_make_room_for_those_that_are() {
    let house = house(3).await;
    for number in 10..1034 {
        assert!(is_unavailable(&house.ask(&house.token_at(&uri(number), 0)).await));
        sleep(SECOND / 16).await;
    }
    for number in 0..3 {
        assert_eq!(house.ask(&house.token_at(&uri(number), 0)).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn all_lists_together_take_so_much_memory_and_no_more() {
    let house = house(0).await;
    // 4 MiB of zeros, which are the most that one list may be: sixteen of them are 64 MiB.
    let lst = StatusList::revoked(8 * (4 << 20), []).encode();
    for number in 0..18 {
        let claims = json!({
            "sub": uri(number), "exp": START + 1_000_000,
            "status_list": { "bits": 1, "lst": lst },
        });
        house.lists.reply_at(&uri(number), Reply::List(list(&house.key, &claims, &[])));
    }
    for number in 0..16 {
        assert_eq!(house.ask(&house.token_at(&uri(number), 0)).await, Ok(()), "{number}");
    }
    assert!(is_unavailable(&house.ask(&house.token_at(&uri(16), 0)).await));
    assert_eq!((house.metrics().held, house.metrics().failed), (16, 1));
    // Those that nobody names any more make room, and one that is fetched again is not counted twice.
    for _ in 0..13 {
        sleep(SECOND * 10).await;
        for number in 1..16 {
            assert_eq!(house.ask(&house.token_at(&uri(number), 0)).await, Ok(()), "{number}");
        }
    }
    assert_eq!(house.ask(&house.token_at(&uri(17), 0)).await, Ok(()));
}
