//! How a feed is asked for: as its client asks for tokens.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};

use super::FeedError;
use crate::credentials::{Secrets, Which};
use crate::exchange::Exchange;
use crate::provider::{FeedPlace, ProviderError};
use crate::transport::Pieces;
use crate::{Provider, request};

impl Exchange {
    /// Finds out where the feed is.
    pub(crate) async fn feed_place(&self) -> Result<Uri, FeedError> {
        match (&self.provider.feed, &self.provider.issuer) {
            (FeedPlace::At(url), _) => Ok(url.clone()),
            (FeedPlace::Metadata(_), Some(issuer)) => self.feed_of(issuer).await,
            (FeedPlace::Metadata(_), None) | (FeedPlace::Unknown, _) => Err(FeedError::NoFeed),
        }
    }

    async fn feed_of(&self, issuer: &str) -> Result<Uri, FeedError> {
        let found = Provider::discover(issuer, &*self.transport).await;
        let found = found.map_err(|error| match error {
            ProviderError::Transport(error) => FeedError::Transport(error),
            // Whoever has no metadata has no feed that could be found.
            _ => FeedError::NoFeed,
        })?;
        let has_certificate = self.transport.has_client_certificate();
        let found = if has_certificate { found.over_mtls() } else { found };
        found.revocation_feed_url().cloned().ok_or(FeedError::NoFeed)
    }

    /// Opens the feed: what comes after the cursor, or everything without one. With the client's secret, and with the other
    /// one if that is refused.
    pub(crate) async fn open_feed(
        &self,
        place: &Uri,
        cursor: Option<&str>,
    ) -> Result<Box<dyn Pieces>, FeedError> {
        let opened = self.open_feed_as(place, cursor, Which::Preferred).await;
        let two = self.credentials.secrets().is_some_and(Secrets::are_two);
        match opened {
            Err(FeedError::NotAllowed { .. } | FeedError::Unproven) if two => {
                self.open_feed_as(place, cursor, Which::Other).await
            }
            opened => opened,
        }
    }

    async fn open_feed_as(
        &self,
        place: &Uri,
        cursor: Option<&str>,
        which: Which,
    ) -> Result<Box<dyn Pieces>, FeedError> {
        // What makes a keeper has seen to it that there is one.
        let streaming = self.transport.streaming().ok_or(FeedError::NoFeed)?;
        let credentials = self.credentials.present(which).await.map_err(|_| FeedError::Unproven)?;
        let prepared = request::follow(place, self.known_as(), &self.asking(&credentials), cursor);
        let request = prepared.map_err(|_| FeedError::Unproven)?.request;
        let answer = streaming.open(request).await?;
        let (status, headers) = (answer.status(), answer.headers());
        match status {
            StatusCode::OK if is_event_stream(headers) => Ok(answer.into_body()),
            StatusCode::OK => Err(FeedError::NotAFeed),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FeedError::NoFeed),
            // RFC 6749 §5.2 has 400 for clients that may not do something.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(FeedError::NotAllowed { status: status.as_u16() })
            }
            _ => Err(FeedError::Unavailable {
                status: status.as_u16(),
                retry_after: retry_after(headers),
            }),
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// RFC 9110 §10.2.3, in seconds. A date would be worth no more than a pause of our own.
fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(std::time::Duration::from_secs)
}
