//! Tokens that only their issuer can read: what it is asked, what it has to say, and what that costs.

mod asked;
mod behind;
mod outage;
mod said;
mod signed;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use serde_json::{Value, json};
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    BoxFuture, FetchError, IntrospectionMetrics, IntrospectionSettings, IntrospectionSource,
    Verifier,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::issuer::{API, ISSUER, START, Source, ask, builder, key};

/// What an issuer answers about a token.
#[derive(Clone)]
enum Reply {
    Says(Value),
    Text(String),
    Status(u16),
    Down,
    Panics,
}

/// Where the verifier asks about tokens: answers what it is told to, and counts. All other tokens are inactive.
#[derive(Clone, Default)]
struct Word(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    replies: HashMap<String, Reply>,
    otherwise: Option<Reply>,
    delay: Duration,
    asked: Vec<String>,
    under_way: usize,
    most: usize,
}

impl Word {
    /// An issuer that knows one token.
    fn with(token: &str, says: Value) -> Self {
        let word = Self::default();
        word.reply(token, Reply::Says(says));
        word
    }

    fn reply(&self, token: &str, reply: Reply) {
        self.0.lock().unwrap().replies.insert(token.to_owned(), reply);
    }

    /// What it answers about tokens that it does not know.
    fn otherwise(&self, reply: Option<Reply>) {
        self.0.lock().unwrap().otherwise = reply;
    }

    fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    /// What it was asked about since the last time.
    fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// How many questions there were at the same time.
    fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }

    fn settings(&self) -> IntrospectionSettings {
        IntrospectionSettings::source(self.clone())
    }

    fn verifier(&self) -> Verifier {
        verifier(self.settings())
    }
}

impl IntrospectionSource for Word {
    fn introspect<'a>(
        &'a self,
        issuer: &'a str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        assert_eq!(issuer, ISSUER);
        Box::pin(async {
            let (reply, delay) = {
                let mut answers = self.0.lock().unwrap();
                answers.asked.push(token.to_owned());
                answers.under_way += 1;
                answers.most = answers.most.max(answers.under_way);
                let reply = answers.replies.get(token).or(answers.otherwise.as_ref()).cloned();
                (reply, answers.delay)
            };
            sleep(delay).await;
            self.0.lock().unwrap().under_way -= 1;
            match reply {
                None => Ok(Bytes::from_static(br#"{"active":false}"#)),
                Some(Reply::Says(value)) => Ok(value.to_string().into()),
                Some(Reply::Text(text)) => Ok(text.into()),
                Some(Reply::Status(status)) => Err(FetchError::Status(status)),
                Some(Reply::Down) => Err(FetchError::Connection("refused".to_owned())),
                Some(Reply::Panics) => panic!("a source that panics"),
            }
        })
    }
}

/// What the issuer says about a good token.
fn active() -> Value {
    json!({
        "active": true, "token_type": "Bearer", "iss": ISSUER, "sub": "billing", "client_id": "billing",
        "aud": API, "jti": "j-1", "iat": START, "exp": START + 8_640_000, "scope": "read write",
    })
}

/// The same with other members; `null` takes one away.
fn active_but(changes: &Value) -> Value {
    let mut says = active();
    let members = says.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    says
}

fn verifier(settings: IntrospectionSettings) -> Verifier {
    builder(&Source::with(&[&key(Algorithm::Es256)])).introspection(settings).build().unwrap()
}

fn api(verifier: &Verifier) -> Router {
    crate::issuer::api(verifier.layer())
}

/// The statuses of as many requests at the same time.
async fn all(api: &Router, tokens: impl IntoIterator<Item = String>) -> Vec<u16> {
    let mut requests = JoinSet::new();
    for token in tokens {
        let api = api.clone();
        requests.spawn(async move { ask(&api, &token).await.0 });
    }
    requests.join_all().await
}

/// Lets everything that can run run. Time stands as good as still.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn metrics(verifier: &Verifier) -> IntrospectionMetrics {
    verifier.metrics().issuers.remove(0).introspection.unwrap()
}
