//! Clients that publish their keys themselves, at a `jwks_uri`.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, JwkSet, SigningKey};
use tokenry_core::{Client, Particulars};
use tokenry_server::{Fetch, FetchError};
use tokenry_store::{Change, Memory};

use crate::assertion::{assertion, changes, hs256, key, parameters};
use crate::house::{Answer, House, START, client, realm, refusal};

const ISSUER: &str = "https://auth.example";
const URL: &str = "https://billing.example/jwks";

/// Publishes what it is told to, and counts how often it was asked.
#[derive(Debug)]
struct Publisher {
    published: Mutex<Result<Bytes, FetchError>>,
    asked: AtomicUsize,
}

impl Publisher {
    fn of(keys: &[&SigningKey]) -> Arc<Self> {
        Arc::new(Self { published: Mutex::new(Ok(set(keys))), asked: AtomicUsize::new(0) })
    }

    fn down() -> Arc<Self> {
        let published = Mutex::new(Err(FetchError::Timeout));
        Arc::new(Self { published, asked: AtomicUsize::new(0) })
    }

    fn publish(&self, what: Result<Bytes, FetchError>) {
        *self.published.lock().unwrap() = what;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Fetch for Publisher {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        assert_eq!(url, URL);
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.published.lock().unwrap().clone()
    }
}

fn set(keys: &[&SigningKey]) -> Bytes {
    let keys = keys.iter().map(|key| key.public_jwk().clone()).collect();
    JwkSet::new(keys).unwrap().to_json().into()
}

/// `billing`, who publishes keys and has registered others.
async fn house(publisher: &Arc<Publisher>, registered: &[SigningKey]) -> House {
    house_with(publisher, registered, publishing(URL)).await
}

async fn house_with(publisher: &Arc<Publisher>, registered: &[SigningKey], own: Client) -> House {
    let mut changes = changes(realm(), registered);
    changes.push(Change::PutClient(own));
    House::fetching(publisher.clone(), Arc::new(Memory::new()), changes).await
}

fn publishing(url: &str) -> Client {
    let particulars = Particulars { jwks_uri: Some(url.to_owned()), ..Particulars::default() };
    Client { particulars: particulars.boxed(), ..client("billing") }
}

fn for_an_hour(key: &SigningKey, jti: &str) -> String {
    let mut text = String::new();
    let claims = claims(jti, 3600).to_string();
    key.sign_compact(&key.header("JWT"), claims.as_bytes(), &mut text).unwrap();
    text
}

fn claims(jti: &str, lifetime: u64) -> Value {
    json!({
        "iss": "billing", "sub": "billing", "aud": ISSUER, "jti": jti, "exp": START.as_secs() + lifetime,
    })
}

async fn ask(house: &House, assertion: &str) -> Answer {
    let body = format!("grant_type=client_credentials&{}", parameters(assertion));
    house.post_to("/token", &[], &body).await
}

#[tokio::test]
async fn a_key_that_the_client_publishes_is_good() {
    let own = key(Algorithm::Es256);
    let publisher = Publisher::of(&[&own, &key(Algorithm::Es256)]);
    let house = house(&publisher, &[]).await;
    let first = assertion(&own, ISSUER, "1");
    assert_eq!(ask(&house, &first).await.status, 200);
    assert_eq!(ask(&house, &first).await.refusal(), refusal(401, "invalid_client"));
    assert_eq!(ask(&house, &assertion(&own, ISSUER, "2")).await.status, 200);
    // With all that an assertion must say.
    let other = assertion(&own, "https://other.example", "3");
    assert_eq!(ask(&house, &other).await.refusal(), refusal(401, "invalid_client"));
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn row_072_a_key_without_a_name_is_found_among_those_published() {
    let own = key(Algorithm::Es256);
    let publisher = Publisher::of(&[&key(Algorithm::Es256), &own]);
    let house = house(&publisher, &[]).await;
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", part(json!({"alg": "ES256"})), part(claims("1", 60)));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(own.sign(text.as_bytes()).unwrap());
    assert_eq!(ask(&house, &format!("{text}.{signature}")).await.status, 200);
}

#[tokio::test]
async fn row_073_where_keys_were_never_fetched_the_client_is_told_to_come_again() {
    let own = key(Algorithm::Es256);
    let publisher = Publisher::down();
    let house = house(&publisher, &[]).await;
    let good = assertion(&own, ISSUER, "1");
    for _ in 0..3 {
        let answer = ask(&house, &good).await;
        assert_eq!(answer.refusal(), refusal(503, "temporarily_unavailable"));
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(publisher.asked(), 1);
    publisher.publish(Ok(set(&[&own])));
    house.clock.advance(Duration::from_secs(5));
    // Nothing of it was used up.
    assert_eq!(ask(&house, &good).await.status, 200);
}

#[tokio::test]
async fn row_073_where_keys_are_known_an_outage_changes_nothing() {
    let own = key(Algorithm::Es256);
    let publisher = Publisher::of(&[&own]);
    let house = house(&publisher, &[]).await;
    assert_eq!(ask(&house, &assertion(&own, ISSUER, "1")).await.status, 200);
    publisher.publish(Err(FetchError::Status(500)));
    // The set is due by then.
    house.clock.advance(Duration::from_mins(10));
    assert_eq!(ask(&house, &for_an_hour(&own, "2")).await.status, 200);
    let stranger = for_an_hour(&key(Algorithm::Es256), "3");
    assert_eq!(ask(&house, &stranger).await.refusal(), refusal(401, "invalid_client"));
    assert_eq!(publisher.asked(), 2);
    assert_eq!(ask(&house, &for_an_hour(&own, "4")).await.status, 200);
}

#[tokio::test]
async fn a_new_key_is_found_when_it_is_used() {
    let (old, new) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let publisher = Publisher::of(&[&old]);
    let house = house(&publisher, &[]).await;
    assert_eq!(ask(&house, &assertion(&old, ISSUER, "1")).await.status, 200);
    publisher.publish(Ok(set(&[&new])));
    house.clock.advance(Duration::from_secs(30));
    assert_eq!(ask(&house, &assertion(&new, ISSUER, "2")).await.status, 200);
    let gone = assertion(&old, ISSUER, "3");
    assert_eq!(ask(&house, &gone).await.refusal(), refusal(401, "invalid_client"));
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn registered_keys_come_first() {
    let registered = [key(Algorithm::Es256)];
    let publisher = Publisher::down();
    let house = house(&publisher, &registered).await;
    assert_eq!(ask(&house, &assertion(&registered[0], ISSUER, "1")).await.status, 200);
    assert_eq!(publisher.asked(), 0);
}

#[tokio::test]
async fn row_170_strangers_cause_one_fetch_in_the_cooldown() {
    let own = key(Algorithm::Es256);
    let publisher = Publisher::of(&[&own]);
    let house = house(&publisher, &[]).await;
    for round in 1..=3 {
        for number in 0..20 {
            let made_up = key(Algorithm::Es256).with_kid(number.to_string());
            let answer = ask(&house, &assertion(&made_up, ISSUER, "1")).await;
            assert_eq!(answer.refusal(), refusal(401, "invalid_client"));
        }
        assert_eq!(publisher.asked(), round);
        house.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn row_170_nothing_is_fetched_for_a_client_that_publishes_nothing() {
    let stranger = key(Algorithm::Es256);
    let disabled = Client { enabled: false, ..publishing(URL) };
    for (case, own) in [("no jwks_uri", client("billing")), ("disabled", disabled)] {
        let publisher = Publisher::of(&[&stranger]);
        let house = house_with(&publisher, &[], own).await;
        let answer = ask(&house, &assertion(&stranger, ISSUER, "1")).await;
        assert_eq!(answer.refusal(), refusal(401, "invalid_client"), "{case}");
        assert_eq!(publisher.asked(), 0, "{case}");
    }
    // Nor for what is no assertion at all.
    let publisher = Publisher::of(&[&stranger]);
    let house = house(&publisher, &[]).await;
    for bad in ["x".to_owned(), "a.b.c".to_owned(), hs256()] {
        assert_eq!(ask(&house, &bad).await.refusal(), refusal(401, "invalid_client"), "{bad}");
    }
    assert_eq!(publisher.asked(), 0);
}

#[tokio::test]
async fn row_170_a_jwks_uri_leads_to_no_address_of_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"];
    for host in hosts {
        let own = publishing(&format!("https://{host}:{port}/jwks"));
        let changes = vec![Change::PutRealm(realm()), Change::PutClient(own)];
        // As a server is by default.
        let house = House::with(changes).await;
        let answer = ask(&house, &assertion(&key(Algorithm::Es256), ISSUER, "1")).await;
        assert_eq!(answer.refusal(), refusal(503, "temporarily_unavailable"), "{host}");
        let came = listener.accept().map_err(|error| error.kind());
        assert_eq!(came.err(), Some(std::io::ErrorKind::WouldBlock), "{host}");
    }
}
