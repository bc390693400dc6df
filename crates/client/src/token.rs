//! A token, and where tokens come from.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use tokenry_core::{Secret, Timestamp};

use crate::Error;

/// A future on the heap, so that traits that return one can be objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gives a token that is good now.
///
/// This is all that a caller needs to know. [`Keeper`](crate::Keeper) is the one that keeps a token fresh,
/// [`StaticToken`] one that somebody else keeps.
pub trait TokenSource: Send + Sync {
    /// A token that is good now.
    ///
    /// # Errors
    ///
    /// Why there is none; see [`Error`].
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>>;

    /// Says that an API answered 401 to this very token.
    ///
    /// A source must not give up a successor that it has obtained meanwhile. The default does nothing.
    fn invalidate(&self, _token: &Token) {}
}

impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        (**self).token()
    }

    fn invalidate(&self, token: &Token) {
        (**self).invalidate(token);
    }
}

/// An access token, ready to be sent. Clones share one copy.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    access_token: Secret,
    header: HeaderValue,
    expires_at: Option<Timestamp>,
    source: u64,
    generation: u64,
}

impl Token {
    /// A bearer token of a source. `None` if the text cannot stand in a header.
    pub(crate) fn bearer(
        access_token: Secret,
        expires_at: Option<Timestamp>,
        source: u64,
        generation: u64,
    ) -> Option<Self> {
        let header = bearer_header(&access_token)?;
        Some(Self(Arc::new(Inner { access_token, header, expires_at, source, generation })))
    }

    /// The text of the token, opaque to a client (RFC 6749 §1.4).
    pub fn access_token(&self) -> &Secret {
        &self.0.access_token
    }

    /// How the token is used: always `Bearer` (RFC 6750), since no other type is accepted.
    pub fn token_type(&self) -> &'static str {
        "Bearer"
    }

    /// The value of the `Authorization` header, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// When the token expires by this machine's clock, as far as the server said.
    ///
    /// For people to look at: whether a token is good is decided by its source.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// Which of its source's tokens this is, counted from 1. A static token has 0.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The number of the keeper that it comes from.
    pub(crate) fn source(&self) -> u64 {
        self.0.source
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("generation", &self.0.generation)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}

/// The header for a token, if its text is what RFC 6750 §2.1 lets a token be, or at least visible ASCII.
pub(crate) fn bearer_header(access_token: &Secret) -> Option<HeaderValue> {
    let text = access_token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A token that somebody else keeps fresh.
#[derive(Clone, Debug)]
pub struct StaticToken(Token);

impl StaticToken {
    /// From the text of an access token. `None` if it is empty or has a character that a header cannot carry.
    pub fn new(access_token: Secret) -> Option<Self> {
        Token::bearer(access_token, None, 0, 0).map(Self)
    }
}

impl TokenSource for StaticToken {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(ready(Ok(self.0.clone())))
    }
}
