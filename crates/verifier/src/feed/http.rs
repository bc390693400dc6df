//! A feed over HTTP, found through the issuer's metadata unless its address is given.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::BodyExt;

use super::{FeedError, FeedSource, FeedStream};
use crate::fetch::{Arriving, Discovery, Http, address, basic, chain};
use crate::{BoxFuture, ClientSecret, FetchError};

/// Asks for the feed with the credentials of a client.
pub(super) struct HttpFeed {
    pub(super) http: Http,
    pub(super) endpoint: Option<Uri>,
    pub(super) discovery: Discovery,
    pub(super) id: String,
    pub(super) secret: ClientSecret,
}

impl HttpFeed {
    async fn ask(&self, issuer: &str, cursor: Option<&str>) -> Result<Arriving, FeedError> {
        let uri = match &self.endpoint {
            Some(uri) => uri.clone(),
            None => {
                let metadata = self.discovery.metadata(&self.http, issuer).await?;
                let named = metadata.revocation_feed_endpoint.as_deref();
                address(named.ok_or(FeedError::NoFeed)?, "revocation_feed_endpoint")?
            }
        };
        let mut request = Request::get(uri)
            .header(ACCEPT, "text/event-stream")
            .header(AUTHORIZATION, basic(&self.id, &self.secret.now().await?));
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = self.http.send(request, Bytes::new()).await?;
        let (status, headers) = (response.status(), response.headers());
        match status {
            StatusCode::OK if is_event_stream(headers) => Ok(response.into_body()),
            StatusCode::OK => Err(FeedError::NotAFeed),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FeedError::NoFeed),
            // RFC 6749 §5.2 has 400 for clients that may not do something.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(FeedError::NotAllowed(status.as_u16()))
            }
            _ => Err(FeedError::Unavailable {
                status: status.as_u16(),
                retry_after: retry_after(headers),
            }),
        }
    }
}

impl FeedSource for HttpFeed {
    fn open<'a>(
        &'a self,
        issuer: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Box<dyn FeedStream>, FeedError>> {
        Box::pin(async move {
            let body = self.ask(issuer, cursor).await.inspect_err(|_| {
                // Perhaps the feed has moved, or there is one now.
                self.discovery.forget();
            })?;
            Ok(Box::new(Body(body)) as Box<dyn FeedStream>)
        })
    }
}

struct Body(Arriving);

impl FeedStream for Body {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, FeedError>> {
        Box::pin(async {
            while let Some(frame) = self.0.frame().await {
                let frame = frame.map_err(|error| FetchError::Connection(chain(&error)))?;
                // Trailers say nothing here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None)
        })
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// RFC 9110 §10.2.3, in seconds. A date would be worth no more than a pause of our own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_event_stream_is_a_feed() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("text/event-streams", false),
            ("text/html", false),
            ("", false),
        ] {
            let headers = [(CONTENT_TYPE, value.parse().unwrap())].into_iter().collect();
            assert_eq!(is_event_stream(&headers), expected, "{value}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        for (value, secs) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("-1", None),
            ("Fri, 01 Jan 2100 00:00:00 GMT", None),
        ] {
            let headers = [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers), secs.map(Duration::from_secs), "{value}");
        }
    }
}
