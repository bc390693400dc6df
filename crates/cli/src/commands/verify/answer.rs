//! One forward-auth request: what it is about, whether that may pass, and what the proxy is told.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, VARY, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Empty;
use tokenry_core::Timestamp;
use tokenry_core::jose::jws::Compact;
use tokenry_verifier::{AccessToken, Admitted, Head, Rejection, Verifier, VerifierMetrics};

use super::claims::ClaimHeaders;
use super::counters::Counters;
use super::lines::Lines;
use super::original::{Original, Proxy, Unknown};
use super::path::Unclear;
use super::rules::{Gate, Rules};
use super::settings::Settings;

/// An answer, which never has content.
pub(super) type Answer = Response<Empty<Bytes>>;

/// Answers the questions of a proxy.
#[derive(Debug)]
pub(super) struct Door {
    verifier: Verifier,
    proxy: Proxy,
    rules: Rules,
    headers: ClaimHeaders,
    max_age: Option<MaxAge>,
    pub(super) counters: Counters,
    /// Of requests that are refused.
    refused: Lines,
    /// Of those that nothing can be said about: they have lines of their own, which bad tokens do not use up.
    unanswered: Lines,
}

/// For how long an answer may be given again, as a duration and as a header.
#[derive(Debug)]
struct MaxAge(Duration, HeaderValue);

/// Why a request is not let through although nothing is wrong with its token, or nobody looked.
enum Obstacle {
    Unknown(Unknown),
    Unclear(Unclear),
    Closed,
    Unwritable(String),
}

impl Obstacle {
    fn status(&self, proxy: &Proxy) -> StatusCode {
        match self {
            Self::Unknown(unknown) if unknown.is_misconfigured() => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            // nginx makes an error of its own, 500, of all but 401 and 403.
            Self::Unknown(_) | Self::Unclear(_) if *proxy == Proxy::Nginx => StatusCode::FORBIDDEN,
            Self::Unknown(_) | Self::Unclear(_) => StatusCode::BAD_REQUEST,
            Self::Closed | Self::Unwritable(_) => StatusCode::FORBIDDEN,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(f),
            Self::Unclear(unclear) => unclear.fmt(f),
            Self::Closed => f.write_str("no rule is for this path and method"),
            Self::Unwritable(why) => f.write_str(why),
        }
    }
}

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// On what an answer that may be kept depends.
const DEPENDS: HeaderValue = HeaderValue::from_static("Authorization, DPoP");

impl Door {
    pub(super) fn new(settings: &Settings, verifier: Verifier) -> Self {
        let max_age = settings.cache.max_age.and_then(|max_age| {
            let header = HeaderValue::try_from(format!("max-age={}", max_age.as_secs())).ok()?;
            Some(MaxAge(max_age, header))
        });
        Self {
            rules: Rules::new(&verifier, &settings.api, &settings.rules),
            verifier,
            proxy: settings.proxy.clone(),
            headers: settings.headers.clone(),
            max_age,
            counters: Counters::default(),
            refused: Lines::default(),
            unanswered: Lines::default(),
        }
    }

    /// Says how many requests have had no line in the log.
    pub(super) fn tell_left_out(&self) {
        let (refused, unanswered) = (self.refused.left_out(), self.unanswered.left_out());
        if refused > 0 {
            tracing::info!(requests = refused, "refused as well, without a line for each");
        }
        if unanswered > 0 {
            tracing::warn!(requests = unanswered, "not answered as well, without a line for each");
        }
    }

    /// What the verifier has done.
    pub(super) fn metrics(&self) -> VerifierMetrics {
        self.verifier.metrics()
    }

    /// The answer to a request.
    pub(super) async fn answer(&self, parts: &Parts) -> Answer {
        let answer = match self.proxy.original(parts) {
            Ok(original) => self.judge(parts, &original).await,
            Err(unknown) => self.turn_away(None, &Obstacle::Unknown(unknown)),
        };
        self.counters.count(answer.status());
        answer
    }

    async fn judge(&self, parts: &Parts, original: &Original) -> Answer {
        let gate = match self.rules.gate(original.uri.path(), &original.method) {
            Ok(gate) => gate,
            Err(unclear) => return self.turn_away(Some(original), &Obstacle::Unclear(unclear)),
        };
        let head = Head {
            method: &original.method,
            uri: &original.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        };
        let now = self.verifier.now();
        let admitted = match self.verifier.verify_request(head, now).await {
            Ok(admitted) => admitted,
            Err(rejection) => return self.refuse(gate, head, &rejection, None),
        };
        if gate.is_closed {
            return self.turn_away(Some(original), &Obstacle::Closed);
        }
        let token = admitted.token();
        if let Err(rejection) = token.require(&gate.needed) {
            return self.refuse(gate, head, &rejection, Some(token));
        }
        self.admit(&admitted, original, now)
    }

    fn admit(&self, admitted: &Admitted, original: &Original, now: Timestamp) -> Answer {
        let mut answer = Answer::default();
        let token = admitted.token();
        let headers = answer.headers_mut();
        headers.reserve(self.headers.0.len() + 3);
        if let Err(unwritable) = self.headers.write(token, headers) {
            let obstacle = Obstacle::Unwritable(unwritable.to_string());
            return self.turn_away(Some(original), &obstacle);
        }
        self.keep_for(token, now, headers);
        tracing::debug!(jti = token.jti(), method = %original.method, "let through");
        if let Some(nonce) = admitted.nonce() {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
        answer
    }

    /// Says for how long the proxy may give this answer again: never longer than the token lives, and not at all where a
    /// proof was looked at, which is good once.
    fn keep_for(&self, token: &AccessToken, now: Timestamp, headers: &mut HeaderMap) {
        let life = token.expires_at().since(now);
        let value = match &self.max_age {
            Some(max_age) if token.binding().is_none() && life >= Duration::from_secs(1) => {
                headers.insert(VARY, DEPENDS);
                let MaxAge(most, written) = max_age;
                if life >= *most {
                    written.clone()
                } else {
                    HeaderValue::try_from(format!("max-age={}", life.as_secs())).unwrap_or(NO_STORE)
                }
            }
            _ => NO_STORE,
        };
        headers.insert(CACHE_CONTROL, value);
    }

    /// The answer of RFC 6750 §3 to a token that is not good enough.
    fn refuse(
        &self,
        gate: &Gate,
        head: Head<'_>,
        rejection: &Rejection,
        token: Option<&AccessToken>,
    ) -> Answer {
        let mut answer: Answer = gate.guard.refuse(head, rejection);
        let status = answer.status().as_u16();
        let (method, path) = (head.method, head.uri.path());
        let (jti, client) = match token {
            Some(token) => (token.jti().map(str::to_owned), token.client_id().map(str::to_owned)),
            None => named(head.headers, rejection),
        };
        let (jti, client) = (jti.as_deref(), client.as_deref());
        let now = self.verifier.now();
        match rejection {
            // Every client begins without one.
            Rejection::NoCredentials | Rejection::NonceNeeded => {
                tracing::debug!(status, %method, path, cause = %rejection, "refused");
            }
            Rejection::Unavailable { .. }
            | Rejection::FeedBehind { .. }
            | Rejection::ProofStoreDown => {
                if self.unanswered.take(now) {
                    tracing::warn!(status, %method, path, cause = %rejection, "not answered");
                }
            }
            _ if self.refused.take(now) => {
                tracing::info!(status, %method, path, jti, client, cause = %rejection, "refused");
            }
            _ => tracing::debug!(status, %method, path, jti, client, cause = %rejection, "refused"),
        }
        if self.proxy == Proxy::Nginx {
            for_nginx(&mut answer);
        }
        answer
    }

    fn turn_away(&self, original: Option<&Original>, obstacle: &Obstacle) -> Answer {
        let mut answer = Answer::default();
        answer.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        *answer.status_mut() = obstacle.status(&self.proxy);
        let method = original.map(|it| it.method.as_str());
        let path = original.map(|it| it.uri.path());
        let now = self.verifier.now();
        match obstacle {
            Obstacle::Unknown(unknown) if unknown.is_misconfigured() => {
                if self.unanswered.take(now) {
                    tracing::error!("not answered: {unknown}; see docs/forward-auth.md");
                }
            }
            // Its issuer writes such claims: an operator has to hear of it.
            Obstacle::Unwritable(why) if self.refused.take(now) => {
                tracing::warn!(method, path, "refused: {why}");
            }
            other if self.refused.take(now) => tracing::info!(method, path, "refused: {other}"),
            other => tracing::debug!(method, path, "refused: {other}"),
        }
        answer
    }
}

/// Whose token was refused, and which it is: where that is known, since its signature was good.
fn named(headers: &HeaderMap, rejection: &Rejection) -> (Option<String>, Option<String>) {
    if !matches!(
        rejection,
        Rejection::Expired | Rejection::NotYetValid | Rejection::Revoked | Rejection::WrongAudience
    ) {
        return (None, None);
    }
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = text.and_then(|text| text.trim_end().rsplit(' ').next()).unwrap_or_default();
    match Compact::parse(token) {
        Ok(token) => (token.unverified_claim("jti"), token.unverified_claim("client_id")),
        // One that only its issuer can read.
        Err(_) => (None, None),
    }
}

/// Makes of an answer one that nginx passes on.
///
/// All challenges are put into one field (RFC 9110 §11.6.1), since nginx before 1.23 keeps one of several; and 400 becomes
/// 401, with the challenge that says `invalid_request`, since nginx would make 500 of it.
fn for_nginx(answer: &mut Answer) {
    if answer.status() == StatusCode::BAD_REQUEST {
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
    }
    join(answer.headers_mut(), WWW_AUTHENTICATE);
}

fn join(headers: &mut HeaderMap, name: HeaderName) {
    let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&values.join(&b", "[..]))
    {
        headers.insert(name, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_gets_one_challenge_and_no_status_but_those_it_knows() {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        for challenge in ["DPoP realm=\"a\"", "Bearer realm=\"a\""] {
            answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        for_nginx(&mut answer);
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let challenges: Vec<_> = answer.headers().get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(challenges, ["DPoP realm=\"a\", Bearer realm=\"a\""]);
    }
}
