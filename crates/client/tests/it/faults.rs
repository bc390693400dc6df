//! All faults of the misbehaving server, and what each of them may cost.

use std::time::Duration;

use tokenry_test_server::{ExpiresIn, Fault, RetryAfter};

use crate::world::TIMEOUT;

/// One row of the matrix.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it is called, for people.
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) pace: Pace,
    /// Whether the keeper's tokens are bound to a key.
    pub(crate) bound: bool,
    /// Whether it is the API that refuses, so that calls fail whatever the keeper does.
    pub(crate) by_api: bool,
}

/// How often the client may ask while the fault lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// Nothing is wrong with the token: as without a fault, for tokens that live as long as the client believes.
    Lifetime(Duration),
    /// After a backoff.
    Backoff,
    /// When the server says.
    RetryAfter(Duration),
    /// When a refusal is forgotten.
    Refusal,
    /// When an API that refuses every token is believed again.
    Doubt(Duration),
}

impl Pace {
    /// How many token requests there may be while the fault lasts for so long.
    pub(crate) fn allows(self, lasting: Duration) -> usize {
        let (first, every) = match self {
            Self::Lifetime(lifetime) => (3.0, lifetime.as_secs_f64() / 1.4),
            // The shortest of the long backoffs is half of the cap, with the middle of all random numbers.
            Self::Backoff => (14.0, 15.0),
            Self::RetryAfter(after) => (3.0, after.as_secs_f64()),
            // A refusal is held for 3 s. A refresh that is refused is followed by credentials.
            Self::Refusal => (6.0, 3.0),
            // A token that lives on until it is renewed ends the doubt.
            Self::Doubt(lifetime) => (8.0, (lifetime.as_secs_f64() / 4.0).min(20.0)),
        };
        (first + lasting.as_secs_f64() / every) as usize
    }
}

/// All rows, for tokens of this lifetime.
pub(crate) fn all(lifetime: Duration) -> Vec<Row> {
    let secs = lifetime.as_secs();
    // What a client believes of a lifetime that it is not told.
    let default = Duration::from_secs(300).min(lifetime);
    let believed =
        |name, says, lifetime| row(name, Fault::ExpiresIn(says), Pace::Lifetime(lifetime));
    let dead = |name, number: &str| {
        row(name, Fault::ExpiresIn(ExpiresIn::Number(number.to_owned())), Pace::Backoff)
    };
    let number = ExpiresIn::Number;
    let mut rows = vec![
        row("answer lost", Fault::AnswerLost, Pace::Backoff),
        row("connection dropped", Fault::Dropped, Pace::Backoff),
        row("no answer", Fault::NoAnswer, Pace::Backoff),
        row("answer after 2 s", Fault::Late(TIMEOUT * 2 / 5), Pace::Lifetime(lifetime)),
        row("answer after 10 s", Fault::Late(2 * TIMEOUT), Pace::Backoff),
        row("one byte every 0.5 s", Fault::SlowBody(Duration::from_millis(500)), Pace::Backoff),
        row("body breaks off", Fault::BrokenBody, Pace::Backoff),
        row("JSON breaks off", Fault::Truncated, Pace::Backoff),
        row("2 MiB", Fault::TooLarge(2 * 1024 * 1024), Pace::Backoff),
        believed("`expires_in` absent", ExpiresIn::Absent, default),
        believed("`expires_in` null", ExpiresIn::Null, default),
        believed("`expires_in` garbage", ExpiresIn::Text("soon".to_owned()), default),
        believed("`expires_in` a string", ExpiresIn::Quoted, lifetime),
        believed("`expires_in` a fraction", number(format!("{secs}.9")), lifetime),
        believed("`expires_in` of thirty digits", number("9".repeat(30)), lifetime),
        dead("`expires_in` 0", "0"),
        dead("`expires_in` negative", "-1"),
    ];
    rows.extend(refusals(lifetime));
    rows
}

fn refusals(lifetime: Duration) -> Vec<Row> {
    let (seconds, date) = (RetryAfter::Seconds(20), RetryAfter::Date(20));
    let after = Pace::RetryAfter(Duration::from_secs(20));
    let half = lifetime / 2;
    let of_refreshes = Pace::Lifetime(half);
    vec![
        row("revoked at half its life", Fault::RevokedEarly(half), Pace::Lifetime(half)),
        row("unknown token type", Fault::TokenType("mac".to_owned()), Pace::Refusal),
        row("200 with an error", Fault::ErrorAs200("invalid_request".to_owned()), Pace::Refusal),
        row("200 with HTML", Fault::Html(200), Pace::Backoff),
        row("403 with HTML", Fault::Html(403), Pace::Backoff),
        row("502 with HTML", Fault::Html(502), Pace::Backoff),
        row("500", Fault::InternalError, Pace::Backoff),
        row("429, `Retry-After` 20 s", Fault::TooManyRequests(seconds), after),
        row("429, `Retry-After` a date", Fault::TooManyRequests(date), after),
        row("503, `Retry-After` 20 s", Fault::Unavailable(seconds), after),
        row("503, `Retry-After` a date", Fault::Unavailable(date), after),
        row("503 without", Fault::Unavailable(RetryAfter::Absent), Pace::Backoff),
        row("401 `invalid_client`", Fault::InvalidClient, Pace::Refusal),
        row("400 `invalid_grant` to refreshes", Fault::InvalidGrant, of_refreshes),
        row("401 `invalid_grant` to refreshes", Fault::InvalidGrantAs401, of_refreshes),
        row("307", Fault::Redirect("https://elsewhere.test/token".to_owned()), Pace::Backoff),
        Row { bound: true, ..row("DPoP nonces", Fault::DpopNonce, of_refreshes) },
        Row {
            bound: true,
            ..row("DPoP nonces of the API", Fault::ApiDpopNonce, Pace::Lifetime(lifetime))
        },
        Row {
            by_api: true,
            ..row("API refuses every token", Fault::ApiUnauthorized, Pace::Doubt(lifetime))
        },
        Row {
            by_api: true,
            ..row("API answers 403", Fault::ApiForbidden, Pace::Lifetime(lifetime))
        },
    ]
}

fn row(name: &'static str, fault: Fault, pace: Pace) -> Row {
    Row { name, fault, pace, bound: false, by_api: false }
}
