//! Key sets of a publisher who counts, on a clock that is an argument.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokenry_core::jose::{Algorithm, SigningKey, generate};

use super::*;

const URL: &str = "https://keys.example/jwks";
const START: Timestamp = Timestamp::from_secs(1_000_000);

/// Publishes what it is told to, and counts how often it was asked.
#[derive(Debug)]
struct Publisher {
    published: Mutex<HashMap<String, Result<Bytes, FetchError>>>,
    asked: AtomicUsize,
    /// How many answers it still gives.
    answers: Semaphore,
}

impl Publisher {
    fn new() -> Arc<Self> {
        let published = Mutex::default();
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { published, asked: AtomicUsize::new(0), answers })
    }

    fn publish(&self, url: &str, what: Result<String, FetchError>) {
        self.published.lock().unwrap().insert(url.to_owned(), what.map(Bytes::from));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Fetch for Publisher {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
        let published = self.published.lock().unwrap().get(url).cloned();
        published.unwrap_or(Err(FetchError::Status(404)))
    }
}

fn jwk(kid: &str) -> serde_json::Value {
    let bytes = generate(Algorithm::Es256).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::Es256, bytes.as_bytes()).unwrap();
    serde_json::from_str(&key.with_kid(kid.to_owned()).public_jwk().to_json()).unwrap()
}

fn set(kids: &[&str]) -> Result<String, FetchError> {
    let keys: Vec<_> = kids.iter().map(|kid| jwk(kid)).collect();
    Ok(json!({ "keys": keys }).to_string())
}

/// The kids of the set at a time, some seconds after the start.
async fn kids(keys: &RemoteKeys, secs: u64, wanted: Option<&str>) -> Result<Vec<String>, NoKeys> {
    let set = keys.keys(Place::Url(URL), None, START + Duration::from_secs(secs), wanted).await?;
    Ok(set.keys().iter().filter_map(|key| key.kid()).map(str::to_owned).collect())
}

fn down() -> Result<String, FetchError> {
    Err(FetchError::Timeout)
}

fn failed<T>() -> Result<T, NoKeys> {
    Err(NoKeys::Fetch(FetchError::Timeout))
}

#[tokio::test]
async fn a_set_is_good_for_five_minutes() {
    let publisher = Publisher::new();
    publisher.publish(URL, set(&["a"]));
    let keys = RemoteKeys::new(publisher.clone());
    for (secs, asked) in [(0, 1), (1, 1), (299, 1), (300, 2), (599, 2), (600, 3)] {
        assert_eq!(kids(&keys, secs, Some("a")).await.unwrap(), ["a"], "{secs}");
        assert_eq!(publisher.asked(), asked, "{secs}");
    }
    publisher.publish(URL, set(&["b"]));
    assert_eq!(kids(&keys, 899, None).await.unwrap(), ["a"]);
    assert_eq!(kids(&keys, 900, None).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn row_245_an_unknown_kid_has_the_set_fetched_once_in_the_cooldown() {
    let publisher = Publisher::new();
    publisher.publish(URL, set(&["a"]));
    let keys = RemoteKeys::new(publisher.clone());
    for (secs, asked) in [(0, 1), (29, 1), (30, 2), (31, 2), (59, 2), (60, 3)] {
        for made_up in ["x", "y", "z"] {
            assert_eq!(kids(&keys, secs, Some(made_up)).await.unwrap(), ["a"]);
        }
        assert_eq!(publisher.asked(), asked, "{secs}");
    }
    // Whose kid is known is not delayed by those who make some up.
    publisher.publish(URL, set(&["a", "b"]));
    assert_eq!(kids(&keys, 89, Some("b")).await.unwrap(), ["a"]);
    assert_eq!(kids(&keys, 90, Some("b")).await.unwrap(), ["a", "b"]);
    assert_eq!(kids(&keys, 91, Some("b")).await.unwrap(), ["a", "b"]);
    assert_eq!(publisher.asked(), 4);
}

#[tokio::test]
async fn row_245_however_many_ask_it_is_fetched_once_at_a_time() {
    let publisher = Publisher::new();
    publisher.answers.forget_permits(Semaphore::MAX_PERMITS);
    publisher.publish(URL, set(&["a"]));
    let keys = Arc::new(RemoteKeys::new(publisher.clone()));
    let asking: Vec<_> = (0..100)
        .map(|number| {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move { kids(&keys, 0, Some(&number.to_string())).await })
        })
        .collect();
    while publisher.asked() == 0 {
        tokio::task::yield_now().await;
    }
    // Who asked first goes away; the fetch goes on for the others.
    asking[0].abort();
    publisher.answers.add_permits(1);
    for asking in asking.into_iter().skip(1) {
        assert_eq!(asking.await.unwrap().unwrap(), ["a"]);
    }
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn row_246_while_nobody_answers_the_old_set_is_good_for_a_day() {
    const DAY: u64 = 24 * 3600;
    let publisher = Publisher::new();
    publisher.publish(URL, set(&["a"]));
    let keys = RemoteKeys::new(publisher.clone());
    assert_eq!(kids(&keys, 0, None).await.unwrap(), ["a"]);
    publisher.publish(URL, down());
    let cases = [(300, 2), (301, 2), (329, 2), (330, 3), (DAY - 1, 4), (DAY - 1, 4)];
    for (secs, asked) in cases {
        assert_eq!(kids(&keys, secs, Some("a")).await.unwrap(), ["a"], "{secs}");
        assert_eq!(publisher.asked(), asked, "{secs}");
    }
    assert_eq!(kids(&keys, DAY, Some("a")).await, failed());
    // What is no key set is no answer either.
    for bad in ["{}", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        publisher.publish(URL, Ok(bad.to_owned()));
        let later = DAY + 100 * publisher.asked() as u64;
        assert!(matches!(kids(&keys, later, None).await, Err(NoKeys::Set(_))), "{bad}");
    }
    publisher.publish(URL, set(&["b"]));
    assert_eq!(kids(&keys, 2 * DAY, None).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn row_073_who_was_never_reached_is_left_alone_for_longer_and_longer() {
    let publisher = Publisher::new();
    publisher.publish(URL, down());
    let keys = RemoteKeys::new(publisher.clone());
    let cases = [
        (0, 1),
        (4, 1),
        (5, 2),
        (14, 2),
        (15, 3),
        (34, 3),
        (35, 4),
        (64, 4),
        (65, 5),
        (94, 5),
        (95, 6),
    ];
    for (secs, asked) in cases {
        for kid in [None, Some("a"), Some("b")] {
            assert_eq!(kids(&keys, secs, kid).await, failed(), "{secs}");
        }
        assert_eq!(publisher.asked(), asked, "{secs}");
    }
    publisher.publish(URL, set(&["a"]));
    assert_eq!(kids(&keys, 125, Some("a")).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_fetch_that_panics_or_is_broken_off_is_one_that_failed() {
    #[derive(Debug)]
    struct Panics;
    #[async_trait]
    impl Fetch for Panics {
        async fn fetch(&self, _: &str) -> Result<Bytes, FetchError> {
            panic!("on purpose")
        }
    }
    let keys = RemoteKeys::new(Arc::new(Panics));
    assert_eq!(kids(&keys, 0, None).await, Err(NoKeys::BrokenOff));
    assert_eq!(kids(&keys, 5, None).await, Err(NoKeys::BrokenOff));
}

#[tokio::test]
async fn only_so_many_are_fetched_at_once() {
    let publisher = Publisher::new();
    publisher.answers.forget_permits(Semaphore::MAX_PERMITS);
    let keys = Arc::new(RemoteKeys::new(publisher.clone()));
    for number in 0..MAX_FETCHES {
        let keys = Arc::clone(&keys);
        let url = format!("{URL}/{number}");
        tokio::spawn(async move { keys.keys(Place::Url(&url), None, START, None).await });
    }
    while publisher.asked() < MAX_FETCHES {
        tokio::task::yield_now().await;
    }
    assert_eq!(kids(&keys, 0, None).await, Err(NoKeys::Busy));
    // That was no failure of its own: it is fetched as soon as there is room.
    publisher.publish(URL, set(&["a"]));
    publisher.answers.add_permits(MAX_FETCHES + 1);
    while keys.places.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(kids(&keys, 0, None).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn keys_for_another_use_are_there_for_those_who_ask_for_them() {
    let publisher = Publisher::new();
    let (mut jwt, mut x509) = (jwk("jwt"), jwk("x509"));
    jwt["use"] = "jwt-svid".into();
    x509["use"] = "x509-svid".into();
    publisher.publish(URL, Ok(json!({ "keys": [jwt, x509, jwk("sig")] }).to_string()));
    let keys = RemoteKeys::new(publisher.clone());
    assert_eq!(kids(&keys, 0, None).await.unwrap(), ["sig"]);
    let bundle = keys.keys(Place::Url(URL), Some("jwt-svid"), START, None).await.unwrap();
    let kids: Vec<_> = bundle.keys().iter().filter_map(|key| key.kid()).collect();
    assert_eq!(kids, ["jwt", "sig"]);
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    const ISSUER: &str = "https://ci.example";
    const METADATA: &str = "https://ci.example/.well-known/openid-configuration";
    let says = |issuer: &str, jwks_uri: &str| {
        Ok(json!({ "issuer": issuer, "jwks_uri": jwks_uri, "foo": 1 }).to_string())
    };
    let publisher = Publisher::new();
    publisher.publish(URL, set(&["a"]));
    publisher.publish(METADATA, says(ISSUER, URL));
    let keys = RemoteKeys::new(publisher.clone());
    let found = keys.keys(Place::Issuer(ISSUER), None, START, Some("a")).await.unwrap();
    assert!(found.find("a").is_some());
    assert_eq!(publisher.asked(), 2);
    keys.keys(Place::Issuer(ISSUER), None, START, Some("a")).await.unwrap();
    assert_eq!(publisher.asked(), 2);

    for metadata in [
        says("https://ci.example/", URL),
        says("https://other.example", URL),
        Ok("{}".to_owned()),
        Ok("[".to_owned()),
    ] {
        publisher.publish(METADATA, metadata);
        let keys = RemoteKeys::new(publisher.clone());
        let found = keys.keys(Place::Issuer(ISSUER), None, START, None).await;
        assert_eq!(found.unwrap_err(), NoKeys::Metadata);
    }
}
