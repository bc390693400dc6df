//! A token, and where tokens come from.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue, Method, Uri};
use tokenry_core::{Secret, Timestamp};

use crate::Error;
use crate::dpop::{Dpop, Place};

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
    /// The key that it is bound to.
    dpop: Option<Arc<Dpop>>,
    header: HeaderValue,
    expires_at: Option<Timestamp>,
    source: u64,
    generation: u64,
}

impl Token {
    /// A token of a source, bound to a key or not. `None` if the text cannot stand in a header.
    pub(crate) fn new(
        access_token: Secret,
        dpop: Option<Arc<Dpop>>,
        expires_at: Option<Timestamp>,
        source: u64,
        generation: u64,
    ) -> Option<Self> {
        let scheme = if dpop.is_some() { DPOP_TYPE } else { BEARER_TYPE };
        let header = header(scheme, &access_token)?;
        Some(Self(Arc::new(Inner { access_token, dpop, header, expires_at, source, generation })))
    }

    /// The text of the token, opaque to a client (RFC 6749 §1.4).
    pub fn access_token(&self) -> &Secret {
        &self.0.access_token
    }

    /// How the token is used: `Bearer` (RFC 6750), or `DPoP` (RFC 9449) if it is bound to the keeper's key.
    pub fn token_type(&self) -> &'static str {
        if self.is_bound() { DPOP_TYPE } else { BEARER_TYPE }
    }

    /// The value of the `Authorization` header, marked sensitive.
    ///
    /// A `DPoP` token is nothing without a [proof](Self::dpop_proof).
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The value of the `DPoP` header for one request to an API (RFC 9449 §7.1). `None` for a bearer token.
    ///
    /// Each request needs a proof of its own, a repeated one as well. [`BearerLayer`](crate::BearerLayer) does this by
    /// itself.
    ///
    /// # Errors
    ///
    /// [`Error::Unsigned`]: the URL is not absolute, or the key cannot sign.
    pub fn dpop_proof(&self, method: &Method, url: &Uri) -> Result<Option<HeaderValue>, Error> {
        let Some(dpop) = &self.0.dpop else { return Ok(None) };
        dpop.prove(Place::Api, method, url, Some(self.access_token())).map(Some)
    }

    /// Keeps the nonce of an API's answer, for the next [proof](Self::dpop_proof). Says whether there was one.
    pub fn note_dpop_nonce(&self, url: &Uri, headers: &HeaderMap) -> bool {
        self.0.dpop.as_ref().is_some_and(|dpop| dpop.note(Place::Api, url, headers))
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

    pub(crate) fn is_bound(&self) -> bool {
        self.0.dpop.is_some()
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

/// A number that no other source of this process has, so that a token is known by where it came from.
pub(crate) fn new_source() -> u64 {
    // Zero is that of all static tokens.
    static SOURCES: AtomicU64 = AtomicU64::new(1);
    SOURCES.fetch_add(1, Ordering::Relaxed)
}

const BEARER_TYPE: &str = "Bearer";
const DPOP_TYPE: &str = "DPoP";

/// Whether a token's text is what RFC 6750 §2.1 lets it be, or at least visible ASCII.
pub(crate) fn is_sendable(access_token: &Secret) -> bool {
    let text = access_token.expose();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn header(scheme: &str, access_token: &Secret) -> Option<HeaderValue> {
    if !is_sendable(access_token) {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("{scheme} {}", access_token.expose())).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A token that somebody else keeps fresh.
#[derive(Clone, Debug)]
pub struct StaticToken(Token);

impl StaticToken {
    /// From the text of an access token. `None` if it is empty or has a character that a header cannot carry.
    pub fn new(access_token: Secret) -> Option<Self> {
        Token::new(access_token, None, None, 0, 0).map(Self)
    }
}

impl TokenSource for StaticToken {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        Box::pin(ready(Ok(self.0.clone())))
    }
}
