//! Where status lists come from.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, Uri};
use tokenry_core::status_list::MEDIA_TYPE;

use crate::fetch::Http;
use crate::{BoxFuture, FetchError};

/// The longest list token read: 4 MiB hold one of 32 million tokens of which a tenth was revoked.
pub(super) const MAX_LIST_LEN: usize = 4 * 1024 * 1024;

/// Fetches status lists. Which, how often, and what is done when it fails, is decided elsewhere.
pub trait StatusListSource: Send + Sync + 'static {
    /// Fetches a list once, and gives the body of an answer with status 200: a status list token in the form of a JWT
    /// (draft-ietf-oauth-status-list §5.1).
    ///
    /// It is given up, by dropping it, when it takes too long.
    fn fetch<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// Fetches over HTTP and TLS. Redirects are not followed: they would lead to where no list is looked for.
pub(super) struct HttpSource(pub(super) Http);

impl StatusListSource for HttpSource {
    fn fetch<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let uri: Uri = uri
                .parse()
                .map_err(|_| FetchError::Address("the URI of a status list is none".to_owned()))?;
            let request = Request::get(uri).header(ACCEPT, MEDIA_TYPE);
            Ok(self.0.ask(request, Bytes::new(), MAX_LIST_LEN).await?.1)
        })
    }
}
