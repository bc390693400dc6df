//! Tokens that name a place in a status list (draft-ietf-oauth-status-list): what their list may say of them, and what it
//! costs to know that.

mod bounds;
mod kept;
mod looked_up;
mod outage;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_core::status_list::StatusList;
use tokenry_verifier::{
    BoxFuture, FetchError, Rejection, StatusListMetrics, StatusListSettings, StatusListSource,
    Verifier,
};
use tokio::time::{Instant, sleep};

use crate::issuer::{ISSUER, START, Source, builder, claims, key, token};

const SECOND: Duration = Duration::from_secs(1);
const URI: &str = "https://id.example/status-lists/1";

/// What is answered at a URI.
#[derive(Clone)]
enum Reply {
    List(String),
    Status(u16),
    Down,
    Panics,
}

/// Where the verifier fetches lists: answers what it is told to, and counts. There is nothing elsewhere.
#[derive(Clone, Default)]
struct Lists(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    replies: HashMap<String, Reply>,
    otherwise: Option<Reply>,
    delay: Duration,
    asked: Vec<(String, Instant)>,
    under_way: usize,
    most: usize,
}

impl Lists {
    fn with(text: String) -> Self {
        let lists = Self::default();
        lists.reply(Reply::List(text));
        lists
    }

    /// What is answered at [`URI`].
    fn reply(&self, reply: Reply) {
        self.reply_at(URI, reply);
    }

    fn reply_at(&self, uri: &str, reply: Reply) {
        self.0.lock().unwrap().replies.insert(uri.to_owned(), reply);
    }

    /// What is answered everywhere else.
    fn otherwise(&self, reply: Reply) {
        self.0.lock().unwrap().otherwise = Some(reply);
    }

    fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    /// How many fetches there were at the same time.
    fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }

    /// The times between fetches, in seconds.
    fn pauses(&self) -> Vec<u64> {
        let asked = &self.0.lock().unwrap().asked;
        asked.windows(2).map(|pair| (pair[1].1 - pair[0].1).as_secs()).collect()
    }

    fn settings(&self) -> StatusListSettings {
        StatusListSettings::source(self.clone())
    }
}

impl StatusListSource for Lists {
    fn fetch<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async {
            let (reply, delay) = {
                let mut answers = self.0.lock().unwrap();
                answers.asked.push((uri.to_owned(), Instant::now()));
                answers.under_way += 1;
                answers.most = answers.most.max(answers.under_way);
                let reply = answers.replies.get(uri).or(answers.otherwise.as_ref()).cloned();
                (reply, answers.delay)
            };
            sleep(delay).await;
            self.0.lock().unwrap().under_way -= 1;
            match reply {
                None => Err(FetchError::Status(404)),
                Some(Reply::List(text)) => Ok(text.into()),
                Some(Reply::Status(status)) => Err(FetchError::Status(status)),
                Some(Reply::Down) => Err(FetchError::Connection("refused".to_owned())),
                Some(Reply::Panics) => panic!("a source that panics"),
            }
        })
    }
}

/// An issuer with a key, and an API that knows it.
struct House {
    key: Arc<SigningKey>,
    keys: Source,
    lists: Lists,
    verifier: Verifier,
}

impl House {
    /// With a list in which these are revoked.
    async fn with(revoked: &[u16]) -> Self {
        let key = key(Algorithm::Es256);
        let lists = Lists::with(list(&key, &json!({}), revoked));
        Self::of(key, lists).await
    }

    async fn of(key: impl Into<Arc<SigningKey>>, lists: Lists) -> Self {
        let settings = lists.settings();
        Self::set(key, lists, settings).await
    }

    async fn set(
        key: impl Into<Arc<SigningKey>>,
        lists: Lists,
        settings: StatusListSettings,
    ) -> Self {
        let key = key.into();
        let keys = Source::with(&[&key]);
        let verifier = builder(&keys).status_lists(settings).build().unwrap();
        settle().await;
        Self { key, keys, lists, verifier }
    }

    /// A token with this place in the list.
    fn token(&self, idx: u64) -> String {
        self.token_at(URI, idx)
    }

    fn token_at(&self, uri: &str, idx: u64) -> String {
        self.token_with(json!({ "status_list": { "idx": idx, "uri": uri } }))
    }

    fn token_with(&self, status: Value) -> String {
        let mut claims = claims();
        claims["status"] = status;
        token(&self.key, &claims)
    }

    async fn ask(&self, token: &str) -> Result<(), Rejection> {
        self.verifier.verify(token, self.verifier.now()).await.map(drop)
    }

    /// Asks, and says whether the answer came out of memory.
    async fn hits(&self, token: &str) -> bool {
        let before = self.verifier.metrics().cache_hits;
        assert_eq!(self.ask(token).await, Ok(()));
        self.verifier.metrics().cache_hits > before
    }

    /// Signs a list with these claims changed, and has it published.
    fn publish(&self, changes: &Value, revoked: &[u16]) {
        let mut changes = changes.clone();
        // As of now, as the issuer makes them.
        let now = self.verifier.now().as_secs();
        let members = changes.as_object_mut().unwrap();
        members.entry("iat").or_insert(json!(now));
        members.entry("exp").or_insert(json!(now + 300));
        self.lists.reply(Reply::List(list(&self.key, &changes, revoked)));
    }

    fn metrics(&self) -> StatusListMetrics {
        metrics(&self.verifier)
    }
}

fn metrics(verifier: &Verifier) -> StatusListMetrics {
    verifier.metrics().issuers.remove(0).status_lists.unwrap()
}

/// A list of 64 tokens as our server makes it, with some claims changed; `null` takes one away.
fn list(key: &SigningKey, changes: &Value, revoked: &[u16]) -> String {
    signed(key, "statuslist+jwt", &list_claims(changes, revoked))
}

fn list_claims(changes: &Value, revoked: &[u16]) -> Value {
    let lst = StatusList::revoked(64, revoked.iter().copied()).encode();
    let mut claims = json!({
        "sub": URI, "iat": START, "exp": START + 300, "ttl": 60,
        "status_list": { "bits": 1, "lst": lst },
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

fn signed(key: &SigningKey, typ: &str, claims: &Value) -> String {
    let mut text = String::new();
    key.sign_compact(&key.header(typ), claims.to_string().as_bytes(), &mut text).unwrap();
    text
}

fn is_unavailable(asked: &Result<(), Rejection>) -> bool {
    matches!(asked, Err(Rejection::Unavailable { .. }))
}

/// Lets everything that can run run. Time stands as good as still.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[test]
fn the_lists_are_of_the_issuers_origin() {
    assert!(ISSUER.starts_with("https://id.example/") && URI.starts_with("https://id.example/"));
}
