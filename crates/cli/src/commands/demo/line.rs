//! The line between a keeper and the server: real, and able to lose an answer when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tokenry_client::{HttpTransport, Transport, TransportError};
use tokenry_core::Secret;

use super::timeline::{Step, Timeline};

/// A transport that counts, and that can lose one answer.
#[derive(Clone)]
pub(super) struct Line {
    who: &'static str,
    http: HttpTransport,
    timeline: Timeline,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: AtomicU64,
    lose_next: AtomicBool,
    /// The refresh token in the answer that was lost.
    lost: Mutex<Option<Secret>>,
}

impl Line {
    pub(super) fn new(who: &'static str, http: HttpTransport, timeline: &Timeline) -> Self {
        Self { who, http, timeline: timeline.clone(), state: Arc::default() }
    }

    /// How many token requests went over it.
    pub(super) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Loses the answer to the next request: the server acts on it, and the keeper never hears of it.
    pub(super) fn lose_the_next_answer(&self) {
        self.state.lose_next.store(true, Ordering::Relaxed);
    }

    /// Loses an answer, or looks whether it repairs the one that was lost.
    fn watch(&self, response: Response<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let Some(token) = refresh_token(response.body()) else { return Ok(response) };
        let mut lost = self.state.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.lose_next.swap(false, Ordering::Relaxed) {
            *lost = Some(token);
            self.timeline.say(
                self.who,
                Some(Step::AnswerLost),
                "the server rotated the refresh token, and its answer was lost on the way",
            );
            return Err(TransportError::Other("the connection broke".into()));
        }
        if let Some(lost) = lost.take() {
            if lost == token {
                self.timeline.say(
                    self.who,
                    Some(Step::AnswerRepaired),
                    "asked again with the old one: the same successor, byte for byte",
                );
            } else {
                self.timeline.say(self.who, None, "asked again: another successor");
            }
        }
        Ok(response)
    }
}

impl Transport for Line {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> tokenry_client::BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async {
            self.state.requests.fetch_add(1, Ordering::Relaxed);
            let response = self.http.send(request).await?;
            self.watch(response)
        })
    }
}

fn refresh_token(body: &Bytes) -> Option<Secret> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(Secret::new(body.get("refresh_token")?.as_str()?))
}
