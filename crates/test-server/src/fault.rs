//! What can go wrong, and when it is to.

use std::collections::VecDeque;
use std::time::Duration;

/// What the server does wrong with a request.
///
/// Faults of the token endpoint wait for token requests, those of the API (`Api…`) for requests to the API.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The request is processed, and the connection ends without an answer: a refresh token may be used up.
    AnswerLost,
    /// The connection ends before the request is processed.
    Dropped,
    /// The request is not processed, and nothing is ever said.
    NoAnswer,
    /// The request is processed, and answered so much later.
    Late(Duration),
    /// The answer begins at once, and comes byte by byte with this much time between two.
    SlowBody(Duration),
    /// The connection ends in the middle of the body.
    BrokenBody,
    /// The body is half of a JSON text, with the `Content-Length` of half a text.
    Truncated,
    /// The body is followed by so many bytes of white space, which JSON allows and a limit should not.
    TooLarge(usize),
    /// The answer says this of the token's lifetime. How long the token is good stays as it is.
    ExpiresIn(ExpiresIn),
    /// The token is revoked this long after it was issued: the API answers 401 although it has not expired.
    RevokedEarly(Duration),
    /// The answer names this token type.
    TokenType(String),
    /// 200 with an error of this code in the body.
    ErrorAs200(String),
    /// A page for people with this status: a firewall, a proxy, a login page.
    Html(u16),
    /// 500 without a word.
    InternalError,
    /// 429 with `Retry-After`.
    TooManyRequests(RetryAfter),
    /// 503 with `Retry-After`.
    Unavailable(RetryAfter),
    /// 401 with `invalid_client`.
    InvalidClient,
    /// 400 with `invalid_grant`. Of a refresh alone: credentials work.
    InvalidGrant,
    /// 401 with `invalid_grant`, as some servers say to a dead refresh token. Of a refresh alone.
    InvalidGrantAs401,
    /// An error of RFC 6749 §5.2 with this status and code.
    Refused(u16, String),
    /// 307 to this URL. Who follows it gives away the credentials.
    Redirect(String),
    /// A DPoP nonce is demanded (RFC 9449 §8), and replaced with each answer; the newest eight are good.
    DpopNonce,
    /// The API answers 401 `invalid_token` to any token.
    ApiUnauthorized,
    /// The API answers 403 `insufficient_scope` to any good token.
    ApiForbidden,
    /// The API demands a DPoP nonce (RFC 9449 §9), and replaces it with each answer; the newest eight are good.
    ApiDpopNonce,
}

/// What an answer says of the token's lifetime.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ExpiresIn {
    /// Nothing.
    Absent,
    /// `null`.
    Null,
    /// A number, such as `0`, `-1`, `299.9` or one with thirty digits; written as it is.
    Number(String),
    /// A number as it should be, and in quotation marks.
    Quoted,
    /// This text, in quotation marks.
    Text(String),
}

/// The two forms of RFC 9110 §10.2.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryAfter {
    /// No such header.
    Absent,
    /// Seconds.
    Seconds(u64),
    /// A date so many seconds after the server's time.
    Date(u64),
}

impl Fault {
    pub(crate) fn is_of_the_api(&self) -> bool {
        matches!(self, Self::ApiUnauthorized | Self::ApiForbidden | Self::ApiDpopNonce)
    }

    /// Whether it leaves requests alone that are no refresh.
    pub(crate) fn is_of_refreshes(&self) -> bool {
        matches!(self, Self::InvalidGrant | Self::InvalidGrantAs401)
    }
}

/// Faults that wait for their requests, in the order in which they were given.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<(Fault, Times)>);

#[derive(Clone, Copy, Debug)]
enum Times {
    Left(usize),
    UntilCleared,
}

impl Queue {
    pub(crate) fn push(&mut self, fault: Fault, requests: Option<usize>) {
        let times = requests.map_or(Times::UntilCleared, Times::Left);
        self.0.push_back((fault, times));
    }

    /// The fault of this request: the first that is meant for it.
    pub(crate) fn take(&mut self, meant: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.0.retain(|(_, times)| !matches!(times, Times::Left(0)));
        let (fault, times) = self.0.iter_mut().find(|(fault, _)| meant(fault))?;
        if let Times::Left(left) = times {
            *left -= 1;
        }
        Some(fault.clone())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
