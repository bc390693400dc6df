//! Where the word of an issuer on its tokens comes from.

use bytes::Bytes;

use crate::{BoxFuture, FetchError};

/// Asks an issuer about tokens. How often, and what is done when it fails, is decided elsewhere.
pub trait IntrospectionSource: Send + Sync + 'static {
    /// Asks once about a token, and gives the body of an answer with status 200: the text of a JSON object (RFC 7662
    /// §2.2).
    ///
    /// It is given up, by dropping it, when it takes too long.
    ///
    /// # Errors
    ///
    /// [`FetchError`]: that there is no such answer. A status belongs into [`FetchError::Status`]: it says whether the
    /// issuer is down, or has something against this one request.
    fn introspect<'a>(
        &'a self,
        issuer: &'a str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}
