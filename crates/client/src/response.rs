//! Answers of a token endpoint (RFC 6749 §5.1, §5.2), read as leniently as is safe.
//!
//! # How long a token lives
//!
//! | `expires_in` | means |
//! | --- | --- |
//! | a positive number | as many seconds, a fraction dropped |
//! | a string that holds a number | that number |
//! | absent, `null`, or anything else | the provider's documented lifetime, else the keeper's default, 5 min |
//! | zero, less than a second, or negative | the token is dead on arrival: not used, asked for again after a backoff |
//! | more than a day | a day: nothing is kept for ever |
//!
//! Of a token itself nothing is read: it is opaque to a client (RFC 6749 §1.4), even if it looks like a JWT.

use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokenry_core::{Secret, Timestamp};

use crate::Error;
use crate::error::{Defect, ServerError};
use crate::machine::{Failure, Grant};

/// A description beyond this is cut: it goes into logs.
const DESCRIPTION_LIMIT: usize = 200;

/// An error code is a word; a longer one is cut.
const CODE_LIMIT: usize = 64;

/// The error code of a server that wants a nonce (RFC 9449 §8).
const USE_DPOP_NONCE: &str = "use_dpop_nonce";

/// Secrets shorter than this are not looked for in descriptions: they would be found in any text.
const ECHO_LENGTH: usize = 6;

/// A token and what came with it.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Lifetime,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) refresh_lifetime: Option<Duration>,
}

/// What an answer says about a token's lifetime.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lifetime {
    /// So long.
    Known(Duration),
    /// Nothing.
    Unknown,
}

/// Why an answer brought no token: for people, and for the machine.
#[derive(Debug)]
pub(crate) struct NoToken {
    pub(crate) error: Error,
    pub(crate) failure: Failure,
}

impl NoToken {
    pub(crate) fn transient(error: impl Into<Error>) -> Self {
        Self { error: error.into(), failure: Failure::Transient { retry_after: None } }
    }

    pub(crate) fn refused(error: impl Into<Error>) -> Self {
        Self { error: error.into(), failure: Failure::Refused }
    }
}

#[derive(Deserialize)]
struct Success<'a> {
    access_token: Member,
    token_type: Option<String>,
    #[serde(borrow, default)]
    expires_in: Option<&'a RawValue>,
    #[serde(default)]
    refresh_token: Option<Member>,
    #[serde(borrow, default)]
    refresh_expires_in: Option<&'a RawValue>,
}

/// A secret member, so that its text is never held elsewhere.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Member(Secret);

impl From<String> for Member {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

/// What was asked, as far as it decides what an answer means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) grant: Grant,
    /// The secrets of the request, which no description may show.
    pub(crate) sent: &'a [&'a Secret],
    /// The token is to be bound to a DPoP key.
    pub(crate) bound: bool,
    /// Where this server says when to come back, if not in `Retry-After`.
    pub(crate) rate_limit_reset: Option<&'a HeaderName>,
    pub(crate) now: Timestamp,
}

/// Whether an answer says that the request may succeed with the nonce that came with it (RFC 9449 §8).
pub(crate) fn wants_nonce(response: &Response<bytes::Bytes>) -> bool {
    // The RFC says 400; some servers say 401.
    matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        && serde_json::from_slice::<Refusal>(response.body())
            .is_ok_and(|refusal| refusal.error == USE_DPOP_NONCE)
}

/// Whether an answer says that the client's secret is not the right one (RFC 6749 §5.2).
///
/// A refresh token or a password that is refused comes with `invalid_grant`. A 401 without a code may mean either, and is
/// taken for this: to try another secret costs one request.
pub(crate) fn refuses_client(response: &Response<bytes::Bytes>) -> bool {
    match serde_json::from_slice::<Refusal>(response.body()) {
        // Keycloak says the second of a wrong secret, and Auth0 the third.
        Ok(refusal) => match refusal.error.as_str() {
            "invalid_client" | "unauthorized_client" => true,
            "access_denied" => response.status() == StatusCode::UNAUTHORIZED,
            _ => false,
        },
        Err(_) => response.status() == StatusCode::UNAUTHORIZED,
    }
}

/// Reads an answer.
pub(crate) fn read(
    response: &Response<bytes::Bytes>,
    question: &Question<'_>,
) -> Result<Granted, NoToken> {
    let grant = question.grant;
    let status = response.status();
    let unusable = |what| Error::Unusable { status: status.as_u16(), what };
    // RFC 9110 §15.4: to follow 307 or 308 would send the credentials to wherever the answer says.
    if status.is_redirection() {
        return Err(NoToken::transient(unusable(Defect::Redirect)));
    }
    // Some servers answer 200 with an error.
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(response.body())
        && !refusal.error.is_empty()
    {
        return Err(refused(&refusal, response, question));
    }
    if status.is_success() {
        return read_success(response.body(), question.bound)
            .map_err(|(defect, failure)| NoToken { error: unusable(defect), failure });
    }
    if status == StatusCode::UNAUTHORIZED {
        // Whatever the body says, nobody else answers a token request with 401.
        let refusal = ServerError { status: status.as_u16(), code: None, description: None };
        return Err(NoToken {
            error: Error::Refused { grant, refusal },
            failure: Failure::Refused,
        });
    }
    let failure = Failure::Transient { retry_after: retry_after(response, question) };
    Err(NoToken { error: unusable(Defect::Foreign), failure })
}

fn read_success(body: &[u8], bound: bool) -> Result<Granted, (Defect, Failure)> {
    let transient = Failure::Transient { retry_after: None };
    let answer: Success<'_> =
        serde_json::from_slice(body).map_err(|_| (Defect::Foreign, transient))?;
    // "The client MUST NOT use an access token if it does not understand the token type" (RFC 6749 §7.1). It is
    // REQUIRED (§5.1) and case-insensitive.
    let token_type = answer.token_type.unwrap_or_default();
    let expected = if bound { "DPoP" } else { "Bearer" };
    if !token_type.eq_ignore_ascii_case(expected) {
        let defect = if bound && token_type.eq_ignore_ascii_case("Bearer") {
            // RFC 9449 §5: whoever found such a token could use it.
            Defect::NotBound
        } else {
            Defect::TokenType(shown(&token_type, CODE_LIMIT))
        };
        return Err((defect, Failure::Refused));
    }
    let access_token = answer.access_token.0;
    if !crate::token::is_sendable(&access_token) {
        return Err((Defect::Text, transient));
    }
    let lifetime = match seconds(answer.expires_in) {
        Seconds::Positive(lifetime) => Lifetime::Known(lifetime),
        Seconds::NotPositive => return Err((Defect::DeadOnArrival, transient)),
        Seconds::Unknown => Lifetime::Unknown,
    };
    Ok(Granted {
        access_token,
        lifetime,
        refresh_token: answer.refresh_token.map(|token| token.0).filter(|token| !token.is_empty()),
        // Keycloak says 0 for a refresh token that does not expire.
        refresh_lifetime: match seconds(answer.refresh_expires_in) {
            Seconds::Positive(lifetime) => Some(lifetime),
            _ => None,
        },
    })
}

fn refused(
    refusal: &Refusal,
    response: &Response<bytes::Bytes>,
    question: &Question<'_>,
) -> NoToken {
    let Question { grant, sent, .. } = *question;
    let status = response.status();
    let server = ServerError {
        status: status.as_u16(),
        code: Some(without_echo(&refusal.error, CODE_LIMIT, sent)),
        description: refusal
            .error_description
            .as_deref()
            .map(|text| without_echo(text, DESCRIPTION_LIMIT, sent)),
    };
    let server_side = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
        || matches!(
            refusal.error.as_str(),
            "temporarily_unavailable" | "server_error" | "slow_down"
        );
    if server_side {
        let retry_after = retry_after(response, question);
        return NoToken {
            error: Error::Unusable { status: status.as_u16(), what: Defect::ServerSide(server) },
            failure: Failure::Transient { retry_after },
        };
    }
    // It is the proof that was refused, and a refresh token is as good as before.
    let about_proof = matches!(refusal.error.as_str(), USE_DPOP_NONCE | "invalid_dpop_proof");
    let failure = if about_proof && (grant == Grant::Refresh || refusal.error == USE_DPOP_NONCE) {
        Failure::Transient { retry_after: retry_after(response, question) }
    } else {
        Failure::Refused
    };
    NoToken { error: Error::Refused { grant, refusal: server }, failure }
}

/// When to ask again: as RFC 9110 §10.2.3 has it, else as this server has it.
fn retry_after(response: &Response<bytes::Bytes>, question: &Question<'_>) -> Option<Duration> {
    let headers = response.headers();
    if let Some(value) = headers.get(RETRY_AFTER) {
        let value = value.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        return Some(date(value)?.since(question.now));
    }
    // Such a header comes with every answer, and says when the count begins anew, not when an outage ends.
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let reset = headers.get(question.rate_limit_reset?)?.to_str().ok()?.trim().parse().ok()?;
    // By the server's clock, where it can be seen.
    let sent_at = headers.get(DATE).and_then(|value| date(value.to_str().ok()?));
    let wait = Timestamp::from_secs(reset).since(sent_at.unwrap_or(question.now));
    // A time that is over, by clocks that differ, is no reason to ask at once, and again.
    (!wait.is_zero()).then_some(wait)
}

fn date(value: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(since_epoch.as_secs()))
}

enum Seconds {
    Positive(Duration),
    NotPositive,
    Unknown,
}

fn seconds(value: Option<&RawValue>) -> Seconds {
    let Some(value) = value else { return Seconds::Unknown };
    // The raw text, since a number may be larger than any type of ours.
    let text = value.get().trim_matches('"').trim();
    // Rust also reads `inf` and `NaN`, which no server may mean.
    let Some(number) = text.parse::<f64>().ok().filter(|_| !text.contains(['n', 'N'])) else {
        return Seconds::Unknown;
    };
    if number < 1.0 {
        Seconds::NotPositive
    } else {
        // More seconds than fit are as good as a year: the policy cuts both to its cap.
        const YEAR: f64 = 365.0 * 24.0 * 3600.0;
        Seconds::Positive(Duration::from_secs_f64(number.min(YEAR).floor()))
    }
}

fn without_echo(text: &str, limit: usize, sent: &[&Secret]) -> String {
    let echoes =
        |secret: &&Secret| secret.expose().len() >= ECHO_LENGTH && text.contains(secret.expose());
    if sent.iter().any(echoes) {
        return "not shown, since it repeats a secret".to_owned();
    }
    shown(text, limit)
}

/// A text from outside as it may go into a log: printable ASCII (RFC 6749 §5.2) in one line, and not endless.
fn shown(text: &str, limit: usize) -> String {
    text.chars()
        .map(|char| match char {
            // Entra ID breaks its lines, as no RFC lets it.
            '\r' | '\n' | '\t' => ' ',
            char if char == ' ' || char.is_ascii_graphic() => char,
            _ => '?',
        })
        .take(limit)
        .collect()
}

#[cfg(test)]
mod tests;
